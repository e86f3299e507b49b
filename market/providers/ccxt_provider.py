"""Fetch candles through ccxt: any exchange it knows that serves one-minute candles, public data only.

No key is ever handed to ccxt. Its numbers are taken as text (``exchange.number = str``): the exchange's own digits where
the exchange sends text, as Coinbase and Kraken do; a JSON number passes through a float and comes out as the shortest
text that means the same float. ``paginate`` is never used: it drops all but the first 300 rows and moves ``since``.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from core.candles import EPOCH, MINUTE, Candle, Page, Span, floor_minute, require_product
from core.clock import SystemClock
from core.errors import ExchangeUnavailableError, ListingUnknownError, UnknownProductError
from market.providers.base import IN_FLIGHT, closed_part, require_page_sizes
from market.providers.ccxt_client import CcxtExchange
from market.providers.coinbase_wire import fuller
from market.providers.exchange_time import AnswerHeaders, ClockReading
from market.providers.fetch_windows import (
    MARGIN_MINUTES,
    Fetched,
    RetryPolicy,
    fetch_windows,
    proved_part,
    unproved_parts,
)
from market.providers.listing_search import first_open_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from datetime import datetime

    from core.clock import Clock
    from core.settings import Settings

_MAX_REQUESTS = 8
"""For one window: an exchange that gives 60 rows at a time still fills window and margins."""


@dataclass(slots=True)
class ReceivedRows:
    """The candles received for one window and its margins, by their minutes."""

    product: str
    present: datetime = EPOCH
    """The exchange's, when it was asked last."""
    source: str = ""
    by_time: dict[datetime, Candle] = field(default_factory=dict)

    def add(self, candles: Sequence[Candle]) -> None:
        """Take those whose minute is over; of two for one minute the one with more volume is the later look at it."""
        for candle in candles:
            if candle.open_time + MINUTE <= self.present:
                self.by_time[candle.open_time] = fuller(candle, self.by_time.get(candle.open_time))

    def page(self, window: Span) -> Page:
        """Return the page of ``window``, which is over."""
        inside = sorted(moment for moment in self.by_time if window.start <= moment < window.end)
        return Page(self.product, window, tuple(self.by_time[moment] for moment in inside), self.present, self.source)


class CcxtProvider:
    """One exchange through its ccxt class; several requests at a time, one rate limit for the whole machine."""

    name = "ccxt"

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock | None = None,
        retry: RetryPolicy | None = None,
        exchange: Any = None,  # noqa: ANN401  # ccxt carries no types
    ) -> None:
        """Import ccxt and make the exchange that CCXT_EXCHANGE names; nothing is asked yet.

        Args:
            settings: The exchange's id, the base URL if it is Coinbase, rates, folder of the shared rate limit.
            clock: This machine's clock (which may be wrong), never the exchange's.
            retry: Tries and waits.
            exchange: An exchange object of ccxt made elsewhere, for tests.

        Raises:
            ConfigError: ccxt is not installed, knows no such exchange, or the exchange has no one-minute candles.
        """
        self._settings = settings
        self._exchange = CcxtExchange(settings, retry or RetryPolicy(), exchange)
        self._machine = clock or SystemClock()
        self._clock = ClockReading()
        self._first_contact = asyncio.Lock()
        self._skipped: dict[str, Span] = {}
        """By product: what an answer left out that began only after all it was asked for; it is not asked for again."""

    async def aclose(self) -> None:
        """Close connections and the shared rate limit's file."""
        await self._exchange.aclose()

    def pages(self, product: str, windows: Sequence[Span]) -> AsyncIterator[Page]:
        """Ask for each window, several at a time; see `Provider.pages`.

        Coinbase answers for a whole window. Of another exchange a page covers what its rows prove, and the rest is
        reported as not answered (`market.providers.fetch_windows`).
        """
        require_product(product)
        require_page_sizes(windows)
        requests, fetch = [[window] for window in windows], partial(self._fetch, product)
        before = partial(self._require_offered, product)
        return fetch_windows(product, requests, fetch, concurrency=IN_FLIGHT, before=before)

    async def server_time(self) -> datetime:
        """Return the exchange's present; what it says of the clocks is kept."""
        moment, headers = await self._exchange.time()
        # compared when the answer is here, the exchange's clock is rather read too early than too late
        received = self._machine.now()
        wall = headers.wall_time(received) if headers.is_simulated else moment
        self._clock = ClockReading(
            wall - received, is_known=True, is_simulated=headers.is_simulated, market=headers.market
        )
        return self._present(headers, received) if headers.is_simulated else moment

    async def check(self) -> str:
        """Try clock and markets; see `Provider.check`."""
        now = await self.server_time()
        skew = self._clock.require_small_offset(self._settings.max_clock_skew_seconds, self._exchange.label)
        offered = await self._offered()
        listed = [product for product in self._settings.products if product.replace("-", "/") in offered]
        market = f" ({self._clock.market} market)" if self._clock.market else ""
        present = f", its present {now:%Y-%m-%d %H:%M} UTC simulated" if self._clock.is_simulated else ""
        proof = "" if self._exchange.is_coinbase else "; an empty minute is proved only between two candles"
        return (
            f"ccxt {self._exchange.version}, {self._exchange.label}{market}: public data, "
            f"{len(listed)} of {len(self._settings.products)} products offered, "
            f"clock within {skew:.1f} s{present}{proof}"
        )

    async def first_candle(self, product: str, span: Span) -> datetime | None:
        """Return the open time of the first candle in ``span``; see `Provider.first_candle`.

        Raises:
            ListingUnknownError: the exchange is not Coinbase; where its answers begin may only be how far they reach.
        """
        require_product(product)
        await self._require_offered(product)
        if not self._exchange.is_coinbase:
            msg = f"{self._exchange.label} is not known to answer for the minutes before its first candle"
            raise ListingUnknownError(msg)

        async def ask(window: Span) -> Page | None:
            fetched = await self._fetch(product, [window])
            return fetched.pages[0] if fetched.pages else None

        return await first_open_time(ask, span)

    async def _fetch(self, product: str, windows: Sequence[Span]) -> Fetched:
        (window,) = windows
        if not self._clock.is_known:
            await self.server_time()
        open_part = window if self._clock.is_simulated else closed_part(window, self._now())
        if open_part is None:
            return Fetched()
        return await (self._whole if self._exchange.is_coinbase else self._proved)(product, open_part)

    async def _whole(self, product: str, window: Span) -> Fetched:
        """Ask an exchange that answers for every minute; a simulated present only the answer itself knows."""
        rows, cursor = ReceivedRows(product), window.start
        for _ in range(_MAX_REQUESTS):
            is_cut = await self._take(rows, window, cursor, (window.end - cursor) // MINUTE)
            following = max((moment for moment in rows.by_time if moment < window.end), default=cursor) + MINUTE
            if not is_cut or following >= window.end:
                closed = closed_part(window, rows.present)
                return Fetched([rows.page(closed)] if closed else [])
            cursor = following
        msg = f"{self._exchange.label} answered with the same minutes again and again for {window}"
        raise ExchangeUnavailableError(msg)

    async def _proved(self, product: str, window: Span) -> Fetched:
        """Ask an exchange that may leave minutes out, with a margin on either side; keep what its rows prove."""
        skipped = self._skipped.get(product)
        if skipped is not None and skipped.start <= window.start and window.end <= skipped.end:
            return Fetched(unproved=unproved_parts(window, None, self._now(), self._reason(product)))
        rows = await self._with_margins(product, window)
        first = min(rows.by_time, default=window.end)
        if first > window.end + MARGIN_MINUTES * MINUTE:
            self._skipped[product] = Span(window.start, first)
        proved = proved_part(window, rows.by_time)
        return Fetched(
            [rows.page(proved)] if proved else [], unproved_parts(window, proved, rows.present, self._reason(product))
        )

    async def _with_margins(self, product: str, window: Span) -> ReceivedRows:
        """Ask on from the newest row received until nothing new comes: an exchange may cut long answers."""
        rows = ReceivedRows(product)
        cursor = window.start - MARGIN_MINUTES * MINUTE
        end = min(window.end + MARGIN_MINUTES * MINUTE, floor_minute(self._now()))
        for _ in range(_MAX_REQUESTS):
            await self._take(rows, window, cursor, (end - cursor) // MINUTE)
            following = max(rows.by_time, default=cursor) + MINUTE
            if not cursor < following < end:
                break
            cursor = following
        return rows

    async def _take(self, rows: ReceivedRows, window: Span, since: datetime, count: int) -> bool:
        """Add what one request brings; return whether the exchange may have more.

        ccxt keeps the first ``count`` rows and drops the rest in silence, also where rows came twice.
        """
        sent = self._machine.now()
        candles, headers = await self._exchange.candles(rows.product, window, since, count)
        market = headers.market
        rows.present = self._present(headers, sent)
        rows.add(candles)
        rows.source = f"local:{market}" if market else f"ccxt:{self._exchange.id}"
        return len(candles) >= count

    def _reason(self, product: str) -> str:
        label, skipped = self._exchange.label, self._skipped.get(product)
        if skipped is None:
            return f"{label} has no candle on both sides, which proves nothing; ask another provider"
        return (
            f"{label} begins at {skipped.end:%Y-%m-%d %H:%M} when asked for older candles, which proves nothing about "
            "them; ask for a later span, or another provider"
        )

    def _now(self) -> datetime:
        return self._machine.now() + self._clock.offset

    def _present(self, headers: AnswerHeaders, moment: datetime) -> datetime:
        """Return the exchange's present at ``moment`` of this machine's clock, or as a simulated exchange says it."""
        return headers.simulated_present if headers.is_simulated else moment + self._clock.offset

    async def _offered(self) -> set[str]:
        async with self._first_contact:
            return await self._exchange.offered()

    async def _require_offered(self, product: str) -> None:
        offered = await self._offered()
        if product.replace("-", "/") not in offered:
            base = product.partition("-")[0]
            near = sorted(name.replace("/", "-") for name in offered if name.startswith(f"{base}/"))[:8]
            other = f"of {base} it offers {', '.join(near)}" if near else f"it offers nothing in {base}"
            msg = f"{product} is not offered by {self._exchange.label}; {other}. Correct PRODUCTS"
            raise UnknownProductError(msg)
