"""Fetch minutes from Yahoo Finance through yfinance: a last resort, and named as what it is.

Yahoo is no exchange. Its prices are a composite of many venues, its volume is in the quote currency and often 0, its
numbers are floats with the noise of single precision, and its minutes reach back 30 days, at most eight of them in one
request. So nothing it does not say is taken for a minute without a trade: an empty table (which it also sends beyond its
reach, and on a bad day) proves nothing, and of any other one only what lies between two of its rows.

yfinance itself is synchronous, hides errors unless told not to, keeps failed answers of older minutes in a cache, and
without ``prepost`` drops 23:59 of each day, where Yahoo says that the trading day of a coin ends.
"""

from __future__ import annotations

import asyncio
import math
import warnings
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

from core.candles import MINUTE, Candle, Page, Span, floor_minute, require_product
from core.clock import SystemClock
from core.errors import ExchangeUnavailableError, ListingUnknownError, ProviderError, UnknownProductError
from market.providers.base import FetchFailed, TryAgainError, closed_part, require_page_sizes
from market.providers.extras import extra
from market.providers.fetch_windows import (
    MARGIN_MINUTES,
    Fetched,
    RetryPolicy,
    Subject,
    fetch_windows,
    proved_part,
    unproved_parts,
    with_retries,
)
from market.providers.rate_limiter import SharedLimiter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from datetime import datetime

    from core.clock import Clock
    from core.settings import Settings

REACH = timedelta(days=30)
WIDEST = timedelta(days=7)
"""Of one request; Yahoo allows eight days and counts them in its own way."""
REQUESTS_PER_SECOND = 1
"""Yahoo names no limit and blocks who asks too often."""
MAX_ROWS = 20_000
"""Of one answer: nearly twice the minutes of eight days."""
_TIMEOUT_SECONDS = 15
_MARGIN = MARGIN_MINUTES * MINUTE
_PLACES = Decimal("1e-8")
_PRICES = ("Open", "High", "Low", "Close")
_STUMBLES = (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError)
"""What yfinance raises on a broken connection (curl_cffi's and requests' errors are OSErrors) or an odd answer."""


class YahooProvider:
    """Yahoo's minutes of the last 30 days, one request at a time."""

    name = "yfinance"

    def __init__(self, settings: Settings, *, clock: Clock | None = None, retry: RetryPolicy | None = None) -> None:
        """Import yfinance and let it show its errors; nothing is asked yet.

        Raises:
            ConfigError: yfinance is not installed.
        """
        self._library = extra("yfinance", "yfinance")
        self._errors = extra("yfinance", "yfinance.exceptions")
        self._library.config.debug.hide_exceptions = False
        # it switches on deprecation warnings, which are for its authors
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="^yfinance")
        self._library.set_tz_cache_location(str(settings.desk_home.expanduser().absolute() / "yfinance"))
        self._settings = settings
        self._clock = clock or SystemClock()
        self._retry = retry or RetryPolicy()
        self._limiter = SharedLimiter(settings.paths.rate_limit, "yahoo", REQUESTS_PER_SECOND)

    async def aclose(self) -> None:
        """Close the shared rate limit's file; a request still on its way ends within its time-out."""
        self._limiter.close()

    def pages(self, product: str, windows: Sequence[Span]) -> AsyncIterator[Page]:
        """Ask for as many windows at once as one request may cover; see `Provider.pages`.

        A page covers what Yahoo's rows prove of its window. The rest, and what lies beyond the 30 days, is reported as
        not answered.
        """
        require_product(product)
        require_page_sizes(windows)
        oldest = self._oldest()
        out_of_reach = [FetchFailed(window, self._too_old()) for window in windows if window.start < oldest]
        requests = _pack_into_requests([window for window in windows if window.start >= oldest])
        fetch = partial(self._fetch, product)
        return fetch_windows(product, requests, fetch, concurrency=1, out_of_reach=out_of_reach)

    async def server_time(self) -> datetime:
        """Return this machine's time: Yahoo gives none."""
        return self._clock.now()

    async def check(self) -> str:
        """Ask for the newest minutes of the first product; see `Provider.check`."""
        product = self._settings.products[0]
        end = floor_minute(self._clock.now())
        rows = await self._rows(product, Span(end - timedelta(days=1), end))
        newest = f"newest {product} {max(rows):%Y-%m-%d %H:%M}" if rows else f"no {product} in the last day"
        return (
            f"yfinance {self._library.__version__}: Yahoo Finance, not an exchange (composite prices, volume in "
            f"{product.partition('-')[2]} and often 0, 30 days of minutes, clock not compared), {newest}"
        )

    async def first_candle(self, product: str, span: Span) -> datetime | None:
        """Refuse: where Yahoo's minutes begin is no listing; see `Provider.first_candle`.

        Raises:
            ProviderError: ``span`` begins beyond Yahoo's reach.
            ListingUnknownError: otherwise; where Yahoo's minutes begin is no listing.
        """
        require_product(product)
        if span.start < self._oldest():
            days = REACH.days - 1
            msg = f"{product}: {self._too_old()}; the span begins {span.start:%Y-%m-%d %H:%M}. Run with -p days={days}"
            raise ProviderError(msg)
        msg = f"Yahoo does not tell when {product} was listed"
        raise ListingUnknownError(msg)

    def _oldest(self) -> datetime:
        # a little later than 30 days ago, as time passes until the request is there
        return floor_minute(self._clock.now() - REACH) + 5 * MINUTE

    def _too_old(self) -> str:
        return f"Yahoo serves minutes of the last {REACH.days} days only, which proves nothing about older ones"

    async def _fetch(self, product: str, windows: Sequence[Span]) -> Fetched:
        """Ask once for several windows and their margins."""
        present = self._clock.now()
        closed = [part for window in windows if (part := closed_part(window, present)) is not None]
        if not closed:
            return Fetched()
        start = max(closed[0].start - _MARGIN, self._oldest())
        end = min(max(part.end for part in closed) + _MARGIN, floor_minute(present))
        rows = await self._rows(product, Span(start, end))
        pages, unproved = [], []
        for window in closed:
            proved = proved_part(window, rows)
            if proved is not None:
                inside = tuple(rows[moment] for moment in sorted(rows) if proved.start <= moment < proved.end)
                pages.append(Page(product, proved, inside, present, self.name))
            unproved += unproved_parts(window, proved, present, "Yahoo has no candle on both sides")
        return Fetched(pages, unproved)

    async def _rows(self, product: str, span: Span) -> dict[datetime, Candle]:
        """Return Yahoo's candles of ``span``, by their minutes; perhaps none.

        Raises:
            ExchangeUnavailableError: the tries are used up, or Yahoo says why it does not answer.
            UnknownProductError: Yahoo knows no such symbol.
        """
        tries = 0

        async def fetch() -> dict[datetime, Candle]:
            nonlocal tries
            tries += 1
            await self._limiter.acquire()
            # yfinance keeps answers of older minutes, failures too: another start is another request to it
            start = span.start - timedelta(seconds=tries - 1)
            return await asyncio.to_thread(self._history, product, start, span)

        return await with_retries(self._retry, Subject("Yahoo", f"ask Yahoo for {product} for {span}"), fetch)

    def _history(self, product: str, start: datetime, span: Span) -> dict[datetime, Candle]:
        try:
            frame = self._library.Ticker(product).history(
                interval="1m",
                start=start,
                end=span.end,
                prepost=True,
                actions=False,
                auto_adjust=False,
                timeout=_TIMEOUT_SECONDS,
            )
            return _candles(product, frame, span)
        except self._errors.YFTzMissingError as error:
            raise _not_offered(product, error) from error
        except self._errors.YFPricesMissingError as error:
            if error.yahoo_reason is None:
                raise TryAgainError(_short(error)) from error
            if "delisted" in error.yahoo_reason:
                raise _not_offered(product, error) from error
            raise ExchangeUnavailableError(_short(error)) from error
        except (self._errors.YFException, *_STUMBLES) as error:
            raise TryAgainError(f"{type(error).__name__} {_short(error)}".strip()) from error


def _not_offered(product: str, error: Exception) -> UnknownProductError:
    return UnknownProductError(f"{product} is not offered by Yahoo ({_short(error)}); take it out of PRODUCTS")


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _pack_into_requests(windows: Sequence[Span]) -> list[list[Span]]:
    """Group windows, oldest first, so that each group and its margins fit into one request."""
    groups: list[list[Span]] = []
    for window in sorted(windows):
        if groups and window.end - groups[-1][0].start <= WIDEST - 2 * _MARGIN:
            groups[-1].append(window)
        else:
            groups.append([window])
    return groups


def _candles(product: str, frame: Any, span: Span) -> dict[datetime, Candle]:  # noqa: ANN401  # a DataFrame
    """Read yfinance's table: aware times in its index, a row of NaN where Yahoo has a minute but no price."""
    if frame.empty:
        return {}
    if len(frame) > MAX_ROWS:
        msg = f"an answer of {len(frame):,} rows, more than {MAX_ROWS:,}, which no answer of Yahoo has"
        raise TryAgainError(msg)
    moments = frame.index.tz_convert("UTC").to_pydatetime()
    by_minute: dict[datetime, Candle] = {}
    for stamp, *prices, volume in zip(moments, *(frame[name] for name in (*_PRICES, "Volume")), strict=True):
        # the row of a trade just now is stamped with its second: no candle
        moment = floor_minute(stamp)
        if moment == stamp and span.start <= moment < span.end and not any(map(math.isnan, prices)):
            open_, high, low, close = (_decimal(price) for price in prices)
            by_minute[moment] = Candle(product, moment, open_, high, low, close, _decimal(volume))
    return by_minute


def _decimal(value: float) -> Decimal:
    """Return the shortest decimal that means the same float, in the eight places that are stored."""
    exact = Decimal(repr(float(value)))
    return exact.quantize(_PLACES) if exact.as_tuple().exponent < _PLACES.as_tuple().exponent else exact  # type: ignore[operator]  # finite
