"""Clocks the loop is given: the system's, and doubles for tests and replays."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """What the runtime knows of time. All times are aware and UTC."""

    def now(self) -> datetime:
        """Return the present moment."""
        ...

    def wait_until(self, moment: datetime) -> None:
        """Return once ``now() >= moment``; a clock that is stepped moves itself there."""
        ...

    @property
    def batch_minutes(self) -> int:
        """How many minutes a tick may take at once: 1 in real time, more for a replay."""
        ...


@dataclass(frozen=True, slots=True)
class SystemClock:
    """The machine's clock."""

    batch_minutes: int = 1

    def now(self) -> datetime:
        """Return the present moment."""
        return datetime.now(UTC)

    def wait_until(self, moment: datetime) -> None:
        """Sleep until ``moment``, in short naps so that a stepped system clock is noticed."""
        while (left := (moment - self.now()).total_seconds()) > 0:
            time.sleep(min(left, 1.0))


@dataclass(slots=True)
class ManualClock:
    """A clock that moves only when told to; for tests and for replays of recorded days."""

    moment: datetime
    batch_minutes: int = 1

    def now(self) -> datetime:
        """Return the moment last set."""
        return self.moment

    def wait_until(self, moment: datetime) -> None:
        """Jump to ``moment``, never back."""
        self.moment = max(self.moment, moment)

    def advance(self, step: timedelta) -> None:
        """Move ``step`` forward."""
        self.moment += step
