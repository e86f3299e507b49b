"""Opening a store: it neither waits for a writer nor changes the file, and an old schema is an error that names the command."""

import os
import signal
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from core.errors import NotADatabaseError, StoreError
from core.settings import Paths
from store.database import connect, write_lock, write_transaction
from store.feature_store import FeatureStore
from store.schema import SCHEMA_VERSION, migrate_databases
from store.signal_store import SignalStore

ROOT = Path(__file__).resolve().parents[3]


def files(folder):
    """Content and time of every database and log in a folder; not of the locks beside them."""
    found = (path for path in folder.iterdir() if path.suffix in {".duckdb", ".wal"})
    return {path.name: (sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns) for path in found}


def test_opening_does_not_wait_for_whoever_writes_and_touches_nothing(store):
    before = files(store.path.parent)
    with write_lock(store.path), FeatureStore(store.path) as opened:
        assert opened.path == store.path
    assert files(store.path.parent) == before


def test_reading_changes_no_byte_even_where_a_log_waits_to_be_taken_in(store):
    killed = (
        "import os, signal, sys; from store.database import connect; connection = connect(sys.argv[1]); "
        "connection.execute(\"insert into wanted_spans values ('BTC-USD', '2024-01-01', '2024-01-02', '2024-01-03')\"); "
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run(
        [sys.executable, "-c", killed, str(store.path)],
        check=False,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == -signal.SIGKILL
    before = files(store.path.parent)
    assert "market.duckdb.wal" in before
    assert store.span_asked("BTC-USD").minutes == 1440, "what the log holds is read"
    store.coverage(), store.gaps(), store.quality()
    with FeatureStore.in_memory() as scratch:
        store.copy_candles(
            scratch._connection(), "BTC-USD", store.span_asked("BTC-USD"), store.span_asked("BTC-USD").end
        )
    assert files(store.path.parent) == before


@pytest.mark.parametrize("database", ["market", "signals"])
def test_an_older_schema_is_refused_with_the_command_and_left_alone(tmp_path, old_databases, database):
    path = old_databases[database]
    before = files(path.parent)
    store = FeatureStore(path) if database == "market" else SignalStore(path)
    with pytest.raises(StoreError, match=r"as an older version left it \(schema 1\).*desk migrate"):
        store.coverage() if database == "market" else store.minutes_decided()
    assert files(path.parent) == before


def test_a_file_without_schema_is_refused_with_the_command(tmp_path):
    path = tmp_path / "market.duckdb"
    with write_transaction(path):
        pass
    for use in (FeatureStore(path).coverage, lambda: FeatureStore(path).record_wanted("BTC-USD", None)):
        with pytest.raises(StoreError, match=r"has no schema yet.*desk migrate"):
            use()


def test_views_of_another_version_are_refused_with_the_command(store):
    with write_transaction(store.path) as connection:
        connection.execute("insert into schema_version values ($1, 'another', now())", [SCHEMA_VERSION])
    with pytest.raises(StoreError, match="desk migrate"):
        store.coverage()


def test_a_newer_schema_is_refused(store):
    with write_transaction(store.path) as connection:
        connection.execute("insert into schema_version values ($1, 'newer', now())", [SCHEMA_VERSION + 1])
    with pytest.raises(NotADatabaseError, match="newer code"):
        store.coverage()


def test_migrate_databases_makes_the_market_and_updates_what_is_there(tmp_path, old_databases):
    paths = Paths(old_databases["market"].parent)
    assert migrate_databases(paths) == [paths.market_db, paths.signals_db]
    assert migrate_databases(paths) == []
    fresh = Paths(tmp_path / "fresh")
    assert migrate_databases(fresh) == [fresh.market_db]
    assert not fresh.signals_db.exists()
    connection = connect(fresh.market_db, read_only=True)
    assert connection.execute("select max(version) from schema_version").fetchall() == [(SCHEMA_VERSION,)]
    connection.close()
