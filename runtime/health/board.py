"""Keep what is shown of a running session: the loop leaves a snapshot here by one assignment, watchers read it.

The loop's side (`lap`, `took` ..) only adds and assigns: it asks nothing, waits for nothing, and a fault of its own is
logged, not raised. The watchers' side (`health`, `status`) runs in their threads, on frozen snapshots.
"""

from __future__ import annotations

import logging
import os
import time
from bisect import bisect_left
from collections import Counter, deque
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import ceil
from typing import TYPE_CHECKING

from core.candles import MINUTE
from runtime.health.snapshot import (
    VERSION,
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
from runtime.risk.execution_costs import to_cents
from runtime.risk.kill_switch import ACTIVE, KillSwitch, SwitchState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from core.settings import Settings
    from runtime.alerts.notifier import Notifier
    from runtime.decision import TradingState
    from runtime.risk.kill_switch import Stopping
    from runtime.session import Session
    from store.signal_rows import TickRows
    from store.signal_store import SignalStore

MAX_TICK_AGE_SECONDS = 180.0
"""A minute is decided within 20 s of its close, a late answer of the exchange included; two that are missing are an outage."""
BUCKETS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 6.0, 7.5, 10.0, 15.0, 30.0, 60.0)
"""Stages take milliseconds to seconds; a decision comes five seconds (SETTLE_SECONDS) after the close at the earliest."""
LEVELS = ("active", "reducing", "halted")
"""Of stopping, the greatest last."""
LATENCY = "decision_latency"
"""From the close of a minute to its decision, of minutes that were not stale."""
_RECENT = 1000
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class StageTimer:
    """Counts how long one stage took; only the loop's thread touches it."""

    stage: str
    buckets: list[int] = field(default_factory=lambda: [0] * len(BUCKETS_SECONDS))
    count: int = 0
    sum_seconds: float = 0.0
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=_RECENT))

    def add(self, seconds: float) -> None:
        """Count one more."""
        self.count += 1
        self.sum_seconds += seconds
        self.recent.append(seconds)
        if (bucket := bisect_left(BUCKETS_SECONDS, seconds)) < len(BUCKETS_SECONDS):
            self.buckets[bucket] += 1

    def times(self) -> StageTimes:
        """Return what was counted, frozen."""
        ordered = sorted(self.recent)
        below, total = [], 0
        for counted in self.buckets:
            total += counted
            below.append(total)
        p50, p99 = (ordered[ceil(share * len(ordered)) - 1] if ordered else None for share in (0.5, 0.99))
        return StageTimes(self.stage, tuple(below), self.count, self.sum_seconds, p50, p99)


class StatusBoard:
    """One runtime's state as others may see it; without watchers nothing is kept."""

    def __init__(
        self,
        settings: Settings | None = None,
        notifier: Notifier | None = None,
        watchers: Callable[[StatusBoard], AbstractContextManager[None]] | None = None,
    ) -> None:
        """Take what ``status`` asks, and what runs (servers, heartbeat) for as long as the folder is served."""
        self.snapshot: RuntimeSnapshot | None = None
        self.started_at = datetime.now(UTC)
        self._settings, self._notifier, self._watchers = settings, notifier, watchers
        self._end = ""
        self._max_age = MAX_TICK_AGE_SECONDS
        self._lap_began = time.monotonic()
        self._timers: dict[str, StageTimer] = {}
        self._decisions: Counter[str] = Counter()
        self._last_reasons: dict[str, str] = {}
        self._starts, self._dead_letters = 0, 0
        self._last_crash: LastCrash | None = None

    def watched(self) -> AbstractContextManager[None]:
        """Run the watchers for the length of the block."""
        return nullcontext() if self._watchers is None else self._watchers(self)

    # the loop's side

    def opened(self, session: Session, batch_minutes: int, sleep_seconds: float) -> None:
        """Take up what earlier sessions left; called once, before the first tick."""
        if self._watchers is None:
            return
        self._max_age += sleep_seconds + 60.0 * (batch_minutes - 1)
        with _harmless("what earlier sessions left"):
            self._starts = session.store.starts()
            if (crash := session.store.last_crash(session.rules.session_id)) is not None:
                self._last_crash = LastCrash(crash.session_id, crash.started_at, crash.ended_at, crash.detail)
        self.count_dead_letters(session.store)

    def count_dead_letters(self, store: SignalStore) -> None:
        """Count them in the store: a person may have sent them again."""
        if self._watchers is None:
            return
        with _harmless("the number of dead letters"):
            self._dead_letters = len(store.dead_letters())

    def lap(self, stage: str = "") -> None:
        """End a stage that began at the lap before; without a name only a new one begins."""
        now = time.monotonic()
        if stage and self._watchers is not None:
            self._timer(stage).add(now - self._lap_began)
        self._lap_began = now

    def took(self, session: Session, rows: TickRows, now: datetime, stopping: Stopping) -> None:
        """Leave the snapshot of a tick that was committed."""
        if self._watchers is None:
            return
        with _harmless("the status of this tick"):
            self._count(rows)
            self.snapshot = self._taken(session, rows, now, stopping)

    def ended(self, reason: str) -> None:
        """Say that no minute will be decided any more."""
        self._end = reason

    def _timer(self, stage: str) -> StageTimer:
        return self._timers.setdefault(stage, StageTimer(stage))

    def _count(self, rows: TickRows) -> None:
        for row in rows.decisions:
            self._decisions[row.reason] += 1
            self._last_reasons[row.product] = row.reason
            if row.reason != "stale_candle":
                self._timer(LATENCY).add(row.latency_ms / 1e3)

    def _taken(self, session: Session, rows: TickRows, now: datetime, stopping: Stopping) -> RuntimeSnapshot:
        observation, rules = session.observation, session.rules
        return RuntimeSnapshot(
            session_id=rules.session_id,
            mode=rules.mode,
            feature_set=rules.feature_set,
            observation_id=observation.observation_id,
            observation_began_at=observation.began_at,
            code=observation.code,
            clock_now=now,
            taken_at=time.monotonic(),
            products=tuple(self._product(session, product) for product in session.inputs.products),
            stopping=stopping,
            account=_account(session.state, rows, now),
            decisions=dict(self._decisions),
            stages=tuple(timer.times() for timer in self._timers.values()),
            starts=self._starts,
            last_crash=self._last_crash,
            dead_letters=self._dead_letters,
        )

    def _product(self, session: Session, product: str) -> ProductStatus:
        return ProductStatus(
            product=product,
            models=dict(session.rules.products[product].model_ids),
            last_decided_minute=session.state.last_minutes.get(product),
            last_candle_minute=session.last_candle.get(product),
            last_reason=self._last_reasons.get(product, ""),
        )

    # the watchers' side

    def health(self) -> Health:
        """Return whether minutes are being decided, and why not."""
        snapshot, limit = self.snapshot, self._max_age
        age = None if snapshot is None else time.monotonic() - snapshot.taken_at
        if self._end:
            return Health(False, f"the session has ended ({self._end})", age, limit)  # noqa: FBT003  # named by the class
        if age is None:
            return Health(False, "no minute was decided yet: the runtime is starting", age, limit)  # noqa: FBT003
        if age > limit:
            why = f"no minute was decided for {age:.0f} s, at most {limit:.0f} s may pass; look into the log, then: desk doctor --online"
            return Health(False, why, age, limit)  # noqa: FBT003
        return Health(True, "minutes are being decided", age, limit)  # noqa: FBT003

    def status(self) -> RuntimeStatus:
        """Return all that is shown, as of now."""
        snapshot = self.snapshot
        holds = ACTIVE if snapshot is None else snapshot.stopping
        switch = self._switch(holds)
        now = self._clock_now(snapshot)
        products = snapshot.products if snapshot else ()
        return RuntimeStatus(
            version=VERSION,
            pid=os.getpid(),
            started_at=self.started_at,
            asked_at=datetime.now(UTC),
            health=self.health(),
            state=max(holds.level, switch.stopping.level, key=LEVELS.index).upper(),
            switch=switch,
            alerts=self._backlog(now),
            decided_age_seconds=_ages(now, {own.product: own.last_decided_minute for own in products}),
            candle_age_seconds=_ages(now, {own.product: own.last_candle_minute for own in products}),
            snapshot=snapshot,
        )

    def _switch(self, holds: Stopping) -> SwitchState:
        if self._settings is None:
            return SwitchState(holds, "none", "")
        # an object of its own: that of the loop keeps what the loop saw
        was_on = holds != ACTIVE
        return KillSwitch(self._settings.paths.kill_switch, self._settings.kill_switch, was_on=was_on).state()

    def _clock_now(self, snapshot: RuntimeSnapshot | None) -> datetime:
        if snapshot is None:
            return datetime.now(UTC)
        return snapshot.clock_now + MINUTE * ((time.monotonic() - snapshot.taken_at) / 60)

    def _backlog(self, now: datetime) -> AlertBacklog:
        if self._notifier is None:
            return AlertBacklog(0, None, 0)
        oldest = self._notifier.oldest_waiting
        age = None if oldest is None else max(0.0, (now - oldest).total_seconds())
        return AlertBacklog(self._notifier.backlog, age, self._notifier.targets)


@contextmanager
def _harmless(what: str) -> Iterator[None]:
    try:
        yield
    except Exception:  # noqa: BLE001
        # to be watched is a convenience, to decide is not: the snapshot grows old, and /healthz says so
        _log.exception("%s could not be shown; deciding goes on", what)


def _ages(now: datetime, minutes: dict[str, datetime | None]) -> dict[str, float]:
    return {
        product: max(0.0, (now - minute - MINUTE).total_seconds())
        for product, minute in minutes.items()
        if minute is not None
    }


def _account(state: TradingState, rows: TickRows, now: datetime) -> AccountStatus:
    account, guardrails, room, marked = state.account, state.guardrails, state.headroom(now), rows.equity[-1]
    paused_until = state.limiter.blocked_until
    return AccountStatus(
        balance_usd=account.balance,
        equity_usd=to_cents(account.equity),
        day_start_balance_usd=guardrails.marks.day_start_balance,
        limits=(
            LimitStatus("daily", marked.daily_used_pct / 100, room.daily_usd, room.resets_at),
            LimitStatus("total", marked.total_used_pct / 100, room.total_usd, None),
        ),
        positions=tuple(
            PositionStatus(
                signal_id=held.signal_id,
                product=held.product,
                direction="long" if held.side > 0 else "short",
                size_usd=held.size_usd,
                entry_price=held.entry_price,
                target_price=held.target_price,
                stop_price=held.stop_price,
                opened_at=held.opened_at,
                expires_at=held.expires_at,
            )
            for held in account.positions
        ),
        blocked_by=guardrails.blocked,
        paused_until=paused_until if paused_until is not None and paused_until > now else None,
    )
