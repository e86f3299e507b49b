"""Candles from Coinbase Advanced Trade, or from the local exchange that speaks the same wire format.

Without a key the public twin of each path is asked, with one the private twin, which is throttled more gently.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar

import httpx
import stamina

from desk.clock import SystemClock
from desk.errors import (
    ClockSkewError,
    ConfigError,
    CredentialsError,
    ExchangeUnavailableError,
)
from desk.market import Page, Span, floor_minute, require_product
from desk.providers.base import IN_FLIGHT, FailedWindow, WindowsFailedError, require_page_sizes
from desk.providers.credentials import load_signer
from desk.providers.limiter import SharedLimiter
from desk.providers.listing import first_open_time
from desk.providers.wire import TryAgainError, UnauthorizedError, candles_in, exchange_time, useful_json

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from desk.clock import Clock
    from desk.config import Settings

T = TypeVar("T")
Bits = dict[str, Any]

MAX_UNAUTHORIZED = 3
"""Coinbase refuses good tokens now and then; three refusals in a row are meant."""
GIVE_UP_AFTER = 5
"""So many windows without an answer, and none with one between them, are an outage."""
_TIMEOUT = httpx.Timeout(15.0, connect=5.0)
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a request is tried and how long is waited between, doubling, with jitter."""

    attempts: int = 6
    wait_initial: float = 1.0
    wait_max: float = 20.0
    wait_jitter: float = 1.0


@dataclass(slots=True)
class _ExchangeClock:
    """What answers have told of the exchange's time."""

    offset: timedelta = timedelta(0)
    """The exchange's time less this machine's; of the HTTP date where the exchange's present is simulated."""
    is_known: bool = False
    is_simulated: bool = False
    market: str = ""
    """What the local exchange says it trades; the real one says nothing."""


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
        self._base = _base_url(settings.coinbase_base_url)
        self._signer = load_signer(settings)
        self._machine = clock or SystemClock()
        self._retry = retry or RetryPolicy()
        self._clock = _ExchangeClock()
        self._limiter = self._shared_limiter()
        is_https = self._base.scheme == "https"
        is_loopback = self._base.host in _LOOPBACK
        self._client = httpx.AsyncClient(
            transport=transport,
            timeout=_TIMEOUT,
            http2=find_spec("h2") is not None and is_https,
            limits=httpx.Limits(max_connections=2 * IN_FLIGHT, max_keepalive_connections=2 * IN_FLIGHT),
            headers={"user-agent": "candledesk", "cache-control": "no-cache"},
            trust_env=not is_loopback,
            # a context without authorities trusts nobody; loading them for plain http costs memory and a tenth of a second
            verify=is_https or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        )

    async def aclose(self) -> None:
        """Close connections and the shared rate limit's file."""
        await self._client.aclose()
        self._limiter.close()

    async def pages(self, product: str, windows: Sequence[Span]) -> AsyncIterator[Page]:
        """Ask for each window with one request, several at a time; see `Provider.pages`."""
        require_product(product)
        require_page_sizes(windows)
        waiting, tasks = deque(windows), dict[asyncio.Task[Page | None], Span]()
        failed: list[FailedWindow] = []
        streak = 0
        try:
            while (waiting and streak < GIVE_UP_AFTER) or tasks:
                while waiting and len(tasks) < IN_FLIGHT and streak < GIVE_UP_AFTER:
                    window = waiting.popleft()
                    tasks[asyncio.create_task(self._page(product, window))] = window
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    window = tasks.pop(task)
                    try:
                        page = task.result()
                    except ExchangeUnavailableError as error:
                        failed.append(FailedWindow(window, str(error)))
                        streak += 1
                        continue
                    streak = 0
                    if page is not None:
                        yield page
        finally:
            await _cancelled(tasks)
        if failed:
            raise WindowsFailedError(product, failed, gave_up=bool(waiting))

    async def server_time(self) -> datetime:
        """Return the exchange's present: asked for, and what it says of the clocks is kept."""
        return await self._get("/time", {}, lambda content, _: exchange_time(content), is_open=True)

    async def check(self) -> str:
        """Try clock and key; see `Provider.check`."""
        now = await self.server_time()
        skew = abs(self._clock.offset.total_seconds())
        if skew > self._settings.max_clock_skew_seconds:
            direction = "behind" if self._clock.offset > timedelta(0) else "ahead of"
            msg = (
                f"this machine's clock is {skew:.0f} seconds {direction} the exchange's; "
                f"at most {self._settings.max_clock_skew_seconds:g} are tolerated (MAX_CLOCK_SKEW_SECONDS). "
                "Set it: sudo timedatectl set-ntp true"
            )
            raise ClockSkewError(msg)
        access = await self._access()
        market = self._clock.market
        place = f"local exchange at {self._base.netloc.decode()} ({market} market)" if market else self._base.host
        present = f", its present {now:%Y-%m-%d %H:%M} UTC simulated" if self._clock.is_simulated else ""
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
        kind = "" if self._signer else "/market"
        path = f"{kind}/products/{product}/candles"
        return await self._get(path, params, partial(_page_of, product, closed), subject=product)

    async def _closed_part(self, window: Span) -> Span | None:
        """Cut off minutes still to come; a simulated present may jump, so there only the answer itself decides."""
        if not self._clock.is_known:
            await self.server_time()
        if self._clock.is_simulated:
            return window
        return _until(window, self._machine.now() + self._clock.offset)

    async def _access(self) -> str:
        if self._signer is None:
            return f"public data, {self._settings.public_requests_per_second} requests a second"
        rights = await self._get("/key_permissions", {}, lambda content, _: content)
        if rights.get("can_view") is False:
            msg = f"the API key {self._signer.label} may not read; give it the View permission"
            raise CredentialsError(msg)
        return f"key {self._signer.label} accepted, {self._settings.private_requests_per_second} requests a second"

    async def _get(
        self,
        path: str,
        params: dict[str, str],
        read: Callable[[Bits, _Told], T],
        *,
        subject: str = "",
        is_open: bool = False,
    ) -> T:
        """Ask until there is a useful answer and return what ``read`` makes of it.

        Raises:
            ExchangeUnavailableError: the tries are used up.
            CredentialsError: the token was refused as often as is tolerated.
        """
        refusals = 0
        policy = self._retry
        try:
            async for attempt in stamina.retry_context(
                on=_is_worth_another_try,
                attempts=policy.attempts,
                timeout=None,
                wait_initial=policy.wait_initial,
                wait_max=policy.wait_max,
                wait_jitter=policy.wait_jitter,
            ):
                with attempt:
                    try:
                        return await self._try(path, params, read, subject or path, is_open=is_open)
                    except UnauthorizedError as error:
                        refusals += 1
                        await self._after_refusal(refusals, error)
                        raise
        except TryAgainError as error:
            msg = (
                f"{self._base.host} gave no useful answer in {policy.attempts} tries, the last: {error}; "
                "see its status page, then run the same command again"
            )
            raise ExchangeUnavailableError(msg) from error
        raise AssertionError(path)  # the context above either returns or raises

    async def _after_refusal(self, refusals: int, error: UnauthorizedError) -> None:
        """Give up on a key that is refused again and again; until then look at the clock and try once more."""
        if refusals >= MAX_UNAUTHORIZED:
            what = f"the API key {self._signer.label}" if self._signer else "a request without a key"
            msg = (
                f"the exchange refused {what} {refusals} times ({error}); check COINBASE_API_KEY and "
                "COINBASE_API_SECRET (key made for this portal, not deleted, this machine's address allowed)"
            )
            raise CredentialsError(msg) from error
        await self._try("/time", {}, lambda content, _: exchange_time(content), "/time", is_open=True)

    async def _try(
        self, path: str, params: dict[str, str], read: Callable[[Bits, _Told], T], subject: str, *, is_open: bool
    ) -> T:
        """Ask once, with a token of its own."""
        await self._limiter.acquire()
        url = self._base.copy_with(path=self._base.path.rstrip("/") + path)
        sent = self._machine.now()
        try:
            response = await self._client.get(url, params=params, headers=self._headers(url, is_open=is_open))
        except (httpx.TransportError, httpx.DecodingError) as error:
            reason = f"{type(error).__name__} {error}".strip()
            raise TryAgainError(reason) from error
        content = useful_json(response, subject)
        told = self._listen(response, content if path == "/time" else None, sent)
        return read(content, told)

    def _headers(self, url: httpx.URL, *, is_open: bool) -> dict[str, str]:
        if self._signer is None or is_open:
            return {}
        now = self._machine.now() + self._clock.offset
        return {"authorization": f"Bearer {self._signer.token('GET', self._settings.coinbase_jwt_host, url.path, now)}"}

    def _listen(self, response: httpx.Response, time_content: Bits | None, sent: datetime) -> _Told:
        """Note what an answer says of the time; a token's time is the wall's, never a simulated present."""
        is_simulated = response.headers.get("x-desk-clock") == "simulated"
        market = response.headers.get("x-desk-market", "")
        if time_content is not None:
            middle = sent + (self._machine.now() - sent) / 2
            wall = _http_date(response, middle) if is_simulated else exchange_time(time_content)
            self._clock = _ExchangeClock(wall - middle, is_known=True, is_simulated=is_simulated, market=market)
        present = _present_header(response) if is_simulated else sent + self._clock.offset
        return _Told(present, f"local:{market}" if market else self.name)

    def _shared_limiter(self) -> SharedLimiter:
        settings = self._settings
        is_private = self._signer is not None
        rate = settings.private_requests_per_second if is_private else settings.public_requests_per_second
        group = f"{self._base.netloc.decode()} {'private' if is_private else 'public'}"
        return SharedLimiter(settings.paths.rate_limit, group, rate)


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


def _is_worth_another_try(error: Exception) -> bool | float:
    if isinstance(error, TryAgainError):
        return True if error.wait is None else error.wait
    return False


def _present_header(response: httpx.Response) -> datetime:
    try:
        return datetime.fromtimestamp(int(response.headers["x-desk-now"]) / 1000, UTC)
    except (KeyError, ValueError) as error:
        msg = "an answer that calls itself simulated without x-desk-now"
        raise TryAgainError(msg) from error


def _http_date(response: httpx.Response, otherwise: datetime) -> datetime:
    """Return the answer's HTTP date, which is whole seconds; differences below two of them are not real."""
    try:
        date = parsedate_to_datetime(response.headers["date"]) + timedelta(seconds=0.5)
    except (KeyError, ValueError):
        return otherwise
    return date if abs(date - otherwise) > timedelta(seconds=2) else otherwise


def _base_url(text: str) -> httpx.URL:
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, ValueError):
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host:
        msg = f"COINBASE_BASE_URL {text!r} is no address; write for example https://api.coinbase.com/api/v3/brokerage"
        raise ConfigError(msg)
    return url


async def _cancelled(tasks: dict[asyncio.Task[Page | None], Span]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
