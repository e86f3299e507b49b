"""Follow the market: every minute stored within seconds of its close, gaps filled, settled minutes read once more.

Every minute there is one tick: the products' newest closed minute, and whatever older ones have not settled, are
asked for at the same time and committed in one short transaction. A product that was not answered keeps its place, so an
outage, a machine that slept and a restart all come to the same: the next tick asks from there on. What has to be asked
for follows from the ledger and the stored candles alone, so kill -9 costs nothing.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from core.candles import MINUTE, Span, floor_minute
from core.errors import (
    CredentialsError,
    ExchangeUnavailableError,
    ProviderError,
    StoreBusyError,
    StoreError,
    UnknownProductError,
)
from core.locks import lease
from market.ingest.backfill import fetch
from market.ingest.followed_product import MAX_REQUEST, REREAD_AFTER, FollowedProduct, FollowStats, merge_spans
from market.ingest.live_feed import FETCH_TIMEOUT_SECONDS, LiveAnswer, LiveFeed
from market.providers import PAGE_MINUTES
from store.feature_store import FeatureStore
from store.ingest import WriteCount

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence
    from decimal import Decimal

    from core.candles import Candle, Page
    from core.settings import Settings
    from market.ingest.live_clock import LiveClock
    from market.providers import Provider

T = TypeVar("T")

ASK_AFTER_SECONDS = (0.5, 1.5, 3.0)
"""When a closed minute is asked for, and again while it is not there; after that the next tick asks.

With the first of these a minute of three products is committed 0.79 s after its close (median, loaded machine, docs/log.md).
"""
LATEST_ASK_SECONDS = 4.0
RETRY_SECONDS = 5.0
"""After a request that failed the next tick comes so soon, not a minute later."""
LOOK_BACK = timedelta(days=7)
"""A killed fill of a long gap may have left holes so far before the newest stored minute."""


@dataclass(frozen=True, slots=True)
class FollowOptions:
    """How one session follows; the defaults are what `desk follow` means."""

    iterations: int = -1
    """Minutes to follow, -1 for ever."""
    is_dry: bool = False
    """Ask and say, store no candle."""
    publish_every_seconds: float = 600.0


@dataclass(frozen=True, slots=True)
class MinuteReport:
    """What one tick did."""

    open_time: datetime
    closes: Mapping[str, Decimal | None]
    """The close of each product's newest minute; None where it has no candle yet."""
    stored: int
    revised: int
    delay_seconds: float | None
    """From the minute's close to the commit; None when the minute closed before the session began, or nothing came."""


@dataclass(frozen=True, slots=True)
class Watcher:
    """Receives what happens."""

    on_minute: Callable[[MinuteReport, FollowStats], None]
    on_note: Callable[[str], None]


async def follow(
    settings: Settings,
    products: Sequence[str],
    provider: Provider,
    clock: LiveClock,
    *,
    stop: asyncio.Event,
    watcher: Watcher,
    options: FollowOptions | None = None,
) -> FollowStats:
    """Follow ``products`` until ``stop`` is set, or for so many minutes; publish the read copy at the end.

    Args:
        settings: All settings.
        products: Product ids.
        provider: Where candles come from; it is left open.
        clock: The exchange's time.
        stop: Set it to end the session after the commit in hand.
        watcher: Receives what happens.
        options: How long, and whether to store.

    Raises:
        PreflightError: another follower serves the folder.
        CredentialsError: the key was refused.
        UnknownProductError: the exchange offers none of the products.
        StoreError: the store cannot be written.
    """
    with lease(settings.paths.make().home / "follow.lock", "follower"):
        store = FeatureStore(settings.paths.market_db)
        follower = Follower(settings, store, provider, clock, stop, options or FollowOptions(), watcher)
        try:
            await follower.run(products)
        finally:
            await follower.close()
            store.close()
    return follower.stats


@dataclass(slots=True)
class Follower:
    """One session at work."""

    settings: Settings
    store: FeatureStore
    provider: Provider
    clock: LiveClock
    stop: asyncio.Event
    options: FollowOptions
    watcher: Watcher
    stats: FollowStats = field(default_factory=FollowStats)
    followed: list[FollowedProduct] = field(default_factory=list)
    _followed_until: datetime = field(default_factory=lambda: datetime.max.replace(tzinfo=UTC))
    _began: datetime = field(default_factory=lambda: datetime.max.replace(tzinfo=UTC))
    _published_at: float = field(default_factory=time.monotonic)
    _fills: dict[str, asyncio.Task[int]] = field(default_factory=dict)

    async def run(self, products: Sequence[str]) -> None:
        """Take one tick a minute until it is over."""
        await self._greet()
        await self.clock.check()
        now = self._began = await self.clock.now()
        self.followed = [await asyncio.to_thread(self._resume, product, now) for product in products]
        self._followed_until = floor_minute(now) - MINUTE
        delay = timedelta(seconds=ASK_AFTER_SECONDS[0])
        while not 0 <= self.options.iterations <= self.stats.minutes:
            moment = self._followed_until + MINUTE + delay
            if any(item.failure for item in self.followed):
                moment = min(moment, now + timedelta(seconds=RETRY_SECONDS))
            now = await self.clock.sleep_until(moment, self.stop)
            if self.stop.is_set():
                return
            # after a sleep of the machine, or a long outage, several minutes have closed
            await self._tick(max(floor_minute(now - delay), self._followed_until))
            if time.monotonic() - self._published_at >= self.options.publish_every_seconds:
                await self.publish()
            await self.clock.check()
            now = await self.clock.now()
        await self._settle_fills(wait=True)

    async def close(self) -> None:
        """End what runs beside the ticks and publish."""
        for task in self._fills.values():
            task.cancel()
        await asyncio.gather(*self._fills.values(), return_exceptions=True)
        await self.publish()

    async def publish(self) -> None:
        """Refresh the read copy and the figures beside the reports; a copy that cannot be made is a note, not an error."""
        self._published_at = time.monotonic()
        if self.options.is_dry:
            return
        self.stats.write(self.settings.paths.reports / "follow.json")
        try:
            await asyncio.to_thread(self.store.publish, self.settings.paths.market_copy)
        except StoreError as error:
            self.watcher.on_note(f"not published: {error}")

    async def _greet(self) -> None:
        """Note who is asked; an exchange that is away now may come back."""
        try:
            self.watcher.on_note(await self.provider.check())
        except ExchangeUnavailableError as error:
            self.watcher.on_note(f"{error}; going on until it answers")

    def _resume(self, product: str, now: datetime) -> FollowedProduct:
        """Return where the product stands: at the first minute that the store owes, or here when there is none yet."""
        stored = self.store.span_stored(product)
        here = floor_minute(now) - MINUTE
        if stored is None or stored.start > here:
            self.watcher.on_note(
                f"{product}: nothing stored before {here:%H:%M}, followed from {here:%Y-%m-%d %H:%M}; make backfill fetches its history"
            )
            return FollowedProduct(product, here)
        newest = stored.end - MINUTE
        since = Span(max(stored.start, newest - LOOK_BACK), max(stored.end, here))
        missing = self.store.missing_windows(product, since)
        # what was stored last had perhaps not settled yet
        unsettled = max(stored.start, newest - REREAD_AFTER)
        return FollowedProduct(product, min([unsettled, *(window.start for window in missing)]), newest)

    async def _tick(self, close: datetime) -> None:
        """Ask, commit once, report; a minute that was followed already is asked for where it failed."""
        last = close - MINUTE
        await self._settle_fills()
        self._start_fills(last)
        before = [item.progress for item in self.followed]
        failing = {item.product for item in self.followed if item.failure}
        is_new_minute = close > self._followed_until
        due = [item for item in self.followed if is_new_minute or item.failure]
        self.stats.minutes += (close - self._followed_until) // MINUTE
        self._followed_until = close
        answers = await self._ask(due, close)
        pages = [page for item in due for page in item.take(answers.get(item.product, []), last)]
        count = await self._commit(pages)
        if count is None:
            for item, progress in zip(self.followed, before, strict=True):
                item.reset(progress)
            return
        done = await self.clock.now()
        is_stored_first = any(
            item.newest == last != progress.newest for item, progress in zip(self.followed, before, strict=True)
        )
        delay = (done - close).total_seconds() if is_stored_first and close > self._began else None
        self.stats.add(count, delay)
        await self._report_failures(failing, last)
        if is_new_minute or pages:
            closes = {item.product: _close_of(pages, item.product, last) for item in self.followed}
            self.watcher.on_minute(MinuteReport(last, closes, count.stored, count.revised, delay), self.stats)

    def _start_fills(self, last: datetime) -> None:
        """Fill gaps of more than one request beside the ticks, so that the present never waits for the past."""
        for item in self.followed:
            if last - item.settled_until < MAX_REQUEST or item.product in self._fills:
                continue
            end = last - REREAD_AFTER
            verb = "would fill" if self.options.is_dry else "filling"
            self.watcher.on_note(f"{item.product}: {verb} {Span(item.settled_until, end)}")
            if self.options.is_dry:
                item.settled_until = end
            else:
                self._fills[item.product] = asyncio.create_task(fill_gap(self.store, self.provider, item, end))

    async def _settle_fills(self, *, wait: bool = False) -> None:
        """Take the results of fills that are over.

        Raises:
            DeskError: what ended a fill for good.
        """
        for item in self.followed:
            fill = self._fills.get(item.product)
            if fill is not None and (wait or fill.done()):
                stored = await fill
                del self._fills[item.product]
                self.stats.stored += stored
                rest = f"; {item.gap_failure}, tried again with the next minute" if item.gap_failure else ""
                self.watcher.on_note(f"{item.product}: gap filled, {stored} candles{rest}")

    async def _ask(self, due: Sequence[FollowedProduct], close: datetime) -> dict[str, list[Page]]:
        """Return each product's pages: all that has not settled, then the newest minute again while it is not there.

        Raises:
            CredentialsError: the key was refused.
        """
        last, feed = close - MINUTE, LiveFeed(self.provider)
        newest = Span(last, close)
        pages: dict[str, list[Page]] = {}
        for attempt, seconds in enumerate(ASK_AFTER_SECONDS):
            if attempt == 0:
                spans = {item.product: span for item in due if (span := item.wanted(last)) is not None}
            else:
                lacking = [name for name in spans if not any(_candle_at(page, last) for page in pages.get(name, []))]
                spans = {name: newest if pages.get(name) else spans[name] for name in lacking}
            if not spans:
                break
            now = await self.clock.sleep_until(close + timedelta(seconds=seconds), self.stop)
            if self.stop.is_set() or (attempt and now > close + timedelta(seconds=LATEST_ASK_SECONDS)):
                break
            answers = await unless_stopped(feed.fetch(spans, FETCH_TIMEOUT_SECONDS), self.stop)
            for item in due:
                if (answer := (answers or {}).get(item.product)) is not None:
                    _note_answer(item, answer)
                    pages.setdefault(item.product, []).extend(answer.pages)
        return pages

    async def _commit(self, pages: list[Page]) -> WriteCount | None:
        """Store everything of this tick in one transaction; None when the store was busy for too long."""
        if self.options.is_dry or not pages:
            return WriteCount(stored=sum(len(page.candles) for page in pages))
        try:
            # in a thread, so that fills go on meanwhile; a request to stop waits for it
            return await asyncio.to_thread(self.store.record_pages, pages)
        except StoreBusyError as error:
            self.watcher.on_note(f"not stored, tried again with the next minute: {error}")
            return None

    async def _report_failures(self, failing: set[str], last: datetime) -> None:
        """Note who stopped answering, who answers again and who is not offered; an outage enters the ledger once.

        Raises:
            UnknownProductError: no product is left.
        """
        for item in self.followed:
            if item.failure and item.product not in failing:
                self.stats.outages += 1
                self.watcher.on_note(f"{item.product} {last:%H:%M}: {item.failure}")
                if not self.options.is_dry and item.is_offered:
                    window = Span(last, last + MINUTE)
                    record = self.store.record_failure
                    await asyncio.to_thread(record, item.product, window, item.failure, self.provider.name)
            elif not item.failure and item.product in failing:
                self.watcher.on_note(f"{item.product}: answers again")
        gone = [item for item in self.followed if not item.is_offered]
        self.followed = [item for item in self.followed if item.is_offered]
        if gone and not self.followed:
            raise UnknownProductError(gone[0].failure)


async def unless_stopped(work: Coroutine[Any, Any, T], stop: asyncio.Event) -> T | None:
    """Return what ``work`` gives, or None when ``stop`` is set first; then it is cancelled."""
    task, stopped = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        task.cancel()
        stopped.cancel()
        await asyncio.gather(task, stopped, return_exceptions=True)


async def fill_gap(store: FeatureStore, provider: Provider, item: FollowedProduct, end: datetime) -> int:
    """Fetch what the store owes from the product's place up to ``end``, committed page by page; return the candles stored.

    Raises:
        CredentialsError: the key was refused.
        StoreError: the store cannot be written.
    """
    span = Span(item.settled_until, end)
    owed = await asyncio.to_thread(store.missing_windows, item.product, span)
    if item.newest is not None and span.start <= item.newest < span.end:
        # what was stored last had not settled
        owed = merge_spans([*owed, Span(span.start, item.newest + MINUTE)])
    item.gap_failure = ""
    try:
        windows = [page for window in owed for page in window.pages(PAGE_MINUTES)]
        result = await fetch(store, provider, item.product, windows)
    except CredentialsError:
        raise
    except UnknownProductError as error:
        item.is_offered, item.failure = False, str(error)
        return 0
    except ProviderError as error:
        item.gap_failure = str(error)
        return 0
    if result.failed_windows:
        item.gap_failure = f"{result.failed_windows} windows of the gap were not answered"
    else:
        item.settled_until = max(item.settled_until, end)
    return result.stored


def _note_answer(item: FollowedProduct, answer: LiveAnswer) -> None:
    """Keep why a product was not answered with the product.

    Raises:
        CredentialsError: the key was refused.
    """
    if isinstance(answer.error, CredentialsError):
        raise answer.error
    item.failure = answer.failure
    item.is_offered = not isinstance(answer.error, UnknownProductError)


def _close_of(pages: Sequence[Page], product: str, minute: datetime) -> Decimal | None:
    candles = (_candle_at(page, minute) for page in pages if page.product == product)
    return next((candle.close for candle in candles if candle is not None), None)


def _candle_at(page: Page, minute: datetime) -> Candle | None:
    """Return the candle of ``minute``; a row without numbers, which the store sets aside, is none."""
    return next((candle for candle in page.candles if candle.open_time == minute and candle.close.is_finite()), None)
