"""Readers beside a writer: no error, no wait for a lock, no torn answer; ``CAMPAIGN_SECONDS`` makes it last longer.

Each reader is a process that asks without a pause, in one of three ways: by way of `store.reader.Reader` opened for each
question (as `desk sql` does), with a plain DuckDB connection opened read-only for each, and with one that stays open. The writer
is a process that commits pages of 300 minutes and publishes after every fourth. The stored minutes of a product follow each
other without a hole, so a torn copy would show.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import duckdb
import pytest

from core.candles import MINUTE, Candle, Page, Span
from core.errors import StoreError
from core.settings import Paths
from store.feature_store import FeatureStore
from store.reader import Reader
from tests.campaign.harness import until

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = float(os.environ.get("CAMPAIGN_SECONDS", "1.5"))
WAYS = ("Reader, opened each time", "plain DuckDB, opened each time", "plain DuckDB, kept open")
PAGE_MINUTES, PAGES_A_COPY = 300, 4
QUESTIONS = (
    "select epoch_us(max(open_time)) // 60000000 - epoch_us(min(open_time)) // 60000000 + 1 - count(*) as holes from candles_1m",
    "select coalesce(sum(60 - stored_minutes), 0) as holes from candles_1h",
    "select sum(empty_minutes) as holes from coverage",
)
"""Each answers 0 of a whole copy; the writer fills whole hours."""


@dataclass
class Reading:
    """What one reader met."""

    way: str
    questions: int = 0
    wrong: int = 0
    errors: Counter[str] = field(default_factory=Counter)


def page(number: int) -> Page:
    """Return the page of 300 minutes with that number; all of them follow each other."""
    start = datetime(2024, 3, 1, tzinfo=UTC) + number * PAGE_MINUTES * MINUTE
    window = Span(start, start + PAGE_MINUTES * MINUTE)
    prices = (Decimal(100), Decimal(101), Decimal(99), Decimal(100))
    candles = tuple(Candle("BTC-USD", start + n * MINUTE, *prices, Decimal(n + 1)) for n in range(PAGE_MINUTES))
    return Page("BTC-USD", window, candles, window.end + timedelta(days=1), "synthetic")


def prepared(home: Path, *numbers: int) -> Paths:
    paths = Paths(home).make()
    with FeatureStore(paths.market_db) as store:
        store.migrate()
        store.record_pages([page(number) for number in numbers])
        store.publish(paths.market_copy)
    return paths


def write(home: Path, first_page: int) -> int:
    """Commit page after page and publish now and then until the file ``stop`` appears; return how many copies."""
    paths = Paths(home)
    store, copies = FeatureStore(paths.market_db), 0
    while not (home / "stop").exists():
        for number in range(PAGES_A_COPY):
            store.record_pages([page(first_page + copies * PAGES_A_COPY + number)])
        store.publish(paths.market_copy)
        copies += 1
        (home / "started").touch()
    return copies


def plain(paths: Paths) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(str(paths.market_copy), read_only=True, config={"threads": 1})


def read(home: Path, way: str, seconds: float) -> Reading:
    """Ask question after question for ``seconds``."""
    reading, paths, end = Reading(way), Paths(home), time.perf_counter() + seconds
    with closing(plain(paths)) if way == WAYS[2] else nullcontext() as kept:
        while time.perf_counter() < end:
            question = QUESTIONS[reading.questions % len(QUESTIONS)]
            reading.questions += 1
            try:
                if way == WAYS[0]:
                    with Reader(paths) as reader:
                        holes = reader.sql(question)[0]["holes"]
                else:
                    with nullcontext(kept) if kept else closing(plain(paths)) as connection:
                        ((holes,),) = connection.execute(question).fetchall()
            except (duckdb.Error, StoreError, OSError) as error:
                reading.errors[f"{type(error).__name__}: {error}".splitlines()[0]] += 1
            else:
                reading.wrong += holes != 0
    return reading


@pytest.mark.timeout(SECONDS + 120)
def test_readers_beside_a_writer_meet_no_error_and_no_torn_copy(tmp_path: Path) -> None:
    prepared(tmp_path, *range(4))
    with ProcessPoolExecutor(len(WAYS) + 1, mp_context=multiprocessing.get_context("spawn")) as pool:
        writing = pool.submit(write, tmp_path, 4)
        try:
            until(lambda: (tmp_path / "started").exists() or writing.done())
            readings = [done.result() for done in [pool.submit(read, tmp_path, way, SECONDS) for way in WAYS]]
        finally:
            (tmp_path / "stop").touch()
        assert writing.result() > 1
    for reading in readings:
        assert reading.questions, reading.way
        assert not reading.errors, reading
        assert reading.wrong == 0, reading


def test_failed_questions_are_counted(tmp_path: Path) -> None:
    reading = read(tmp_path, WAYS[0], 0.05)
    assert sum(reading.errors.values()) == reading.questions > 0


def test_hole_in_a_copy_is_a_wrong_answer(tmp_path: Path) -> None:
    prepared(tmp_path, 0, 2)
    reading = read(tmp_path, WAYS[1], 0.05)
    assert reading.wrong > 0
    assert not reading.errors
