"""Define what is shown of a running runtime: the snapshot its loop leaves after each tick, and the status made of it.

Everything is frozen, so that a thread may read it while the loop works on. `/status` is a `RuntimeStatus` as JSON, which
`desk status` and the like read back by `core.files.parse_json`. Money is exact, in the quote currency; moments are UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from runtime.risk.kill_switch import Stopping, SwitchState

VERSION = 1
"""Of `/status`: raised when the meaning of a field changes, not when one is added."""


@dataclass(frozen=True, slots=True)
class ProductStatus:
    """Where one product's minutes stand."""

    product: str
    models: Mapping[str, str]
    """``lstm``, ``transformer`` and ``boosting`` -> model id, those that serve."""
    last_decided_minute: datetime | None
    """Open time; None before the first decision."""
    last_candle_minute: datetime | None
    """Open time of the last minute that had a candle."""
    last_reason: str
    """What became of the last minute decided in this session; empty before it."""


@dataclass(frozen=True, slots=True)
class LimitStatus:
    """One loss limit of the firm."""

    rule: str
    """``daily`` or ``total``."""
    used_ratio: float
    """Share of the firm's limit in use, 0 to 1 and beyond."""
    left_usd: Decimal
    """What may still be lost before our stop; below 0 once past it."""
    resets_at: datetime | None
    """None: never."""


@dataclass(frozen=True, slots=True)
class PositionStatus:
    """One open paper position."""

    signal_id: str
    product: str
    direction: str
    size_usd: Decimal
    entry_price: Decimal
    target_price: Decimal
    stop_price: Decimal
    opened_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class AccountStatus:
    """The paper account as it was last marked."""

    balance_usd: Decimal
    equity_usd: Decimal
    day_start_balance_usd: Decimal
    limits: tuple[LimitStatus, ...]
    positions: tuple[PositionStatus, ...]
    blocked_by: str | None
    """``daily_loss`` or ``total_loss`` while a stop of the firm's rules holds."""
    paused_until: datetime | None
    """Until when losses in a row withhold every signal."""


@dataclass(frozen=True, slots=True)
class StageTimes:
    """How long one stage of the work took, since the start of the process."""

    stage: str
    bucket_counts: tuple[int, ...]
    """How many took at most so long as each of `runtime.health.board.BUCKETS_SECONDS`."""
    count: int
    sum_seconds: float
    p50_seconds: float | None
    """Of the last 1,000; None before the first."""
    p99_seconds: float | None


@dataclass(frozen=True, slots=True)
class LastCrash:
    """The newest earlier session that ended by an error, or without a word."""

    session_id: str
    started_at: datetime
    ended_at: datetime | None
    """None where it never said that it ended."""
    detail: str


@dataclass(frozen=True, slots=True)
class RuntimeSnapshot:
    """What the loop leaves after a tick."""

    session_id: str
    mode: str
    feature_set: str
    observation_id: str
    observation_began_at: datetime
    code: str
    """What is deciding: the hash of the observation's code."""
    clock_now: datetime
    """The runtime's clock at the tick; a replay's is not the machine's."""
    taken_at: float
    """`time.monotonic()` of this process."""
    products: tuple[ProductStatus, ...]
    stopping: Stopping
    """How far trading was stopped for this tick."""
    account: AccountStatus
    decisions: Mapping[str, int]
    """Reason -> decisions of this session."""
    stages: tuple[StageTimes, ...]
    starts: int
    """Sessions of this folder so far, this one among them."""
    last_crash: LastCrash | None
    dead_letters: int
    """As counted at the start and with each read copy, that is every ten minutes."""


@dataclass(frozen=True, slots=True)
class Health:
    """Whether minutes are being decided."""

    is_healthy: bool
    reason: str
    tick_age_seconds: float | None
    """Since the last tick; None before the first."""
    max_tick_age_seconds: float


@dataclass(frozen=True, slots=True)
class AlertBacklog:
    """Messages that wait to be sent."""

    waiting: int
    oldest_age_seconds: float | None
    """None where none waits, or there is no target."""
    targets: int
    """How many targets ALERT_URLS names."""


@dataclass(frozen=True, slots=True)
class RuntimeStatus:
    """All that is shown of a running runtime, at the moment it was asked."""

    version: int
    pid: int
    started_at: datetime
    """When the process began to serve its folder, by the machine's clock."""
    asked_at: datetime
    health: Health
    state: str
    """``ACTIVE``, ``REDUCING`` or ``HALTED``, the greater of what holds and what the next tick will read."""
    switch: SwitchState
    """What the next tick will read of the kill switch; which products are paused, too."""
    alerts: AlertBacklog
    decided_age_seconds: Mapping[str, float]
    """Product -> time since the close of the last minute decided."""
    candle_age_seconds: Mapping[str, float]
    """Product -> time since the close of the last minute with a candle."""
    snapshot: RuntimeSnapshot | None
    """None before the first tick."""


@dataclass(frozen=True, slots=True)
class RuntimeAddress:
    """Where a runtime answers: the content of `runtime.json` in its folder, mode 0600."""

    version: int
    pid: int
    started_at: datetime
    port: int
