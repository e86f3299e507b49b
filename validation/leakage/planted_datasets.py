"""Data sets spoiled on purpose, to show that each leak is caught and called by its name.

Shapes: N rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from models.datasets.dataset import PARTS, Dataset

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class DataPlant:
    """A way to spoil a data set, and what it must be called."""

    name: str
    expected: str
    spoil: Callable[[Dataset], Dataset]


def one_coin(data: Dataset) -> Dataset:
    """Return the rows of the first coin alone, which is enough to fit something small."""
    rows = np.flatnonzero(data.coin_N == 0)
    return _rows(replace(data, coins=data.coins[:1]), rows)


def with_labels(data: Dataset, labels: Mapping[str, Mapping[int, tuple[int, float]]]) -> Dataset:
    """Return the data set with other labels: direction and return by product and minute."""
    direction_N, return_N = np.full_like(data.direction_N, -1), np.full_like(data.return_N, np.nan)
    minutes, coins = data.minute_N.tolist(), data.coin_N.tolist()
    for row, (coin, minute) in enumerate(zip(coins, minutes, strict=True)):
        told = labels[data.coins[coin]].get(minute)
        if told is not None:
            direction_N[row], return_N[row] = told
    return replace(data, direction_N=direction_N, return_N=return_N)


def _rows(data: Dataset, rows: NDArray[np.int64]) -> Dataset:
    return replace(
        data,
        coin_N=data.coin_N[rows],
        minute_N=data.minute_N[rows],
        close_N=data.close_N[rows],
        x_NF=np.ascontiguousarray(data.x_NF[rows]),
        direction_N=data.direction_N[rows],
        return_N=data.return_N[rows],
        part_N=data.part_N[rows],
    )


def _shuffled(data: Dataset) -> Dataset:
    part_N = data.part_N.copy()
    kept = np.flatnonzero(part_N >= 0)
    part_N[kept] = np.random.default_rng(0).permutation(part_N[kept])
    return replace(data, part_N=part_N)


def _unpurged(data: Dataset) -> Dataset:
    """Give the purged rows back to the part before them."""
    part_N = data.part_N.copy()
    for row in range(1, len(part_N)):
        if part_N[row] < 0 <= data.direction_N[row] and data.coin_N[row] == data.coin_N[row - 1]:
            part_N[row] = part_N[row - 1]
    return replace(data, part_N=part_N)


def _shifted(data: Dataset) -> Dataset:
    """Split the second coin an hour later, purged as it should be."""
    part_N = data.part_N.copy()
    second = np.flatnonzero(data.coin_N == 1)
    for row in second[::-1]:
        earlier = row - 60
        part_N[row] = data.part_N[earlier] if earlier in second and data.direction_N[row] >= 0 else part_N[row]
    return replace(data, part_N=part_N)


def _doubled(data: Dataset) -> Dataset:
    """Repeat some training rows in the test part."""
    taken = np.flatnonzero(data.part_N == PARTS.index("train"))[::50]
    rows = np.concatenate([np.arange(len(data.part_N)), taken])
    spoiled = _rows(data, rows)
    spoiled.part_N[len(data.part_N) :] = PARTS.index("test")
    order = np.lexsort((np.arange(len(rows)), spoiled.minute_N, spoiled.coin_N))
    return _rows(spoiled, order)


def _label_as_input(data: Dataset) -> Dataset:
    """Hide the return of the next 15 minutes, noise and all, in the third column."""
    x_NF = data.x_NF.copy()
    noise_N = np.random.default_rng(0).normal(size=len(x_NF)) * 0.1 * np.nanstd(data.return_N)
    x_NF[:, 2] = np.nan_to_num(1e3 * (data.return_N + noise_N)).astype(np.float32)
    return replace(data, x_NF=x_NF)


DATA_PLANTS = (
    DataPlant("rows dealt out at random", "shuffled split", _shuffled),
    DataPlant("no purge at the borders", "label reaches into the next part", _unpurged),
    DataPlant("second coin split an hour later", "coins split at different instants", _shifted),
    DataPlant("training rows again in the test part", "row in two parts", _doubled),
    DataPlant("return of the next 15 minutes, with noise, as an input", "label among the inputs", _label_as_input),
)
"""Spoiled data sets."""

LABEL_PLANTS = (
    ("labels_across_segment", "label across a segment"),
    ("labels_other_horizon", "label of another horizon"),
    ("labels_filled", "label on a filled minute"),
)
"""Views under ``sql/leaks`` and what their labels must be called."""


def renamed(data: Dataset, **parts: str) -> Dataset:
    """Return the data set with parts under other names: ``renamed(data, test="train")`` makes test rows training rows."""
    part_N = data.part_N.copy()
    for old, new in parts.items():
        part_N[data.part_N == PARTS.index(old)] = PARTS.index(new)
    return replace(data, part_N=part_N)
