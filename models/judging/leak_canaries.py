"""Check a data set for leaks that can be read from it alone; a failing canary refuses the model.

The wider search, which needs candles or fits something, is `validation.leakage`; it shares `Leak` and two of the checks.
Shapes: N rows of the data set, F inputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from core.candles import minute_start
from models.datasets.dataset import PARTS, UNLABELLED
from models.datasets.scaler import Scaler, fit_scaler
from models.statistics.metrics import auc

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from models.datasets.dataset import Dataset

# with the wider search of `validation.leakage` 29 of 29 planted leaks were named (docs/log.md), without
# a false alarm in 100 checks of 20 clean seeds
MAX_HONEST_AUC = 0.95
"""No honest input orders directions this well by itself; the planted market's best forecast of all reaches 0.88."""
_MAX_AUC_ROWS = 20_000
"""Rows of a coin, evenly spread, that an AUC is computed of: each column is sorted twice."""
_MIN_DIRECTION_ROWS = 30
"""Of each direction; with fewer an input may order them by chance."""


@dataclass(frozen=True, slots=True)
class Leak:
    """One leak that was seen."""

    name: str
    """One of `validation.leakage.leak_list.LEAKS`."""
    location: str
    """What leaks: a column, a function, a part."""
    seen: str
    """The evidence: product, minute, by how much."""


def failing_canaries(data: Dataset, scaler: Scaler) -> dict[str, str]:
    """Return the canaries that fail, by name, with what was seen."""
    splits, inputs = split_leaks(data), input_leaks(data)
    seen = {
        "unique_rows": _double_rows(data),
        "part_order": _part_order(data),
        "train_only_scaler": _scaler(data, scaler),
        "labels": _labels(data),
        "shuffled_split": _first(splits, "shuffled split"),
        "coin_instants": _first(splits, "coins split at different instants"),
        "label_among_inputs": "; ".join(f"{leak.location}: {leak.seen}" for leak in inputs[:3]),
    }
    return {name: text for name, text in seen.items() if text}


def _first(leaks: list[Leak], name: str) -> str:
    return next((f"{leak.location}: {leak.seen}" for leak in leaks if leak.name == name), "")


def _double_rows(data: Dataset) -> str:
    for coin, product in enumerate(data.coins):
        if (np.diff(data.minute_N[data.coin_N == coin]) <= 0).any():
            return f"{product} has a minute twice, or minutes out of order"
    return ""


def _part_order(data: Dataset) -> str:
    """Every label of a part must end before the next part begins, for all coins at the same instants."""
    last_minute, last_name = -np.inf, ""
    for position, name in enumerate(PARTS):
        minutes = data.minute_N[data.part_N == position]
        if not len(minutes):
            continue
        if minutes.min() < last_minute + data.horizon_minutes:
            return f"{name} begins less than {data.horizon_minutes} minutes after {last_name} ends"
        last_minute, last_name = minutes.max(), name
    return ""


def _scaler(data: Dataset, scaler: Scaler) -> str:
    own = fit_scaler(data)
    for ours, theirs in ((own.mean_CF, scaler.mean_CF), (own.sd_CF, scaler.sd_CF)):
        if ours.shape != theirs.shape or not np.allclose(ours, theirs, rtol=1e-5, atol=1e-12):
            return "the scaler's figures are not those of the training rows"
    return ""


def _labels(data: Dataset) -> str:
    """A label must be what the close a horizon later says, wherever that row is in the file."""
    back = data.horizon_minutes
    rows = np.flatnonzero(data.direction_N[:-back] >= 0) if len(data.minute_N) > back else np.array([], dtype=np.int64)
    later = rows + back
    whole = (data.coin_N[rows] == data.coin_N[later]) & (data.minute_N[later] - data.minute_N[rows] == back)
    rows, later = rows[whole], later[whole]
    wrong = (data.close_N[later] > data.close_N[rows]) != (data.direction_N[rows] == 1)
    return f"{int(wrong.sum())} labels are not what the close {back} minutes later says" if wrong.any() else ""


def split_leaks(data: Dataset) -> list[Leak]:
    """Return what is wrong with the parts: shuffled, not purged, at different instants, a minute twice."""
    leaks = [leak for coin in range(len(data.coins)) for leak in _coin_split(data, coin)]
    return leaks or list(_instants(data))


def _coin_split(data: Dataset, coin: int) -> Iterator[Leak]:
    rows = np.flatnonzero(data.coin_N == coin)
    product = data.coins[coin]
    order = rows[np.argsort(data.minute_N[rows], kind="stable")]
    minutes = data.minute_N[order]
    twice = np.flatnonzero(np.diff(minutes) == 0)
    if len(twice):
        seen = f"{len(twice)} minutes twice, the first {clock(minutes[twice[0]])}"
        yield Leak("row in two parts", f"{product}, parts", seen)
        return
    kept = order[data.part_N[order] >= 0]
    parts, minutes = data.part_N[kept], data.minute_N[kept]

    def at(row: np.intp) -> str:
        return f"{PARTS[parts[row]]} at {clock(minutes[row])}"

    backward = np.flatnonzero(np.diff(parts) < 0)
    if len(backward):
        row = backward[0]
        seen = f"{at(row + 1)} comes after {at(row)}, and so {len(backward)} times"
        yield Leak("shuffled split", f"{product}, parts", seen)
        return
    for row in np.flatnonzero(np.diff(parts) > 0):
        gap = int(minutes[row + 1] - minutes[row])
        if gap < data.horizon_minutes:
            seen = f"{at(row + 1)} begins {gap} minutes after the last label of {PARTS[parts[row]]} begins"
            yield Leak("label reaches into the next part", f"{product}, {PARTS[parts[row]]}", seen)


def _instants(data: Dataset) -> Iterator[Leak]:
    """Look across coins: what one is tested on must not be what another is trained on."""
    for position in range(1, len(PARTS)):
        begins = np.flatnonzero(data.part_N == position)
        ends = np.flatnonzero((data.part_N >= 0) & (data.part_N < position))
        if not (len(begins) and len(ends)):
            continue
        first, last = begins[data.minute_N[begins].argmin()], ends[data.minute_N[ends].argmax()]
        if data.minute_N[first] < data.minute_N[last] + data.horizon_minutes:
            yield Leak(
                "coins split at different instants",
                f"{data.coins[data.coin_N[first]]}, {PARTS[position]}",
                f"begins at {clock(data.minute_N[first])}, while {data.coins[data.coin_N[last]]} is in "
                f"{PARTS[data.part_N[last]]} until {clock(data.minute_N[last])}",
            )


def input_leaks(data: Dataset) -> list[Leak]:
    """Return columns that order directions by themselves, as they are or against the close."""
    leaks = []
    for coin, product in enumerate(data.coins):
        rows = np.flatnonzero((data.coin_N == coin) & (data.direction_N != UNLABELLED))
        rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), _MAX_AUC_ROWS)).astype(np.int64)]
        ups = int((data.direction_N[rows] == 1).sum())
        if min(ups, len(rows) - ups) < _MIN_DIRECTION_ROWS:
            continue
        for column, name in enumerate(data.columns):
            values = data.x_NF[rows, column].astype(np.float64)
            reached = max(_ordering(data, rows, values), _ordering(data, rows, values / data.close_N[rows]))
            if reached > MAX_HONEST_AUC:
                leaks.append(Leak("label among the inputs", f"{product}, {name}", f"AUC {reached:.3f} by itself"))
    return leaks


def _ordering(data: Dataset, rows: NDArray[np.int64], values: NDArray[np.float64]) -> float:
    reached = auc(values, data.direction_N[rows])
    return max(reached, 1.0 - reached)


def clock(minute: int) -> str:
    """Return a minute since 1970 as ``2024-03-04 18:13``."""
    return f"{minute_start(minute):%Y-%m-%d %H:%M}"
