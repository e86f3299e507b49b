"""Follow the market: every minute stored within seconds of its close, gaps filled, settled minutes read once more.

Every minute there is one tick: the products' newest closed minute, and whatever older ones have not settled, are
asked for at the same time and committed in one short transaction. A product that was not answered keeps its place, so an
outage, a machine that slept and a restart all come to the same: the next tick asks from there on. What has to be asked
for follows from the ledger and the stored candles alone, so kill -9 costs nothing.

Source ``trades``: minutes are built from the WebSocket and stored at once under a source of their own; two minutes later the
exchange's candle is held against them, and a difference becomes a revision. What could not be built is asked for as usual.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from core.candles import MINUTE, Span, floor_minute
from core.errors import ExchangeUnavailableError, StoreBusyError, StoreError, UnknownProductError
from core.locks import lease
from market.ingest.follow_stats import Tally
from market.ingest.followed_product import LONGEST_ASK, REREAD_AFTER, Coin, hull
from market.ingest.live_clock import nap
from market.ingest.poll import ask_all, fill_gap, unless_stopped
from market.ingest.trade_feed import TradeFeed
from store.feature_store import FeatureStore
from store.ingest import WriteCount

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from decimal import Decimal

    from core.candles import Candle, Page
    from core.settings import Settings
    from market.ingest.live_clock import Pace
    from market.ingest.trade_feed import Stream
    from market.providers import Provider

ASK_AFTER_SECONDS = (0.5, 1.5, 3.0)
"""When a closed minute is asked for, and again while it is not there; after that the next tick asks."""
BUILD_AFTER_SECONDS = (2.0, 3.0)
"""The same where minutes are built from trades, which come in batches of a quarter of a second."""
STREAM_PATIENCE_SECONDS = 1.5
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
    """Who is told what happens."""

    on_minute: Callable[[MinuteReport, Tally], None]
    on_note: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Market:
    """What is followed, and its time."""

    provider: Provider
    pace: Pace
    stream: Stream | None = None
    """Trades to build minutes from; None asks for candles only."""


async def follow(
    settings: Settings,
    products: Sequence[str],
    market: Market,
    *,
    stop: asyncio.Event,
    watcher: Watcher,
    options: FollowOptions | None = None,
) -> Tally:
    """Follow ``products`` until ``stop`` is set, or for so many minutes; publish the read copy at the end.

    Args:
        settings: All settings.
        products: Product ids.
        market: Where candles and trades come from; its provider is left open.
        stop: Set it to end the session after the commit in hand.
        watcher: Told what happens.
        options: How long, and whether to store.

    Raises:
        PreflightError: another follower serves the folder.
        CredentialsError: the key was refused.
        UnknownProductError: the exchange offers none of the products.
        StoreError: the store cannot be written.
    """
    with lease(settings.paths.make().home / "follow.lock", "follower"):
        store = FeatureStore(settings.paths.market_db)
        feed = TradeFeed(market.stream, products) if market.stream is not None else None
        follower = Follower(settings, store, market, stop, options or FollowOptions(), watcher, feed)
        follower.reading = asyncio.create_task(feed.run()) if feed is not None else None
        try:
            await follower.run(products)
        finally:
            await follower.close()
            store.close()
    return follower.tally


@dataclass(slots=True)
class Follower:
    """One session at work."""

    settings: Settings
    store: FeatureStore
    market: Market
    stop: asyncio.Event
    options: FollowOptions
    watcher: Watcher
    feed: TradeFeed | None = None
    reading: asyncio.Task[None] | None = None
    """Reads the feed for as long as the session runs."""
    tally: Tally = field(default_factory=Tally)
    coins: list[Coin] = field(default_factory=list)
    _followed_until: datetime = field(default_factory=lambda: datetime.max.replace(tzinfo=UTC))
    _began: datetime = field(default_factory=lambda: datetime.max.replace(tzinfo=UTC))
    _published_at: float = field(default_factory=time.monotonic)
    _fills: dict[str, asyncio.Task[int]] = field(default_factory=dict)

    async def run(self, products: Sequence[str]) -> None:
        """Take one tick a minute until it is over."""
        await self._greet()
        await self.market.pace.check()
        now = self._began = await self.market.pace.now()
        self.coins = [await asyncio.to_thread(self._place, product, now) for product in products]
        self._followed_until = floor_minute(now) - MINUTE
        delay = timedelta(seconds=self._ask_after[0])
        while not 0 <= self.options.iterations <= self.tally.minutes:
            moment = self._followed_until + MINUTE + delay
            if any(coin.failure for coin in self.coins):
                moment = min(moment, now + timedelta(seconds=RETRY_SECONDS))
            now = await self.market.pace.until(moment, self.stop)
            if self.stop.is_set():
                return
            # after a sleep of the machine, or a long outage, several minutes have closed
            await self._tick(max(floor_minute(now - delay), self._followed_until))
            await self._publish_if_due()
            await self.market.pace.check()
            now = await self.market.pace.now()
        await self._settle_fills(wait=True)

    async def close(self) -> None:
        """End what runs beside the ticks and publish."""
        beside: list[asyncio.Task[Any]] = [*self._fills.values(), *([self.reading] if self.reading else [])]
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        await self.publish()

    async def publish(self) -> None:
        """Refresh the read copy and the figures beside the reports; a copy that cannot be made is told, not raised."""
        self._published_at = time.monotonic()
        if self.options.is_dry:
            return
        self.tally.write(self.settings.paths.reports / "follow.json")
        try:
            await asyncio.to_thread(self.store.publish, self.settings.paths.market_copy)
        except StoreError as error:
            self.watcher.on_note(f"not published: {error}")

    async def _publish_if_due(self) -> None:
        if time.monotonic() - self._published_at >= self.options.publish_every_seconds:
            await self.publish()

    @property
    def _ask_after(self) -> tuple[float, ...]:
        return ASK_AFTER_SECONDS if self.feed is None else BUILD_AFTER_SECONDS

    async def _greet(self) -> None:
        """Say who is asked; an exchange that is away now may come back."""
        try:
            self.watcher.on_note(await self.market.provider.check())
        except ExchangeUnavailableError as error:
            self.watcher.on_note(f"{error}; going on until it answers")

    def _place(self, product: str, now: datetime) -> Coin:
        """Return where the product stands: at the first minute that the store owes, or here when there is none yet."""
        stored = self.store.span_stored(product)
        here = floor_minute(now) - MINUTE
        if stored is None or stored.start > here:
            self.watcher.on_note(
                f"{product}: nothing stored before {here:%H:%M}, followed from {here:%Y-%m-%d %H:%M}; make backfill fetches its history"
            )
            return Coin(product, here)
        newest = stored.end - MINUTE
        since = Span(max(stored.start, newest - LOOK_BACK), max(stored.end, here))
        owed = [*self.store.missing_windows(product, since), *self.store.unconfirmed_windows(product, since)]
        # what was stored last had perhaps not settled yet
        unsettled = max(stored.start, newest - REREAD_AFTER)
        return Coin(product, min([unsettled, *(window.start for window in owed)]), newest)

    async def _tick(self, close: datetime) -> None:
        """Ask, commit once, say so; a minute that was followed already is asked for where it failed."""
        last = close - MINUTE
        await self._settle_fills()
        self._start_fills(last)
        marks = [coin.mark() for coin in self.coins]
        failing = {coin.product for coin in self.coins if coin.failure}
        is_new = close > self._followed_until
        asked = [coin for coin in self.coins if is_new or coin.failure]
        self.tally.minutes += (close - self._followed_until) // MINUTE
        self._followed_until = close
        pages = await self._built(close)
        built_at = max((page.known_at for page in pages), default=self._began)
        for coin, answers in zip(asked, await self._ask(asked, close), strict=True):
            pages += self._taken(coin, [_learned_after(built_at, page) for page in answers], last)
        count = await self._commit(pages)
        if count is None:
            for coin, mark in zip(self.coins, marks, strict=True):
                coin.reset(mark)
            return
        done = await self.market.pace.now()
        is_news = any(coin.newest == last != mark.newest for coin, mark in zip(self.coins, marks, strict=True))
        delay = (done - close).total_seconds() if is_news and close > self._began else None
        self.tally.add(count, delay)
        await self._tell_failures(failing, last)
        if not is_new and not pages:
            return
        closes = {coin.product: _close_of(pages, coin.product, last) for coin in self.coins}
        self.watcher.on_minute(MinuteReport(last, closes, count.stored, count.revised, delay), self.tally)

    def _start_fills(self, last: datetime) -> None:
        """Fill gaps of more than one request beside the ticks, so that the present never waits for the past."""
        for coin in self.coins:
            if last - coin.settled_until < LONGEST_ASK or coin.product in self._fills:
                continue
            end = last - REREAD_AFTER
            self.watcher.on_note(
                f"{coin.product}: {'would fill' if self.options.is_dry else 'filling'} {Span(coin.settled_until, end)}"
            )
            if self.options.is_dry:
                coin.settled_until = end
            else:
                work = fill_gap(self.store, self.market.provider, coin, end)
                self._fills[coin.product] = asyncio.create_task(work)

    async def _settle_fills(self, *, wait: bool = False) -> None:
        """Take the results of fills that are over.

        Raises:
            DeskError: what ended a fill for good.
        """
        for coin in self.coins:
            fill = self._fills.get(coin.product)
            if fill is not None and (wait or fill.done()):
                stored = await fill
                del self._fills[coin.product]
                self.tally.stored += stored
                rest = f"; {coin.gap_failure}, tried again with the next minute" if coin.gap_failure else ""
                self.watcher.on_note(f"{coin.product}: gap filled, {stored} candles{rest}")

    async def _built(self, close: datetime) -> list[Page]:
        """Return a page for each minute built from trades, once the stream has got so far; empty without a stream."""
        if self.feed is None or self.reading is None:
            return []
        if self.reading.done():
            self.reading.result()  # it never ends of itself: whatever ended it ends the session
        await self._stream_reaches(close + timedelta(seconds=BUILD_AFTER_SECONDS[0]))
        known_at = await self.market.pace.now()
        # a minute is whole when the stream itself has got beyond its end; one that lags is asked for
        whole_until = (self.feed.seen_until or self._began) - timedelta(seconds=BUILD_AFTER_SECONDS[0])
        pages: list[Page] = []
        dropped: dict[tuple[datetime, str], list[str]] = {}
        for coin, closing in zip(self.coins, self.feed.close(self.coins, min(close, whole_until)), strict=True):
            news = [candle for candle in closing.candles if coin.lacks(candle.open_time)]
            pages += [self.feed.page(coin, candle, known_at, self.market.provider.name) for candle in news]
            for fault in closing.dropped:
                dropped.setdefault(fault, []).append(coin.product)
        for (minute, reason), products in dropped.items():
            self.tally.dropped += len(products)
            self.watcher.on_note(f"{', '.join(products)} {minute:%H:%M}: not built from trades: {reason}")
        for product, minute in self.feed.doubted():
            self.watcher.on_note(f"{product} {minute:%H:%M}: was built without a trade that came late, or not at all")
        self.tally.built += len(pages)
        return pages

    async def _stream_reaches(self, moment: datetime) -> None:
        deadline = time.monotonic() + STREAM_PATIENCE_SECONDS
        while self.feed is not None and not self.feed.trouble and time.monotonic() < deadline:
            if self.feed.seen_until is not None and self.feed.seen_until >= moment:
                return
            await nap(0.02, self.stop)

    async def _ask(self, coins: Sequence[Coin], close: datetime) -> list[list[Page]]:
        """Return the answers of each product: everything not settled, then again what is not there yet."""
        last = close - MINUTE
        pages: list[list[Page]] = [[] for _ in coins]
        for number, seconds in enumerate(self._ask_after):
            spans = [_span_to_ask(coin, answers, last) for coin, answers in zip(coins, pages, strict=True)]
            if not any(spans):
                break
            now = await self.market.pace.until(close + timedelta(seconds=seconds), self.stop)
            is_late = number > 0 and now > close + timedelta(seconds=LATEST_ASK_SECONDS)
            if self.stop.is_set() or is_late:
                break
            answers = await unless_stopped(ask_all(self.market.provider, coins, spans), self.stop)
            for product_pages, news in zip(pages, answers or [], strict=False):
                product_pages.extend(news)
        return pages

    def _taken(self, coin: Coin, answers: list[Page], last: datetime) -> list[Page]:
        """Return what of a product's answers is to be stored, and tell how its built minutes fared."""
        pages, differences, confirmed = coin.take(answers, last)
        self.tally.confirmed += confirmed
        self.tally.differed += len(differences)
        for difference in differences:
            self.watcher.on_note(str(difference))
        return pages

    async def _commit(self, pages: list[Page]) -> WriteCount | None:
        """Store everything of this tick in one transaction; None when the store was busy for too long."""
        if self.options.is_dry or not pages:
            return WriteCount(stored=sum(len(page.candles) for page in pages))
        try:
            # in a thread, so that the stream is read meanwhile; a request to stop waits for it
            return await asyncio.to_thread(self.store.record_pages, pages)
        except StoreBusyError as error:
            self.watcher.on_note(f"not stored, tried again with the next minute: {error}")
            return None

    async def _tell_failures(self, failing: set[str], last: datetime) -> None:
        """Tell who stopped answering, who answers again and who is not offered; an outage is noted in the ledger once."""
        for coin in self.coins:
            if coin.failure and coin.product not in failing:
                self.tally.outages += 1
                self.watcher.on_note(f"{coin.product} {last:%H:%M}: {coin.failure}")
                if not self.options.is_dry and coin.is_offered:
                    window = Span(last, last + MINUTE)
                    await asyncio.to_thread(
                        self.store.record_failure, coin.product, window, coin.failure, self.market.provider.name
                    )
            elif not coin.failure and coin.product in failing:
                self.watcher.on_note(f"{coin.product}: answers again")
        gone = [coin for coin in self.coins if not coin.is_offered]
        self.coins = [coin for coin in self.coins if coin.is_offered]
        for coin in gone:
            if self.feed is not None:
                self.feed.leave_out(coin.product)
        if gone and not self.coins:
            raise UnknownProductError(gone[0].failure)


def _span_to_ask(coin: Coin, answers: Sequence[Page], last: datetime) -> Span | None:
    """Return what to ask a product's next request for; None when nothing is missing."""
    spans = coin.wanted(last)
    if not spans:
        return None
    if not answers:
        return hull(spans)
    is_there = last in coin.built or any(_candle_at(page, last) for page in answers)
    return None if is_there else Span(last, last + MINUTE)


def _learned_after(moment: datetime, page: Page) -> Page:
    """Return ``page`` as learned later than ``moment``, which it was; its own time is that of another clock's reading."""
    return replace(page, known_at=max(page.known_at, moment + timedelta(microseconds=1)))


def _close_of(pages: Sequence[Page], product: str, minute: datetime) -> Decimal | None:
    candles = (_candle_at(page, minute) for page in pages if page.product == product)
    return next((candle.close for candle in candles if candle is not None), None)


def _candle_at(page: Page, minute: datetime) -> Candle | None:
    return next((candle for candle in page.candles if candle.open_time == minute), None)
