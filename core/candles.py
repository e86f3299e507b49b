"""The words every room shares: minutes, spans of minutes, candles."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from core.errors import SpanError, UnknownProductError
from core.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from decimal import Decimal

MINUTE = timedelta(minutes=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SESSIONS = ("tokyo", "london", "new_york")
"""Eight UTC hours each, from midnight on; the view `features_session` (`sql/views/seed39.sql`) says the same, which a test holds."""
HORIZON_MINUTES = 15


def floor_minute(moment: datetime) -> datetime:
    """Return the start of the UTC minute that ``moment`` lies in.

    Raises:
        SpanError: ``moment`` carries no time zone.
    """
    if moment.tzinfo is None:
        msg = f"{moment.isoformat()} has no time zone; write it in UTC, such as {moment.isoformat()}+00:00"
        raise SpanError(msg)
    return moment.astimezone(UTC).replace(second=0, microsecond=0)


def epoch_minute(moment: datetime) -> int:
    """Return the number of the UTC minute that ``moment`` lies in, counted from 1970."""
    return (moment - EPOCH) // MINUTE


def minute_start(number: int) -> datetime:
    """Return the UTC moment at which minute ``number`` (counted from 1970) begins: the inverse of `epoch_minute`."""
    return EPOCH + int(number) * MINUTE


def session_of(moment: datetime) -> str:
    """Return the trading session of a UTC moment: tokyo 0-7, london 8-15, new_york 16-23 hours."""
    return SESSIONS[moment.astimezone(UTC).hour // 8]


def require_product(product: str) -> str:
    """Return ``product`` if it looks like ``BASE-QUOTE`` in upper case.

    Raises:
        UnknownProductError: it does not.
    """
    base, _, quote = product.partition("-")
    if not (base.isalnum() and quote.isalnum() and product == product.upper()):
        # two lines of .env that ran together may hold an address with a token
        msg = f"product {redact(product)[:60]!r} is not of the form BASE-QUOTE in upper case; write for example BTC-USD"
        raise UnknownProductError(msg)
    return product


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A half-open UTC interval ``[start, end)`` on the minute grid of candle open times.

    Raises:
        SpanError: an end before or at the start, a naive time, or a time off the grid.
    """

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        """Refuse what is not a span of whole UTC minutes."""
        for moment in (self.start, self.end):
            if floor_minute(moment) != moment:
                msg = f"{moment.isoformat()} is not the start of a minute; leave out the seconds"
                raise SpanError(msg)
        if self.end <= self.start:
            msg = (
                f"the span ends at {self.end.isoformat()}, not after its start {self.start.isoformat()}; exchange them"
            )
            raise SpanError(msg)

    @property
    def minutes(self) -> int:
        """Number of minutes, that is of possible candles."""
        return (self.end - self.start) // MINUTE

    def pages(self, page_minutes: int) -> Iterator[Span]:
        """Cut into consecutive spans of at most ``page_minutes`` minutes, oldest first."""
        start = self.start
        while start < self.end:
            end = min(start + page_minutes * MINUTE, self.end)
            yield Span(start, end)
            start = end

    def __str__(self) -> str:
        """Return ``2024-01-01 00:00 .. 2024-02-01 00:00``."""
        return f"{self.start:%Y-%m-%d %H:%M} .. {self.end:%Y-%m-%d %H:%M}"


@dataclass(frozen=True, slots=True)
class Candle:
    """One closed minute of one product; prices in the quote, volume in the base currency."""

    product: str
    open_time: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal


@dataclass(frozen=True, slots=True)
class Page:
    """One answered request: the window that was asked for and what came back.

    ``candles`` are inside ``window``, oldest first, one per minute, none of them still open;
    an empty tuple is the exchange's own word that it has nothing there.
    """

    product: str
    window: Span
    candles: Sequence[Candle]
    known_at: datetime
    source: str
