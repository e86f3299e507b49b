"""Coinbase's answers: which are useful, which are worth asking again, and the candles in them."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from core.candles import MINUTE, Candle
from core.errors import ExchangeUnavailableError
from market.providers.base import KeyRefusedError, NotOfferedError, RefusedError, Request, RequestError

if TYPE_CHECKING:
    import httpx

    from core.candles import Span

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)
_LONGEST_WAIT_SECONDS = 120.0
_NO_NUMBERS = (Decimal("NaN"),) * 5
_BAD_PRODUCT = "product_id argument is invalid"


class TryAgainError(RequestError, ExchangeUnavailableError):
    """This try gave nothing useful, the next one may; ``wait`` is how long the exchange asked for."""

    def __init__(
        self, reason: str, *, wait: float | None = None, status: int | None = None, request: Request | None = None
    ) -> None:
        """Say why in a few words; never with the body, which may be pages of HTML."""
        super().__init__(reason, request=request, cause=reason)
        self.wait = wait
        self.status = status


class UnauthorizedError(TryAgainError):
    """The token was refused, which also happens to good ones."""


def useful_json(response: httpx.Response, request: Request, subject: str) -> dict[str, Any]:
    """Return the JSON object of a useful answer.

    Args:
        response: Read to its end.
        request: What was asked, for the errors to carry.
        subject: What was asked for, for messages: a product or a path.

    Raises:
        TryAgainError: 429, 5xx, or a 200 that is not JSON.
        UnauthorizedError: 401.
        KeyRefusedError: 403.
        NotOfferedError: the product is not offered.
        RefusedError: any other refusal.
    """
    status = response.status_code
    msg = f"HTTP {status} ({response.headers.get('content-type', 'no content type')[:60]})"
    if status == 429 or status >= 500:
        raise TryAgainError(msg, wait=_asked_wait(response), status=status, request=request)
    if status == 401:
        raise UnauthorizedError(msg, status=status, request=request)
    content = json_object(response.content)
    if status == 200:
        if content is None:
            raise TryAgainError(msg + " whose body is not a JSON object", status=status, request=request)
        return content
    details = str((content or {}).get("message") or (content or {}).get("error_details") or "no details")[:200].strip()
    raise _refusal(status, details, subject, request)


def _refusal(status: int, details: str, subject: str, request: Request) -> Exception:
    cause = f"HTTP {status}: {details}"
    if status == 403:
        msg = f"the API key may not do this ({cause}); give it the View permission"
        return KeyRefusedError(msg, request=request, cause=cause)
    if status == 404 and subject.startswith("/"):
        msg = f"nothing answers to {subject} there ({cause}); COINBASE_BASE_URL has to end in /api/v3/brokerage"
        return RefusedError(msg, request=request, cause=cause)
    if status == 404 or (status == 400 and _BAD_PRODUCT in details):
        msg = f"{subject} is not offered by the exchange ({cause}); take it out of PRODUCTS"
        return NotOfferedError(msg, request=request, cause=cause)
    return RefusedError(f"the exchange refused the request for {subject} ({cause})", request=request, cause=cause)


def json_object(content: bytes) -> dict[str, Any] | None:
    """Return the JSON object in ``content``, None where there is none; a number with a point stays a decimal."""
    try:
        found = json.loads(content, parse_float=Decimal)
    except ValueError:
        return None
    except RecursionError:
        # brackets within brackets: no answer of an exchange
        return None
    return found if isinstance(found, dict) else None


def _asked_wait(response: httpx.Response) -> float | None:
    """Return the seconds of ``Retry-After``, two minutes at most; Coinbase is not known to send one, a proxy may."""
    text = response.headers.get("retry-after", "").strip()
    try:
        seconds = float(text)
    except ValueError:
        seconds = _seconds_until(text, response.headers.get("date", ""))
    return None if math.isnan(seconds) else min(max(seconds, 0.0), _LONGEST_WAIT_SECONDS)


def _seconds_until(date: str, now: str) -> float:
    """Return the seconds from one HTTP date to another, by this machine's clock where the answer names no present."""
    try:
        until = parsedate_to_datetime(date)
    except (ValueError, OverflowError):
        return math.nan
    try:
        present = parsedate_to_datetime(now)
    except (ValueError, OverflowError):
        present = datetime.now(UTC)
    return (_aware(until) - _aware(present)).total_seconds()


def _aware(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def candles_in(content: dict[str, Any], product: str, window: Span, present: datetime) -> tuple[Candle, ...]:
    """Return the closed candles inside ``window``, oldest first, one a minute.

    Of two rows for one minute the one with more volume stays: it is the later look at the same trades. A row with a minute and
    no numbers becomes a candle of NaN, which the store sets aside with its reason while it keeps the others. A row without a
    minute could be any that is lacking: each of these is set aside so, that none is taken for proved empty.

    Raises:
        TryAgainError: the object is not a candle answer, or no row of it is a candle or has a minute of the window.
    """
    rows = content.get("candles")
    read = [_row(product, row) for row in rows] if isinstance(rows, list) else [None]
    kept: dict[datetime, Candle] = {}
    first, end = window.start, min(window.end, present - MINUTE + _TICK)
    for candle in read:
        if candle is not None and first <= candle.open_time < end:
            kept[candle.open_time] = fuller(candle, kept.get(candle.open_time))
    if read and not kept and not any(candle is not None and candle.close.is_finite() for candle in read):
        msg = "HTTP 200 with rows that are no candles"
        raise TryAgainError(msg, status=200)
    if None in read:
        minutes = (first + number * MINUTE for number in range(-((first - end) // MINUTE)))
        kept |= {minute: Candle(product, minute, *_NO_NUMBERS) for minute in minutes if minute not in kept}
    return tuple(kept[open_time] for open_time in sorted(kept))


def fuller(candle: Candle, other: Candle | None) -> Candle:
    """Return that of two rows of one minute that has more volume; one of NaN only where there is no other."""
    if other is None or not other.close.is_finite():
        return candle
    return candle if candle.close.is_finite() and candle.volume > other.volume else other


def _row(product: str, row: Any) -> Candle | None:  # noqa: ANN401  # whatever JSON holds
    """Read one row: one whose numbers are none is a candle of NaN, one without a minute is None."""
    try:
        return _candle(product, row)
    except (KeyError, TypeError, ValueError, InvalidOperation, OverflowError, OSError):
        try:
            return Candle(product, datetime.fromtimestamp(int(row["start"]), UTC), *_NO_NUMBERS)
        except (KeyError, TypeError, ValueError, InvalidOperation, OverflowError, OSError):
            return None


def _candle(product: str, row: dict[str, Any]) -> Candle:
    """Read one row digit for digit: no float lies between the exchange's text and the decimal."""
    open_, high, low, close, volume = (
        Decimal(row["open"]),
        Decimal(row["high"]),
        Decimal(row["low"]),
        Decimal(row["close"]),
        Decimal(row["volume"]),
    )
    # one of them infinite or no number makes the sum so; cheaper than to ask each
    if not (open_ + high + low + close + volume).is_finite():
        msg = "not a finite number"
        raise ValueError(msg)
    return Candle(product, datetime.fromtimestamp(int(row["start"]), UTC), open_, high, low, close, volume)


def exchange_time(content: dict[str, Any]) -> datetime:
    """Return the moment in an answer of ``/time``.

    Raises:
        TryAgainError: there is none.
    """
    try:
        return _EPOCH + timedelta(milliseconds=int(content["epochMillis"]))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        msg = "HTTP 200 without a time"
        raise TryAgainError(msg) from error
