"""Read what an answer's headers say of the exchange: its time, its market, how long to wait."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from core.candles import EPOCH
from core.errors import ClockSkewError
from market.providers.base import TryAgainError

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_WAIT_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class AnswerHeaders:
    """The headers of one answer, names in lower case; ``x-desk-`` ones come from the local exchange only."""

    values: Mapping[str, str]

    @property
    def market(self) -> str:
        """What the local exchange says it trades; the real one says nothing."""
        return self.values.get("x-desk-market", "")

    @property
    def is_simulated(self) -> bool:
        """Whether the exchange's present is not the time of day."""
        return self.values.get("x-desk-clock") == "simulated"

    @property
    def simulated_present(self) -> datetime:
        """The present of a simulated exchange.

        Raises:
            TryAgainError: it is not there.
        """
        try:
            return EPOCH + timedelta(milliseconds=int(self.values["x-desk-now"]))
        except (KeyError, ValueError, OverflowError) as error:
            msg = "an answer that calls itself simulated without x-desk-now"
            raise TryAgainError(msg) from error

    @property
    def date(self) -> datetime | None:
        """When the answer was made, in whole seconds."""
        return _http_date(self.values.get("date", ""))

    @property
    def retry_after(self) -> float | None:
        """The seconds of ``Retry-After``, two minutes at most; Coinbase is not known to send one, a proxy may."""
        text = self.values.get("retry-after", "").strip()
        try:
            seconds = float(text)
        except ValueError:
            until = _http_date(text)
            seconds = math.nan if until is None else (until - (self.date or datetime.now(UTC))).total_seconds()
        return None if math.isnan(seconds) else min(max(seconds, 0.0), _MAX_WAIT_SECONDS)

    def wall_time(self, expected: datetime) -> datetime:
        """Return when a simulated exchange answered; its date is whole seconds, so a difference below two is none."""
        if self.date is None:
            return expected
        middle = self.date + timedelta(seconds=0.5)
        return middle if abs(middle - expected) > timedelta(seconds=2) else expected


def _http_date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


@dataclass(frozen=True, slots=True)
class ClockReading:
    """What answers have said of the exchange's time."""

    offset: timedelta = timedelta(0)
    """The exchange's time less this machine's; of the HTTP date where the exchange's present is simulated."""
    is_known: bool = False
    is_simulated: bool = False
    market: str = ""

    def require_small_offset(self, tolerated_seconds: float, exchange: str) -> float:
        """Return how far the two clocks are apart, in seconds.

        Raises:
            ClockSkewError: further than is tolerated.
        """
        skew = self.offset.total_seconds()
        if abs(skew) > tolerated_seconds:
            direction = "behind" if skew > 0 else "ahead of"
            msg = (
                f"this machine's clock is {abs(skew):.0f} seconds {direction} that of {exchange}; "
                f"at most {tolerated_seconds:g} are tolerated (MAX_CLOCK_SKEW_SECONDS). "
                "Set it: sudo timedatectl set-ntp true"
            )
            raise ClockSkewError(msg)
        return abs(skew)
