"""The rules a candle must pass before it is stored; what fails goes to quarantine with the rule's name."""

from __future__ import annotations

from decimal import Context, Decimal
from typing import TYPE_CHECKING

from core.candles import MINUTE

if TYPE_CHECKING:
    from datetime import datetime

    from core.candles import Candle, Span

# the columns hold 8 decimals; the exact sums of features_bands need prices below this
PRICE_LIMIT = Decimal(10**9)
VOLUME_LIMIT = Decimal(10**18)
# anything smaller would be stored as 0
PRICE_FLOOR = Decimal("5e-9")
GRAIN = Decimal("1e-8")
_DOUBLE = Context(prec=15)
"""A double holds 15 digits: what it shows behind them (42280.010000000002) was never a price's digit."""


def fault(candle: Candle, window: Span, known_at: datetime) -> str | None:
    """Return the name of the first rule ``candle`` breaks, None when it is good.

    The rules, in order: not_finite, off_grid, outside_window, still_open, non_positive_price (also one that eight decimals
    round to 0), negative_volume, out_of_range (a price from 1e9 up), ohlc_order, too_many_decimals (a price that eight
    decimals change, or a volume that they change by more than a millionth). A big move breaks none: `dq_spikes` flags it.
    """
    prices = (candle.open, candle.high, candle.low, candle.close)
    return _untellable(candle, prices) or _untimely(candle, window, known_at) or _unsound(candle, prices)


def _untellable(candle: Candle, prices: tuple[Decimal, ...]) -> str | None:
    return None if all(map(Decimal.is_finite, (*prices, candle.volume))) else "not_finite"


def _untimely(candle: Candle, window: Span, known_at: datetime) -> str | None:
    moment = candle.open_time
    if moment.second or moment.microsecond:
        return "off_grid"
    if not window.start <= moment < window.end:
        return "outside_window"
    return "still_open" if moment + MINUTE > known_at else None


def _unsound(candle: Candle, prices: tuple[Decimal, ...]) -> str | None:
    if min(prices) < PRICE_FLOOR:
        return "non_positive_price"
    if candle.volume < 0:
        return "negative_volume"
    if candle.high >= PRICE_LIMIT or candle.volume >= VOLUME_LIMIT:
        return "out_of_range"
    is_ordered = candle.low <= min(candle.open, candle.close) and max(candle.open, candle.close) <= candle.high
    if not is_ordered:
        return "ohlc_order"
    return "too_many_decimals" if _is_cut(candle.volume, prices) else None


def _is_cut(volume: Decimal, prices: tuple[Decimal, ...]) -> bool:
    open_, high, low, close = prices
    # nearly every price ends here; four remainders cost half of what a loop over them does
    if (open_ % GRAIN or high % GRAIN or low % GRAIN or close % GRAIN) and any(_DOUBLE.plus(p) % GRAIN for p in prices):
        return True
    lost = volume % GRAIN
    return bool(lost) and lost * 1_000_000 > volume
