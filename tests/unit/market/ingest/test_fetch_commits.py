"""Pages are committed beside the asking: the store keeps no request waiting, and nothing answered is lost."""

import asyncio
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from core.candles import Page, Span
from core.errors import CredentialsError, StoreError
from market.ingest.backfill import MAX_PAGES_WAITING, PAGES_PER_WRITE, fetch
from market.providers import FetchFailed, FetchFailedError
from store.feature_store import FeatureStore
from store.ingest import WriteCount

START = datetime(2024, 1, 1, tzinfo=UTC)


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
