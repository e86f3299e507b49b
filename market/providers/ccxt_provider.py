"""Candles through ccxt: any exchange it knows that serves one-minute candles, public data only.

No key is ever handed to ccxt. Its numbers are taken as text (``exchange.number = str``): the exchange's own digits where
the exchange sends text, as Coinbase and Kraken do; a JSON number passes through a float and comes out as the shortest
text that means the same float. ``paginate`` is never used: it drops all but the first 300 rows and moves ``since``.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from core.candles import MINUTE, Candle, Page, Span, floor_minute, require_product
from core.clock import SystemClock
from core.errors import ClockSkewError, ListingUnknownError, UnknownProductError
from market.providers.base import IN_FLIGHT, NoAnswerError, require_page_sizes
from market.providers.ccxt_client import EPOCH, CcxtExchange, Heard
from market.providers.coinbase_connection import ClockReading
from market.providers.coinbase_wire import fuller
from market.providers.fetch_windows import MARGIN_MINUTES, Answer, ask_each, closed_part, proved_part, unproved_parts
from market.providers.listing_search import first_open_time
from market.providers.retries import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from core.clock import Clock
    from core.settings import Settings

_MOST_REQUESTS = 8
"""For one window: an exchange that gives 60 rows at a time still fills window and margins."""
_SIMULATED = "simulated"


@dataclass(slots=True)
class _Rows:
    """The candles told of one window and its margins, by their minutes."""

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

    async def pages(self, product: str, windows: Sequence[Span]) -> AsyncIterator[Page]:
        """Ask for each window, several at a time; see `Provider.pages`.

        Coinbase answers for a whole window. Of another exchange a page covers what its rows prove, and the rest is
        reported as not answered (`market.providers.fetch_windows`).
        """
        require_product(product)
        require_page_sizes(windows)
        await self._require_offered(product)
        questions = [[window] for window in windows]
        answers = ask_each(product, questions, partial(self._answer, product), at_once=IN_FLIGHT)
        async with aclosing(answers):
            async for page in answers:
                yield page

    async def server_time(self) -> datetime:
        """Return the exchange's present; what it says of the clocks is kept."""
        moment, heard = await self._exchange.time()
        # compared when the answer is here, the exchange's clock is rather read too early than too late
        received = self._machine.now()
        is_simulated = heard.header("x-desk-clock") == _SIMULATED
        wall = _wall(heard, received) if is_simulated else moment
        self._clock = ClockReading(
            wall - received, is_known=True, is_simulated=is_simulated, market=heard.header("x-desk-market")
        )
        return self._present(heard, received) if is_simulated else moment

    async def check(self) -> str:
        """Try clock and markets; see `Provider.check`."""
        now = await self.server_time()
        skew, most = self._clock.offset.total_seconds(), self._settings.max_clock_skew_seconds
        if abs(skew) > most:
            direction = "behind" if skew > 0 else "ahead of"
            msg = (
                f"this machine's clock is {abs(skew):.0f} seconds {direction} that of {self._exchange.place}; at most "
                f"{most:g} are tolerated (MAX_CLOCK_SKEW_SECONDS). Set it: sudo timedatectl set-ntp true"
            )
            raise ClockSkewError(msg)
        offered = await self._offered()
        found = [product for product in self._settings.products if product.replace("-", "/") in offered]
        market = f" ({self._clock.market} market)" if self._clock.market else ""
        present = f", its present {now:%Y-%m-%d %H:%M} UTC simulated" if self._clock.is_simulated else ""
        proof = "" if self._exchange.is_coinbase else "; an empty minute is proved only between two candles"
        return (
            f"ccxt {self._exchange.version}, {self._exchange.place}{market}: public data, "
            f"{len(found)} of {len(self._settings.products)} products offered, "
            f"clock within {abs(skew):.1f} s{present}{proof}"
        )

    async def first_candle(self, product: str, span: Span) -> datetime | None:
        """Return the open time of the first candle in ``span``; see `Provider.first_candle`.

        Raises:
            ListingUnknownError: the exchange is not Coinbase; where its answers begin may only be how far they reach.
        """
        require_product(product)
        await self._require_offered(product)
        if not self._exchange.is_coinbase:
            msg = f"{self._exchange.place} is not known to answer for the minutes before its first candle"
            raise ListingUnknownError(msg)

        async def ask(window: Span) -> Page | None:
            answer = await self._answer(product, [window])
            return answer.pages[0] if answer.pages else None

        return await first_open_time(ask, span)

    async def _answer(self, product: str, windows: Sequence[Span]) -> Answer:
        (window,) = windows
        if not self._clock.is_known:
            await self.server_time()
        asked = window if self._clock.is_simulated else closed_part(window, self._now())
        if asked is None:
            return Answer()
        return await (self._whole if self._exchange.is_coinbase else self._proved)(product, asked)

    async def _whole(self, product: str, window: Span) -> Answer:
        """Ask an exchange that answers for every minute; a simulated present only the answer itself knows."""
        rows, cursor = _Rows(product), window.start
        for _ in range(_MOST_REQUESTS):
            is_cut = await self._take(rows, window, cursor, (window.end - cursor) // MINUTE)
            following = max((moment for moment in rows.by_time if moment < window.end), default=cursor) + MINUTE
            if not is_cut or following >= window.end:
                closed = closed_part(window, rows.present)
                return Answer([rows.page(closed)] if closed else [])
            cursor = following
        msg = f"{self._exchange.place} told the same minutes again and again for {window}"
        raise NoAnswerError(msg, cause="repeated rows", tries=_MOST_REQUESTS)

    async def _proved(self, product: str, window: Span) -> Answer:
        """Ask an exchange that may leave minutes out, with a margin on either side; keep what its rows prove."""
        skipped = self._skipped.get(product)
        if skipped is not None and skipped.start <= window.start and window.end <= skipped.end:
            return Answer(unproved=unproved_parts(window, None, self._now(), self._reason(product)))
        rows = await self._with_margins(product, window)
        first = min(rows.by_time, default=window.end)
        if first > window.end + MARGIN_MINUTES * MINUTE:
            self._skipped[product] = Span(window.start, first)
        proved = proved_part(window, rows.by_time)
        return Answer(
            [rows.page(proved)] if proved else [], unproved_parts(window, proved, rows.present, self._reason(product))
        )

    async def _with_margins(self, product: str, window: Span) -> _Rows:
        """Ask on from the newest row told until nothing new comes: an exchange may cut long answers."""
        rows = _Rows(product)
        cursor = window.start - MARGIN_MINUTES * MINUTE
        end = min(window.end + MARGIN_MINUTES * MINUTE, floor_minute(self._now()))
        for _ in range(_MOST_REQUESTS):
            await self._take(rows, window, cursor, (end - cursor) // MINUTE)
            following = max(rows.by_time, default=cursor) + MINUTE
            if not cursor < following < end:
                break
            cursor = following
        return rows

    async def _take(self, rows: _Rows, window: Span, since: datetime, count: int) -> bool:
        """Add what one request tells; return whether it may have told more.

        ccxt keeps the first ``count`` rows and drops the rest in silence, also where rows came twice.
        """
        sent = self._machine.now()
        candles, heard = await self._exchange.candles(rows.product, window, since, count)
        market = heard.header("x-desk-market")
        rows.present = self._present(heard, sent)
        rows.add(candles)
        rows.source = f"local:{market}" if market else f"ccxt:{self._exchange.id}"
        return len(candles) >= count

    def _reason(self, product: str) -> str:
        place, skipped = self._exchange.place, self._skipped.get(product)
        if skipped is None:
            return f"{place} told no candle on both sides, which proves nothing; ask another provider"
        return (
            f"{place} begins at {skipped.end:%Y-%m-%d %H:%M} when asked for older candles, which proves nothing about "
            "them; ask for a later span, or another provider"
        )

    def _now(self) -> datetime:
        return self._machine.now() + self._clock.offset

    def _present(self, heard: Heard, moment: datetime) -> datetime:
        """Return the exchange's present at ``moment`` of this machine's clock, or as a simulated exchange says it."""
        if heard.header("x-desk-clock") != _SIMULATED:
            return moment + self._clock.offset
        return EPOCH + timedelta(milliseconds=int(heard.header("x-desk-now")))

    async def _offered(self) -> set[str]:
        async with self._first_contact:
            return await self._exchange.offered()

    async def _require_offered(self, product: str) -> None:
        offered = await self._offered()
        if product.replace("-", "/") not in offered:
            base = product.partition("-")[0]
            near = sorted(name.replace("/", "-") for name in offered if name.startswith(f"{base}/"))[:8]
            other = f"of {base} it offers {', '.join(near)}" if near else f"it offers nothing in {base}"
            msg = f"{product} is not offered by {self._exchange.place}; {other}. Correct PRODUCTS"
            raise UnknownProductError(msg)


def _wall(heard: Heard, otherwise: datetime) -> datetime:
    """Return when a simulated exchange answered; its date is whole seconds, so a difference below two is none."""
    date = heard.date
    return date if date is not None and abs(date - otherwise) > timedelta(seconds=2) else otherwise
