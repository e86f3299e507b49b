"""A backfill: how few requests it makes, what it believes of a source of short reach, and that it commits beside the asking."""

import asyncio
import threading
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from core.candles import MINUTE, Candle, Page, Span
from core.clock import ManualClock
from core.errors import CredentialsError, ListingUnknownError, StoreError
from market.exchange.simulated_market import simulated_market
from market.ingest.backfill import MAX_PAGES_WAITING, PAGES_PER_WRITE, backfill, fetch
from market.providers import FetchFailed, FetchFailedError
from market.providers.synthetic import SyntheticProvider
from store.feature_store import FeatureStore
from store.ingest import WriteCount

MARCH = datetime(2024, 3, 1, tzinfo=UTC)
HOLED = Span(MARCH, MARCH + 1200 * MINUTE)
NOW = datetime(2024, 3, 1, 12, 0, tzinfo=UTC)
REACH = NOW - timedelta(hours=12)
WANTED = Span(NOW - timedelta(days=3), NOW)
PRICE = Decimal("0.06789012")
START = datetime(2024, 1, 1, tzinfo=UTC)


# --- how few requests are made for what is missing


class Counting(SyntheticProvider):
    """Remembers the windows that were asked for."""

    def __init__(self, settings, clock):
        super().__init__(settings, clock=clock)
        self.requested = []

    async def pages(self, product, windows):
        self.requested += windows
        async for page in super().pages(product, windows):
            yield page


def test_many_small_holes_are_asked_for_by_the_page(settings):
    market = simulated_market("planted", "BTC-USD", settings.synthetic_seed)
    known = [
        Page(
            "BTC-USD",
            Span(minute, minute + MINUTE),
            market.candles(Span(minute, minute + MINUTE)),
            HOLED.end,
            "synthetic",
        )
        for minute in (MARCH + number * MINUTE for number in range(0, 1200, 3))
    ]
    with FeatureStore(settings.paths.market_db) as store:
        store.record_pages(known)
    provider = Counting(settings, ManualClock(HOLED.end + 60 * MINUTE))
    result = asyncio.run(backfill(settings, "BTC-USD", HOLED, provider=provider))
    with FeatureStore(settings.paths.market_db) as store:
        assert result.state == "complete" and store.missing_windows("BTC-USD", HOLED) == []
    assert len(provider.requested) == 4, "800 holes of two minutes fit into four pages"


# --- a source that reaches back only so far: what is stored, and what must not be believed of it


class ShortSighted:
    """Answers for the last twelve hours only."""

    name = "yfinance"

    def __init__(self):
        self.requested = []

    async def pages(self, product, windows):
        failed = []
        for window in windows:
            self.requested.append(window)
            start = max(window.start, REACH)
            if start < window.end:
                moments = [start + count * MINUTE for count in range((window.end - start) // MINUTE)]
                candles = tuple(Candle(product, moment, PRICE, PRICE, PRICE, PRICE, Decimal(1)) for moment in moments)
                yield Page(product, Span(start, window.end), candles, NOW, self.name)
            if window.start < REACH:
                failed.append(FetchFailed(Span(window.start, min(window.end, REACH)), "out of reach"))
        if failed:
            raise FetchFailedError(product, failed, gave_up=False)

    async def first_candle(self, product, span):
        raise ListingUnknownError("where its answers begin is no listing")


@pytest.fixture
def run(settings):
    def go():
        provider = ShortSighted()
        return provider, asyncio.run(backfill(settings, "BTC-USD", WANTED, provider=provider))

    return go


@pytest.fixture
def store(settings):
    opened = FeatureStore(settings.paths.market_db)
    yield opened
    opened.close()


def test_backfill_stores_what_is_in_reach_and_says_why_the_rest_failed(run, store):
    _, result = run()
    assert (result.state, result.stored, result.empty_minutes) == ("partial", 720, 0)
    assert result.reason == "out of reach" and result.failed_windows == 12


def test_backfill_never_stores_the_end_of_a_reach_as_a_listing(run, store):
    run()
    known = store.listing("BTC-USD")
    assert known is None or known.first_open_time is None


def test_minutes_out_of_reach_stay_missing_for_a_provider_that_has_them(run, store):
    run()
    assert store.missing_windows("BTC-USD", WANTED) == [Span(WANTED.start, REACH)]


def test_second_backfill_asks_only_for_what_failed_and_revises_nothing(run, store):
    run()
    provider, result = run()
    assert {window.end <= REACH for window in provider.requested} == {True}
    assert (result.stored, result.revised) == (0, 0)


# --- pages are committed beside the asking: the store keeps no request waiting, and nothing answered is lost


def windows(count):
    return [Span(START + timedelta(hours=at), START + timedelta(hours=at + 1)) for at in range(count)]


class Exchange:
    """Answers each window with an empty page; ``ends`` comes after the last."""

    name = "coinbase"

    def __init__(self, ends=None, pause=0.0):
        self.given, self._ends, self._pause = [], ends, pause

    async def pages(self, product, requested):
        for window in requested:
            await asyncio.sleep(self._pause)
            self.given.append((window, time.monotonic()))
            yield Page(product, window, (), START + timedelta(days=99), self.name)
        if self._ends is not None:
            raise self._ends


class Store:
    """Remembers what was committed; each commit waits for ``gate``."""

    def __init__(self, gate=None, fault=None):
        self.commits, self.failures, self.threads = [], [], set()
        self._gate, self._fault = gate, fault

    def record_pages(self, pages):
        self.threads.add(threading.get_ident())
        if self._gate is not None:
            assert self._gate.wait(20)
        if self._fault is not None:
            raise self._fault
        self.commits.append([page.window for page in pages])
        return WriteCount()

    def record_failure(self, product, window, reason, source):
        self.failures.append((window, reason))


def committed(store):
    return [window for commit in store.commits for window in commit]


def test_store_that_is_slow_keeps_no_request_waiting():
    gate = threading.Event()
    store, exchange = Store(gate), Exchange()

    async def work():
        task = asyncio.create_task(fetch(store, exchange, "BTC-USD", windows(2 * PAGES_PER_WRITE)))
        while len(exchange.given) < 2 * PAGES_PER_WRITE:
            await asyncio.sleep(0.01)
        assert store.commits == [] and not task.done()
        gate.set()
        return await task

    result = asyncio.run(asyncio.wait_for(work(), 20))
    assert committed(store) == windows(2 * PAGES_PER_WRITE) and len(store.commits) == 2
    assert threading.get_ident() not in store.threads and result.state == "complete"


def test_store_that_hangs_stops_the_asking_before_memory_is_short():
    gate = threading.Event()
    store, exchange = Store(gate), Exchange()

    async def work():
        task = asyncio.create_task(fetch(store, exchange, "BTC-USD", windows(10 * MAX_PAGES_WAITING)))
        await asyncio.sleep(0.3)
        waiting = len(exchange.given)
        gate.set()
        await task
        return waiting

    assert asyncio.run(work()) == PAGES_PER_WRITE + MAX_PAGES_WAITING
    assert committed(store) == windows(10 * MAX_PAGES_WAITING)


@pytest.mark.parametrize("count", [1, PAGES_PER_WRITE, PAGES_PER_WRITE + 7])
def test_pages_answered_before_the_key_was_refused_are_committed(count):
    store = Store()
    with pytest.raises(CredentialsError):
        asyncio.run(fetch(store, Exchange(CredentialsError("no")), "BTC-USD", windows(count)))
    assert committed(store) == windows(count)


def test_failed_windows_are_noted_after_the_pages_and_the_result_is_partial():
    store, lost = Store(), windows(9)[8]
    error = FetchFailedError("BTC-USD", [FetchFailed(lost, "HTTP 502")], gave_up=False)
    result = asyncio.run(fetch(store, Exchange(error), "BTC-USD", windows(8)))
    assert committed(store) == windows(8) and store.failures == [(lost, "HTTP 502")]
    assert (result.state, result.failed_windows, result.pages) == ("partial", 1, 8)


def test_store_that_cannot_be_written_is_told_once_and_ends_the_asking():
    store, exchange = Store(fault=StoreError("disk full")), Exchange(pause=0.001)
    with pytest.raises(StoreError, match="disk full"):
        asyncio.run(fetch(store, exchange, "BTC-USD", windows(500)))
    assert len(store.threads) >= 1 and len(exchange.given) < 500


def test_backfill_that_is_cancelled_leaves_the_store_whole(settings):
    store, exchange = FeatureStore(settings.paths.market_db), Exchange(pause=0.002)
    store.migrate()

    async def work():
        task = asyncio.create_task(fetch(store, exchange, "BTC-USD", windows(2000)))
        while len(exchange.given) < 2 * PAGES_PER_WRITE:
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(work())
    missing = store.missing_windows("BTC-USD", Span(windows(1)[0].start, windows(2000)[-1].end))
    # what is stored is whole pages from the beginning, each answered and none doubled
    assert len(missing) == 1 and missing[0].start in {window.start for window in windows(2000)[PAGES_PER_WRITE:]}
