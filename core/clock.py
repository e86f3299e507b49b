"""Clocks the loop is given: the system's, and doubles for tests and replays."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
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


def _elapsed() -> float:
    """Return seconds that no setting of the clock changes, those of a sleeping machine included where the kernel counts them."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


def _start() -> tuple[datetime, float]:
    return datetime.now(UTC), _elapsed()


@dataclass(frozen=True, slots=True)
class SystemClock:
    """The machine's clock as it was at the start, and the time that has passed since.

    The start is checked against the exchange's clock. A clock that is set back or forth afterwards changes nothing: a loop
    that believed it slept in silence for as long as it was set back.
    """

    batch_minutes: int = 1
    _started: tuple[datetime, float] = field(default_factory=_start)

    def now(self) -> datetime:
        """Return the present moment."""
        moment, elapsed = self._started
        return moment + timedelta(seconds=_elapsed() - elapsed)

    def wait_until(self, moment: datetime) -> None:
        """Sleep until ``moment``, in short naps so that the sleep of the machine is noticed."""
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
