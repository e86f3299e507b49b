"""Candles from Coinbase Advanced Trade, or from the local exchange that speaks the same wire format.

Without a key the public twin of each path is asked, with one the private twin, which is throttled more gently.
"""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import stamina

from core.candles import Page, Span, floor_minute, require_product
from core.clock import SystemClock
from core.errors import ClockSkewError, CredentialsError
from market.providers.base import (
    FailedWindow,
    KeyRefusedError,
    NoAnswerError,
    Request,
    WindowsFailedError,
    require_page_sizes,
)
from market.providers.coinbase_connection import ClockReading, Connection, at_once, http_date
from market.providers.coinbase_wire import TryAgainError, UnauthorizedError, candles_in, exchange_time, useful_json
from market.providers.fetch_windows import GIVE_UP_AFTER, Answer, ask_each
from market.providers.listing_search import first_open_time
from market.providers.retries import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    import httpx

    from core.clock import Clock
    from core.settings import Settings
    from market.providers.coinbase_connection import Surface

__all__ = ["GIVE_UP_AFTER", "MAX_UNAUTHORIZED", "CoinbaseProvider", "RetryPolicy"]

T = TypeVar("T")
Bits = dict[str, Any]

MAX_UNAUTHORIZED = 3
"""Coinbase refuses good tokens now and then; three refusals in a row are meant."""
_TIME = Request("GET", "/time")


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
        """For questions that are none for candles."""

    async def aclose(self) -> None:
        """Close connections and the shared rate limit's file."""
        await self.connection.aclose()

    async def pages(self, product: str, windows: Sequence[Span]) -> AsyncIterator[Page]:
        """Ask for each window with one request, several at a time; see `Provider.pages`."""
        require_product(product)
        require_page_sizes(windows)
        await self._know_the_time(product, windows)
        answers = ask_each(
            product,
            [[window] for window in windows],
            partial(self._answer, product),
            at_once=at_once(self.connection.rate),
        )
        async with aclosing(answers):
            async for page in answers:
                yield page

    async def _answer(self, product: str, windows: Sequence[Span]) -> Answer:
        """Coinbase's answer is its last word on a window: nothing of it stays unproved."""
        pages = [await self._page(product, window) for window in windows]
        return Answer([page for page in pages if page is not None])

    async def _know_the_time(self, product: str, windows: Sequence[Span]) -> None:
        """Ask for the exchange's present once, not once for each request that goes out first."""
        if self.connection.clock.is_known or not windows:
            return
        try:
            await self.server_time()
        except NoAnswerError as error:
            first = FailedWindow(windows[0], str(error), error.request, error.cause)
            raise WindowsFailedError(product, [first], gave_up=len(windows) > 1) from error

    async def server_time(self) -> datetime:
        """Return the exchange's present: asked for, and what it says of the clocks is kept."""
        return await self._get(_TIME, {}, lambda content, _: exchange_time(content), surface="open")

    async def check(self) -> str:
        """Try clock and key; see `Provider.check`."""
        now = await self.server_time()
        skew = abs(self.connection.clock.offset.total_seconds())
        if skew > self._settings.max_clock_skew_seconds:
            direction = "behind" if self.connection.clock.offset > timedelta(0) else "ahead of"
            msg = (
                f"this machine's clock is {skew:.0f} seconds {direction} the exchange's; "
                f"at most {self._settings.max_clock_skew_seconds:g} are tolerated (MAX_CLOCK_SKEW_SECONDS). "
                "Set it: sudo timedatectl set-ntp true"
            )
            raise ClockSkewError(msg)
        access = await self._access()
        market = self.connection.clock.market
        place = (
            f"local exchange at {self.connection.base.netloc.decode()} ({market} market)"
            if market
            else self.connection.base.host
        )
        present = f", its present {now:%Y-%m-%d %H:%M} UTC simulated" if self.connection.clock.is_simulated else ""
        return f"coinbase, {place}: {access}, clock within {skew:.1f} s{present}"

    async def first_candle(self, product: str, span: Span) -> datetime | None:
        """Return the open time of the first candle in ``span``; see `Provider.first_candle`."""
        require_product(product)
        return await first_open_time(partial(self._page, product), span)

    async def _page(self, product: str, window: Span) -> Page | None:
        """Return one window's page; None when no minute of it is closed."""
        closed = await self._closed_part(window)
        if closed is None:
            return None
        params = {
            "start": str(int(closed.start.timestamp())),
            "end": str(int(closed.end.timestamp())),
            "granularity": "ONE_MINUTE",
        }
        twin = "" if self.connection.surface == "private" else "/market"
        request = Request("GET", f"{twin}/products/{product}/candles", closed)
        return await self._get(request, params, partial(_page_of, product, closed), subject=product)

    async def _closed_part(self, window: Span) -> Span | None:
        """Cut off minutes still to come; a simulated present may jump, so there only the answer itself decides."""
        if not self.connection.clock.is_known:
            await self.server_time()
        if self.connection.clock.is_simulated:
            return window
        return _until(window, self.connection.now)

    async def _access(self) -> str:
        signer = self.connection.signer
        if signer is None:
            return f"public data, {self.connection.rate} requests a second"
        rights = await self._get(Request("GET", "/key_permissions"), {}, lambda content, _: content)
        if rights.get("can_view") is False:
            msg = f"the API key {signer.label} may not read; give it the View permission"
            raise CredentialsError(msg)
        return f"key {signer.label} accepted, {self.connection.rate} requests a second"

    async def _get(
        self,
        request: Request,
        query: dict[str, str],
        read: Callable[[Bits, _Told], T],
        *,
        subject: str = "",
        surface: Surface | None = None,
    ) -> T:
        """Ask until there is a useful answer and return what ``read`` makes of it.

        Raises:
            NoAnswerError: the tries are used up.
            KeyRefusedError: the token was refused as often as is tolerated.
        """
        refusals = 0
        policy = self._retry
        asked_on = surface or self.connection.surface
        try:
            async for attempt in stamina.retry_context(
                on=policy.after,
                attempts=policy.attempts,
                timeout=None,
                wait_initial=policy.wait_initial,
                wait_max=policy.wait_max,
                wait_jitter=policy.wait_jitter,
            ):
                with attempt:
                    try:
                        return await self._try(request, query, read, subject or request.path, asked_on)
                    except UnauthorizedError as error:
                        refusals += 1
                        await self._after_refusal(refusals, error)
                        raise
        except TryAgainError as error:
            msg = (
                f"{self.connection.base.host} gave no useful answer in {policy.attempts} tries, the last: {error}; "
                "see its status page, then run the same command again"
            )
            raise NoAnswerError(msg, request=request, cause=error.cause, tries=policy.attempts) from error
        raise AssertionError(request.path)  # the context above either returns or raises

    async def _after_refusal(self, refusals: int, error: UnauthorizedError) -> None:
        """Give up on a key that is refused again and again; until then look at the clock and try once more."""
        if refusals >= MAX_UNAUTHORIZED:
            signer = self.connection.signer
            what = f"the API key {signer.label}" if signer else "a request without a key"
            msg = (
                f"the exchange refused {what} {refusals} times ({error}); check COINBASE_API_KEY and "
                "COINBASE_API_SECRET (key made for this portal, not deleted, this machine's address allowed)"
            )
            raise KeyRefusedError(msg, request=error.request, cause=error.cause, tries=refusals) from error
        await self._try(_TIME, {}, lambda content, _: exchange_time(content), _TIME.path, "open")

    async def _try(
        self, request: Request, query: dict[str, str], read: Callable[[Bits, _Told], T], subject: str, surface: Surface
    ) -> T:
        """Ask once, with a token of its own."""
        sent = self._machine.now()
        response = await self.connection.send(request, query, surface)
        try:
            content = useful_json(response, request, subject)
            told = self._listen(response, content if request is _TIME else None, sent)
            return read(content, told)
        except TryAgainError as error:
            error.request = request
            if error.status == 429 and error.wait is not None:
                self.connection.hold(surface, error.wait)
            raise

    def _listen(self, response: httpx.Response, time_content: Bits | None, sent: datetime) -> _Told:
        """Note what an answer says of the time; a token's time is the wall's, never a simulated present."""
        is_simulated = response.headers.get("x-desk-clock") == "simulated"
        market = response.headers.get("x-desk-market", "")
        if time_content is not None:
            middle = sent + (self._machine.now() - sent) / 2
            wall = http_date(response, middle) if is_simulated else exchange_time(time_content)
            self.connection.clock = ClockReading(wall - middle, is_known=True, is_simulated=is_simulated, market=market)
        present = _present_header(response) if is_simulated else sent + self.connection.clock.offset
        return _Told(present, f"local:{market}" if market else self.name)


@dataclass(frozen=True, slots=True)
class _Told:
    """What an answer says beside its content."""

    present: datetime
    source: str


def _page_of(product: str, window: Span, content: Bits, told: _Told) -> Page | None:
    closed = _until(window, told.present)
    if closed is None:
        return None
    candles = candles_in(content, product, closed, told.present)
    return Page(product, closed, candles, told.present, told.source)


def _until(window: Span, present: datetime) -> Span | None:
    """Return the part of ``window`` whose minutes are over at ``present``."""
    end = min(window.end, floor_minute(present))
    return Span(window.start, end) if window.start < end else None


def _present_header(response: httpx.Response) -> datetime:
    try:
        return datetime.fromtimestamp(int(response.headers["x-desk-now"]) / 1000, UTC)
    except (KeyError, ValueError) as error:
        msg = "an answer that calls itself simulated without x-desk-now"
        raise TryAgainError(msg) from error
