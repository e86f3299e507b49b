"""The exchange's present: the machine's clock, a faster one, or one that is stepped."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable


class Present:
    """What time the exchange believes it is. It never runs backwards."""

    def __init__(
        self,
        start: datetime | None = None,
        *,
        speed: float = 1.0,
        stepped: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Choose the clock: real without ``start``, else running from it at ``speed`` or only when stepped.

        Raises:
            ConfigError: a speed that is not above zero, or a speed for a clock that is stepped.
        """
        if speed <= 0 or (stepped and speed != 1.0):
            msg = f"the exchange's clock either runs at a speed above 0 (found {speed}) or is stepped; give one of them"
            raise ConfigError(msg)
        self.is_stepped = stepped
        self.is_simulated = stepped or speed != 1.0 or start is not None
        self._speed = speed
        self._monotonic = monotonic
        self._started = monotonic()
        self._start = start if start is not None else datetime.now(UTC)

    def now(self) -> datetime:
        """Return the exchange's present."""
        if not self.is_simulated:
            return datetime.now(UTC)
        if self.is_stepped:
            return self._start
        return self._start + timedelta(seconds=(self._monotonic() - self._started) * self._speed)

    @property
    def speed(self) -> float:
        """How many times faster than real time it runs; 1 for one that is stepped."""
        return self._speed

    def advance(self, moment: datetime) -> datetime:
        """Step to ``moment``, never back, and return the present.

        Raises:
            ConfigError: this clock runs by itself.
        """
        if not self.is_stepped:
            msg = "this exchange's clock runs by itself; start it with --stepped to move it"
            raise ConfigError(msg)
        self._start = max(self._start, moment)
        return self._start
