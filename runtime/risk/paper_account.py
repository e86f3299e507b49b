"""Keep the paper account: what would have happened to the money, minute by minute.

A position is opened at the close of the minute decided on, and ends at its target, its stop, or 15 minutes
later. Touches are looked for in the minutes after the entry. A minute that touches both ends at the stop
(worst case), and one that opens beyond the stop ends at that worse opening price. Every exit pays costs.

Size: the loss at the stop, costs of the exit and both fees included, is `risk_per_trade_pct` of the INITIAL
capital (as prop firms count it), rounded down to the lot step; the firm's limits of the product hold; all open positions together stay below
`max_leverage` times the smaller of capital and balance, and what all of them lose at their stops, costs included, fits
the headroom to our stop. A size of 0 says that there is no room, or that the price is too small for a stop: no position is opened.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING

from core.candles import HORIZON_MINUTES, MINUTE
from runtime.risk.execution_costs import BPS, PRICE_STEP, Costs, exact, to_cents
from runtime.risk.firm_rules import ProductLimits, rules_from

if TYPE_CHECKING:
    from collections.abc import Mapping

    from core.candles import Candle
    from core.settings import Settings

HORIZON = timedelta(minutes=HORIZON_MINUTES)


@dataclass(frozen=True, slots=True)
class Sizing:
    """How large a position may be; percentages are 0-100, money in the quote currency."""

    capital: Decimal
    risk_pct: Decimal
    stop_pct: Decimal
    target_pct: Decimal
    max_leverage: Decimal
    lot_step: Decimal = Decimal(1)
    minimum: Decimal = Decimal(10)
    positions_per_product: int = 1
    """The same trade alerts once while it is open."""
    products: Mapping[str, ProductLimits] = field(default_factory=dict)
    """What the firm says of single products."""


def sizing_from(settings: Settings) -> Sizing:
    """Return the sizing rules of the settings and of the firm.

    Raises:
        ConfigError: the firm's rules cannot be used.
    """
    return Sizing(
        capital=exact(settings.initial_capital_usd),
        risk_pct=exact(settings.risk_per_trade_pct),
        stop_pct=exact(settings.stop_pct),
        target_pct=exact(settings.target_pct),
        max_leverage=exact(settings.max_leverage),
        positions_per_product=settings.max_positions_per_product,
        products=rules_from(settings).products,
    )


@dataclass(frozen=True, slots=True)
class EquitySpan:
    """The lowest and the highest equity that an account can have passed through in a minute."""

    low: Decimal
    high: Decimal


@dataclass(frozen=True, slots=True)
class Position:
    """One open paper position; ``side`` is +1 for long, -1 for short."""

    signal_id: str
    product: str
    side: int
    reference_price: Decimal
    """Close of the minute decided on, before costs."""
    entry_price: Decimal
    target_price: Decimal
    stop_price: Decimal
    size_usd: Decimal
    opened_at: datetime
    costs: Costs

    @property
    def expires_at(self) -> datetime:
        """When it ends if nothing was touched."""
        return self.opened_at + HORIZON

    @property
    def reward_risk_ratio(self) -> float:
        """Distance to the target over distance to the stop."""
        return float(abs(self.target_price - self.entry_price) / abs(self.entry_price - self.stop_price))

    def net_bps(self, exit_price: Decimal) -> Decimal:
        """Return the result in basis points of the entry when it ends at the fill ``exit_price``."""
        ratio = exit_price / self.entry_price
        return self.side * (ratio - 1) * BPS - self.costs.fee_bps * (1 + ratio)

    def result(self, price: Decimal) -> Decimal:
        """Return the profit or loss of closing now, with the market at ``price``, costs included.

        The one division comes last: a quotient taken first is rounded, and misses a limit that is reached exactly.
        """
        return self.size_usd * self._gained(price) / (self.entry_price * BPS)

    def exact_result(self, price: Decimal, size_usd: Decimal | None = None) -> Fraction:
        """Return the same without any rounding, for ``size_usd`` if it is given."""
        size = self.size_usd if size_usd is None else size_usd
        return Fraction(size * self._gained(price)) / Fraction(self.entry_price * BPS)

    def _gained(self, price: Decimal) -> Decimal:
        fill = self.costs.fill(price, -self.side)
        return self.side * (fill - self.entry_price) * BPS - self.costs.fee_bps * (fill + self.entry_price)


@dataclass(frozen=True, slots=True)
class ClosedPosition:
    """How a position ended."""

    position: Position
    closed_at: datetime
    exit_price: Decimal
    exit_reason: str
    gross_bps: Decimal
    net_bps: Decimal
    pnl_usd: Decimal

    @property
    def is_win(self) -> bool:
        """Whether the direction was right, before costs."""
        return self.gross_bps > 0

    @property
    def is_loss(self) -> bool:
        """Whether money was lost, after costs: what the loss limiter counts."""
        return self.net_bps < 0


@dataclass(slots=True)
class Account:
    """Balance, open positions and the last price of each product."""

    sizing: Sizing
    balance: Decimal = Decimal(0)
    positions: list[Position] = field(default_factory=list)
    prices: dict[str, Decimal] = field(default_factory=dict)

    @classmethod
    def fresh(cls, sizing: Sizing) -> Account:
        """Return an account that holds the initial capital and nothing else."""
        return cls(sizing, sizing.capital)

    def copy(self) -> Account:
        """Return an account that goes on without this one."""
        return replace(self, positions=list(self.positions), prices=dict(self.prices))

    @property
    def equity(self) -> Decimal:
        """Balance plus every open position at what closing it now would bring."""
        return self.balance + sum((self._open_result(position) for position in self.positions), Decimal(0))

    def equity_span(self, open_time: datetime, candles: Mapping[str, Candle | None]) -> EquitySpan:
        """Return what equity can have been inside the minute that opened at ``open_time``; ask before `on_minute`.

        Which price came first is not known, nor what two products did at the same moment: every position is taken at
        its worst for the low and at its best for the high, no further than its stop and its target let it go.
        """
        low = high = self.balance
        for held in self.positions:
            before = self._open_result(held)
            candle = candles.get(held.product) if open_time >= held.opened_at else None
            results = [before, *([] if candle is None else _inside(held, candle))]
            low, high = low + min(results), high + max(results)
        return EquitySpan(low, high)

    def _open_result(self, position: Position) -> Decimal:
        return position.result(self.prices.get(position.product, position.reference_price))

    def is_full(self, product: str) -> bool:
        """Return whether ``product`` has as many open positions as it may."""
        return sum(held.product == product for held in self.positions) >= self.sizing.positions_per_product

    def plan(
        self,
        signal_id: str,
        product: str,
        side: int,
        price: Decimal,
        at: datetime,
        costs: Costs,
        floor: Decimal | None = None,
    ) -> Position:
        """Return the position a signal would open, sized by the rules; it is not opened yet.

        ``floor`` is the equity at which we stop; None bounds the size by risk and leverage alone.
        """
        entry = costs.fill(price, side)
        stop = (entry * (1 - side * self.sizing.stop_pct / 100)).quantize(PRICE_STEP)
        target = (entry * (1 + side * self.sizing.target_pct / 100)).quantize(PRICE_STEP)
        bare = Position(signal_id, product, side, price, entry, target, stop, Decimal(0), at, costs)
        if not min(stop, target) < entry < max(stop, target) or min(stop, target) <= 0:
            return bare  # so small a price that its stop or target is rounded onto the entry
        return replace(bare, size_usd=self._size(bare, floor))

    def _size(self, position: Position, floor: Decimal | None) -> Decimal:
        """Return the size in fractions to the last step: a quotient that is rounded loses a whole step where it is exact."""
        limits = self.sizing.products.get(position.product, ProductLimits())
        risk = Fraction(self.sizing.capital * self.sizing.risk_pct / 100)
        if floor is not None:
            at_stops = sum((held.exact_result(held.stop_price) for held in self.positions), Fraction(self.balance))
            risk = min(risk, at_stops - Fraction(floor))
        means = min(self.sizing.capital, self.balance)
        in_use = sum((held.size_usd for held in self.positions), Decimal(0))
        most = [
            risk / -position.exact_result(position.stop_price, Decimal(1)),
            Fraction(self.sizing.max_leverage * means - in_use),
        ]
        if limits.max_leverage is not None:
            own = sum((held.size_usd for held in self.positions if held.product == position.product), Decimal(0))
            most.append(Fraction(limits.max_leverage * means - own))
        lot = Fraction(limits.contract_size * position.entry_price)
        if limits.max_lots is not None:
            most.append(Fraction(limits.max_lots) * lot)
        step = Fraction(self.sizing.lot_step) if limits.lot_step is None else Fraction(limits.lot_step) * lot
        size = math.floor(100 * (min(most) // step) * step)
        least = max(Fraction(self.sizing.minimum), Fraction(limits.min_lots or 0) * lot)
        return Decimal(size) / 100 if size >= math.floor(100 * least) else Decimal(0)

    def open(self, position: Position) -> None:
        """Take a planned position."""
        self.prices.setdefault(position.product, position.reference_price)
        self.positions.append(position)

    def on_minute(self, open_time: datetime, candles: Mapping[str, Candle | None]) -> list[ClosedPosition]:
        """Close what the minute that opened at ``open_time`` ended, then mark the rest to its close.

        A product without a candle is marked at its last price and can only time out.
        """
        for product, candle in candles.items():
            if candle is not None:
                self.prices[product] = candle.close
        closed_at = open_time + MINUTE
        ended = [self._ended(held, closed_at, candles.get(held.product)) for held in self.positions]
        self.positions = [held for held, end in zip(self.positions, ended, strict=True) if end is None]
        return self._booked([end for end in ended if end is not None])

    def _booked(self, closed: list[ClosedPosition]) -> list[ClosedPosition]:
        self.balance += sum((position.pnl_usd for position in closed), Decimal(0))
        return closed

    def _ended(self, position: Position, closed_at: datetime, candle: Candle | None) -> ClosedPosition | None:
        if closed_at <= position.opened_at:
            return None
        if candle is not None and (touched := touched_price(position, candle)) is not None:
            price, reason = touched
            return close_position(position, closed_at, price, reason)
        if closed_at >= position.expires_at:
            return close_position(position, closed_at, self.prices[position.product], "timeout")
        return None

    def close_all(self, at: datetime, reason: str) -> list[ClosedPosition]:
        """End every position at the last known price; what a guardrail does."""
        done = [close_position(held, at, self.prices[held.product], reason) for held in self.positions]
        self.positions = []
        return self._booked(done)


def touched_price(position: Position, candle: Candle) -> tuple[Decimal, str] | None:
    """Return the market price and the reason at which ``candle`` ends ``position``; the stop wins a tie."""
    if position.side > 0:
        if candle.low <= position.stop_price:
            return min(candle.open, position.stop_price), "stop"
        if candle.high >= position.target_price:
            return position.target_price, "target"
        return None
    if candle.high >= position.stop_price:
        return max(candle.open, position.stop_price), "stop"
    if candle.low <= position.target_price:
        return position.target_price, "target"
    return None


def _inside(position: Position, candle: Candle) -> list[Decimal]:
    """Return the results of ``position`` at its worst and its best price inside ``candle``; an exit is booked in cents."""
    touched = touched_price(position, candle)
    worst, best = (candle.low, candle.high) if position.side > 0 else (candle.high, candle.low)
    best = min(best, position.target_price) if position.side > 0 else max(best, position.target_price)
    if touched is not None and touched[1] == "stop":
        return [to_cents(position.result(touched[0])), position.result(best)]
    return [position.result(worst), position.result(best)]


def close_position(position: Position, at: datetime, price: Decimal, reason: str) -> ClosedPosition:
    """Return how ``position`` ends with the market at ``price``; the result is rounded to cents."""
    exit_price = position.costs.fill(price, -position.side)
    return ClosedPosition(
        position=position,
        closed_at=at,
        exit_price=exit_price,
        exit_reason=reason,
        gross_bps=position.side * (price / position.reference_price - 1) * BPS,
        net_bps=position.net_bps(exit_price),
        pnl_usd=to_cents(position.result(price)),
    )
