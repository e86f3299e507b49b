"""Ask one exchange through its ccxt class: without a key, each answer checked before ccxt interprets it, errors translated.

ccxt hides things that matter here. A page of HTML with status 200, or JSON cut short, comes out of it as an empty list,
that is as a proof that nothing was traded. What the local exchange says of itself in headers is lost among the tasks.
So every answer passes ccxt's own hook ``onRestResponse`` first.
"""

from __future__ import annotations

import difflib
import json
from contextvars import ContextVar
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from core.candles import EPOCH, Candle
from core.errors import ConfigError, ProviderError, UnknownProductError
from market.providers.base import LOOPBACK, TryAgainError
from market.providers.bounded_body import MAX_ROWS
from market.providers.exchange_time import AnswerHeaders
from market.providers.extras import extra
from market.providers.fetch_windows import Subject, with_retries
from market.providers.rate_limiter import SharedLimiter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from core.candles import Span
    from core.settings import Settings
    from market.providers.fetch_windows import RetryPolicy

T = TypeVar("T")

_COINBASE_PATH = "/api/v3/brokerage"
_NO_USE_TO_REPEAT = (400, 403, 404, 405, 410, 451)
"""ccxt takes these for an exchange that is not available when their body is not JSON."""
_NOTHING_RECEIVED = (0, AnswerHeaders({}))

_received: ContextVar[tuple[int, AnswerHeaders]] = ContextVar("_received", default=_NOTHING_RECEIVED)
"""Status and headers last received by the running task; ccxt's ``last_response_headers`` may be another task's."""


class CcxtExchange:
    """Asks one exchange, at the rate that all processes of this machine share, until it answers usefully."""

    def __init__(self, settings: Settings, policy: RetryPolicy, made: Any = None) -> None:  # noqa: ANN401  # untyped
        """Make the exchange that CCXT_EXCHANGE names, or take the one ``made`` elsewhere.

        Raises:
            ConfigError: ccxt is not installed, knows no such exchange, or the exchange has no one-minute candles.
        """
        self._library = extra("ccxt", "ccxt.async_support")
        self._ccxt = made or _made(self._library, settings)
        self._ccxt.on_rest_response = _checking_first(self._ccxt, self._library)
        self._policy = policy
        self.id = str(self._ccxt.id)
        self.is_coinbase = self.id == "coinbase"
        host = urlsplit(self._ccxt.urls["api"]["rest"]).netloc if self.is_coinbase else ""
        self.label = f"{self.id} at {host}" if host else self.id
        self.version = str(self._library.__version__)
        if self.is_coinbase:
            # the same limit as that of the provider coinbase, which may be at work beside this one
            rate, group = settings.public_requests_per_second, f"{host} public"
        else:
            rate, group = max(1, int(1000 / self._ccxt.rateLimit)), f"ccxt {self.id}"
        self._limiter = SharedLimiter(settings.paths.rate_limit, group, rate)

    async def aclose(self) -> None:
        """Close connections and the shared rate limit's file."""
        if self._ccxt.session is not None:
            await self._ccxt.close()
        self._limiter.close()

    async def time(self) -> tuple[datetime, AnswerHeaders]:
        """Return the exchange's time; the date of its answer, if it has no way to ask for the time."""
        request = "for the time"
        if self._ccxt.has["fetchTime"]:
            return await self._ask(self._ccxt.fetch_time, request, _moment)
        _, headers = await self._ask(self._ccxt.fetch_markets, request, bool)
        if headers.date is None:
            msg = f"{self.label} gives no time, so which minutes are over is not known; choose another CCXT_EXCHANGE"
            raise ProviderError(msg)
        return headers.date, headers

    async def offered(self) -> set[str]:
        """Return ccxt's names of all spot pairs, such as ``BTC/USD``."""
        if not self._ccxt.markets:
            await self._ask(self._ccxt.load_markets, "for its markets", bool)
        # from here on numbers are text; of markets ccxt itself wants floats
        self._ccxt.number = str
        return {name for name, market in self._ccxt.markets.items() if market.get("spot")}

    async def candles(
        self, product: str, window: Span, since: datetime, count: int
    ) -> tuple[list[Candle], AnswerHeaders]:
        """Return what one request answers of the ``count`` minutes from ``since`` on; perhaps other minutes.

        Args:
            product: Product id.
            window: What the request is made for, for messages.
            since: First minute wanted.
            count: Minutes wanted.
        """
        symbol = product.replace("-", "/")
        limit = (((self._ccxt.features or {}).get("spot") or {}).get("fetchOHLCV") or {}).get("limit")
        call = partial(self._ccxt.fetch_ohlcv, symbol, "1m", int(since.timestamp()) * 1000, min(count, limit or count))
        return await self._ask(call, f"for candles of {symbol} for {window}", partial(candles_in, product), product)

    async def _ask(
        self, call: Callable[[], Awaitable[Any]], request: str, parse: Callable[[Any], T], product: str = ""
    ) -> tuple[T, AnswerHeaders]:
        """Ask until there is a useful answer; return what ``parse`` makes of it and its headers.

        Raises:
            ExchangeUnavailableError: the tries are used up.
            CredentialsError: 401 again and again, although no key is sent.
            UnknownProductError: the exchange does not offer the product.
            ProviderError: any other refusal.
        """

        async def fetch() -> tuple[T, AnswerHeaders]:
            await self._limiter.acquire()
            _received.set(_NOTHING_RECEIVED)
            try:
                answer = await call()
            except (self._library.BaseError, OSError) as error:
                translated = self._translated(error, product)
                if isinstance(translated, TryAgainError) and translated.status == 429 and translated.wait:
                    self._limiter.hold(translated.wait)
                raise translated from error
            if isinstance(answer, list) and len(answer) > MAX_ROWS:
                msg = f"an answer of {len(answer):,} rows, more than {MAX_ROWS:,}, which no answer of an exchange has"
                raise TryAgainError(msg)
            status, headers = _received.get()
            return parse(answer), headers if status else self._last_headers()

        subject = Subject(self.label, f"ask {self.label} {request}", "public data", "choose another CCXT_EXCHANGE")
        return await with_retries(self._policy, subject, fetch)

    def _last_headers(self) -> AnswerHeaders:
        """Return the headers that another task of ccxt received for this one."""
        return _lower_case(self._ccxt.last_response_headers or {})

    def _translated(self, error: Exception, product: str) -> Exception:
        """Return the error of our own tree for one of ccxt's, whose texts may hold pages of HTML."""
        (status, headers), library = _received.get(), self._library
        kind = f"{type(error).__name__}, " + (f"HTTP {status}" if status else _short(error.__cause__ or error)[:100])
        details = _short(error)
        if status == 429 or status >= 500:
            # whatever ccxt makes of the body: a 500 with Coinbase's JSON is no passing error to it
            return TryAgainError(kind, wait=headers.retry_after, status=status)
        if isinstance(error, library.BadSymbol) or "product_id argument is invalid" in details:
            return UnknownProductError(f"{product} is not offered by {self.label} ({details}); take it out of PRODUCTS")
        if isinstance(error, library.AuthenticationError) and status == 401:
            return TryAgainError(kind, status=status)
        # a body cut short is an error of aiohttp, and in ccxt's tree only a general one
        is_cut = type(error.__cause__).__module__.startswith("aiohttp")
        is_passing = isinstance(error, library.OperationFailed | OSError) or is_cut
        if is_passing and status not in _NO_USE_TO_REPEAT:
            return TryAgainError(kind, status=status)
        return ProviderError(f"{self.label} refused to answer ({kind}: {details})")


def _lower_case(headers: Any) -> AnswerHeaders:  # noqa: ANN401  # ccxt carries no types
    return AnswerHeaders({name.lower(): value for name, value in headers.items()})


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


def _moment(millis: object) -> datetime:
    """Read ccxt's milliseconds.

    Raises:
        TryAgainError: there are none.
    """
    if not isinstance(millis, int | float):
        msg = "an answer without a time"
        raise TryAgainError(msg)
    return EPOCH + timedelta(milliseconds=int(millis))


def candles_in(product: str, rows: object) -> list[Candle]:
    """Read ccxt's rows: milliseconds, open, high, low, close, volume.

    Raises:
        TryAgainError: they are no candles.
    """
    try:
        if isinstance(rows, list):
            candles = [_candle(product, row) for row in rows]
            if candles and not any(candle.close.is_finite() for candle in candles):
                msg = "not a number in any of them"
                raise ValueError(msg)
            return candles
    except (TypeError, ValueError, IndexError, InvalidOperation, OverflowError) as error:
        msg = "an answer with rows that are no candles"
        raise TryAgainError(msg) from error
    msg = "an answer without rows"
    raise TryAgainError(msg)


def _candle(product: str, row: Sequence[Any]) -> Candle:
    """Read one row; one with a minute and no numbers is a candle of NaN, which the store sets aside with its reason."""
    open_time = _moment(int(row[0]))
    try:
        # a number that a class of ccxt makes a float all the same is taken by its shortest text
        numbers = [Decimal(str(value)) for value in row[1:6]]
    except InvalidOperation:
        numbers = []
    if len(numbers) != 5 or not all(map(Decimal.is_finite, numbers)):
        numbers = [Decimal("NaN")] * 5
    return Candle(product, open_time, *numbers)


def _checking_first(ccxt: Any, library: Any) -> Callable[..., Any]:  # noqa: ANN401  # ccxt carries no types
    """Return ccxt's hook that sees an answer first: notes its headers, refuses what ccxt would take for empty."""
    interpret, is_coinbase = ccxt.on_rest_response, ccxt.id == "coinbase"

    def on_rest_response(code: int, reason: str, url: str, method: str, *rest: Any) -> Any:  # noqa: ANN401  # untyped
        headers, body = rest[0], rest[1]
        _received.set((code, _lower_case(headers)))
        is_page = is_coinbase and urlsplit(url).path.endswith("/candles")
        if code == 200 and not (_is_page(body) if is_page else _json(body) is not None):
            msg = "status 200 with a body that is no answer"
            raise library.BadResponse(msg)
        return interpret(code, reason, url, method, *rest)

    return on_rest_response


def _json(body: str) -> dict[str, Any] | list[Any] | None:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict | list) else None


def _is_page(body: str) -> bool:
    """Whether it is a page of Coinbase's, each row with a time: ccxt drops a row without one in silence."""
    content = _json(body)
    rows = content.get("candles") if isinstance(content, dict) else None
    return isinstance(rows, list) and all(isinstance(row, dict) and str(row.get("start")).isdigit() for row in rows)


def _made(library: Any, settings: Settings) -> Any:  # noqa: ANN401  # ccxt carries no types
    """Return the exchange that CCXT_EXCHANGE names, without a key.

    Raises:
        ConfigError: there is none, it has no one-minute candles, or the base URL is none that ccxt can use.
    """
    name = settings.ccxt_exchange
    if name not in library.exchanges:
        near = difflib.get_close_matches(name, library.exchanges) or ["coinbase", "kraken", "binance"]
        msg = f"CCXT_EXCHANGE={name} is no exchange of ccxt {library.__version__}; write for example {', '.join(near)}"
        raise ConfigError(msg)
    is_loopback = name == "coinbase" and urlsplit(settings.coinbase_base_url).hostname in LOOPBACK
    ccxt = getattr(library, name)({"enableRateLimit": True, "aiohttp_trust_env": not is_loopback})
    if not ccxt.has["fetchOHLCV"] or "1m" not in (ccxt.timeframes or {}):
        msg = f"CCXT_EXCHANGE={name} serves no one-minute candles; choose another, such as coinbase or kraken"
        raise ConfigError(msg)
    if name == "coinbase":
        ccxt.urls["api"]["rest"] = _coinbase_root(settings.coinbase_base_url)
        # its class asks an older API for currencies and the time; candles need neither
        ccxt.has["fetchCurrencies"] = False
        ccxt.options["fetchTime"] = "v3PublicGetBrokerageTime"
    if is_loopback:
        # a pause in which encrypted connections say goodbye
        ccxt.timeout_on_exit = 0
    return ccxt


def _coinbase_root(base_url: str) -> str:
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.path.rstrip("/") != _COINBASE_PATH:
        msg = (
            f"COINBASE_BASE_URL {base_url!r} is none that ccxt can use; it must end in {_COINBASE_PATH}, "
            "such as https://api.coinbase.com/api/v3/brokerage"
        )
        raise ConfigError(msg)
    return f"{parts.scheme}://{parts.netloc}"
