"""Drive a fresh paper account into each limit, through the function that decides every real minute.

A model that is always sure buys; then the price opens beyond the stop, a quarter of the stop's distance further, again
and again. A loss that stops at its stop never reaches a limit, for its size fits the headroom. Whether the block came
at the right minute is then checked from the trace alone, in whole cents, without asking the guardrails: it must be the
first minute at which equity stood at or below our stop, nothing may have been opened after it, and the firm's own
limit must not have been broken.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from core.candles import MINUTE, Candle
from runtime.decision import DecisionRules, MinuteInput, ProductInput, ProductRules, TradingState, decide
from runtime.risk.execution_costs import costs_from, exact, to_cents
from runtime.risk.firm_rules import rules_from
from runtime.risk.guardrails import Guardrails
from runtime.risk.kill_switch import KillSwitch
from runtime.risk.paper_account import Account, sizing_from
from runtime.risk.signal_limits import RateLimiter, TierRules, rate_rules_from

if TYPE_CHECKING:
    from core.settings import Settings
    from runtime.risk.firm_rules import FirmRules, LossRule

START = datetime(2025, 1, 15, 9, tzinfo=UTC)
BEYOND_STOP = Decimal("1.25")
"""How far the price falls while a position is open, over the distance of its stop."""
MAX_MINUTES = 20 * 1440
PRODUCT = "BTC-USD"


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
    balance: int
    equity: int
    opened: bool
    blocked: str | None


class _Desk:
    """A state that is decided on, and a price that falls whenever a position is open."""

    def __init__(self, settings: Settings, at: datetime) -> None:
        firm, costs = rules_from(settings), costs_from(settings)
        tiers = TierRules(settings.tier_high, settings.tier_medium, settings.tier_margin)
        self.state = TradingState(
            Account.fresh(sizing_from(settings)), Guardrails.fresh(firm, at), RateLimiter(rate_rules_from(settings))
        )
        self.rules = DecisionRules(
            session_id="drill",
            mode="dryrun",
            feature_set="drill",
            weights={"lstm": 1.0},
            products={PRODUCT: ProductRules(tiers, settings.emit_threshold, {"lstm": "drill"})},
            costs_for=lambda _product, _session, _at: costs,
        )
        self.fall = 1 - BEYOND_STOP * exact(settings.stop_pct) / 100
        self.price = Decimal(100_000)

    def minute(self, open_time: datetime, *, may_open: bool) -> _Mark:
        """Let one minute pass."""
        if self.state.account.positions:
            self.price = (self.price * self.fall).quantize(Decimal("0.01"))
        candle = Candle(PRODUCT, open_time, self.price, self.price, self.price, self.price, Decimal(1))
        at = open_time + MINUTE
        seen = ProductInput(candle, at, 0.0, is_stale=False, probabilities={"lstm": 1.0 if may_open else 0.5})
        result = decide(MinuteInput(open_time, {PRODUCT: seen}), self.state, self.rules)
        self.state = result.state
        opened = any(decision.signal is not None for decision in result.decisions)
        balance = self.state.account.balance
        # before a new position pays its entry
        equity = balance if result.equity is None else exact(result.equity.equity_usd)
        return _Mark(at, _cents(balance), _cents(equity), opened, self.state.guardrails.blocked)

    @property
    def lost_today(self) -> Decimal:
        """How far equity is below what today began with."""
        guard = self.state.guardrails
        return guard.loss(guard.rules.daily_loss, self.state.account.equity)


def run_drills(settings: Settings) -> list[Drill]:
    """Drive a fresh account into every limit; return what each guard did.

    Raises:
        ConfigError: the firm's rules cannot be used.
    """
    return [
        _daily(settings),
        _total(settings),
        _at_the_reset(settings),
        _reset_days(settings),
        _loss_streak(settings),
        _rate(settings),
        _kill_switch(settings),
    ]


def _cents(amount: Decimal) -> int:
    return int(to_cents(amount) * 100)


def _daily(settings: Settings) -> Drill:
    desk, rules, trace = _Desk(settings, START), rules_from(settings), list[_Mark]()
    end = rules.next_reset(START) + 2 * MINUTE
    while not trace or trace[-1].at < end:
        trace.append(desk.minute(START + len(trace) * MINUTE, may_open=True))
    return _judged(rules, rules.daily_loss, trace, "daily_loss")


def _total(settings: Settings) -> Drill:
    """Lose half of the daily stop each day, so that only the total limit can be reached."""
    desk, rules, trace = _Desk(settings, START), rules_from(settings), list[_Mark]()
    marks = desk.state.guardrails.marks
    enough = rules.daily_loss.stop_usd(marks, rules.capital) / 2
    first = None
    while len(trace) < MAX_MINUTES and (first is None or trace[-1].at <= first + timedelta(days=2)):
        trace.append(desk.minute(START + len(trace) * MINUTE, may_open=desk.lost_today < enough))
        first = first or (trace[-1].at if trace[-1].blocked else None)
    return _judged(rules, rules.total_loss, trace, "total_loss")


def _bases(rules: FirmRules, rule: LossRule, trace: list[_Mark]) -> list[int]:
    """Return what the loss is measured from at each mark, found again from balances and equities alone."""
    capital = _cents(rules.capital)
    day, base, highest_start, highest, bases = rules.day_of(START), capital, capital, capital, []
    for mark in trace:
        highest = max(highest, mark.equity)
        if rules.day_of(mark.at) != day:
            day, highest_start = rules.day_of(mark.at), max(highest_start, mark.balance)
            base = max(mark.balance, mark.equity) if rule.base == "day_start_higher" else mark.balance
        total = {"highest_day_start_balance": highest_start, "highest_equity": highest}.get(rule.base, capital)
        if rule.locks_at_initial_capital:
            total = min(total, int(capital * (1 + rule.limit_pct / 100)))
        bases.append(base if rule.name == "daily" else total)
    return bases


def _judged(rules: FirmRules, rule: LossRule, trace: list[_Mark], reason: str) -> Drill:
    capital, bases = _cents(rules.capital), _bases(rules, rule, trace)
    lost = [base - mark.equity for base, mark in zip(bases, trace, strict=True)]
    wholes = [capital if rule.percent_of == "initial_capital" else base for base in bases]
    right = next((n for n, loss in enumerate(lost) if loss >= wholes[n] * rule.stop_pct / 100), None)
    seen = next((n for n, mark in enumerate(trace) if mark.blocked == reason), None)
    if right is None or seen is None:
        never = "reached" if right is None else "noticed"
        return Drill(rule.name, is_blocked=False, detail=f"the {rule.stop_pct} % stop was never {never}")
    due = trace[right].at
    ahead = [
        mark
        for mark in trace[right:]
        if rule.name == "total" or rules.day_of(mark.at - MINUTE) == rules.day_of(due - MINUTE)
    ]
    opened = sum(mark.opened for mark in ahead[:-1])
    is_legal = all(loss <= whole * rule.limit_pct / 100 for loss, whole in zip(lost, wholes, strict=True))
    worst = max(100 * loss / whole for loss, whole in zip(lost, wholes, strict=True))
    detail = (
        f"blocked {trace[seen].at:%Y-%m-%d %H:%M} UTC after {sum(mark.opened for mark in trace[:right])} positions at a loss of "
        f"{100 * lost[seen] / wholes[seen]:.2f} % (stop {rule.stop_pct} %), worst {worst:.2f} % (limit {rule.limit_pct} %); "
        f"due {due:%H:%M}, opened after it: {opened}"
    )
    return Drill(rule.name, is_blocked=seen == right and opened == 0 and is_legal, detail=detail)


def _at_the_reset(settings: Settings) -> Drill:
    """A floating loss that is legal before the reset breaks the rule after it, when the day's winnings join the base."""
    rules = rules_from(settings)
    guard = Guardrails.fresh(rules, START)
    equity, reset = rules.capital, rules.next_reset(START)
    balance = rules.capital + rules.daily_loss.stop_usd(guard.marks, rules.capital)
    guard.assess(reset - MINUTE, equity)
    before = guard.blocked
    guard.roll(reset, balance, equity)
    guard.assess(reset, equity)
    holds = before is None and guard.blocked == "daily_loss"
    detail = f"equity {to_cents(equity)} was legal at {reset - MINUTE:%H:%M} UTC and blocked at {reset:%H:%M}, base {to_cents(balance)}"
    return Drill("daily at the reset", is_blocked=holds, detail=detail)


def _reset_days(settings: Settings) -> Drill:
    """The block lifts at the next reset, after 23 hours when clocks go forward and 25 when they go back, never earlier."""
    rules = rules_from(settings)
    lengths: list[str] = []
    holds = True
    for noon in (
        datetime(2025, 3, 30, 12, tzinfo=UTC),
        datetime(2025, 7, 1, 12, tzinfo=UTC),
        datetime(2025, 10, 26, 12, tzinfo=UTC),
    ):
        guard = Guardrails.fresh(rules, noon)
        equity = rules.capital - rules.daily_loss.stop_usd(guard.marks, rules.capital)
        guard.assess(noon, equity)
        reset = rules.next_reset(noon)
        guard.roll(reset - MINUTE, equity, equity)
        held = guard.blocked == "daily_loss"
        guard.roll(reset, equity, equity)
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
