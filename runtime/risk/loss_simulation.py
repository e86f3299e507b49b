"""Drive a fresh paper account into each limit, through the code that guards the real one.

Prices fall by a fixed share each minute, a long position is opened whenever none is open, and every minute is
settled, rolled and assessed as the runtime does. Whether the block came at the right minute is then checked from
the trace alone, in whole cents, without asking the guardrails: it must be the first minute at which equity stood at or
below the stop, nothing may have been opened after it, and the firm's own limit must not have been touched.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from core.candles import MINUTE, Candle
from runtime.risk.execution_costs import costs_from, to_cents
from runtime.risk.guardrails import FirmRules, Guardrails, LossRule, rules_from
from runtime.risk.kill_switch import KillSwitch
from runtime.risk.paper_account import Account, sizing_from
from runtime.risk.signal_limits import RateLimiter, rate_rules_from

if TYPE_CHECKING:
    from core.settings import Settings

START = datetime(2025, 1, 15, 9, tzinfo=UTC)
FALL = Decimal("0.9985")
"""Each minute's price over the one before."""
MAX_MINUTES = 10 * 1440


@dataclass(frozen=True, slots=True)
class Drill:
    """What one case showed; ``is_blocked`` is False if the guard let it through or came at the wrong minute."""

    limit: str
    is_blocked: bool
    detail: str


@dataclass(frozen=True, slots=True)
class _Mark:
    """One minute of the trace, money in whole cents."""

    at: datetime
    equity: int
    base: int
    opened: bool
    blocked: str | None


@dataclass(slots=True)
class _Desk:
    """An account, its guardrails and a falling price."""

    settings: Settings
    account: Account
    guard: Guardrails
    price: Decimal = Decimal(100_000)

    @classmethod
    def fresh(cls, settings: Settings, at: datetime) -> _Desk:
        rules = rules_from(settings)
        return cls(settings, Account.fresh(sizing_from(settings)), Guardrails.fresh(rules, at))

    def minute(self, open_time: datetime, move: Decimal, *, may_open: bool) -> _Mark:
        """Let one minute pass and the price move by ``move``."""
        before, self.price = self.price, (self.price * move).quantize(Decimal("0.01"))
        low, high = min(before, self.price), max(before, self.price)
        candle = Candle("BTC-USD", open_time, before, high, low, self.price, Decimal(1))
        at = open_time + MINUTE
        self.guard.roll(open_time, self.account.balance)
        self.account.on_minute(open_time, {"BTC-USD": candle})
        self.guard.roll(at, self.account.balance)
        self.guard.assess(at, self.account.equity)
        equity = self.account.equity
        if self.guard.blocked:
            self.account.close_all(at, self.guard.blocked)
        opens = may_open and not self.account.positions and self.guard.blocked is None
        if opens:
            costs = costs_from(self.settings)
            self.account.open(self.account.plan(f"drill-{at:%H%M}", "BTC-USD", 1, self.price, at, costs))
        return _Mark(at, _cents(equity), _cents(self.guard.day_start_balance), opens, self.guard.blocked)


def run_drills(settings: Settings) -> list[Drill]:
    """Drive a fresh account into every limit; return what each guard did."""
    return [
        _daily(settings),
        _total(settings),
        _midnight(settings),
        _reset_days(settings),
        _loss_streak(settings),
        _rate(settings),
        _kill_switch(settings),
    ]


def _cents(amount: Decimal) -> int:
    return int(to_cents(amount) * 100)


def _daily(settings: Settings) -> Drill:
    desk = _Desk.fresh(settings, START)
    trace = [desk.minute(START + n * MINUTE, FALL, may_open=True) for n in range(10 * 60)]
    return _judged(desk.guard.rules, desk.guard.rules.daily, trace, "daily_loss")


def _total(settings: Settings) -> Drill:
    """Lose two thirds of the daily stop each day, so that only the total limit can be reached."""
    desk = _Desk.fresh(settings, START)
    rules = desk.guard.rules
    enough = rules.capital * rules.daily.stop_pct / 100 * 2 / 3
    trace: list[_Mark] = []
    for n in range(MAX_MINUTES):
        lost_today = desk.guard.loss(rules.daily, desk.account.equity)
        trace.append(desk.minute(START + n * MINUTE, FALL, may_open=lost_today < enough))
        if desk.guard.total_blocked and trace[-1].at > _first_block(trace) + timedelta(days=2):
            break
    return _judged(rules, rules.total, trace, "total_loss")


def _first_block(trace: list[_Mark]) -> datetime:
    return next(mark.at for mark in trace if mark.blocked)


def _judged(rules: FirmRules, rule: LossRule, trace: list[_Mark], reason: str) -> Drill:
    capital = _cents(rules.capital)
    stop, limit = int(capital * rule.stop_pct / 100), int(capital * rule.limit_pct / 100)

    def lost(mark: _Mark) -> int:
        return (mark.base if rule.name == "daily" else capital) - mark.equity

    right = next((mark for mark in trace if lost(mark) >= stop), None)
    seen = next((mark for mark in trace if mark.blocked == reason), None)
    if right is None or seen is None:
        return Drill(
            rule.name,
            is_blocked=False,
            detail=f"the {rule.stop_pct} % stop was never {'reached' if right is None else 'noticed'}",
        )
    ahead = [
        mark
        for mark in trace
        if mark.at >= right.at and (rule.name == "total" or rules.day_of(mark.at) == rules.day_of(right.at))
    ]
    holds = seen.at == right.at and not any(mark.opened for mark in ahead) and all(lost(mark) < limit for mark in trace)
    trades = sum(mark.opened for mark in trace if mark.at <= right.at)
    worst = max(lost(mark) for mark in trace)
    detail = (
        f"blocked {seen.at:%Y-%m-%d %H:%M} UTC after {trades} positions at a loss of {100 * lost(seen) / capital:.2f} % "
        f"(stop {rule.stop_pct} %), worst {100 * worst / capital:.2f} % (limit {rule.limit_pct} %); due {right.at:%H:%M}, opened after it: {sum(m.opened for m in ahead)}"
    )
    return Drill(rule.name, is_blocked=holds, detail=detail)


def _midnight(settings: Settings) -> Drill:
    """A floating loss that is legal at 23:59 breaks the rule at 00:00, when the day's winnings join the base."""
    rules = rules_from(settings)
    stop = rules.capital * rules.daily.stop_pct / 100
    guard = Guardrails.fresh(rules, START)
    balance = rules.capital + stop
    midnight = rules.next_reset(START)
    equity = balance - stop
    guard.assess(midnight - MINUTE, equity)
    before = guard.blocked
    guard.roll(midnight, balance)
    guard.assess(midnight, equity)
    holds = before is None and guard.blocked == "daily_loss"
    detail = f"equity {to_cents(equity)} was legal at {midnight - MINUTE:%H:%M} UTC and blocked at {midnight:%H:%M}, base {to_cents(balance)}"
    return Drill("daily at midnight", is_blocked=holds, detail=detail)


def _reset_days(settings: Settings) -> Drill:
    """The block lifts after 23 hours when clocks go forward and after 25 when they go back, never earlier."""
    rules = rules_from(settings)
    lengths: list[str] = []
    holds = True
    for noon in (
        datetime(2025, 3, 30, 12, tzinfo=UTC),
        datetime(2025, 7, 1, 12, tzinfo=UTC),
        datetime(2025, 10, 26, 12, tzinfo=UTC),
    ):
        guard = Guardrails.fresh(rules, noon)
        equity = rules.capital * (1 - rules.daily.stop_pct / 100)
        guard.assess(noon, equity)
        reset = rules.next_reset(noon)
        guard.roll(reset - MINUTE, equity)
        held = guard.blocked == "daily_loss"
        guard.roll(reset, equity)
        holds &= held and guard.blocked is None
        lengths.append(f"{(reset - rules.day_start(noon)) // timedelta(hours=1)} h on {noon:%Y-%m-%d}")
    return Drill("daily reset", is_blocked=holds, detail=f"held to the last minute of each day: {', '.join(lengths)}")


def _loss_streak(settings: Settings) -> Drill:
    rules = rate_rules_from(settings)
    limiter = RateLimiter(rules)
    for n in range(rules.losses_to_block):
        limiter.record_loss(START + n * MINUTE)
    last = START + (rules.losses_to_block - 1) * MINUTE
    held = limiter.refusal(last + rules.loss_block - MINUTE, "high") is not None
    lifted = limiter.refusal(last + rules.loss_block, "high") is None
    detail = f"{rules.losses_to_block} losses at {last:%H:%M} UTC paused until {last + rules.loss_block:%H:%M}"
    return Drill("loss streak", is_blocked=held and lifted, detail=detail)


def _rate(settings: Settings) -> Drill:
    rules = rate_rules_from(settings)
    limiter = RateLimiter(rules)
    made = {"high": 0, "medium": 0}
    for n in range(60):
        tier = "high" if n < 30 else "medium"
        if limiter.refusal(START + n * MINUTE, tier) is None:
            limiter.record_signal(START + n * MINUTE, tier)
            made[tier] += 1
    high = min(rules.high_per_hour, rules.per_hour)
    holds = made["high"] == min(30, high) and sum(made.values()) <= rules.per_hour
    detail = f"of 60 signals in an hour, {made['high']} high and {made['medium']} medium passed (limits {high} and {rules.per_hour})"
    return Drill("signals an hour", is_blocked=holds, detail=detail)


def _kill_switch(settings: Settings) -> Drill:
    with tempfile.TemporaryDirectory(dir=_existing(settings.paths.home)) as folder:
        path = Path(folder) / "kill_switch.json"
        switch = KillSwitch(path)
        never = switch.state().is_on
        switch.press("drill")
        pressed, restarted = switch.state().is_on, KillSwitch(path).state().is_on
        path.write_bytes(b"\x00 not json")
        unreadable = KillSwitch(path).state().is_on
        switch.rearm("drill is over")
        released = switch.state().is_on
    holds = pressed and restarted and unreadable and not never and not released
    return Drill(
        "kill switch",
        is_blocked=holds,
        detail="on when pressed, after a restart and when unreadable; off again with a reason",
    )


def _existing(folder: Path) -> Path | None:
    return folder if folder.is_dir() else None
