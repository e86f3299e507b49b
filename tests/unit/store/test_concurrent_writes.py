"""Several processes on one file: nothing is lost, nobody waits for ever, a kill -9 costs nothing committed."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from core.candles import MINUTE, Span
from core.errors import StoreBusyError
from core.settings import Paths
from store.database import write_lock
from store.feature_store import FeatureStore
from store.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Callable

    from core.candles import Candle, Page

ROOT = Path(__file__).resolve().parents[3]
T0 = datetime(2024, 3, 1, tzinfo=UTC)

# writes pages of 60 minutes one by one and tells each that is committed
WRITER = """
import sys
from datetime import datetime, timedelta, UTC
from decimal import Decimal
from pathlib import Path
from core.candles import MINUTE, Candle, Page, Span
from store.feature_store import FeatureStore
path, product, pages = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
start, store = datetime(2024, 3, 1, tzinfo=UTC), FeatureStore(Path(sys.argv[1]))
for window in Span(start, start + pages * 60 * MINUTE).pages(60):
    prices = (Decimal(100),) * 4
    candles = tuple(Candle(product, window.start + n * MINUTE, *prices, Decimal(n)) for n in range(60))
    store.record_pages([Page(product, window, candles, window.end + timedelta(days=1), "synthetic")])
    print(window.end.isoformat(), flush=True)
"""


def writer(path: Path, product: str, pages: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(path), product, str(pages)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def test_two_processes_write_at_once_and_lose_nothing(store: FeatureStore) -> None:
    assert store.path is not None
    writers = [writer(store.path, product, 20) for product in ("BTC-USD", "ETH-USD")]
    told = [process.communicate(timeout=120)[0].splitlines() for process in writers]
    assert [len(lines) for lines in told] == [20, 20]
    assert [(row["stored_minutes"], row["asked_minutes"]) for row in store.coverage()] == [(1200, 1200)] * 2
    assert [row["check"] for row in store.quality() if row["bad_rows"]] == []


# takes the lock, holds it for 20 ms and takes it again at once, for as long as it lives
GREEDY = """
import sys, time
from pathlib import Path
from store.database import write_lock
while True:
    with write_lock(Path(sys.argv[1])):
        time.sleep(0.02)
        print("held", flush=True)
"""


def test_writer_that_comes_back_at_once_does_not_starve_another(tmp_path: Path) -> None:
    path = tmp_path / "market.duckdb"
    command = [sys.executable, "-c", GREEDY, str(path)]
    environ = dict(os.environ)
    greedy = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environ)
    try:
        assert greedy.stdout is not None
        greedy.stdout.readline()
        for _ in range(20):
            with write_lock(path, timeout_seconds=5):
                pass
    finally:
        greedy.kill()
        rest, _ = greedy.communicate()
    # the two took turns: the other never got the lock many times in a row
    assert len(rest.splitlines()) < 60


def test_waiting_that_was_given_up_takes_no_lock_later(tmp_path: Path) -> None:
    path = tmp_path / "market.duckdb"
    descriptor = os.open(f"{path}.lock", os.O_CREAT | os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(StoreBusyError), write_lock(path, timeout_seconds=0.05):
        pass
    os.close(descriptor)
    for _ in range(3):
        with write_lock(path, timeout_seconds=5):
            pass


def test_kill_between_pages_loses_no_committed_page(store: FeatureStore) -> None:
    assert store.path is not None
    acknowledged = T0
    for moment in (0.0, 0.03, 0.07):
        process = writer(store.path, "BTC-USD", 5_000)
        assert process.stdout is not None
        for _ in range(3):
            acknowledged = max(acknowledged, datetime.fromisoformat(process.stdout.readline().strip()))
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)
        rest = [line for line in process.communicate(timeout=60)[0].splitlines() if len(line) == 25]
        acknowledged = max([acknowledged, *map(datetime.fromisoformat, rest)])
        # candles and ledger were committed together, so what is asked for is exactly what is not stored
        stored = store.span_stored("BTC-USD")
        assert stored is not None
        assert stored.end >= acknowledged
        span = Span(T0, stored.end + 600 * MINUTE)
        assert store.missing_windows("BTC-USD", span) == [Span(stored.end, span.end)]
        (row,) = store.coverage()
        assert row["stored_minutes"] == row["asked_minutes"] == stored.minutes


def test_readers_of_the_copy_never_wait_nor_see_half_a_write(
    tmp_path: Path, walk: Callable[..., list[Candle]], as_pages: Callable[..., list[Page]]
) -> None:
    paths = Paths(tmp_path)
    store = FeatureStore(paths.market_db)
    store.migrate()
    store.record_pages(as_pages(walk("SOL-USD", 600, start=T0), Span(T0, T0 + 600 * MINUTE)))
    store.publish(paths.market_copy)
    process = writer(paths.market_db, "BTC-USD", 15)
    try:
        seen = []
        while process.poll() is None:
            with Reader(paths) as reader:
                rows = reader.sql("select count(*) % 60 as torn, count(distinct product) as products from candles_1m")
            seen.append(rows[0]["torn"])
            store.publish(paths.market_copy)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0
    assert seen
    assert set(seen) == {0}


# queries the published copy over and over until it is told to stop; prints how often, and every error
READER = """
import sys, time
from pathlib import Path
from core.settings import Paths
from core.errors import StoreBusyError
from core.errors import StoreError
from store.reader import Reader
paths, queries, torn = Paths(Path(sys.argv[1])), 0, 0
print("ready", flush=True)
while not (paths.home / "stop").exists():
    try:
        with Reader(paths) as reader:
            torn += reader.sql("select count(*) % 60 as torn from candles_1m")[0]["torn"]
            queries += 1
        time.sleep(0.02)
    except StoreError as error:
        print("error", error, flush=True)
print(queries, torn, flush=True)
"""


def test_two_writers_many_readers_and_a_publisher_see_no_lock_error(tmp_path: Path, store: FeatureStore) -> None:
    paths = Paths(tmp_path)
    store.publish(paths.market_copy)
    environ = dict(os.environ)
    command = [sys.executable, "-c", READER, str(tmp_path)]
    readers = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, env=environ)
        for _ in range(2)
    ]
    writers = [writer(paths.market_db, product, 8) for product in ("BTC-USD", "ETH-USD")]
    published = 0
    while any(process.poll() is None for process in writers):
        store.publish(paths.market_copy)
        published += 1
        time.sleep(0.05)
    told = [process.communicate(timeout=60)[0].splitlines() for process in writers]
    (tmp_path / "stop").touch()
    seen = [process.communicate(timeout=60)[0].splitlines() for process in readers]
    assert [len(lines) for lines in told] == [8, 8]
    assert published >= 2
    # a line that is ready, a line of counts, and no error in between
    assert [(lines[0], len(lines)) for lines in seen] == [("ready", 2)] * 2
    assert all(int(lines[1].split()[0]) > 0 and int(lines[1].split()[1]) == 0 for lines in seen)
    assert [row["stored_minutes"] for row in store.coverage()] == [480, 480]


def test_reader_keeps_its_copy_while_a_new_one_is_published(
    tmp_path: Path, walk: Callable[..., list[Candle]], as_pages: Callable[..., list[Page]]
) -> None:
    paths = Paths(tmp_path)
    store = FeatureStore(paths.market_db)
    store.migrate()
    store.publish(paths.market_copy)
    with Reader(paths) as reader:
        store.record_pages(as_pages(walk("BTC-USD", 60, start=T0), Span(T0, T0 + 60 * MINUTE)))
        store.publish(paths.market_copy)
        assert reader.sql("select count(*) as n from candles_1m") == [{"n": 0}]
    with Reader(paths) as reader:
        assert reader.sql("select count(*) as n from candles_1m") == [{"n": 60}]
