"""The seed39 views against Polars, pandas + TA-Lib and the naive style; their cost by row, coin and thread; live latency.

Run: ``python -m benchmarks.features`` (3 coins x 1,051,200 minutes, some minutes), ``--quick`` for a look, or only one part:
``engines``, ``scaling``, ``dataset``, ``live``, ``coins`` (``coins`` is the long one: ``--coins 100 --days 730``). Candles come from
the planted market. Every engine runs in a process of its own; their values are compared before their times are printed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.feature_engines import COLUMNS, EVER
from benchmarks.surroundings import console, folder, show
from core.candles import MINUTE, Span, epoch_minute
from market.exchange.simulated_market import EPOCH, simulated_market
from models.datasets.dataset import PARTS as TRAINING_PARTS
from models.datasets.dataset import read_rows
from store.feature_sets import feature_set
from store.feature_store import FeatureStore

PRODUCTS = ("BTC-USD", "ETH-USD", "SOL-USD")
TWO_YEARS = 1_051_200
NAIVE_MINUTES = 20_000
LIVE_MINUTES = 600
PARTS = ("engines", "scaling", "dataset", "live")
WINDOWED, RECURSIVE = 2e-6, 2e-6
"""Largest difference from ours, in standard deviations of the column: float32 keeps 6e-8 of a value, and theirs drift."""
_START = EPOCH
_RECURSIVE_INPUTS = ("rsi", "macd", "macd_signal", "macd_diff")
_SETTLED = 1_000
_FLAGS = ("volatility_low", "volatility_medium", "volatility_high")
FLAGS = 1e-4
"""Share of minutes whose regime may differ: equal means of true ranges must not be told apart by how sums drift."""


def products(count: int) -> list[str]:
    """The three products, then invented ones."""
    return [*PRODUCTS, *(f"C{number:03d}-USD" for number in range(count))][:count]


def fill(home: Path, names: list[str], minutes: int, *, with_doubles: bool = False) -> FeatureStore:
    """Make a market database of planted candles, and with ``with_doubles`` the Parquet files the other engines read."""
    home.mkdir(parents=True, exist_ok=True)
    store = FeatureStore(home / "market.duckdb")
    store.migrate()
    first = epoch_minute(_START)
    for name in names:
        rows = simulated_market("planted", name).rows(first, first + minutes)
        integers = dict(zip(("minute", "open", "high", "low", "close", "volume"), rows.columns, strict=True))
        with store._writing() as connection:
            connection.register("planted", pa.table(integers))
            connection.execute(_INSERT, {"product": name})
            connection.unregister("planted")
        if with_doubles:
            doubles = {field: integers[field] / 100 for field in ("open", "high", "low", "close")}
            table = pa.table({"minute": integers["minute"], **doubles, "volume": integers["volume"] / 1e8})
            pq.write_table(table, home / f"{name}.parquet", compression="none")
    (home / "products.json").write_text(json.dumps(names))
    return store


_INSERT = """
insert into candles_1m
select
    $product,
    make_timestamptz(minute * 60000000),
    cast(cast(open as decimal(14, 0)) * 0.01 as decimal(18, 8)),
    cast(cast(high as decimal(14, 0)) * 0.01 as decimal(18, 8)),
    cast(cast(low as decimal(14, 0)) * 0.01 as decimal(18, 8)),
    cast(cast(close as decimal(14, 0)) * 0.01 as decimal(18, 8)),
    cast(cast(volume as decimal(19, 0)) * 0.00000001 as decimal(28, 8)),
    'synthetic',
    make_timestamptz((minute + 1) * 60000000)
from planted
"""


def engine(name: str, home: Path, threads: int = 2, memory_mb: int = 2_000) -> dict[str, Any]:
    """Run one engine in a child process and return what it measured."""
    result = home / f"result-{name}"
    environ = {**os.environ, "POLARS_MAX_THREADS": str(threads), "FEATURE_MEMORY_MB": str(memory_mb)}
    command = [sys.executable, "-m", "benchmarks.feature_engines", name, str(home), str(result), str(threads)]
    subprocess.run(command, env=environ, check=True)
    return dict(json.loads(Path(f"{result}.json").read_text()))


def differences(home: Path, names: list[str], theirs: str) -> dict[str, float]:
    """Return per input the largest difference from another engine's, in standard deviations; for flags the share that differs."""
    one, other = (np.load(home / f"result-{name}.npz") for name in ("ours", theirs))
    found: dict[str, float] = {}
    for product in names:
        minute = other[f"{product}/minute"]
        here = np.isin(one[f"{product}/minute"], minute)
        assert here.sum() == len(minute) > 0, (product, theirs, here.sum(), len(minute))
        for column in COLUMNS:
            mine, wish = one[f"{product}/{column}"][here].astype(float), other[f"{product}/{column}"].astype(float)
            skip = (minute < minute[0] + _SETTLED) if column in _RECURSIVE_INPUTS else np.zeros(len(minute), bool)
            error = np.abs(mine - wish)[~skip]
            # float32 keeps a share of the value, not of its spread
            error = np.maximum(error - 2e-7 * np.abs(wish[~skip]), 0)
            if column in _FLAGS:
                found[column] = max(found.get(column, 0.0), float((error > 0).mean()))
                continue
            found[column] = max(found.get(column, 0.0), float(error.max() / (wish.std() or 1.0)))
    return found


def require_equal(home: Path, names: list[str], theirs: str) -> str:
    """Say how far another engine's values are from ours; raises AssertionError where that is too far."""
    found = differences(home, names, theirs)
    allowed = {
        name: RECURSIVE if name in _RECURSIVE_INPUTS else FLAGS if name in _FLAGS else WINDOWED for name in found
    }
    bad = {name: error for name, error in found.items() if error > allowed[name]}
    assert not bad, f"{theirs} differs from ours by more standard deviations than allowed: {bad}"
    worst = max((name for name in found if name not in _FLAGS), key=lambda name: found[name])
    return f"{found[worst]:.1e} ({worst}); regime {max(found[name] for name in _FLAGS):.1e} of rows"


def engines(minutes: int, naive_minutes: int) -> None:
    """Ours against the others."""
    with folder() as home:
        names = list(PRODUCTS)
        fill(home, names, minutes, with_doubles=True)
        measured = {name: engine(name, home) for name in ("ours", "polars", "talib", "talib_counted")}
        single = {name: engine(name, home, threads=1) for name in ("ours", "polars")}
        equal = {name: require_equal(home, names, name) for name in ("polars", "talib", "talib_counted")}
        fill(home / "naive", names[:1], naive_minutes, with_doubles=True)
        measured["naive"] = engine("naive", home / "naive")
        engine("ours", home / "naive")
        equal["naive"] = require_equal(home / "naive", names[:1], "naive")
    ours, whole = measured["ours"], measured["ours"]["rows"]
    rows = []
    for name, facts in measured.items():
        seconds = facts["seconds"] * whole / facts["rows"]
        rows.append(
            (
                f"{name}{' (from ' + format(facts['rows'], ',') + ' rows)' if facts['rows'] != whole else ''}",
                seconds,
                facts["cpu"] * whole / facts["rows"],
                seconds / ours["seconds"],
                facts["peak_mb"] - facts["imports_mb"],
                equal.get(name, ""),
            )
        )
    rows += [
        (f"{name}, one thread", facts["seconds"], facts["cpu"], facts["seconds"] / single["ours"]["seconds"],
         facts["peak_mb"] - facts["imports_mb"], "") for name, facts in single.items()
    ]  # fmt: skip
    columns = ("engine, two threads", "seconds", "CPU s", "times ours", "MB above imports", "largest difference, in sd")
    show(f"features: 31 inputs over {whole:,} rows", columns, rows)


def scaling(minutes: int) -> None:
    """Cost by row, coin and thread, as a data set is built: features and labels into parts, memory bounded."""
    plans = [
        *((1, minutes // share, 2) for share in (16, 4, 1)),
        *((count, minutes // 50, 2) for count in (1, 10, 100)),
        (3, minutes // 4, 1),
        (3, minutes // 4, 2),
    ]
    show("features: cost of a data set's parts", _COST, [_cost(*plan) for plan in plans])


_COST = ("coins", "minutes", "threads", "seconds", "rows/s", "CPU us/row", "seconds a coin", "MB above imports")


def _cost(coins: int, minutes: int, threads: int, memory_mb: int = 1_000) -> tuple[object, ...]:
    with folder() as home:
        fill(home, products(coins), minutes)
        facts = engine("parts", home, threads, memory_mb)
    rate, each = facts["rows"] / facts["seconds"], facts["seconds"] / coins
    cpu, memory = 1e6 * facts["cpu"] / facts["rows"], facts["peak_mb"] - facts["imports_mb"]
    return coins, minutes, threads, facts["seconds"], rate, cpu, each, memory


def dataset(minutes: int) -> None:
    """What one more day costs a data set."""
    with folder() as home:
        store = fill(home, list(PRODUCTS), minutes)
        whole = Span(_START, _START + minutes * MINUTE)
        short = Span(whole.start, whole.end - timedelta(days=1))
        rows = []
        for what, span in (("built, a day short", short), ("one day more", whole), ("again, nothing new", whole)):
            began, worked = time.perf_counter(), time.process_time()
            made = store.export_dataset(PRODUCTS, span, home / "datasets", feature_set="seed39", memory_mb=2_000)
            seconds, cpu = time.perf_counter() - began, time.process_time() - worked
            rows.append((what, seconds, cpu, Path(made.path).stat().st_size / 1e6))
        began = time.perf_counter()
        table = pq.read_table(made.path)
        rows.append(("read into memory", time.perf_counter() - began, "", table.nbytes / 1e6))
        del table
        began, worked = time.perf_counter(), time.process_time()
        arrays = read_rows(Path(made.path), PRODUCTS, COLUMNS, TRAINING_PARTS)
        rows.append(
            (
                "read as checked training arrays",
                time.perf_counter() - began,
                time.process_time() - worked,
                arrays.x_NF.nbytes / 1e6,
            )
        )
        began = time.perf_counter()
        for product in PRODUCTS:
            store.candle_fingerprints(product, EVER, datetime(2100, 1, 1, tzinfo=UTC))
        rows.append(("fingerprints of all candles (part of each build)", time.perf_counter() - began, "", ""))
    show(f"data set: 3 coins x {minutes:,} minutes", ("what", "seconds", "CPU s", "MB"), rows)


def live(runs: int) -> None:
    """The runtime's question: the newest row of every coin, from an in-memory store."""
    rows = []
    for count in (3, 100):
        with folder() as home, FeatureStore.in_memory(memory_mb=500) as memory:
            names = products(count)
            file = fill(home, names, LIVE_MINUTES)
            for name in names:
                file.copy_candles(memory._connection(), name, EVER, EVER.end)
            end = _START + LIVE_MINUTES * MINUTE
            took, worked = [], []
            for _ in range(runs):
                began, used = time.perf_counter(), time.process_time()
                blocks = memory.feature_blocks(names, end - MINUTE, end, "seed39")
                took.append(1e3 * (time.perf_counter() - began))
                worked.append(1e3 * (time.process_time() - used))
                assert sum(map(len, blocks.values())) == count
            planned = _planning(names, end, runs)
        rows.append((count, statistics.median(took), max(took), statistics.median(worked), planned))
    history = feature_set("seed39").history_minutes
    title = f"features: newest row of every coin from {LIVE_MINUTES} minutes each ({history} decide it)"
    show(title, ("coins", "ms median", "ms worst", "CPU ms", "of it without rows, ms"), rows)


def _planning(names: list[str], end: datetime, runs: int) -> float:
    """The same question to a store without candles: parsing, binding, optimising, starting."""
    with FeatureStore.in_memory(memory_mb=500) as empty:
        took = []
        for _ in range(runs):
            began = time.perf_counter()
            empty.feature_blocks(names, end - MINUTE, end, "seed39")
            took.append(1e3 * (time.perf_counter() - began))
    return statistics.median(took)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.features", description=__doc__)
    parser.add_argument("part", nargs="*", help=f"{', '.join(PARTS)} or coins; all but coins by default")
    parser.add_argument("--quick", action="store_true", help="twenty times fewer minutes")
    parser.add_argument("--coins", type=int, default=100, help="for coins: how many")
    parser.add_argument("--days", type=int, default=730, help="for coins: days of each")
    parser.add_argument("--threads", type=int, default=2, help="for coins")
    parser.add_argument("--memory-mb", type=int, default=1_000, help="for coins: FEATURE_MEMORY_MB")
    asked = parser.parse_args([] if sys.argv[0].endswith("benchmarks/__main__.py") else None)
    if unknown := set(asked.part) - {*PARTS, "coins"}:
        parser.error(f"there is no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)} and coins")
    minutes = TWO_YEARS // 20 if asked.quick else TWO_YEARS
    wanted = asked.part or PARTS
    if "engines" in wanted:
        engines(minutes, NAIVE_MINUTES // 4 if asked.quick else NAIVE_MINUTES)
    if "scaling" in wanted:
        scaling(minutes)
    if "dataset" in wanted:
        dataset(minutes)
    if "live" in wanted:
        live(10 if asked.quick else 50)
    if "coins" in wanted:
        console.print(f"filling {asked.coins} coins x {asked.days} days ...")
        cost = _cost(asked.coins, asked.days * 1440, asked.threads, asked.memory_mb)
        show(f"features: {asked.coins} coins, {asked.memory_mb} MB allowed", _COST, [cost])
    return 0


if __name__ == "__main__":
    sys.exit(main())
