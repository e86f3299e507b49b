"""Define the rows of the signals database: what the runtime decided, owes and earned; one class per table.

Field names and their order are the table's columns (`sql/tables/`), so a row is stored as it stands.
All moments are aware UTC. Prices and the paper account's money are Decimals.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import date, datetime
    from decimal import Decimal


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One start of the runtime."""

    session_id: str
    started_at: datetime
    mode: str
    products: str
    models: str
    feature_set: str
    clock: str


@dataclass(frozen=True, slots=True)
class ObservationRow:
    """What was observed under the same models, rules, costs and code; it lasts until the next begins."""

    observation_id: str
    began_at: datetime
    mode: str
    models: str
    feature_set: str
    terms: str
    code: str
    why: str


@dataclass(frozen=True, slots=True)
class SessionEndRow:
    """How one session ended: ``iterations``, ``signal`` or ``error``."""

    session_id: str
    ended_at: datetime
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class DecisionRow:
    """What was decided about one closed minute, also when nothing was emitted."""

    product: str
    open_time: datetime
    session_id: str
    decided_at: datetime
    mode: str
    close: Decimal | None
    probability: float | None
    p_lstm: float | None
    p_transformer: float | None
    direction: str | None
    confidence: float | None
    tier: str | None
    is_emitted: bool
    reason: str
    latency_ms: float
    p_boosting: float | None = None


@dataclass(frozen=True, slots=True)
class SignalRow:
    """One emitted signal, with all that is needed to recompute it."""

    signal_id: str
    session_id: str
    made_at: datetime
    product: str
    open_time: datetime
    direction: str
    confidence: float
    tier: str
    probability: float
    p_lstm: float | None
    p_transformer: float | None
    entry_price: Decimal
    target_price: Decimal
    stop_price: Decimal
    reward_risk_ratio: float
    size_usd: float
    session: str
    mode: str
    lstm_model_id: str | None
    transformer_model_id: str | None
    feature_set: str
    latency_ms: float
    spread_bps: float
    slippage_bps: float
    p_boosting: float | None = None
    boosting_model_id: str | None = None


@dataclass(frozen=True, slots=True)
class OutcomeRow:
    """How one signal ended."""

    signal_id: str
    closed_at: datetime
    exit_price: Decimal
    exit_reason: str
    gross_bps: float
    net_bps: float
    pnl_usd: float
    is_win: bool


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """One message owed to people; ``sequence`` is given when it is committed."""

    message_key: str
    created_at: datetime
    sequence: int
    kind: str
    product: str
    severity: str
    title: str
    body: str
    signal_id: str = ""


@dataclass(frozen=True, slots=True)
class OwedMessage(OutboxRow):
    """A message that an earlier session did not bring to every target."""

    settled: tuple[str, ...] = ()
    """Targets that took it, or at which it became a dead letter."""


@dataclass(frozen=True, slots=True)
class ReceiptRow:
    """What became of a message at one target: taken, or given up as a dead letter; ``*`` is every target."""

    message_key: str
    target: str
    settled_at: datetime
    is_delivered: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """One try to send a message; ``is_ok`` once every target has it."""

    message_key: str
    tried_at: datetime
    is_ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class EquityRow:
    """The paper account at the close of one minute."""

    marked_at: datetime
    session_id: str
    balance_usd: float
    equity_usd: float
    day_start_balance_usd: float
    open_positions: int
    daily_used_pct: float
    total_used_pct: float
    day_start_equity_usd: Decimal
    highest_day_start_usd: Decimal
    highest_equity_usd: Decimal


@dataclass(frozen=True, slots=True)
class RiskEventRow:
    """One warning, block or re-arming; severity 1 stops the observation clock, 2 blocks signals, 3 informs."""

    happened_at: datetime
    session_id: str
    kind: str
    severity: int
    detail: str


@dataclass(frozen=True, slots=True)
class DriftRow:
    """Population stability index of one model input over one UTC day."""

    day: date
    product: str
    feature: str
    psi: float


@dataclass(slots=True)
class TickRows:
    """All that one tick commits, together or not at all."""

    decisions: list[DecisionRow] = field(default_factory=list)
    signals: list[SignalRow] = field(default_factory=list)
    outcomes: list[OutcomeRow] = field(default_factory=list)
    outbox: list[OutboxRow] = field(default_factory=list)
    equity: list[EquityRow] = field(default_factory=list)
    risk_events: list[RiskEventRow] = field(default_factory=list)
    drift: list[DriftRow] = field(default_factory=list)
    observations: list[ObservationRow] = field(default_factory=list)
