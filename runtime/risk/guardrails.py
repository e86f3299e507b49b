"""Hold the account against a prop firm's loss rules, which are data (`firm_rules`), minute by minute.

A daily limit is measured from what the firm's day began with, a total limit from the initial capital or from the highest
point so far. Equity counts open positions, costs and fees. A floating loss that is legal at 23:59 can break the rule
at 00:00, when the base moves.

We stop earlier than the firm, on the equity at a minute's close: no new signal is made, and open paper positions are
closed. The daily stop lifts at the next reset, the total stop never does by itself. Equity BELOW the firm's own limit at
any moment, also inside a minute, ends the firm's account: no signal is made any more, on no later day, until a person
re-arms with a reason. All comparisons are between Decimals. Days have 23 or 25 hours twice a year.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import ROUND_FLOOR, Decimal
from typing import TYPE_CHECKING

from runtime.risk.execution_costs import CENT, to_cents
from runtime.risk.firm_rules import AccountMarks
from runtime.risk.paper_account import EquitySpan

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date, datetime

    from runtime.risk.firm_rules import FirmRules, LossRule

WARN_AT = (Decimal(60), Decimal(80))
MARK_STEP = Decimal("0.00000001")
"""To what an equity that is kept as a base is rounded down, and stored: a restart and going on agree. Rounded to the nearest it was
above the truth by 2e-9, and a stop that was not reached was taken for reached."""
SEVERITY = {
    "daily_warn_60": 3,
    "daily_warn_80": 3,
    "daily_loss": 2,
    "total_warn_60": 3,
    "total_warn_80": 3,
    "total_loss": 1,
    "firm_limit": 1,
    "profit_target": 3,
    "rearmed": 3,
    "account_reset": 3,
    "account_set": 3,
    "kill_switch_on": 2,
    "kill_switch_reducing": 2,
    "kill_switch_paused": 3,
    "kill_switch_off": 3,
    "loss_streak": 2,
    "stale": 2,
    "crash": 1,
    "model_switched": 3,
    "model_refused": 2,
    "bad_score": 2,
    "store_blocked": 2,
}
"""1 stops the observation clock, 2 blocks signals, 3 informs; explained in the runbook."""


@dataclass(frozen=True, slots=True)
class RiskEvent:
    """A warning, a block or its end; people are told of each."""

    happened_at: datetime
    kind: str
    detail: str
    product: str = ""
    """Empty when it concerns all products."""

    @property
    def severity(self) -> int:
        """1 stops the observation clock, 2 blocks signals, 3 informs."""
        return SEVERITY[self.kind]


@dataclass(frozen=True, slots=True)
class Headroom:
    """How much may still be lost before we stop: today, until the reset, and in all, which never resets."""

    capital: Decimal
    daily_usd: Decimal
    """Whole cents, rounded down; below 0 once past the stop, and more than the stop itself on a day in profit."""
    total_usd: Decimal
    resets_at: datetime

    @property
    def left_usd(self) -> Decimal:
        """What is left to the nearer stop, at least 0."""
        return max(Decimal(0), min(self.daily_usd, self.total_usd))

    @property
    def left_pct(self) -> Decimal:
        """The same in percent of the initial capital."""
        return 100 * self.left_usd / self.capital


@dataclass(slots=True)
class Guardrails:
    """The state behind the rules: what limits are measured from, which events were raised, and what is blocked."""

    rules: FirmRules
    day: date
    marks: AccountMarks
    daily_blocked: bool = False
    total_blocked: bool = False
    is_ended: bool = False
    """Whether equity was below a limit of the firm: it has closed that account, after the reset too."""
    raised: set[str] = field(default_factory=set)
    """Kinds of event raised already; each is raised once a day (daily) or once (total)."""

    @classmethod
    def fresh(cls, rules: FirmRules, moment: datetime, marks: AccountMarks | None = None) -> Guardrails:
        """Start the day of ``moment`` with ``marks``, those of a new account if none."""
        return cls(rules, rules.day_of(moment), marks or AccountMarks.fresh(rules.capital))

    def copy(self) -> Guardrails:
        """Return guardrails that go on without these."""
        return replace(self, raised=set(self.raised))

    def restore(self, events: Iterable[tuple[datetime, str]]) -> None:
        """Take up again what earlier sessions raised and blocked; events are (moment, kind)."""
        for happened_at, kind in events:
            if kind.startswith("daily") and self.rules.day_of(happened_at) != self.day:
                continue
            if kind == "rearmed":
                self.raised.clear()
                self.daily_blocked = self.total_blocked = self.is_ended = False
                continue
            self.raised.add(kind)
            self.daily_blocked |= kind == "daily_loss"
            self.total_blocked |= kind == "total_loss"
            self.is_ended |= kind == "firm_limit"

    def roll(self, moment: datetime, balance: Decimal, equity: Decimal) -> bool:
        """Begin a new day if ``moment`` lies in one, with this balance and equity. Never goes back."""
        today = self.rules.day_of(moment)
        if today <= self.day:
            return False
        self.day, self.daily_blocked = today, False
        self.marks = replace(
            self.marks,
            day_start_balance=balance,
            day_start_equity=equity.quantize(MARK_STEP, ROUND_FLOOR),
            highest_day_start_balance=max(balance, self.marks.highest_day_start_balance),
        )
        self.raised = {kind for kind in self.raised if not kind.startswith("daily")}
        return True

    @property
    def blocked(self) -> str | None:
        """The reason no signal may be made, None if there is none."""
        if self.total_blocked or self.is_ended:
            return "total_loss"
        return "daily_loss" if self.daily_blocked else None

    def base(self, rule: LossRule) -> Decimal:
        """Return what the loss of ``rule`` is measured from."""
        return rule.base_usd(self.marks, self.rules.capital)

    def limit(self, rule: LossRule) -> Decimal:
        """Return the equity that is just allowed by the firm."""
        return self.base(rule) - rule.limit_usd(self.marks, self.rules.capital)

    def loss(self, rule: LossRule, equity: Decimal) -> Decimal:
        """Return how far ``equity`` is below the base of ``rule``; 0 if above."""
        return max(Decimal(0), self.base(rule) - equity)

    def left(self, rule: LossRule, equity: Decimal) -> Decimal:
        """Return what may be lost before our stop of ``rule`` is reached; below 0 once past it."""
        return equity - self.base(rule) + rule.stop_usd(self.marks, self.rules.capital)

    @property
    def floor(self) -> Decimal:
        """Return the equity at which the nearer of our stops is reached."""
        return max(
            self.base(rule) - rule.stop_usd(self.marks, self.rules.capital)
            for rule in (self.rules.daily_loss, self.rules.total_loss)
        )

    def used_pct(self, rule: LossRule, equity: Decimal) -> Decimal:
        """Return the share of the firm's limit in use, 0-100 and beyond."""
        return 100 * self.loss(rule, equity) / rule.limit_usd(self.marks, self.rules.capital)

    def assess(self, moment: datetime, equity: Decimal, span: EquitySpan | None = None) -> list[RiskEvent]:
        """Hold ``equity``, and the ``span`` it went through since the last time, against both rules; return what is new.

        Inside a minute nobody knows which came first: its highest equity raises a trailing base before its lowest is
        held against it, which is the worse of both orders.
        """
        span = span or EquitySpan(equity, equity)
        highest = max(
            self.marks.highest_equity,
            span.high.quantize(MARK_STEP, ROUND_FLOOR),
            equity.quantize(MARK_STEP, ROUND_FLOOR),
        )
        self.marks = replace(self.marks, highest_equity=highest)
        events: list[RiskEvent] = []
        for rule in (self.rules.daily_loss, self.rules.total_loss):
            for kind in self._reached(rule, equity, min(equity, span.low)):
                if kind not in self.raised:
                    self.raised.add(kind)
                    worst = min(equity, span.low) if kind == "firm_limit" else equity
                    events.append(RiskEvent(moment, kind, self._sentence(rule, worst)))
        self.is_ended |= "firm_limit" in self.raised
        self.daily_blocked |= "daily_loss" in self.raised
        self.total_blocked |= "total_loss" in self.raised
        return events

    def reach_target(self, moment: datetime, balance: Decimal, open_positions: int) -> list[RiskEvent]:
        """Return the news that closed positions have earned MORE than the profit target and none is open, once."""
        target, profit = self.rules.profit_target_usd, balance - self.rules.capital
        if target is None or open_positions or profit <= target or "profit_target" in self.raised:
            return []
        self.raised.add("profit_target")
        detail = f"closed positions earned {to_cents(profit)}, the target of phase {self.rules.phase} is {to_cents(target)}; see desk limits for what else the firm asks"
        return [RiskEvent(moment, "profit_target", detail)]

    def _reached(self, rule: LossRule, equity: Decimal, lowest: Decimal) -> list[str]:
        used = self.used_pct(rule, equity)
        kinds = [f"{rule.name}_warn_{level}" for level in WARN_AT if used >= level]
        if self.left(rule, equity) <= 0:
            kinds.append(f"{rule.name}_loss")
        # exactly at the firm's limit is no breach, below it is
        if lowest < self.limit(rule):
            kinds.append("firm_limit")
        return kinds

    def _sentence(self, rule: LossRule, equity: Decimal) -> str:
        of = "the initial capital" if rule.percent_of == "initial_capital" else "its base"
        whole = self.rules.capital if rule.percent_of == "initial_capital" else self.base(rule)
        share = 100 * self.loss(rule, equity) / whole
        return (
            f"{rule.name} loss {share:.2f} % of {of} (stop at {rule.stop_pct} %, the firm's limit "
            f"{rule.limit_pct} %); equity {to_cents(equity)}, base {to_cents(self.base(rule))}"
        )

    def headroom(self, moment: datetime, equity: Decimal) -> Headroom:
        """Return what may still be lost before each stop, and when the daily one starts anew."""
        daily, total = (
            self.left(rule, equity).quantize(CENT, ROUND_FLOOR)
            for rule in (self.rules.daily_loss, self.rules.total_loss)
        )
        return Headroom(self.rules.capital, daily, total, self.rules.next_reset(moment))
