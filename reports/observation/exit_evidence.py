"""What a verdict rests on, and what one exit criterion says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from models.statistics.sequential import Share

State = Literal["pass", "fail", "not yet"]


@dataclass(frozen=True, slots=True)
class ExitBounds:
    """The figures the criteria are held against."""

    hours: float = 72.0
    points: float = 5.0
    """Largest distance from the baseline, in percentage points."""
    worst_bps: float = 300.0
    """No signal loses or wins more, in basis points: a stop of 1 % and what a gap adds. One beyond it ends the test of `net`."""
    pending_minutes: float = 10.0
    """An alert that waits longer than this counts as undelivered."""


@dataclass(frozen=True, slots=True)
class LimitProof:
    """What the loss simulation showed at one limit."""

    limit: str
    is_blocked: bool
    detail: str


@dataclass(frozen=True, slots=True)
class AlertCount:
    """High-tier alerts of the observation."""

    owed: int = 0
    delivered: int = 0
    unannounced: int = 0
    """High-tier signals for which no message was ever owed."""
    oldest_pending_minutes: float = 0.0
    is_running: bool = False
    """Whether the newest session still runs; one that ended sends nothing more."""
    last_detail: str = ""

    @property
    def pending(self) -> int:
        """Messages owed and not delivered."""
        return self.owed - self.delivered


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether a product has a promoted model, and if not, which gates refused which model."""

    product: str
    promoted: tuple[str, ...] = ()
    refused: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Model id -> sentences of its failing gates, by name."""

    @property
    def is_promoted(self) -> bool:
        """Whether at least one model serves it."""
        return bool(self.promoted)

    @property
    def reason(self) -> str:
        """One sentence on why it is refused; empty for a promoted product."""
        if self.is_promoted:
            return ""
        if not self.refused:
            return "no model was judged for it; run: make train and make evaluate"
        return "; ".join(
            f"{model} failed {', '.join(gates) or 'a gate its passport does not name'}"
            for model, gates in self.refused.items()
        )


@dataclass(frozen=True, slots=True)
class Sides:
    """Independent values of the observation and of its baseline, each from 0 to 1."""

    live: tuple[float, ...] = ()
    baseline: tuple[float, ...] = ()

    @property
    def live_mean(self) -> float:
        """Mean of the observation's values; of the baseline's while there is none."""
        values = self.live or self.baseline
        return sum(values) / len(values)

    @property
    def baseline_mean(self) -> float:
        """Mean of the baseline's values."""
        return sum(self.baseline) / len(self.baseline)

    @property
    def mirrored(self) -> Sides:
        """Return the shares of what is left to 1, so that above becomes below."""
        return Sides(tuple(1 - value for value in self.live), tuple(1 - value for value in self.baseline))


@dataclass(frozen=True, slots=True)
class ExitEvidence:
    """All that the verdict rests on; `gather_evidence` computes it from the published databases."""

    mode: str
    clean_minutes: int
    reset_cause: str
    """What last restarted the clock, empty when nothing did."""
    standings: tuple[Standing, ...]
    proofs: tuple[LimitProof, ...]
    """None at all: the simulation was not run."""
    alerts: AlertCount
    wins: Sides
    """1 for a signal whose direction was right, 0 for another, the mean for signals of one minute."""
    win_share: Share | None
    """For display; its interval holds at every look."""
    net_bps: tuple[float, ...]
    """Net of each independent signal."""
    tiers: Mapping[str, Sides]
    """Tier -> its share of the scored minutes in every four hours."""
    tier_shares: Mapping[str, Share]
    """For display."""
    signals_per_hour: float
    """Independent closed signals an hour over the whole observation."""

    @property
    def expected_tiers(self) -> dict[str, float]:
        """Tier -> the baseline's share; empty without a baseline."""
        return {tier: sides.baseline_mean for tier, sides in self.tiers.items() if sides.baseline}


@dataclass(frozen=True, slots=True)
class Criterion:
    """One exit criterion with its figure, bound and state."""

    name: str
    title: str
    state: State
    figure: str
    bound: str
    repair: str
    """What turns it into a pass; empty once it is one."""
    hours_needed: float = 0.0
    signals_needed: int = 0
