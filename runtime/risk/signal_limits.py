"""How many signals an hour may see, and a pause after losses.

Ten signals in any 60 minutes, five of them high; two losing signals (after costs) within 60 minutes block for 60 minutes
from the second. The state is only what was emitted and lost, so it is restored from the signal store after a restart;
the lease on `DESK_HOME` sees to it that one process at a time spends the budget.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from core.settings import Settings

HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class RateRules:
    """The limits."""

    per_hour: int = 10
    high_per_hour: int = 5
    losses_to_block: int = 2
    loss_window: timedelta = HOUR
    loss_block: timedelta = HOUR

    @property
    def memory(self) -> timedelta:
        """How far back anything can still matter."""
        return max(HOUR, self.loss_window + self.loss_block)


def rate_rules_from(settings: Settings) -> RateRules:
    """Return the limits the settings name."""
    return RateRules(
        per_hour=settings.signals_per_hour,
        high_per_hour=settings.high_signals_per_hour,
        losses_to_block=settings.losses_to_block,
        loss_window=timedelta(minutes=settings.loss_window_minutes),
        loss_block=timedelta(minutes=settings.loss_block_minutes),
    )


@dataclass(slots=True)
class RateLimiter:
    """Counts signals and losses in trailing windows; the present moment is always given, never asked for."""

    rules: RateRules
    _signals: deque[tuple[datetime, str]] = field(default_factory=deque)
    _losses: deque[datetime] = field(default_factory=deque)
    blocked_until: datetime | None = None

    def restore(self, signals: Iterable[tuple[datetime, str]], losses: Iterable[datetime]) -> None:
        """Take up again from (made_at, tier) of past signals and the moments of past losses."""
        self._signals.extend(sorted(signals))
        for moment in sorted(losses):
            self.record_loss(moment)

    def record_signal(self, moment: datetime, tier: str) -> None:
        """Count one emitted signal."""
        self._signals.append((moment, tier))

    def record_loss(self, moment: datetime) -> bool:
        """Count one losing signal; return whether it begins a pause. One that falls into a pause can only prolong it."""
        self._losses.append(moment)
        while self._losses and self._losses[0] <= moment - self.rules.loss_window:
            self._losses.popleft()
        if len(self._losses) < self.rules.losses_to_block:
            return False
        was_blocked = self.blocked_until is not None and moment < self.blocked_until
        self.blocked_until = moment + self.rules.loss_block
        return not was_blocked

    def refusal(self, moment: datetime, tier: str) -> str | None:
        """Return why no signal of ``tier`` may be made at ``moment``, None if one may."""
        if self.blocked_until is not None and moment < self.blocked_until:
            return f"{self.rules.losses_to_block} losses in {_minutes(self.rules.loss_window)} minutes: paused until {self.blocked_until:%H:%M} UTC"
        while self._signals and self._signals[0][0] <= moment - HOUR:
            self._signals.popleft()
        if len(self._signals) >= self.rules.per_hour:
            return f"{len(self._signals)} signals in the last hour, the limit is {self.rules.per_hour}"
        high = sum(1 for _, made in self._signals if made == "high")
        if tier == "high" and high >= self.rules.high_per_hour:
            return f"{high} high signals in the last hour, the limit is {self.rules.high_per_hour}"
        return None


def _minutes(span: timedelta) -> int:
    return int(span.total_seconds() // 60)
