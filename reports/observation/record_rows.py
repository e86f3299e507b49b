"""Name the rows that reports of an observation read, one class a query.

The fields are columns of the statements `report_<name>` in `sql/queries/observation_report.sql`, whose headers give units and meaning.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class DecidedMinute:
    """One minute, over all products together (`report_minutes`)."""

    open_time: datetime
    is_complete: bool
    seen: int

    @property
    def is_decided(self) -> bool:
        """Whether every product has a decision for it, at least one of them in time."""
        return self.is_complete and self.seen > 0


@dataclass(frozen=True, slots=True)
class ProductDecisions:
    """One product's decisions (`report_coins`)."""

    product: str
    decided: int
    scored: int
    confidence_p50: float | None
    confidence_p95: float | None
    confidence_max: float | None


@dataclass(frozen=True, slots=True)
class ReasonCount:
    """How often a reason decided (`report_reasons`)."""

    product: str
    reason: str
    decisions: int


@dataclass(frozen=True, slots=True)
class ConfidenceStep:
    """Scored decisions in one hundredth of confidence (`report_confidence`)."""

    product: str
    confidence_from: float
    decisions: int


@dataclass(frozen=True, slots=True)
class TierHour:
    """Scored decisions of one product and hour in each tier (`report_tiers`)."""

    product: str
    hour: datetime
    high: int
    medium: int
    low: int

    @property
    def counts(self) -> Mapping[str, int]:
        """Tier -> decisions."""
        return {"high": self.high, "medium": self.medium, "low": self.low}


@dataclass(frozen=True, slots=True)
class LatencyFigures:
    """How long decisions took (`report_latency`)."""

    p50_ms: float | None = None
    p95_ms: float | None = None
    max_ms: float | None = None


@dataclass(frozen=True, slots=True)
class ObservedSignal:
    """One signal beside its outcome; what is of the outcome is None while it is open (`report_signals`)."""

    made_at: datetime
    product: str
    open_time: datetime
    direction: str
    tier: str
    mode: str
    entry_price: float
    closed_at: datetime | None
    exit_reason: str | None
    gross_bps: float | None
    net_bps: float | None
    pnl_usd: float | None
    is_win: bool | None


@dataclass(frozen=True, slots=True)
class InputDrift:
    """Stability index of one model input (`report_drift`)."""

    product: str
    feature: str
    psi: float


@dataclass(frozen=True, slots=True)
class PricePoint:
    """One product's close in a bucket of minutes (`report_prices`)."""

    product: str
    open_time: datetime
    close: float


@dataclass(frozen=True, slots=True)
class EquityPoint:
    """The paper account in a bucket of minutes (`report_equity`)."""

    marked_at: datetime
    equity_usd: float
    day_start_balance_usd: float
    day_start_equity_usd: float
    highest_day_start_usd: float
    highest_equity_usd: float
    daily_used_pct: float
    total_used_pct: float


@dataclass(frozen=True, slots=True)
class OwedAlert:
    """One message and what became of it (`report_alerts`)."""

    created_at: datetime
    kind: str
    tier: str | None
    mode: str | None
    is_delivered: bool
    tries: int
    last_detail: str


@dataclass(frozen=True, slots=True)
class ObservedEvent:
    """A warning, block or alarm (`report_risk_events`)."""

    happened_at: datetime
    kind: str
    severity: int
    detail: str


@dataclass(frozen=True, slots=True)
class ObservedSession:
    """One start of the runtime and how it ended (`report_sessions`)."""

    session_id: str
    started_at: datetime
    mode: str
    feature_set: str
    clock: str
    ended_at: datetime | None
    reason: str | None
    detail: str | None
    last_decided: datetime | None
    decisions: int


@dataclass(frozen=True, slots=True)
class RegistryLine:
    """One event of the model registry (`report_registry`)."""

    kind: str
    slot: str
    model_id: str
    why: str


@dataclass(frozen=True, slots=True)
class CandleProvenance:
    """Who said the stored candles of a product (`report_sources`)."""

    product: str
    source: str
    candles: int
    first_open_time: datetime
    last_open_time: datetime


@dataclass(frozen=True, slots=True)
class ExportedDataset:
    """One data set exported for training, the newest first (`report_datasets`)."""

    digest: str
    feature_set: str
    start_time: datetime
    end_time: datetime
    row_count: int
