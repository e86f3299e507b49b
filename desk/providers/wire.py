"""Coinbase's answers: which are useful, which are worth asking again, and the candles in them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from desk.errors import CredentialsError, ExchangeUnavailableError, ProviderError, UnknownProductError
from desk.market import MINUTE, Candle

if TYPE_CHECKING:
    import httpx

    from desk.market import Span

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST_WAIT_SECONDS = 120.0
_BAD_PRODUCT = "product_id argument is invalid"


class TryAgainError(ExchangeUnavailableError):
    """This try gave nothing useful, the next one may; ``wait`` is how long the exchange asked for."""

    def __init__(self, reason: str, *, wait: float | None = None) -> None:
        """Say why in a few words; never with the body, which may be pages of HTML."""
        super().__init__(reason)
        self.wait = wait


class UnauthorizedError(TryAgainError):
    """The token was refused, which also happens to good ones."""


def useful_json(response: httpx.Response, subject: str) -> dict[str, Any]:
    """Return the JSON object of a useful answer.

    Args:
        response: Read to its end.
        subject: What was asked for, for messages: a product or a path.

    Raises:
        TryAgainError: 429, 5xx, or a 200 that is not JSON.
        UnauthorizedError: 401.
        CredentialsError: 403.
        UnknownProductError: the product is not offered.
        ProviderError: any other refusal.
    """
    status = response.status_code
    msg = f"HTTP {status} ({response.headers.get('content-type', 'no content type')})"
    if status == 429 or status >= 500:
        raise TryAgainError(msg, wait=_asked_wait(response))
    if status == 401:
        raise UnauthorizedError(msg)
    content = _object(response)
    if status == 200:
        if content is None:
            raise TryAgainError(msg + " whose body is not a JSON object")
        return content
    details = str((content or {}).get("message") or (content or {}).get("error_details") or "no details")[:200].strip()
    raise _refusal(status, details, subject)


def _refusal(status: int, details: str, subject: str) -> Exception:
    if status == 403:
        return CredentialsError(f"the API key may not do this (HTTP 403: {details}); give it the View permission")
    if status == 404 or (status == 400 and _BAD_PRODUCT in details):
        return UnknownProductError(
            f"{subject} is not offered by the exchange (HTTP {status}: {details}); take it out of PRODUCTS"
        )
    return ProviderError(f"the exchange refused the request for {subject} (HTTP {status}: {details})")


def _object(response: httpx.Response) -> dict[str, Any] | None:
    try:
        content = json.loads(response.content)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _asked_wait(response: httpx.Response) -> float | None:
    """Return the seconds of ``Retry-After``; Coinbase is not known to send one, a proxy may."""
    try:
        return min(max(float(response.headers["retry-after"]), 0.0), _LONGEST_WAIT_SECONDS)
    except (KeyError, ValueError):
        return None


def candles_in(content: dict[str, Any], product: str, window: Span, present: datetime) -> tuple[Candle, ...]:
    """Return the closed candles inside ``window``, oldest first, one a minute.

    Of two rows for one minute the one with more volume stays: it is the later look at the same trades.

    Raises:
        TryAgainError: the object is not a candle answer.
    """
    try:
        rows = [_candle(product, row) for row in content["candles"]]
    except (KeyError, TypeError, ValueError, InvalidOperation, OverflowError) as error:
        msg = "HTTP 200 with rows that are no candles"
        raise TryAgainError(msg) from error
    kept: dict[datetime, Candle] = {}
    for candle in rows:
        inside = window.start <= candle.open_time < window.end
        if inside and candle.open_time + MINUTE <= present:
            other = kept.get(candle.open_time)
            kept[candle.open_time] = candle if other is None or candle.volume > other.volume else other
    return tuple(kept[open_time] for open_time in sorted(kept))


def _candle(product: str, row: dict[str, str]) -> Candle:
    numbers = [Decimal(row[name]) for name in ("open", "high", "low", "close", "volume")]
    if not all(number.is_finite() for number in numbers):
        msg = "not a finite number"
        raise ValueError(msg)
    open_, high, low, close, volume = numbers
    return Candle(product, _EPOCH + timedelta(seconds=int(row["start"])), open_, high, low, close, volume)


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
