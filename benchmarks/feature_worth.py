"""What is a feature set worth? Log-loss gained over the base rate by simple models on real candles.

Run: ``python -m benchmarks.feature_worth --data FOLDER`` with ``coinbase_<PRODUCT>_1m.parquet`` files. Logistic regression and
gradient boosting learn from ``seed39``, ``flow`` and both side by side, for each coin alone and for all coins together, from every fifth
minute before the judged part less the purge; the judged part is the validation part (70 to 85 % of the span). ``--part test`` judges the last
15 %: look at it once, when nothing is left to choose. Candles after the judged part are left out. A gain of 1 is 0.0001 of
log-loss a minute below that of the training minutes' share of ups; intervals are 95 %, by resampled days; the column
"less the line above" compares two sets on the same minutes.
"""

from __future__ import annotations

import argparse
import os
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product as combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # scikit-learn brings it, without types

from benchmarks.parity import between, load
from benchmarks.surroundings import console, show
from core.candles import HORIZON_MINUTES
from models.datasets.scaler import CLIP
from models.judging.baselines import boosted
from models.statistics.bootstrap import DayBootstrap, Interval
from models.statistics.metrics import hits, log_losses
from store.feature_store import FeatureStore
from store.splits import Borders

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    Fit = Callable[[NDArray[np.float32], NDArray[np.int8], NDArray[np.float32]], NDArray[np.float64]]

SETS = ("seed39", "flow")
BOTH = "both"
EVERY = 5
_LABELS = "select minute, direction_15m from labels_15m where product = $product order by minute"


@dataclass(frozen=True, slots=True)
class Coin:
    """One coin's labelled minutes with the inputs of every set. N rows, F inputs."""

    minute_N: NDArray[np.int64]
    y_N: NDArray[np.int8]
    x_NF: Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Judged:
    """One model's forecasts of one coin over the judged part."""

    minute_N: NDArray[np.int64]
    y_N: NDArray[np.int8]
    p_N: NDArray[np.float64]
    gain_N: NDArray[np.float64]


def logistic(x_NF: NDArray[np.float32], y_N: NDArray[np.int8], judged_NF: NDArray[np.float32]) -> NDArray[np.float64]:
    """Train logistic regression on scaled and clipped inputs; return its probabilities of up on the judged ones."""
    mean_F, sd_F = x_NF.mean(axis=0, dtype=np.float64), x_NF.std(axis=0, dtype=np.float64)
    sd_F[sd_F < 1e-12] = 1.0
    scaled = [np.clip((part - mean_F) / sd_F, -CLIP, CLIP) for part in (x_NF, judged_NF)]
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LogisticRegression(C=0.1, max_iter=500).fit(scaled[0], y_N)
        return np.asarray(model.predict_proba(scaled[1])[:, 1], dtype=np.float64)


MODELS: dict[str, Fit] = {"logistic": logistic, "boosting": boosted}


def read(folder: Path, products: Sequence[str], part: str) -> tuple[dict[str, Coin], int, int]:
    """Return every coin's rows up to the end of the judged part, and that part's first minute and end."""
    tables: dict[str, pa.Table] = {}
    for product in products:
        table = pq.read_table(folder / f"coinbase_{product}_1m.parquet")
        tables[product] = table.rename_columns(["open_time", *table.column_names[1:]])
    ends = [
        time.timestamp() // 60
        for table in tables.values()
        for time in (table["open_time"][0].as_py(), table["open_time"][-1].as_py())
    ]
    first, end = int(min(ends)), int(max(ends)) + 1
    borders = Borders.over(first, end)
    start, stop = (borders.early_stop, borders.test) if part == "validation" else (borders.test, end)
    with FeatureStore.in_memory() as store:
        for product, table in tables.items():
            load(store, product, between(table, first, stop))
        span = datetime.fromtimestamp(first * 60, UTC), datetime.fromtimestamp(stop * 60, UTC)
        blocks = {name: store.feature_blocks(products, *span, name) for name in SETS}
        labels = {
            product: store._connection().execute(_LABELS, {"product": product}).fetchnumpy() for product in products
        }
    coins: dict[str, Coin] = {}
    for product in products:
        own = {name: blocks[name][product] for name in SETS}
        label = {minute: np.asarray(values) for minute, values in labels[product].items()}
        minute_N = label["minute"]
        for block in own.values():
            minute_N = np.intersect1d(minute_N, block.minute_N)
        x_NF = {name: block.x_NF[np.searchsorted(block.minute_N, minute_N)] for name, block in own.items()}
        x_NF[BOTH] = np.column_stack([x_NF[name] for name in SETS])
        y_N = label["direction_15m"][np.searchsorted(label["minute"], minute_N)].astype(np.int8)
        coins[product] = Coin(minute_N, y_N, x_NF)
    return coins, start, stop


def judge(coins: Mapping[str, Coin], names: Sequence[str], inputs: str, fit: Fit, start: int) -> dict[str, Judged]:
    """Train one model on ``names`` before ``start`` less the purge; return its forecasts of each from ``start`` on."""
    train = {name: np.flatnonzero(coins[name].minute_N < start - HORIZON_MINUTES)[::EVERY] for name in names}
    rows = {name: np.flatnonzero(coins[name].minute_N >= start) for name in names}
    y_N = np.concatenate([coins[name].y_N[train[name]] for name in names])
    p_N = fit(
        np.concatenate([coins[name].x_NF[inputs][train[name]] for name in names]),
        y_N,
        np.concatenate([coins[name].x_NF[inputs][rows[name]] for name in names]),
    )
    found: dict[str, Judged] = {}
    for name, own_N in zip(names, np.split(p_N, np.cumsum([len(rows[name]) for name in names])[:-1]), strict=True):
        judged_N = coins[name].y_N[rows[name]]
        share = float(np.mean(coins[name].y_N[train[name]]))
        gain_N = log_losses(np.full(len(own_N), share), judged_N) - log_losses(own_N, judged_N)
        found[name] = Judged(coins[name].minute_N[rows[name]], judged_N, own_N, gain_N)
    return found


def shown(interval: Interval, scale: float = 1.0, digits: int = 1) -> str:
    """Write a figure with its interval."""
    text = f"{interval.value * scale:.{digits}f}"
    if interval.low is None or interval.high is None:
        return text
    return f"{text} ({interval.low * scale:.{digits}f} to {interval.high * scale:.{digits}f})"


def month(minute_N: NDArray[np.int64]) -> NDArray[np.str_]:
    """Return the UTC month of every minute, such as 2024-05."""
    return (minute_N * 60).astype("datetime64[s]").astype("datetime64[M]").astype(str)


def tables(coins: Mapping[str, Coin], start: int) -> tuple[list[list[object]], list[list[object]]]:
    """Return the rows of the two tables: over the whole part, and by month."""
    whole: list[list[object]] = []
    monthly: list[list[object]] = []
    for model, together in combinations(MODELS, (False, True) if len(coins) > 1 else (False,)):
        groups = [list(coins)] if together else [[name] for name in coins]
        judged: dict[str, dict[str, Judged]] = {name: {} for name in coins}
        for group, inputs in combinations(groups, (*SETS, BOTH)):
            for name, found in judge(coins, group, inputs, MODELS[model], start).items():
                judged[name][inputs] = found
        for name, by_inputs in judged.items():
            head = [name, model, "all coins" if together else "the coin"]
            whole += [[*head, *cells] for cells in _whole(by_inputs)]
            monthly += [[*head, *cells] for cells in _monthly(by_inputs)]
    return whole, monthly


def _whole(judged: Mapping[str, Judged]) -> Iterator[list[object]]:
    days = DayBootstrap(judged[BOTH].minute_N)
    before = None
    for inputs, one in judged.items():
        yield [
            inputs,
            shown(days.mean(one.gain_N), 1e4),
            "" if before is None else shown(days.mean(one.gain_N - before.gain_N), 1e4),
            shown(days.mean(hits(one.p_N, one.y_N)), 1.0, 4),
            shown(days.auc(one.p_N, one.y_N), 1.0, 4),
        ]
        before = one


def _monthly(judged: Mapping[str, Judged]) -> Iterator[list[object]]:
    minute_N = judged[BOTH].minute_N
    months = month(minute_N)
    for one_month in sorted(set(months)):
        chosen_N = months == one_month
        days = DayBootstrap(minute_N[chosen_N])
        yield [
            one_month,
            int(chosen_N.sum()),
            *(shown(days.mean(one.gain_N[chosen_N]), 1e4) for one in judged.values()),
        ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.feature_worth", description=__doc__)
    default = Path(os.environ.get("CANDLEDESK_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=default, help="folder of coinbase_<PRODUCT>_1m.parquet files")
    parser.add_argument("--part", choices=("validation", "test"), default="validation")
    parser.add_argument("--products", default="BTC-USD,ETH-USD", help="comma separated; they are each other's market")
    chosen = parser.parse_args([] if arguments is None else arguments)
    products = tuple(chosen.products.split(","))
    missing = [name for name in products if not (chosen.data / f"coinbase_{name}_1m.parquet").exists()]
    if missing:
        console.print(
            f"feature worth: no recorded candles of {', '.join(missing)} at {chosen.data}; name their folder: --data"
        )
        return
    coins, start, stop = read(chosen.data, products, chosen.part)
    begin, end = (datetime.fromtimestamp(minute * 60, UTC) for minute in (start, stop))
    title = (
        f"{chosen.part}: {begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}, gain in 0.0001 of log-loss over the base rate"
    )
    whole, monthly = tables(coins, start)
    console.width = max(console.width, 160)
    columns = ("coin", "model", "trained on", "inputs", "gain", "less the line above", "accuracy", "AUC")
    show(f"what a feature set is worth, {title}", columns, whole)
    show(f"by month, {title}", ("coin", "model", "trained on", "month", "minutes", *SETS, BOTH), monthly)


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
