"""Readers beside a writer: questions asked of the published copy while candles are committed and published, and without.

Run: ``python -m benchmarks.readers``. Each reader is a process that asks without a pause, in one of three ways: by way of
`store.reader.Reader` opened for each question (as `desk sql` does), with a plain DuckDB connection opened read-only for each,
and with one that stays open. The writer is a process that commits pages of 300 minutes and publishes after every fourth.
Every answer is checked: the stored minutes of a product follow each other without a hole, so a torn copy would show.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import duckdb
import numpy as np

from benchmarks.surroundings import folder, show
from core.candles import MINUTE, Candle, Page, Span
from core.errors import StoreError
from core.settings import Paths
from store.feature_store import FeatureStore
from store.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

WAYS = ("Reader, opened each time", "plain DuckDB, opened each time", "plain DuckDB, kept open")
_PAGE_MINUTES = 300
_PAGES_A_COPY = 4
_T0 = datetime(2024, 3, 1, tzinfo=UTC)
_QUESTIONS = (
    "select epoch_us(max(open_time)) // 60000000 - epoch_us(min(open_time)) // 60000000 + 1 - count(*) as holes from candles_1m",
    "select coalesce(sum(60 - stored_minutes), 0) as holes from candles_1h",
    "select sum(empty_minutes) as holes from coverage",
)
"""Each answers 0 of a whole copy; the writer fills whole hours."""


@dataclass
class Tally:
    """What one reader met."""

    way: str
    milliseconds: list[float] = field(default_factory=list)
    wrong: int = 0
    errors: Counter[str] = field(default_factory=Counter)

    @property
    def lock_errors(self) -> int:
        """Errors that speak of a lock."""
        return sum(count for words, count in self.errors.items() if "lock on file" in words)


@dataclass(frozen=True)
class Outcome:
    """One phase: what each reader met, and what the writer did meanwhile."""

    tallies: list[Tally]
    commits: int
    copies: int
    """Copies published while the readers asked."""


def page(number: int) -> Page:
    """Return the page of 300 minutes with that number; all of them follow each other."""
    window = Span(_T0 + number * _PAGE_MINUTES * MINUTE, _T0 + (number + 1) * _PAGE_MINUTES * MINUTE)
    prices = (Decimal(100), Decimal(101), Decimal(99), Decimal(100))
    candles = tuple(
        Candle("BTC-USD", window.start + n * MINUTE, *prices, Decimal(n + 1)) for n in range(window.minutes)
    )
    return Page("BTC-USD", window, candles, window.end + timedelta(days=1), "synthetic")


def prepare(home: Path, pages: int) -> Paths:
    """Make a store of so many pages under ``home`` and publish it."""
    paths = Paths(home)
    paths.make()
    store = FeatureStore(paths.market_db)
    store.migrate()
    store.record_pages([page(number) for number in range(pages)])
    store.publish(paths.market_copy)
    return paths


def measure(home: Path, *, readers: int, seconds: float, first_page: int | None) -> Outcome:
    """Let ``readers`` processes of every way ask for ``seconds``; beside a writer from ``first_page`` on, unless it is None."""
    ways = [way for way in WAYS for _ in range(readers)]
    stop, started = home / "stop", home / "started"
    for mark in (stop, started):
        mark.unlink(missing_ok=True)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(ways) + 1, mp_context=context) as pool:
        writing = None if first_page is None else pool.submit(write, home, first_page)
        try:
            while writing is not None and not started.exists() and not writing.done():
                time.sleep(0.02)
            asking = [pool.submit(ask, home, way, seconds) for way in ways]
            tallies = [future.result() for future in asking]
        finally:
            stop.touch()
        commits, copies = writing.result() if writing is not None else (0, 0)
    return Outcome(tallies, commits, copies)


def write(home: Path, first_page: int) -> tuple[int, int]:
    """Commit page after page and publish now and then until told to stop; return how many commits and copies."""
    paths = Paths(home)
    store, number, copies = FeatureStore(paths.market_db), first_page, 0
    while not (home / "stop").exists():
        for _ in range(_PAGES_A_COPY):
            store.record_pages([page(number)])
            number += 1
        store.publish(paths.market_copy)
        copies += 1
        (home / "started").touch()
    return number - first_page, copies


def ask(home: Path, way: str, seconds: float) -> Tally:
    """Ask question after question for ``seconds``; return times, errors and wrong answers."""
    tally = Tally(way)
    paths = Paths(home)
    with _asker(way, paths) as answer:
        number, end = 0, time.perf_counter() + seconds
        while time.perf_counter() < end:
            begun = time.perf_counter()
            try:
                holes = answer(_QUESTIONS[number % len(_QUESTIONS)])
            except (duckdb.Error, StoreError, OSError) as error:
                tally.errors[f"{type(error).__name__}: {error}".splitlines()[0]] += 1
            else:
                tally.wrong += holes != 0
            tally.milliseconds.append(1e3 * (time.perf_counter() - begun))
            number += 1
    return tally


class _asker:  # noqa: N801  # used as a function
    """The way a reader asks, as a context that gives ``question -> number``."""

    def __init__(self, way: str, paths: Paths) -> None:
        self._way, self._paths = way, paths
        self._kept = self._plain() if way == WAYS[2] else None

    def __enter__(self) -> Callable[[str], int]:
        return self._answer

    def __exit__(self, *_: object) -> None:
        if self._kept is not None:
            self._kept.close()

    def _plain(self) -> duckdb.DuckDBPyConnection:
        return duckdb.connect(str(self._paths.market_copy), read_only=True, config={"threads": 1})

    def _answer(self, question: str) -> int:
        if self._way == WAYS[0]:
            with Reader(self._paths) as reader:
                return int(reader.sql(question)[0]["holes"])
        connection = self._kept or self._plain()
        try:
            (row,) = connection.execute(question).fetchall()
            return int(row[0])
        finally:
            if self._kept is None:
                connection.close()


def _rows(alone: Outcome, beside: Outcome) -> Iterator[tuple[object, ...]]:
    for way in WAYS:
        for writer, outcome in (("no", alone), ("yes", beside)):
            mine = [tally for tally in outcome.tallies if tally.way == way]
            times = np.array([value for tally in mine for value in tally.milliseconds])
            median, high = (float(value) for value in np.quantile(times, [0.5, 0.99]))
            errors, locks = (
                sum(sum(tally.errors.values()) for tally in mine),
                sum(tally.lock_errors for tally in mine),
            )
            yield way, writer, f"{len(times):,}", median, high, errors, locks, sum(tally.wrong for tally in mine)


def main() -> int:
    """Measure both phases and print them side by side; 1 if any question failed or was answered wrongly."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--readers", type=int, default=2, help="processes of each of the three ways")
    parser.add_argument("--seconds", type=float, default=15.0, help="length of each phase")
    parser.add_argument("--days", type=int, default=60, help="days stored before")
    options, _ = parser.parse_known_args()
    with folder() as home:
        pages = options.days * 1_440 // _PAGE_MINUTES
        prepare(home, pages)
        alone = measure(home, readers=options.readers, seconds=options.seconds, first_page=None)
        beside = measure(home, readers=options.readers, seconds=options.seconds, first_page=pages)
    show(
        f"Readers of the published copy: {3 * options.readers} processes, {options.seconds:g} s a phase; "
        f"beside a writer of {beside.commits:,} commits and {beside.copies:,} published copies",
        ("way", "writer", "asked", "ms p50", "p99", "errors", "locks", "wrong"),
        list(_rows(alone, beside)),
    )
    found = Counter[str]()
    for tally in (*alone.tallies, *beside.tallies):
        found += tally.errors
    for words, count in found.most_common(5):
        print(f"{count} x {words}")
    return int(bool(found) or any(tally.wrong for tally in (*alone.tallies, *beside.tallies)))


if __name__ == "__main__":
    raise SystemExit(main())
