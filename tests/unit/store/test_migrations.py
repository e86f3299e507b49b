"""Older files are brought up to date whole or not at all; `tests/golden/v1` holds what version 1 really wrote."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from core.candles import MINUTE, Span
from core.errors import NotADatabaseError, StoreError
from core.settings import Paths
from store.database import connect
from store.feature_store import FeatureStore
from store.reader import Reader
from store.schema import SCHEMA_VERSION, apply_schema, migrations, schema_hash
from store.signal_store import SignalStore
from store.sql_files import SQL_ROOT

if TYPE_CHECKING:
    import duckdb

ROOT = Path(__file__).resolve().parents[3]
GOLDEN = ROOT / "tests" / "golden" / "v1"
T0 = datetime(2024, 3, 1, tzinfo=UTC)


@pytest.fixture(scope="session")
def expected() -> dict[str, dict[str, list[list[str | None]]]]:
    """The rows version 1 wrote, each value as text, by database and table."""
    read: dict[str, dict[str, list[list[str | None]]]] = json.loads((GOLDEN / "expected_v1.json").read_text())
    return read


def text_rows(connection: duckdb.DuckDBPyConnection, table: str, columns: str = "*") -> list[list[str | None]]:
    rows = connection.execute(f"select {columns} from {table} order by all").fetchall()
    return [[None if value is None else str(value) for value in row] for row in rows]


def described(connection: duckdb.DuckDBPyConnection) -> list[tuple[Any, ...]]:
    return connection.execute(
        "select table_name, column_index, column_name, data_type, is_nullable, column_default, comment "
        "from duckdb_columns() where not internal order by all"
    ).fetchall()


def test_every_migration_leads_to_the_next_version() -> None:
    numbers = sorted(int(path.stem.partition("_")[0]) for path in (SQL_ROOT / "migrations").glob("*.sql"))
    assert numbers == list(range(2, SCHEMA_VERSION + 1))
    assert {one.number for name in ("market", "signals") for one in migrations(name)} == set(numbers)


def test_migrated_market_has_every_old_row(old_databases: dict[str, Path], expected: dict[str, Any]) -> None:
    assert FeatureStore(old_databases["market"]).migrate()
    connection = connect(old_databases["market"])
    for table, rows in expected["market"].items():
        if table not in {"ledger", "listings", "schema_version"}:
            assert text_rows(connection, table) == rows, table
    first_columns = "product, state, first_open_time, checked_at, reason"
    assert text_rows(connection, "listings", first_columns) == expected["market"]["listings"]
    connection.close()


def test_migrated_signals_have_every_old_row(old_databases: dict[str, Path], expected: dict[str, Any]) -> None:
    assert SignalStore(old_databases["signals"]).migrate()
    connection = connect(old_databases["signals"])
    for table, rows in expected["signals"].items():
        if table != "schema_version":
            added = {"decisions": ["p_boosting"], "signals": ["p_boosting", "boosting_model_id"]}.get(table, [])
            assert text_rows(connection, table) == [[*row, *[None] * len(added)] for row in rows], table
    connection.close()


def test_migrated_ledger_calls_quarantined_what_version_1_called_answered(
    old_databases: dict[str, Path], expected: dict[str, Any]
) -> None:
    before = [row for row in expected["market"]["ledger"] if row[0] == "ETH-USD"]
    assert [(row[3], row[1][:16], row[2][:16]) for row in before] == [
        ("answered", "2024-03-01 00:00", "2024-03-01 03:00"),
    ]
    store = FeatureStore(old_databases["market"])
    store.migrate()
    with store._reading() as connection:
        windows = connection.execute(
            "select epoch_us(start_time), epoch_us(end_time), reason from ledger "
            "where product = 'ETH-USD' and state = 'quarantined' order by start_time"
        ).fetchall()
        beginning, end, answered = connection.execute(
            "select min(start_time), max(end_time), count(*) filter (where state = 'answered') "
            "from ledger where product = 'ETH-USD'"
        ).fetchall()[0]
    minute = 60_000_000
    origin = int(T0.timestamp()) * 1_000_000
    # one bad high, three negative volumes in a row, one row half a minute off the grid
    assert [((start - origin) // minute, (stop - start) // minute, why) for start, stop, why in windows] == [
        (72, 1, "ohlc_order"),
        (104, 3, "negative_volume"),
        (109, 1, "off_grid"),
    ]
    assert (beginning, end, answered) == (T0, T0 + 180 * MINUTE, 4)
    assert [row["check"] for row in store.quality() if row["bad_rows"]] == []


def test_migrated_coverage_counts_each_minute_once(old_databases: dict[str, Path]) -> None:
    store = FeatureStore(old_databases["market"])
    store.migrate()
    found = {
        row["product"]: [row[f"{state}_minutes"] for state in ("stored", "empty", "quarantined", "failed", "unasked")]
        for row in store.coverage()
    }
    assert found == {
        "BNB-USD": [0, 0, 0, 0, 0],
        # a minute that is stored and was told badly later is stored; the stray row of SOL-USD proves nothing
        "BTC-USD": [180, 0, 0, 300, 0],
        "ETH-USD": [154, 21, 5, 0, 0],
        "SOL-USD": [22, 38, 0, 60, 240],
    }
    assert store.missing_windows("BTC-USD", Span(T0, T0 + timedelta(hours=8))) == [
        Span(T0 + timedelta(hours=3), T0 + timedelta(hours=8))
    ]


@pytest.mark.parametrize("name", ["market", "signals"])
def test_migrated_database_has_the_same_columns_as_a_new_one(
    old_databases: dict[str, Path], tmp_path: Path, name: str
) -> None:
    (FeatureStore if name == "market" else SignalStore)(old_databases[name]).migrate()
    (FeatureStore if name == "market" else SignalStore)(tmp_path / "new.duckdb").migrate()
    migrated, new = connect(old_databases[name]), connect(tmp_path / "new.duckdb")
    assert described(migrated) == described(new)
    listed = "select view_name from duckdb_views() where not internal order by all"
    assert migrated.execute(listed).fetchall() == new.execute(listed).fetchall()
    migrated.close()
    new.close()


def test_migration_is_recorded_with_time_and_hash_and_checkpointed(old_databases: dict[str, Path]) -> None:
    before = datetime.now(UTC)
    FeatureStore(old_databases["market"]).migrate()
    assert not old_databases["market"].with_name("market.duckdb.wal").exists()
    connection = connect(old_databases["market"])
    rows = connection.execute("select version, sql_sha256, applied_at from schema_version order by rowid").fetchall()
    connection.close()
    (step,) = migrations("market")
    assert [row[:2] for row in rows[1:]] == [(2, step.sha256), (SCHEMA_VERSION, schema_hash())]
    assert rows[0][0] == 1
    assert all(before <= row[2] <= datetime.now(UTC) for row in rows[1:])
    assert not FeatureStore(old_databases["market"]).migrate()


# dies at the statement named on the command line, after the tables were changed
KILLED = """
import os, signal, sys
from pathlib import Path
import store.schema
from store.feature_store import FeatureStore
place = sys.argv[2]
kept = getattr(store.schema, place)
def dying(*arguments):
    if place != "_migrate":
        os.kill(os.getpid(), signal.SIGKILL)
    kept(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(store.schema, place, dying)
FeatureStore(Path(sys.argv[1])).migrate()
"""


@pytest.mark.parametrize("place", ["_migrate", "_comment", "_record"])
def test_migration_killed_half_way_leaves_the_old_version_whole(
    old_databases: dict[str, Path], expected: dict[str, Any], place: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(old_databases["market"]), place],
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == -signal.SIGKILL
    connection = connect(old_databases["market"])
    assert connection.execute("select max(version) from schema_version").fetchall() == [(1,)]
    for table, rows in expected["market"].items():
        assert text_rows(connection, table) == rows, table
    assert connection.execute("select count(*) from coverage").fetchall() == [(4,)]
    connection.close()
    assert FeatureStore(old_databases["market"]).migrate()


def test_making_a_database_killed_half_way_leaves_none(tmp_path: Path) -> None:
    path = tmp_path / "market.duckdb"
    command = [sys.executable, "-c", KILLED, str(path), "_record"]
    done = subprocess.run(command, check=False, cwd=ROOT)
    assert done.returncode == -signal.SIGKILL
    assert not path.exists()
    assert FeatureStore(path).migrate()
    assert sorted(one.name for one in tmp_path.iterdir()) == [
        "market.duckdb",
        "market.duckdb.lock",
        "market.duckdb.queue",
    ]


def test_migration_drops_views_that_are_no_longer_known(old_databases: dict[str, Path]) -> None:
    connection = connect(old_databases["market"])
    connection.execute("create view forgotten as select 1 as one")
    connection.close()
    FeatureStore(old_databases["market"]).migrate()
    connection = connect(old_databases["market"])
    assert connection.execute("select * from duckdb_views() where view_name = 'forgotten'").fetchall() == []
    connection.close()


def test_copy_of_an_older_version_is_refused_until_it_is_published_again(
    old_databases: dict[str, Path], tmp_path: Path
) -> None:
    paths = Paths(tmp_path)
    shutil.copy(old_databases["market"], paths.market_copy)
    with pytest.raises(StoreError, match=r"older version \(schema 1 of \d+\); make it again: desk publish"):
        Reader(paths)
    command = [sys.executable, "-m", "desk", "publish"]
    environ = os.environ | {"DESK_HOME": str(tmp_path)}
    subprocess.run(command, check=True, cwd=tmp_path, env=environ, capture_output=True)
    with Reader(paths) as reader:
        assert reader.sql("select sum(stored_minutes) as n from coverage") == [{"n": 356}]


def test_copy_of_newer_code_is_refused(old_databases: dict[str, Path], tmp_path: Path) -> None:
    connection = connect(old_databases["market"])
    connection.execute("insert into schema_version values (99, 'of another day', now())")
    connection.close()
    paths = Paths(tmp_path)
    shutil.copy(old_databases["market"], paths.market_copy)
    with pytest.raises(NotADatabaseError, match="Bring Candledesk up to date"):
        Reader(paths)


def test_another_program_s_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "market.duckdb"
    connection = connect(path)
    connection.execute("create table customers (name varchar)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(NotADatabaseError, match=r"tables of another program \(customers\).*DESK_HOME"):
        FeatureStore(path).migrate()
    assert path.read_bytes() == before


def test_signals_are_not_taken_for_the_market(old_databases: dict[str, Path]) -> None:
    before = old_databases["signals"].read_bytes()
    with pytest.raises(NotADatabaseError, match="it is not the market database"):
        FeatureStore(old_databases["signals"]).migrate()
    assert old_databases["signals"].read_bytes() == before


def test_set_back_clock_does_not_make_an_old_entry_the_newest(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "market.duckdb")
    store.migrate()
    connection = connect(tmp_path / "market.duckdb")
    connection.execute("insert into schema_version values ($1, 'of an older build', '2031-01-01')", [SCHEMA_VERSION])
    assert apply_schema(connection, "market")
    assert not apply_schema(connection, "market")
    connection.close()
