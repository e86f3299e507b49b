"""Hold the account against a prop firm's loss rules, which are data, at the close of every minute.

The defaults are FTMO's two-step rules. Daily: equity must stay above the BALANCE at the last midnight of
Europe/Prague minus 5 % of the INITIAL capital; total: above 90 % of the initial capital. We stop earlier, at
4.5 % and 9 %. Equity counts open positions, costs and fees. A floating loss that is legal at 23:59 can break the rule
at 00:00, because balance, not equity, sets the base.

What a stop does: no new signal, and open paper positions are closed. The daily stop lifts at the next midnight, the
total stop never does by itself. Equity BELOW the firm's own limit ends the firm's account: no signal is made any more,
on no later day, until a person re-arms with a reason. All comparisons are between Decimals. Days have 23 or 25 hours twice a year.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_FLOOR, Decimal
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from runtime.risk.execution_costs import CENT, exact, to_cents

if TYPE_CHECKING:
    from collections.abc import Iterable

    from core.settings import Settings

WARN_AT = (Decimal(60), Decimal(80))
SEVERITY = {
    "daily_warn_60": 3,
    "daily_warn_80": 3,
    "daily_loss": 2,
    "total_warn_60": 3,
    "total_warn_80": 3,
    "total_loss": 1,
    "firm_limit": 1,
    "rearmed": 3,
    "account_reset": 3,
    "kill_switch_on": 2,
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
class LossRule:
    """One limit, in percent of the initial capital, below a base."""

    name: str
    """``daily`` or ``total``."""
    base: str
    """``day_start_balance`` or ``initial_capital``."""
    limit_pct: Decimal
    stop_pct: Decimal


@dataclass(frozen=True, slots=True)
class FirmRules:
    """The rules of one firm; another firm is another value of this, not other code."""

    capital: Decimal
    daily: LossRule
    total: LossRule
    zone: ZoneInfo

    def day_of(self, moment: datetime) -> date:
        """Return the firm's calendar day that ``moment`` lies in; midnight begins the new one."""
        return moment.astimezone(self.zone).date()

    def next_reset(self, moment: datetime) -> datetime:
        """Return the next midnight of the firm, in UTC."""
        following = self.day_of(moment) + timedelta(days=1)
        return datetime.combine(following, time(), self.zone).astimezone(UTC)

    def day_start(self, moment: datetime) -> datetime:
        """Return the firm's midnight at or before ``moment``, in UTC."""
        return datetime.combine(self.day_of(moment), time(), self.zone).astimezone(UTC)


def rules_from(settings: Settings) -> FirmRules:
    """Return the firm's rules the settings name (FTMO's by default)."""
    return FirmRules(
        capital=exact(settings.initial_capital_usd),
        daily=LossRule(
            "daily", "day_start_balance", exact(settings.daily_loss_limit_pct), exact(settings.daily_loss_stop_pct)
        ),
        total=LossRule(
            "total", "initial_capital", exact(settings.total_loss_limit_pct), exact(settings.total_loss_stop_pct)
        ),
        zone=ZoneInfo(settings.reset_zone),
    )


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
    """The state behind the rules: today's base, which events were raised, and what is blocked."""

    rules: FirmRules
    day: date
    day_start_balance: Decimal
    daily_blocked: bool = False
    total_blocked: bool = False
    is_ended: bool = False
    """Whether equity was below a limit of the firm: it has closed that account, at midnight too."""
    raised: set[str] = field(default_factory=set)
    """Kinds of event raised already; each is raised once a day (daily) or once (total)."""

    @classmethod
    def fresh(cls, rules: FirmRules, moment: datetime, balance: Decimal | None = None) -> Guardrails:
        """Start today with ``balance`` (the initial capital if none) as base."""
        return cls(rules, rules.day_of(moment), rules.capital if balance is None else balance)

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

    def roll(self, moment: datetime, balance: Decimal) -> bool:
        """Begin a new day if ``moment`` lies in one; ``balance`` becomes its base. Never goes back."""
        today = self.rules.day_of(moment)
        if today <= self.day:
            return False
        self.day, self.day_start_balance, self.daily_blocked = today, balance, False
        self.raised = {kind for kind in self.raised if not kind.startswith("daily")}
        return True

    @property
    def blocked(self) -> str | None:
        """The reason no signal may be made, None if there is none."""
        if self.total_blocked or self.is_ended:
            return "total_loss"
        return "daily_loss" if self.daily_blocked else None

    def _base(self, rule: LossRule) -> Decimal:
        return self.day_start_balance if rule.base == "day_start_balance" else self.rules.capital

    def loss(self, rule: LossRule, equity: Decimal) -> Decimal:
        """Return how far ``equity`` is below the base of ``rule``; 0 if above."""
        return max(Decimal(0), self._base(rule) - equity)

    def _left(self, rule: LossRule, equity: Decimal) -> Decimal:
        return equity - self._base(rule) + self.rules.capital * rule.stop_pct / 100

    def room(self, equity: Decimal) -> Decimal:
        """Return what may be lost before the nearer of our stops is reached, to the last digit; below 0 once past it."""
        return min(self._left(self.rules.daily, equity), self._left(self.rules.total, equity))

    def used_pct(self, rule: LossRule, equity: Decimal) -> Decimal:
        """Return the share of the firm's limit in use, 0-100 and beyond."""
        return 100 * self.loss(rule, equity) / (self.rules.capital * rule.limit_pct / 100)

    def assess(self, moment: datetime, equity: Decimal) -> list[RiskEvent]:
        """Hold ``equity`` against both rules; return what is new since the last time."""
        events: list[RiskEvent] = []
        for rule in (self.rules.daily, self.rules.total):
            for kind in self._reached(rule, equity):
                if kind not in self.raised:
                    self.raised.add(kind)
                    events.append(RiskEvent(moment, kind, self._sentence(rule, equity)))
        self.is_ended |= "firm_limit" in self.raised
        self.daily_blocked |= "daily_loss" in self.raised
        self.total_blocked |= "total_loss" in self.raised
        return events

    def _reached(self, rule: LossRule, equity: Decimal) -> list[str]:
        used = self.used_pct(rule, equity)
        kinds = [f"{rule.name}_warn_{level}" for level in WARN_AT if used >= level]
        if self.loss(rule, equity) >= self.rules.capital * rule.stop_pct / 100:
            kinds.append(f"{rule.name}_loss")
        # exactly at the firm's limit is no breach, below it is
        if self.loss(rule, equity) > self.rules.capital * rule.limit_pct / 100:
            kinds.append("firm_limit")
        return kinds

    def _sentence(self, rule: LossRule, equity: Decimal) -> str:
        share = 100 * self.loss(rule, equity) / self.rules.capital
        return (
            f"{rule.name} loss {share:.2f} % of the initial capital (stop at {rule.stop_pct} %, the firm's limit "
            f"{rule.limit_pct} %); equity {to_cents(equity)}, base {to_cents(self._base(rule))}"
        )

    def headroom(self, moment: datetime, equity: Decimal) -> Headroom:
        """Return what may still be lost before each stop, and when the daily one starts anew."""
        daily, total = (
            self._left(rule, equity).quantize(CENT, ROUND_FLOOR) for rule in (self.rules.daily, self.rules.total)
        )
        return Headroom(self.rules.capital, daily, total, self.rules.next_reset(moment))
