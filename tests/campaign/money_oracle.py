"""Say a second time, from the firm's published rules alone, what a paper account comes to: in exact fractions, minute by minute.

Nothing here is imported from the runtime. Prices are rounded to 1e-8 and bookings to cents, half to even, for that is
what an account does; nothing else is rounded, so a limit that is reached exactly is reached exactly.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
PRICE_STEPS = 10**8


def to_price(value: Fraction) -> Fraction:
    """Round to the eighth decimal, half to even (as `round` of a Fraction does)."""
    return Fraction(round(value * PRICE_STEPS), PRICE_STEPS)


def to_cents(value: Fraction) -> Fraction:
    """Round to cents, half to even."""
    return Fraction(round(value * 100), 100)


@dataclass(frozen=True)
class Firm:
    """One firm's rules and one person's settings; percentages are 0-100."""

    capital: Fraction
    zone: str
    reset: time
    daily_base: str
    daily_limit: Fraction
    daily_stop: Fraction
    daily_of_base: bool
    total_base: str
    total_limit: Fraction
    total_stop: Fraction
    total_of_base: bool
    locks: bool
    target: Fraction | None
    risk: Fraction
    stop: Fraction
    take: Fraction
    leverage: Fraction
    per_product: int
    price_bps: Fraction
    fee_bps: Fraction
    per_hour: int
    losses: int
    max_lots: dict[str, Fraction] = field(default_factory=dict)
    lot_step: dict[str, Fraction] = field(default_factory=dict)
    contract: dict[str, Fraction] = field(default_factory=dict)
    own_leverage: dict[str, Fraction] = field(default_factory=dict)

    def day(self, moment: datetime) -> date:
        """The date of the last reset at or before ``moment``."""
        newest = moment.astimezone(ZoneInfo(self.zone)).date() + timedelta(days=1)
        while self._reset(newest) > moment:
            newest -= timedelta(days=1)
        return newest

    def _reset(self, day: date) -> datetime:
        return datetime.combine(day, self.reset, ZoneInfo(self.zone)).astimezone(UTC)


@dataclass
class Bar:
    """One minute's candle."""

    open: Fraction
    high: Fraction
    low: Fraction
    close: Fraction


@dataclass
class Holding:
    """An open position."""

    product: str
    side: int
    reference: Fraction
    entry: Fraction
    target: Fraction
    stop: Fraction
    size: Fraction
    opened_at: datetime


@dataclass
class MinuteTruth:
    """What must be seen after a minute."""

    balance: Fraction
    equity: Fraction
    open_positions: int
    events: list[str]
    exits: list[tuple[str, Fraction]]
    """(reason, profit or loss in cents)"""
    reasons: list[str]
    sizes: list[Fraction]


class Oracle:
    """One account under one firm."""

    def __init__(self, firm: Firm, start: datetime) -> None:
        self.firm = firm
        self.balance = self.base = self.base_equity = self.top_start = self.top = firm.capital
        self.day = firm.day(start)
        self.held: list[Holding] = []
        self.last: dict[str, Fraction] = {}
        self.raised: set[str] = set()
        self.daily_blocked = self.total_blocked = self.ended = False
        self.lost_at: deque[datetime] = deque()
        self.made_at: deque[datetime] = deque()
        self.paused_until: datetime | None = None

    # money

    def fill(self, price: Fraction, side: int) -> Fraction:
        """What is paid or received at ``price``."""
        return to_price(price * (1 + side * self.firm.price_bps / 10_000))

    def worth(self, held: Holding, price: Fraction) -> Fraction:
        """Profit or loss of ending ``held`` at ``price``."""
        out = self.fill(price, -held.side)
        moved = held.side * (out - held.entry)
        fees = self.firm.fee_bps / 10_000 * (out + held.entry)
        return held.size * (moved - fees) / held.entry

    def equity(self) -> Fraction:
        """Balance and what every position would bring now."""
        return self.balance + sum(self.worth(own, self.last.get(own.product, own.reference)) for own in self.held)

    # limits

    def daily(self) -> tuple[Fraction, Fraction, Fraction]:
        """(base, loss allowed, loss at which we stop)"""
        firm = self.firm
        base = max(self.base, self.base_equity) if firm.daily_base == "day_start_higher" else self.base
        whole = base if firm.daily_of_base else firm.capital
        return base, whole * firm.daily_limit / 100, whole * firm.daily_stop / 100

    def total(self) -> tuple[Fraction, Fraction, Fraction]:
        """The same of the total rule."""
        firm = self.firm
        base = {
            "initial_capital": firm.capital,
            "highest_day_start_balance": self.top_start,
            "highest_equity": self.top,
        }[firm.total_base]
        whole = base if firm.total_of_base else firm.capital
        allowed, ours = whole * firm.total_limit / 100, whole * firm.total_stop / 100
        if firm.locks and base - allowed > firm.capital:
            base = firm.capital + allowed
        return base, allowed, ours

    def hold_against(self, equity: Fraction, low: Fraction, high: Fraction) -> list[str]:
        """Raise what is new."""
        self.top = max(self.top, high, equity)
        news = []
        for name, (base, allowed, ours) in (("daily", self.daily()), ("total", self.total())):
            lost = base - equity
            said = [f"{name}_warn_{level}" for level in (60, 80) if max(lost, 0) * 100 >= level * allowed]
            if lost >= ours:
                said.append(f"{name}_loss")
            if base - min(low, equity) > allowed:
                said.append("firm_limit")
            for kind in said:
                if kind not in self.raised:
                    self.raised.add(kind)
                    news.append(kind)
        self.daily_blocked |= "daily_loss" in self.raised
        self.total_blocked |= "total_loss" in self.raised
        self.ended |= "firm_limit" in self.raised
        return news

    @property
    def blocked(self) -> str | None:
        """Why nothing may be opened."""
        if self.total_blocked or self.ended:
            return "total_loss"
        return "daily_loss" if self.daily_blocked else None

    def begin_day(self, moment: datetime) -> None:
        """Take the bases of a new day, if it is one."""
        today = self.firm.day(moment)
        if today > self.day:
            self.day, self.base, self.base_equity = today, self.balance, self.equity()
            self.top_start = max(self.top_start, self.balance)
            self.daily_blocked = False
            self.raised = {kind for kind in self.raised if not kind.startswith("daily")}

    # a minute

    def minute(self, start: datetime, bars: dict[str, Bar | None], wishes: dict[str, int | None]) -> MinuteTruth:
        """Let the minute from ``start`` pass; a wish is +1, -1, 0 (not sure enough) or None (no answer)."""
        close = start + MINUTE
        self.begin_day(start)
        low = high = self.balance
        for own in self.held:
            worths = self._inside(own, bars.get(own.product))
            low, high = low + min(worths), high + max(worths)
        for product, bar in bars.items():
            if bar is not None:
                self.last[product] = bar.close
        exits: list[tuple[Holding, str, Fraction, Fraction]] = []
        for own in list(self.held):
            end = self._end(own, bars.get(own.product), close)
            if end is not None:
                exits.append((own, *end, self.worth(own, end[1])))
                self.held.remove(own)
        self.balance += sum(to_cents(end[3]) for end in exits)
        news: list[str] = []
        if self.firm.day(close) > self.day:
            news += self._stop_out(low, high, exits)
            self.begin_day(close)
            now = self.equity()
            news += self._stop_out(now, now, exits)
        else:
            news += self._stop_out(low, high, exits)
        for own, _, price, _ in exits:
            news += self._count(own, price, close)
        news += self._reach_target()
        balance, equity, count = self.balance, self.equity(), len(self.held)
        reasons, sizes = [], []
        for product, wish in wishes.items():
            reason, size = self._decide(product, bars.get(product), wish, close)
            reasons.append(reason)
            if size is not None:
                sizes.append(size)
        booked = [(reason, to_cents(worth)) for _, reason, _, worth in exits]
        return MinuteTruth(balance, equity, count, news, booked, reasons, sizes)

    def _reach_target(self) -> list[str]:
        firm = self.firm
        if firm.target is None or self.held or "profit_target" in self.raised:
            return []
        if self.balance - firm.capital <= firm.capital * firm.target / 100:
            return []
        self.raised.add("profit_target")
        return ["profit_target"]

    def _inside(self, own: Holding, bar: Bar | None) -> list[Fraction]:
        worths = [self.worth(own, self.last.get(own.product, own.reference))]
        if bar is None:
            return worths
        if own.side > 0:
            is_stopped, worst, best = bar.low <= own.stop, bar.low, min(bar.high, own.target)
            out = min(bar.open, own.stop)
        else:
            is_stopped, worst, best = bar.high >= own.stop, bar.high, max(bar.low, own.target)
            out = max(bar.open, own.stop)
        return [
            *worths,
            to_cents(self.worth(own, out)) if is_stopped else self.worth(own, worst),
            self.worth(own, best),
        ]

    def _end(self, own: Holding, bar: Bar | None, close: datetime) -> tuple[str, Fraction] | None:
        if bar is not None and own.side > 0:
            if bar.low <= own.stop:
                return "stop", min(bar.open, own.stop)
            if bar.high >= own.target:
                return "target", own.target
        if bar is not None and own.side < 0:
            if bar.high >= own.stop:
                return "stop", max(bar.open, own.stop)
            if bar.low <= own.target:
                return "target", own.target
        if close - own.opened_at >= 15 * MINUTE:
            return "timeout", self.last[own.product]
        return None

    def _stop_out(
        self, low: Fraction, high: Fraction, exits: list[tuple[Holding, str, Fraction, Fraction]]
    ) -> list[str]:
        news = self.hold_against(self.equity(), low, high)
        if self.blocked and self.held:
            for own in self.held:
                price = self.last[own.product]
                exits.append((own, self.blocked, price, self.worth(own, price)))
                self.balance += to_cents(self.worth(own, price))
            self.held = []
            news += self.hold_against(self.balance, self.balance, self.balance)
        return news

    def _count(self, own: Holding, price: Fraction, close: datetime) -> list[str]:
        ratio = self.fill(price, -own.side) / own.entry
        if own.side * (ratio - 1) - self.firm.fee_bps / 10_000 * (1 + ratio) >= 0:
            return []
        self.lost_at.append(close)
        while self.lost_at[0] <= close - HOUR:
            self.lost_at.popleft()
        if len(self.lost_at) < self.firm.losses:
            return []
        was = self.paused_until is not None and close < self.paused_until
        self.paused_until = close + HOUR
        return [] if was else ["loss_streak"]

    def _decide(self, product: str, bar: Bar | None, wish: int | None, close: datetime) -> tuple[str, Fraction | None]:
        if wish is None or bar is None:
            return "unanswered" if wish is None else "no_candle", None
        if wish == 0 or self.blocked:
            return "below_threshold" if wish == 0 else str(self.blocked), None
        while self.made_at and self.made_at[0] <= close - HOUR:
            self.made_at.popleft()
        is_paused = self.paused_until is not None and close < self.paused_until
        if is_paused or len(self.made_at) >= self.firm.per_hour:
            return "rate_limited", None
        if sum(own.product == product for own in self.held) >= self.firm.per_product:
            return "position_open", None
        entry = self.fill(bar.close, wish)
        new = Holding(
            product, wish, bar.close, entry, to_price(entry * (1 + wish * self.firm.take / 100)),
            to_price(entry * (1 - wish * self.firm.stop / 100)), Fraction(0), close,
        )  # fmt: skip
        new.size = self._size(new)
        if new.size == 0:
            return "no_headroom", None
        self.held.append(new)
        self.made_at.append(close)
        return "emitted", new.size

    def _size(self, new: Holding) -> Fraction:
        firm, prices = self.firm, sorted((new.stop, new.target))
        if not prices[0] < new.entry < prices[1] or prices[0] <= 0:
            return Fraction(0)
        at_stops = self.balance + sum(self.worth(own, own.stop) for own in self.held)
        rooms = []
        for base, _, ours in (self.daily(), self.total()):
            rooms.append(at_stops - (base - ours))
        risk = min(firm.capital * firm.risk / 100, *rooms)
        new.size = Fraction(1)
        wanted = risk / -self.worth(new, new.stop)
        means = min(firm.capital, self.balance)
        most = [wanted, firm.leverage * means - sum(own.size for own in self.held)]
        if new.product in firm.own_leverage:
            own = sum(held.size for held in self.held if held.product == new.product)
            most.append(firm.own_leverage[new.product] * means - own)
        lot = firm.contract.get(new.product, Fraction(1)) * new.entry
        if new.product in firm.max_lots:
            most.append(firm.max_lots[new.product] * lot)
        step = firm.lot_step[new.product] * lot if new.product in firm.lot_step else Fraction(1)
        size = min(most) // step * step
        size = Fraction(size * 100 // 1, 100)
        return size if size >= 10 else Fraction(0)
