"""Fetch candles from Coinbase Advanced Trade, or from the local exchange that speaks the same wire format.

Without a key the public twin of each path is asked, with one the private twin, which is throttled more gently.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeVar

from core.candles import Page, require_product
from core.clock import SystemClock
from core.errors import CredentialsError
from market.providers.base import TryAgainError, closed_part, require_page_sizes
from market.providers.coinbase_connection import Connection
from market.providers.coinbase_wire import candles_in, exchange_time, useful_json
from market.providers.exchange_time import AnswerHeaders, ClockReading
from market.providers.fetch_windows import Fetched, RetryPolicy, Subject, fetch_windows, with_retries
from market.providers.listing_search import first_open_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from datetime import datetime

    import httpx

    from core.candles import Span
    from core.clock import Clock
    from core.settings import Settings
    from market.providers.coinbase_connection import Surface
    from market.providers.coinbase_wire import Json

T = TypeVar("T")

_TIME = "/time"
_REPAIR = "check COINBASE_API_KEY and COINBASE_API_SECRET (key made for this portal, not deleted, this machine's address allowed)"


class CoinbaseProvider:
    """One exchange over HTTP; several requests at a time, one rate limit for the whole machine."""

    name = "coinbase"

    def __init__(
        self,
        settings: Settings,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Clock | None = None,
        retry: RetryPolicy | None = None,
    ) -> None:
        """Read the key and prepare a client; nothing is asked yet.

        Args:
            settings: Address, key, rates, folder of the shared rate limit.
            transport: A double of the network, for tests.
            clock: This machine's clock (which may be wrong), never the exchange's.
            retry: Tries and waits.

        Raises:
            CredentialsError: the key cannot be read.
            ConfigError: the base URL is no http(s) address.
        """
        self._settings = settings
        self._machine = clock or SystemClock()
        self._retry = retry or RetryPolicy()
        self.connection = Connection(settings, self._machine, transport)
        """For requests that are none for candles."""

    async def aclose(self) -> None:
        """Close connections and the shared rate limit's file."""
        await self.connection.aclose()

    def pages(self, product: str, windows: Sequence[Span]) -> AsyncIterator[Page]:
        """Ask for each window with one request, several at a time; see `Provider.pages`."""
        require_product(product)
        require_page_sizes(windows)
        requests = [[window] for window in windows]
        fetch = partial(self._fetch, product)
        return fetch_windows(product, requests, fetch, concurrency=self.connection.concurrency, before=self._sync_clock)

    async def server_time(self) -> datetime:
        """Return the exchange's present: asked for, and what it says of the clocks is kept."""
        return await self._get(_TIME, {}, lambda content, _present, _source: exchange_time(content), surface="open")

    async def check(self) -> str:
        """Try clock and key; see `Provider.check`."""
        now = await self.server_time()
        clock, base = self.connection.clock, self.connection.base
        skew = clock.require_small_offset(self._settings.max_clock_skew_seconds, "the exchange")
        access = await self._access()
        exchange = f"local exchange at {base.netloc.decode()} ({clock.market} market)" if clock.market else base.host
        present = f", its present {now:%Y-%m-%d %H:%M} UTC simulated" if clock.is_simulated else ""
        return f"coinbase, {exchange}: {access}, clock within {skew:.1f} s{present}"

    async def first_candle(self, product: str, span: Span) -> datetime | None:
        """Return the open time of the first candle in ``span``; see `Provider.first_candle`."""
        require_product(product)
        return await first_open_time(partial(self._page, product), span)

    async def _fetch(self, product: str, windows: Sequence[Span]) -> Fetched:
        """Fetch each window; Coinbase's answer is its last word on it, so nothing stays unproved."""
        pages = [await self._page(product, window) for window in windows]
        return Fetched([page for page in pages if page is not None])

    async def _page(self, product: str, window: Span) -> Page | None:
        """Return one window's page; None when no minute of it is closed."""
        await self._sync_clock()
        # a simulated present may jump, so there only the answer itself says which minutes are over
        is_simulated = self.connection.clock.is_simulated
        closed = window if is_simulated else closed_part(window, self.connection.now)
        if closed is None:
            return None
        query = {
            "start": str(int(closed.start.timestamp())),
            "end": str(int(closed.end.timestamp())),
            "granularity": "ONE_MINUTE",
        }
        twin = "" if self.connection.surface == "private" else "/market"
        path = f"{twin}/products/{product}/candles"
        return await self._get(path, query, partial(_page_of, product, closed), product=product, window=closed)

    async def _sync_clock(self) -> None:
        """Learn the exchange's time where it is not known yet."""
        if not self.connection.clock.is_known:
            await self.server_time()

    async def _access(self) -> str:
        signer = self.connection.signer
        if signer is None:
            return f"public data, {self.connection.rate} requests a second"
        rights = await self._get("/key_permissions", {}, lambda content, _present, _source: content)
        if rights.get("can_view") is False:
            msg = f"the API key {signer.label} may not read; give it the View permission"
            raise CredentialsError(msg)
        return f"key {signer.label} accepted, {self.connection.rate} requests a second"

    async def _get(  # one keyword for each thing that an error may have to name
        self,
        path: str,
        query: dict[str, str],
        parse: Callable[[Json, datetime, str], T],
        *,
        product: str = "",
        window: Span | None = None,
        surface: Surface | None = None,
    ) -> T:
        """Ask until there is a useful answer; return what ``parse(content, present, source)`` makes of it.

        Raises:
            ExchangeUnavailableError: the tries are used up.
            CredentialsError: the token was refused as often as is tolerated.
        """
        signer = self.connection.signer
        subject = Subject(
            self.connection.base.host,
            f"GET {path}" + (f" for {window}" if window else ""),
            f"the API key {signer.label}" if signer else "a request without a key",
            _REPAIR,
        )
        fetch = partial(self._try, path, query, parse, product or path, surface or self.connection.surface)
        # a token is also refused where this machine's clock is wrong
        look_at_the_time = partial(self._try, _TIME, {}, lambda _content, _present, _source: None, _TIME, "open")
        return await with_retries(self._retry, subject, fetch, after_refusal=look_at_the_time)

    async def _try(
        self,
        path: str,
        query: dict[str, str],
        parse: Callable[[Json, datetime, str], T],
        subject: str,
        surface: Surface,
    ) -> T:
        """Ask once, with a token of its own."""
        sent = self._machine.now()
        response = await self.connection.send(path, query, surface)
        try:
            content = useful_json(response, subject)
            headers = AnswerHeaders(response.headers)
            if path == _TIME:
                self._note_time(headers, content, sent)
            present = headers.simulated_present if headers.is_simulated else sent + self.connection.clock.offset
            return parse(content, present, f"local:{headers.market}" if headers.market else self.name)
        except TryAgainError as error:
            if error.status == 429 and error.wait is not None:
                self.connection.hold(surface, error.wait)
            raise

    def _note_time(self, headers: AnswerHeaders, content: Json, sent: datetime) -> None:
        """Compare the clocks; a token's time is the wall's, never a simulated present."""
        middle = sent + (self._machine.now() - sent) / 2
        wall = headers.wall_time(middle) if headers.is_simulated else exchange_time(content)
        self.connection.clock = ClockReading(
            wall - middle, is_known=True, is_simulated=headers.is_simulated, market=headers.market
        )


def _page_of(product: str, window: Span, content: Json, present: datetime, source: str) -> Page | None:
    closed = closed_part(window, present)
    if closed is None:
        return None
    return Page(product, closed, candles_in(content, product, closed, present), present, source)
