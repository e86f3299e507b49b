"""The same 31 inputs by four ways of computing them, each in a process of its own so that its memory can be told.

Run by `benchmarks.features`: ``python -m benchmarks.feature_engines ENGINE FOLDER RESULT``. Each starts from candles on disk (ours
from the market database, the others from Parquet files of doubles) and ends with float32 columns in memory; files and imports
are read before the clock starts. Each is written as well as its manual allows. Polars is given our counting form of the volatility
regime, a little faster than its rolling quantiles; pandas is timed with both, as its quantiles take a third of the whole. Ties of
the regime are rounded in theirs, as their running means drift.
"""

from __future__ import annotations

import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from core.candles import MINUTE, Span
from store.feature_sets import LONGEST_FILL_MINUTES, feature_set
from store.feature_store import FeatureStore

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pandas as pd
    import polars as pl
    import pyarrow as pa

    Columns = Mapping[str, np.ndarray]
    Held = pa.Table | pl.DataFrame | Columns
    """Columns by name, as the engine holds them in memory."""

SET = feature_set("seed39")
COLUMNS, WARM_UP = SET.columns, SET.warm_up_minutes
EVER = Span(datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
SAMPLE = 97
"""Every so manieth minute is kept for the comparison."""
_LONGEST_STEP = 61
_TOGETHER = 10
"""Coins whose parts are made before they are deleted again: those of a hundred would take eight gigabytes of disk."""


def ours(folder: Path, products: list[str], threads: int) -> dict[str, list[Held]]:
    """Compute with the project's views, loaded and asked as for a data set's parts, half a product at a time."""
    from store.month_cache import Scratch

    file, loading = FeatureStore(folder / "market.duckdb"), Lock()
    spans = {product: file.span_stored(product) or EVER for product in products}
    pieces = [(product, piece) for product, span in spans.items() for piece in span.pages(-(-span.minutes // threads))]
    inputs = ", ".join(f"cast({name} as float) as {name}" for name in COLUMNS)
    stores = [Scratch(SET, 1_000) for _ in range(threads)]

    def compute(task: tuple[str, Span]) -> Held:
        product, piece = task
        scratch = stores.pop()
        scratch.empty()
        # the rows before, and the candle that shows whether the last minute was without a trade
        reach = Span(piece.start - SET.history_minutes * MINUTE, piece.end + (LONGEST_FILL_MINUTES + 1) * MINUTE)
        with loading:
            file.copy_candles(scratch.connection, product, reach, EVER.end)
        first, end = (int(moment.timestamp()) // 60 for moment in (piece.start, piece.end))
        query = f"select minute, {inputs} from {SET.view} where minute >= {first} and minute < {end}"
        table = scratch.connection.sql(query).to_arrow_table()
        stores.append(scratch)
        return table

    found: dict[str, list[Held]] = {product: [] for product in products}
    with ThreadPoolExecutor(threads) as pool:
        for (product, _), columns in zip(pieces, pool.map(compute, pieces), strict=True):
            found[product].append(columns)
    return found


def parts(folder: Path, products: list[str], threads: int) -> dict[str, list[Held]]:
    """Compute as `export_dataset` does, features and labels into Parquet parts, and keep nothing but the count of rows."""
    from store.month_cache import DatasetRequest, MonthCache

    file, memory_mb = FeatureStore(folder / "market.duckdb"), int(os.environ["FEATURE_MEMORY_MB"])
    counted: dict[str, list[Held]] = {}
    for first in range(0, len(products), _TOGETHER):
        group = products[first : first + _TOGETHER]
        spans = [span for product in group if (span := file.span_stored(product)) is not None]
        span = Span(min(span.start for span in spans), max(span.end for span in spans))
        request = DatasetRequest(tuple(group), span, SET, EVER.end, threads, memory_mb)
        with TemporaryDirectory(dir=folder) as made:
            facts = MonthCache(request, file, Path(made)).complete().values()
        counted[group[0]] = [{"minute": np.zeros(sum(fact.rows for fact in facts), dtype=np.int8)}]
    return counted


def polars(folder: Path, products: list[str], _threads: int) -> dict[str, list[Held]]:
    """Compute with one lazy plan a product, all collected together."""
    import polars as pl

    plans = [_polars_plan(pl.scan_parquet(folder / f"{product}.parquet")) for product in products]
    frames = pl.collect_all(plans)
    return {product: [frame] for product, frame in zip(products, frames, strict=True)}


def _polars_plan(candles: pl.LazyFrame) -> pl.LazyFrame:
    import polars as pl

    step = pl.col("minute").shift(-1) - pl.col("minute")
    grid = (
        candles.with_columns(pl.when(step <= _LONGEST_STEP).then(step).otherwise(1).fill_null(1).alias("covered"))
        .with_columns(pl.int_ranges(0, pl.col("covered")).alias("since"))
        .explode("since")
        .with_columns(pl.col("minute") + pl.col("since"))
        .with_columns(
            *(
                pl.when(pl.col("since") > 0).then(pl.col("close")).otherwise(pl.col(name)).alias(name)
                for name in ("high", "low")
            ),
            pl.when(pl.col("since") > 0).then(0.0).otherwise(pl.col("volume")).alias("volume"),
        )
    )
    high, low, close, volume, minute = (pl.col(name) for name in ("high", "low", "close", "volume", "minute"))
    before = close.shift(1)
    move = close - before
    position = pl.int_range(pl.len()).cast(pl.Float64)
    volume_sum = volume.rolling_sum(20)
    first = grid.with_columns(
        (minute % 1440 // 480).alias("third"),
        ((minute // 1440 + 3) % 7).alias("day_of_week"),
        (high - low).alias("spread"),
        (pl.max_horizontal(high, before) - pl.min_horizontal(low, before)).rolling_mean(14).alias("atr"),
        (pl.max_horizontal(high, before) - pl.min_horizontal(low, before)).rolling_sum(14).round(6).alias("level"),
        (volume_sum / 20).alias("volume_ma"),
        (((position * volume).rolling_sum(20) - (position - 9.5) * volume_sum) / 665).alias("volume_trend"),
        *(close.rolling_mean(length).alias(f"sma_{length}") for length in (7, 14, 21, 50)),
        move.clip(lower_bound=0).ewm_mean(alpha=1 / 14, adjust=False).alias("gain"),
        (-move).clip(lower_bound=0).ewm_mean(alpha=1 / 14, adjust=False).alias("loss"),
        (close.ewm_mean(span=12, adjust=False) - close.ewm_mean(span=26, adjust=False)).alias("macd"),
        close.rolling_mean(20).alias("middle"),
        (2 * close.rolling_std(20, ddof=0)).alias("half"),
    )
    atr, level = pl.col("atr"), pl.col("level")
    second = first.with_columns(
        (pl.col("macd").ewm_mean(span=9, adjust=False)).alias("macd_signal"),
        pl.sum_horizontal((level < level.shift(k)).cast(pl.Int8) for k in range(1, 20)).alias("above"),
        pl.sum_horizontal((level > level.shift(k)).cast(pl.Int8) for k in range(1, 20)).alias("below"),
    )
    middle, half = pl.col("middle"), pl.col("half")
    named = second.with_columns(
        *((pl.col("third") == number).alias(f"session_{name}") for number, name in enumerate(_SESSIONS)),
        (pl.col("day_of_week") >= 5).alias("is_weekend"),
        (100 * pl.col("spread") / close).alias("spread_pct"),
        (pl.col("spread") / (atr + 1e-8)).alias("spread_atr_ratio"),
        (volume / (pl.col("volume_ma") + 1e-8)).alias("volume_ratio"),
        *((close / (pl.col(f"sma_{n}") + 1e-8)).alias(f"price_sma_{n}_ratio") for n in (7, 14, 21, 50)),
        pl.when(pl.col("gain") + pl.col("loss") == 0)
        .then(50.0)
        .otherwise(100 * pl.col("gain") / (pl.col("gain") + pl.col("loss")))
        .alias("rsi"),
        (pl.col("macd") - pl.col("macd_signal")).alias("macd_diff"),
        (middle + half).alias("bb_high"),
        (middle - half).alias("bb_low"),
        (2 * half / close).alias("bb_width"),
        pl.when(half == 0).then(0.5).otherwise((close - middle + half) / (2 * half)).alias("bb_position"),
        (pl.col("above") >= 13).alias("volatility_low"),
        ((pl.col("above") < 13) & (pl.col("below") < 13)).alias("volatility_medium"),
        (pl.col("below") >= 13).alias("volatility_high"),
    )
    return named.select(minute, *(pl.col(name).cast(pl.Float32) for name in COLUMNS)).slice(WARM_UP)


def talib(folder: Path, products: list[str], _threads: int) -> dict[str, list[Held]]:
    """Compute with TA-Lib where it has the function, else with pandas; the regime by pandas' rolling quantiles."""
    return {product: [_talib_columns(_dense_frame(folder, product), _ranked)] for product in products}


def talib_counted(folder: Path, products: list[str], _threads: int) -> dict[str, list[Held]]:
    """Compute the same with our way of finding the regime, by counting, lent to numpy."""
    return {product: [_talib_columns(_dense_frame(folder, product), _compared)] for product in products}


def naive(folder: Path, products: list[str], _threads: int) -> dict[str, list[Held]]:
    """Compute row by row where pandas invites to: ``rolling().apply`` of Python functions, ``polyfit`` for the slope."""
    found: dict[str, list[Held]] = {}
    for product in products:
        dense = _dense_frame(folder, product)
        close, volume = dense["close"], dense["volume"]
        columns = dict(_pandas_columns(dense))
        columns["volume_trend"] = volume.rolling(20).apply(_slope, raw=True).to_numpy()
        atr = (14 * columns.pop("atr_series")).round(6).rolling(20)
        columns["values_above"] = atr.apply(lambda a: (a[:-1] > a[-1]).sum(), raw=True).to_numpy()
        columns["values_below"] = atr.apply(lambda a: (a[:-1] < a[-1]).sum(), raw=True).to_numpy()
        for length in (7, 14, 21, 50):
            columns[f"sma_{length}"] = close.rolling(length).apply(np.mean, raw=True).to_numpy()
        columns["half"] = 2 * close.rolling(20).apply(np.std, raw=True).to_numpy()
        columns["middle"] = close.rolling(20).apply(np.mean, raw=True).to_numpy()
        found[product] = [_finished(dense, columns)]
    return found


def _slope(values: np.ndarray) -> float:
    return float(np.polyfit(np.arange(len(values)), values, 1)[0])


_SESSIONS = ("tokyo", "london", "new_york")


def _dense_frame(folder: Path, product: str) -> pd.DataFrame:
    import pandas as pd

    sparse = pd.read_parquet(folder / f"{product}.parquet").set_index("minute")
    dense = sparse.reindex(pd.RangeIndex(sparse.index[0], sparse.index[-1] + 1))
    dense["close"] = dense["close"].ffill()
    for name in ("high", "low"):
        dense[name] = dense[name].fillna(dense["close"])
    dense["volume"] = dense["volume"].fillna(0.0)
    return dense


def _talib_columns(dense: pd.DataFrame, sides: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]) -> Columns:
    import talib as ta

    high, low, close, volume = (dense[name].to_numpy() for name in ("high", "low", "close", "volume"))
    atr = ta.SMA(ta.TRANGE(high, low, close), 14)
    level = np.round(14 * atr, 6)
    upper, middle, _ = ta.BBANDS(close, 20, 2, 2)
    macd, signal, _ = ta.MACD(close, 12, 26, 9)
    columns = {f"sma_{length}": ta.SMA(close, length) for length in (7, 14, 21, 50)}
    columns |= {
        "atr": atr,
        "volume_ma": ta.SMA(volume, 20),
        "volume_trend": ta.LINEARREG_SLOPE(volume, 20),
        "rsi": ta.RSI(close, 14),
        "macd": macd,
        "macd_signal": signal,
        "middle": middle,
        "half": upper - middle,
    }
    columns["values_above"], columns["values_below"] = sides(level)
    return _finished(dense, columns)


def _pandas_columns(dense: pd.DataFrame) -> dict[str, Any]:
    import pandas as pd

    before = dense["close"].shift(1)
    reach = pd.concat([dense["high"], before], axis=1).max(axis=1) - pd.concat([dense["low"], before], axis=1).min(
        axis=1
    )
    atr = reach.where(before.notna()).rolling(14).mean()
    move = dense["close"].diff()
    gain, loss = (side.clip(lower=0).ewm(alpha=1 / 14, adjust=False).mean() for side in (move, -move))
    macd = dense["close"].ewm(span=12, adjust=False).mean() - dense["close"].ewm(span=26, adjust=False).mean()
    return {
        "atr": atr.to_numpy(),
        "atr_series": atr,
        "volume_ma": dense["volume"].rolling(20).mean().to_numpy(),
        "rsi": (100 * gain / (gain + loss)).to_numpy(),
        "macd": macd.to_numpy(),
        "macd_signal": macd.ewm(span=9, adjust=False).mean().to_numpy(),
    }


def _ranked(level: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return 13 where a value lies below the first, or above the second percentile of its last 20, else 0."""
    import pandas as pd

    last = pd.Series(level).rolling(20)
    low, high = last.quantile(0.33).to_numpy(), last.quantile(0.67).to_numpy()
    return np.where(level < low, 13, 0), np.where(level > high, 13, 0)


def _compared(level: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return _counted(level, np.less), _counted(level, np.greater)


def _counted(values: np.ndarray, compare: Callable[..., np.ndarray]) -> np.ndarray:
    count = np.zeros(len(values), dtype=np.int8)
    for back in range(1, 20):
        count[back:] += compare(values[back:], values[:-back])
    return count


def _finished(dense: pd.DataFrame, columns: Mapping[str, np.ndarray]) -> Columns:
    """Add what is plain arithmetic, in numpy, and cast to float32."""
    minute = dense.index.to_numpy()
    high, low, close, volume = (dense[name].to_numpy() for name in ("high", "low", "close", "volume"))
    third, weekday, half, middle = minute % 1440 // 480, (minute // 1440 + 3) % 7, columns["half"], columns["middle"]
    above, below = columns["values_above"], columns["values_below"]
    with np.errstate(all="ignore"):
        every = dict(columns) | {
            **{f"session_{name}": third == number for number, name in enumerate(_SESSIONS)},
            "day_of_week": weekday,
            "is_weekend": weekday >= 5,
            "spread": high - low,
            "spread_pct": 100 * (high - low) / close,
            "spread_atr_ratio": (high - low) / (columns["atr"] + 1e-8),
            "volume_ratio": volume / (columns["volume_ma"] + 1e-8),
            **{f"price_sma_{n}_ratio": close / (columns[f"sma_{n}"] + 1e-8) for n in (7, 14, 21, 50)},
            "macd_diff": columns["macd"] - columns["macd_signal"],
            "bb_high": middle + half,
            "bb_low": middle - half,
            "bb_width": 2 * half / close,
            "bb_position": np.where(half == 0, 0.5, (close - middle + half) / (2 * half)),
            "volatility_low": above >= 13,
            "volatility_medium": (above < 13) & (below < 13),
            "volatility_high": below >= 13,
        }
    return {"minute": minute[WARM_UP:], **{name: every[name][WARM_UP:].astype(np.float32) for name in COLUMNS}}


ENGINES: dict[str, Callable[[Path, list[str], int], dict[str, list[Held]]]] = {
    "ours": ours,
    "parts": parts,
    "polars": polars,
    "talib": talib,
    "talib_counted": talib_counted,
    "naive": naive,
}


def _sampled(columns: Held, name: str) -> np.ndarray:
    kept = np.asarray(columns["minute"]) % SAMPLE == 0
    return np.asarray(columns[name])[kept]


def peak_mb() -> float:
    """Return the most memory this program held; `getrusage` would count the program that started it as well."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def main(engine: str, folder: str, result: str, threads: str) -> None:
    """Compute once, and write seconds, peak memory and a sample of the values."""
    home = Path(folder)
    products = json.loads((home / "products.json").read_text())
    for name in {
        "polars": ("polars",),
        "talib": ("pandas", "talib"),
        "talib_counted": ("pandas", "talib"),
        "naive": ("pandas",),
    }.get(engine, ("pyarrow.parquet",)):
        import_module(name)
    before = peak_mb()
    began, worked = time.perf_counter(), time.process_time()
    found = ENGINES[engine](home, products, int(threads))
    seconds, cpu = time.perf_counter() - began, time.process_time() - worked
    peak = peak_mb()
    rows = sum(len(columns["minute"]) for pieces in found.values() for columns in pieces)
    names = ("minute",) if engine == "parts" else ("minute", *COLUMNS)
    sample = {
        f"{product}/{name}": np.concatenate([_sampled(columns, name) for columns in pieces])
        for product, pieces in found.items()
        for name in names
    }
    np.savez(f"{result}.npz", **sample)
    facts = {"seconds": seconds, "cpu": cpu, "rows": rows, "imports_mb": before, "peak_mb": peak}
    Path(f"{result}.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main(*sys.argv[1:])
