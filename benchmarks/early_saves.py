"""Early saves planted into real candles: what a minute looks like when it is saved before it is over.

A recorded minute is filled with trades at random moments: their prices are a random walk from its open to its close, bent
so that it reaches its high and its low and no further; their volumes are lumpy and add up to its own. The minute is then
cut at a random second. Candles after the cut stay as they were, so its close misses the next open just as far as the
market went in the lost seconds.

Shapes: _N candles, _N5 their open, high, low, close, volume; _T trades of one minute.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from pyarrow import parquet

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

COLUMNS = ("open", "high", "low", "close", "volume")
EVERY_MINUTES = 20
_TRADES = {"BTC-USD": 150, "ETH-USD": 150, "SOL-USD": 60, "DASH-USD": 3}
"""Mean number of trades a minute; no public figure says it of these months, so it is set by the coin's turnover."""
_TICK = 0.01
_LUMPINESS = 0.3
# a random walk of many steps with standard deviation 1 spans 1.6 on average
_RANGE_OF_WALK = 1.6


@dataclass(frozen=True)
class Planted:
    """Candles of one product, some of them cut off early."""

    product: str
    minute_N: NDArray[np.int64]
    candle_N5: Floats
    cut_second_N: Floats
    """Second at which the minute was saved; NaN where it is as recorded."""


def recorded(folder: Path, product: str) -> tuple[NDArray[np.int64], Floats]:
    """Return minutes since 1970 and candles of a recorded product."""
    table = parquet.read_table(folder / f"coinbase_{product}_1m.parquet")
    minute_N = table["time"].cast("int64").to_numpy() // 60_000_000
    return minute_N, np.stack([table[name].to_numpy() for name in COLUMNS], axis=1)


def planted(folder: Path, product: str, seed: int = 2) -> Planted:
    """Cut every ``EVERY_MINUTES``-th recorded candle at a random second; a minute with no trade until then stays whole."""
    dice = np.random.default_rng(seed)
    minute_N, candle_N5 = recorded(folder, product)
    candle_N5 = candle_N5.copy()
    cut_N = np.full(len(minute_N), np.nan)
    for row in range(int(dice.integers(EVERY_MINUTES)), len(minute_N) - 1, EVERY_MINUTES):
        second = float(dice.uniform(0, 60))
        cut = _cut(dice, candle_N5[row], second, _TRADES[product])
        if cut is not None:
            candle_N5[row] = cut
            cut_N[row] = second
    return Planted(product, minute_N, candle_N5, cut_N)


def _cut(dice: np.random.Generator, candle_5: Floats, second: float, trades: int) -> Floats | None:
    opened, high, low, close, volume = candle_5
    at_T = np.sort(dice.uniform(0, 60, max(2, dice.poisson(trades))))
    told = int((at_T <= second).sum())
    if told in {0, len(at_T)}:
        return None
    walk_T = np.cumsum(dice.normal(size=len(at_T)) * np.sqrt(np.diff(at_T, prepend=0.0) / 60))
    price_T = opened + (high - low) / _RANGE_OF_WALK * (walk_T - walk_T[0])
    price_T += (close - price_T[-1]) * (at_T - at_T[0]) / (at_T[-1] - at_T[0])
    price_T = np.round(_bent(price_T, opened, close, high, low) / _TICK) * _TICK
    share_T = dice.gamma(_LUMPINESS, size=len(at_T))
    seen_T = price_T[:told]
    bought = volume * share_T[:told].sum() / share_T.sum()
    return np.array([seen_T[0], seen_T.max(), seen_T.min(), seen_T[-1], bought])


def _bent(price_T: Floats, opened: float, close: float, high: float, low: float) -> Floats:
    """Stretch what lies above open and close up to the high, and what lies below them down to the low."""
    top, bottom = max(opened, close), min(opened, close)
    above, below = price_T.max() - top, bottom - price_T.min()
    bent_T = np.where(price_T > top, top + (price_T - top) * ((high - top) / above if above > 0 else 0), price_T)
    bent_T = np.where(
        bent_T < bottom, bottom - (bottom - bent_T) * ((bottom - low) / below if below > 0 else 0), bent_T
    )
    bent_T[0] = opened
    return bent_T


def as_arrow(minutes: NDArray[np.int64], candle_N5: Floats, product: str) -> pa.Table:
    """Return candles as an Arrow table with the columns of ``candles_1m``."""
    micros = pa.array(minutes * 60_000_000)
    return pa.table(
        {
            "product": pa.array([product] * len(minutes)),
            "open_time": micros.cast(pa.timestamp("us", tz="UTC")),
            **{name: candle_N5[:, column] for column, name in enumerate(COLUMNS)},
            "source": pa.array(["planted"] * len(minutes)),
            "known_at": pa.array((minutes + 1) * 60_000_000).cast(pa.timestamp("us", tz="UTC")),
        }
    )
