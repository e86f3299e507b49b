"""Opening, locking, writing and publishing a database file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from duckdb import ConversionException

from core.errors import NotADatabaseError, StoreBusyError, StoreError
from core.settings import Paths
from store.database import connect, publish, write_lock, write_transaction
from store.reader import Reader
from store.schema import apply_schema


def test_write_transaction_that_fails_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "market.duckdb"
    with write_transaction(path) as connection:
        connection.execute("create table t (n integer)")
    with pytest.raises(ConversionException), write_transaction(path) as connection:
        connection.execute("insert into t values (1); insert into t values ('one')")
    with write_transaction(path) as connection:
        assert connection.execute("select count(*) from t").fetchall() == [(0,)]


def test_write_lock_held_by_another_process_times_out(tmp_path: Path) -> None:
    path = tmp_path / "market.duckdb"
    code = f"import fcntl, time; f = open({str(path) + '.lock'!r}, 'a'); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); time.sleep(60)"
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(StoreBusyError, match="another process"), write_lock(path, timeout_seconds=0.1):
            pass
    finally:
        holder.kill()
        holder.communicate()
    with write_lock(path, timeout_seconds=5):
        pass


def test_write_lock_by_way_of_a_link_is_the_same_lock(tmp_path: Path) -> None:
    path = tmp_path / "market.duckdb"
    with write_transaction(path):
        pass
    (tmp_path / "link.duckdb").symlink_to(path)
    with (
        write_lock(tmp_path / "link.duckdb"),
        pytest.raises(StoreBusyError, match="another process"),
        write_lock(path, timeout_seconds=0.05),
    ):
        pass


def test_connect_something_else_is_named(tmp_path: Path) -> None:
    path = tmp_path / "market.duckdb"
    path.write_bytes(b"not a database, but long enough to be read as a header" * 500)
    with pytest.raises(NotADatabaseError, match=r"market\.duckdb"):
        connect(path)


def test_publish_without_a_database_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="make backfill"):
        publish(tmp_path / "market.duckdb", tmp_path / "copy.duckdb")


def test_publish_of_a_copy_that_cannot_be_opened_keeps_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, copy = tmp_path / "market.duckdb", tmp_path / "copy.duckdb"
    with write_transaction(path) as connection:
        connection.execute("create table t as select range as n from range(100000)")
    publish(path, copy)
    before, run = copy.read_bytes(), subprocess.run

    def torn(command: list[str], **more: Any) -> subprocess.CompletedProcess[str]:
        done = run(command, **more)
        with Path(command[-1]).open("r+b") as file:
            file.truncate(8192)
        return done

    monkeypatch.setattr(subprocess, "run", torn)
    with pytest.raises(StoreError, match=r"copy\.duckdb\.tmp"):
        publish(path, copy)
    assert copy.read_bytes() == before
    assert not copy.with_name("copy.duckdb.tmp").exists()


def test_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "market.duckdb"
    with write_transaction(path) as connection:
        apply_schema(connection, "market")
        connection.execute("update schema_version set version = 99, sql_sha256 = 'other'")
    with pytest.raises(NotADatabaseError, match="Bring Candledesk up to date"), write_transaction(path) as connection:
        apply_schema(connection, "market")


def test_schema_change_is_applied_and_keeps_the_rows(tmp_path: Path) -> None:
    path = tmp_path / "market.duckdb"
    with write_transaction(path) as connection:
        apply_schema(connection, "market")
        connection.execute(
            "insert into listings by name select 'BTC-USD' as product, 'offered' as state, now() as checked_at, '' as reason"
        )
        connection.execute("update schema_version set sql_sha256 = 'of an older build'")
    with write_transaction(path) as connection:
        assert apply_schema(connection, "market")
        assert connection.execute("select product from listings").fetchall() == [("BTC-USD",)]


def test_reader_without_any_copy_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="make backfill"):
        Reader(Paths(tmp_path))


def test_link_at_the_name_of_the_draft_of_a_copy_is_replaced_and_its_file_left_alone(tmp_path: Path) -> None:
    path, copy, own = tmp_path / "market.duckdb", tmp_path / "copy.duckdb", tmp_path / "own.txt"
    own.write_text("words of somebody")
    with write_transaction(path) as connection:
        connection.execute("create table t as select 1 as n")
    copy.with_name("copy.duckdb.tmp").symlink_to(own)
    publish(path, copy)
    assert own.read_text() == "words of somebody"
    assert not copy.is_symlink()


def test_readers_that_stay_keep_no_writer_and_no_publisher_waiting(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    with write_transaction(paths.market_db) as connection:
        apply_schema(connection, "market")
    publish(paths.market_db, paths.market_copy)
    with Reader(paths) as reader:
        with write_transaction(paths.market_db, timeout_seconds=0.5) as connection:
            connection.execute("create table t as select 1 as n")
        publish(paths.market_db, paths.market_copy)
        assert reader.sql("select count(*) as n from candles_1m") == [{"n": 0}]
