"""One status of a runtime in which something stands in every field."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from runtime.health.board import BUCKETS_SECONDS
from runtime.health.snapshot import (
    AccountStatus,
    AlertBacklog,
    Health,
    LastCrash,
    LimitStatus,
    PositionStatus,
    ProductStatus,
    RuntimeSnapshot,
    RuntimeStatus,
    StageTimes,
)
from runtime.risk.kill_switch import ACTIVE, Stopping, SwitchState

NOON = datetime(2025, 6, 2, 12, tzinfo=UTC)
COUNTS = tuple(range(len(BUCKETS_SECONDS)))
POSITION = PositionStatus(
    "s1", "BTC-USD", "long", Decimal(100_000), Decimal("67000.5"), Decimal(68_000), Decimal(66_000), NOON, NOON
)
SNAPSHOT = RuntimeSnapshot(
    session_id="abc",
    mode="dryrun",
    feature_set="flow",
    observation_id="o1",
    observation_began_at=NOON - timedelta(days=2),
    code="0123456789abcdef",
    clock_now=NOON,
    taken_at=1.0,
    products=(ProductStatus("BTC-USD", {"lstm": "m1"}, NOON - timedelta(minutes=1), None, "below_threshold"),),
    stopping=ACTIVE,
    account=AccountStatus(
        balance_usd=Decimal("99000.00"),
        equity_usd=Decimal("98500.00"),
        day_start_balance_usd=Decimal(100_000),
        limits=(
            LimitStatus("daily", 0.3, Decimal("3000.00"), NOON + timedelta(hours=10)),
            LimitStatus("total", 0.15, Decimal("7500.00"), None),
        ),
        positions=(POSITION,),
        blocked_by="daily_loss",
        paused_until=NOON + timedelta(hours=1),
    ),
    decisions={"below_threshold": 41, "emitted": 1},
    stages=(
        StageTimes("commit", COUNTS, 42, 4.2, 0.04, 0.2),
        StageTimes("decision_latency", COUNTS, 42, 4.2, 0.101, 0.35),
    ),
    starts=3,
    last_crash=LastCrash("lost", NOON - timedelta(days=1), None, ""),
    dead_letters=2,
)
STATUS = RuntimeStatus(
    version=1,
    pid=4711,
    started_at=NOON - timedelta(hours=3),
    asked_at=NOON,
    health=Health(True, "minutes are being decided", 5.0, 180.0),
    state="HALTED",
    switch=SwitchState(Stopping("halted", frozenset({"ETH-USD"})), "file", "a drill", NOON),
    alerts=AlertBacklog(4, 200.0, 1),
    decided_age_seconds={"BTC-USD": 65.0},
    candle_age_seconds={"BTC-USD": 125.0},
    snapshot=SNAPSHOT,
)
