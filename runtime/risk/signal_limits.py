"""Say how confident a signal is (its tier), how many signals an hour may see, and how long losses pause them.

Ten signals in any 60 minutes, five of them high; two losing signals (after costs) within 60 minutes block for 60 minutes
from the second. The state is only what was emitted and lost, so it is restored from the signal store after a restart;
the lease on `DESK_HOME` sees to it that one process at a time spends the budget.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from core.settings import Settings

HOUR = timedelta(hours=1)
TIERS = ("low", "medium", "high")


@dataclass(frozen=True, slots=True)
class TierRules:
    """Lower bounds of the two upper tiers and the margin past them that a change needs."""

    high: float = 0.75
    medium: float = 0.65
    margin: float = 0.02

    def level(self, confidence: float) -> int:
        """Return 2, 1 or 0 for high, medium or low, without any memory."""
        return 2 if confidence >= self.high else int(confidence >= self.medium)


@dataclass(frozen=True, slots=True)
class TierState:
    """One product's tier, slow to change: a confidence that trembles around a cut must not make the tier tremble.

    It changes only when the confidence is past the cut by a margin in two consecutive minutes; the first minute of a
    product takes its tier as it is.
    """

    level: int | None = None
    pending: int | None = None
    """The level one minute has asked for and a second has not yet confirmed."""

    @classmethod
    def restored(cls, tier: str | None) -> TierState:
        """Take up again from the tier of the last decision."""
        return cls(None if tier is None else TIERS.index(tier))

    @property
    def name(self) -> str:
        """The tier in force."""
        return TIERS[self.level or 0]

    def skipped(self) -> TierState:
        """Return the state after a minute without a probability: what was pending is forgotten, the tier stays."""
        return replace(self, pending=None)

    def after(self, confidence: float, rules: TierRules) -> TierState:
        """Return the state after a scored minute."""
        if self.level is None:
            return TierState(rules.level(confidence))
        up, down = rules.level(confidence - rules.margin), rules.level(confidence + rules.margin)
        wanted = up if up > self.level else min(down, self.level)
        if wanted == self.level:
            return TierState(self.level)
        if self.pending is not None and (self.pending > self.level) == (wanted > self.level):
            # both minutes lie past a cut on the same side; only the nearer of the two was confirmed
            return TierState((min if wanted > self.level else max)(self.pending, wanted))
        return TierState(self.level, wanted)


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
    signals: deque[tuple[datetime, str]] = field(default_factory=deque)
    losses: deque[datetime] = field(default_factory=deque)
    blocked_until: datetime | None = None

    def copy(self) -> RateLimiter:
        """Return a limiter that counts on without this one."""
        return replace(self, signals=self.signals.copy(), losses=self.losses.copy())

    def restore(self, signals: Iterable[tuple[datetime, str]], losses: Iterable[datetime]) -> None:
        """Take up again from (made_at, tier) of past signals and the moments of past losses."""
        self.signals.extend(sorted(signals))
        for moment in sorted(losses):
            self.record_loss(moment)

    def record_signal(self, moment: datetime, tier: str) -> None:
        """Count one emitted signal."""
        self.signals.append((moment, tier))

    def record_loss(self, moment: datetime) -> bool:
        """Count one losing signal; return whether it begins a pause. One that falls into a pause can only prolong it."""
        self.losses.append(moment)
        while self.losses and self.losses[0] <= moment - self.rules.loss_window:
            self.losses.popleft()
        if len(self.losses) < self.rules.losses_to_block:
            return False
        was_blocked = self.blocked_until is not None and moment < self.blocked_until
        self.blocked_until = moment + self.rules.loss_block
        return not was_blocked

    def refusal(self, moment: datetime, tier: str) -> str | None:
        """Return why no signal of ``tier`` may be made at ``moment``, None if one may."""
        if self.blocked_until is not None and moment < self.blocked_until:
            return f"{self.rules.losses_to_block} losses in {_minutes(self.rules.loss_window)} minutes: paused until {self.blocked_until:%H:%M} UTC"
        while self.signals and self.signals[0][0] <= moment - HOUR:
            self.signals.popleft()
        if len(self.signals) >= self.rules.per_hour:
            return f"{len(self.signals)} signals in the last hour, the limit is {self.rules.per_hour}"
        high = sum(1 for _, made in self.signals if made == "high")
        if tier == "high" and high >= self.rules.high_per_hour:
            return f"{high} high signals in the last hour, the limit is {self.rules.high_per_hour}"
        return None


def _minutes(span: timedelta) -> int:
    return int(span.total_seconds() // 60)
