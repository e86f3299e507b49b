"""Parse Coinbase's answers: which are useful, which are worth asking again, and the candles in them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from core.candles import EPOCH, MINUTE, Candle
from core.errors import CredentialsError, ProviderError, UnknownProductError
from market.providers.base import TryAgainError
from market.providers.bounded_body import MAX_ROWS, json_object
from market.providers.exchange_time import AnswerHeaders

if TYPE_CHECKING:
    import httpx

    from core.candles import Span

Json = dict[str, Any]

_TICK = timedelta(microseconds=1)
_FAR = timedelta(days=1)
_NO_NUMBERS = (Decimal("NaN"),) * 5
_BAD_PRODUCT = "product_id argument is invalid"


def useful_json(response: httpx.Response, subject: str) -> Json:
    """Return the JSON object of a useful answer.

    Args:
        response: Read to its end.
        subject: What was asked for, for messages: a product or a path.

    Raises:
        TryAgainError: 401, 429, 5xx, or a 200 that is not JSON.
        CredentialsError: 403.
        UnknownProductError: the product is not offered.
        ProviderError: any other refusal.
    """
    status = response.status_code
    msg = f"HTTP {status} ({response.headers.get('content-type', 'no content type')[:60]})"
    if status in (401, 429) or status >= 500:
        raise TryAgainError(msg, wait=AnswerHeaders(response.headers).retry_after, status=status)
    content = json_object(response.content)
    if status == 200:
        if content is None:
            raise TryAgainError(msg + " whose body is not a JSON object", status=status)
        return content
    details = str((content or {}).get("message") or (content or {}).get("error_details") or "no details")[:200].strip()
    raise _refusal(status, details, subject)


def _refusal(status: int, details: str, subject: str) -> Exception:
    cause = f"HTTP {status}: {details}"
    if status == 403:
        return CredentialsError(f"the API key may not do this ({cause}); give it the View permission")
    if status == 404 and subject.startswith("/"):
        return ProviderError(
            f"nothing answers to {subject} there ({cause}); COINBASE_BASE_URL has to end in /api/v3/brokerage"
        )
    if status == 404 or (status == 400 and _BAD_PRODUCT in details):
        return UnknownProductError(f"{subject} is not offered by the exchange ({cause}); take it out of PRODUCTS")
    return ProviderError(f"the exchange refused the request for {subject} ({cause})")


def candles_in(content: Json, product: str, window: Span, present: datetime) -> tuple[Candle, ...]:
    """Return the closed candles inside ``window``, oldest first, one a minute.

    Of two rows for one minute the one with more volume stays: it is the later look at the same trades. A row with a minute and
    no numbers becomes a candle of NaN, which the store sets aside with its reason while it keeps the others. A row without a
    minute could be any that is lacking: each of these is set aside so, that none is taken for proved empty.

    Raises:
        TryAgainError: the object is not a candle answer, or no row of it is a candle or has a minute of the window.
    """
    rows = content.get("candles")
    if isinstance(rows, list) and len(rows) > MAX_ROWS:
        msg = f"HTTP 200 with {len(rows):,} rows, more than {MAX_ROWS:,}, which no answer of an exchange has"
        raise TryAgainError(msg, status=200)
    read = [_row(product, row, window) for row in rows] if isinstance(rows, list) else [None]
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


def _row(product: str, row: Any, window: Span) -> Candle | None:  # noqa: ANN401  # whatever JSON holds
    """Read one row: one whose numbers are none is a candle of NaN, one without a minute, or far from the window, is None."""
    try:
        candle = _candle(product, row)
    except (KeyError, TypeError, ValueError, InvalidOperation, OverflowError, OSError):
        try:
            candle = Candle(product, datetime.fromtimestamp(int(row["start"]), UTC), *_NO_NUMBERS)
        except (KeyError, TypeError, ValueError, InvalidOperation, OverflowError, OSError):
            return None
    # true, 0, milliseconds: no time of an answer to this question
    return candle if window.start - _FAR < candle.open_time < window.end + _FAR else None


def _candle(product: str, row: Json) -> Candle:
    """Read one row digit for digit: no float lies between the exchange's text and the decimal."""
    texts = [row[name] for name in ("open", "high", "low", "close", "volume")]
    # Decimal takes true for 1
    if any(text is True or text is False for text in texts):
        msg = "not a number"
        raise ValueError(msg)
    values = [Decimal(text) for text in texts]
    # one of them infinite or no number makes the sum so; cheaper than to ask each
    if not sum(values[1:], values[0]).is_finite():
        msg = "not a finite number"
        raise ValueError(msg)
    return Candle(product, datetime.fromtimestamp(int(row["start"]), UTC), *values)


def exchange_time(content: Json) -> datetime:
    """Return the moment in an answer of ``/time``.

    Raises:
        TryAgainError: there is none.
    """
    try:
        return EPOCH + timedelta(milliseconds=int(content["epochMillis"]))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        msg = "HTTP 200 without a time"
        raise TryAgainError(msg) from error
