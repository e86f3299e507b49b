"""Check labels, closes, windows and inputs of a data set against candles; spoil data sets to show that each leak is caught.

Nothing here trusts the SQL that made the rows: labels are computed anew from candles. Shapes: N rows of the data set, F inputs,
M candles of a coin, K chosen rows, B windows of T minutes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from core.candles import epoch_minute
from models.datasets.dataset import PARTS, UNLABELLED, Dataset
from models.judging.leak_canaries import Leak, clock, input_leaks, split_leaks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from core.candles import Candle

    Closes = Mapping[str, tuple[NDArray[np.int64], NDArray[np.float64]]]
    """Minute and close of every candle, by product, oldest first."""

LONGEST_FILL_MINUTES = 60
_HORIZONS = range(1, 241)


def data_leaks(data: Dataset, closes: Closes) -> list[Leak]:
    """Return every leak that can be read from a data set: parts, labels, closes, inputs."""
    return split_leaks(data) + label_leaks(data, closes) + close_leaks(data, closes) + input_leaks(data)


def closes_of(candles: Sequence[Candle]) -> Closes:
    """Return minute and close of candles by product."""
    closes = {}
    for product in sorted({candle.product for candle in candles}):
        own = [candle for candle in candles if candle.product == product]
        minutes = np.array([epoch_minute(candle.open_time) for candle in own], np.int64)
        closes[product] = (minutes, np.array([float(candle.close) for candle in own]))
    return closes


def label_leaks(data: Dataset, closes: Closes) -> list[Leak]:
    """Return what is wrong with the labels, each computed anew from two candles."""
    return [
        leak for product in data.coins if product in closes for leak in _coin_labels(data, product, *closes[product])
    ]


def _coin_labels(
    data: Dataset, product: str, minute_M: NDArray[np.int64], close_M: NDArray[np.float64]
) -> Iterator[Leak]:
    rows = np.flatnonzero((data.coin_N == data.coins.index(product)) & (data.direction_N != UNLABELLED))
    minutes, later = data.minute_N[rows], data.minute_N[rows] + data.horizon_minutes
    whole = np.isin(minutes, minute_M) & np.isin(later, minute_M)
    broken = minutes[~whole]
    across = _is_across(minute_M, broken, data.horizon_minutes)
    for name, chosen in (("label across a segment", broken[across]), ("label on a filled minute", broken[~across])):
        if len(chosen):
            seen = f"{len(chosen)} labels where one end is no candle, the first {clock(chosen[0])}"
            yield Leak(name, f"{product}, labels", seen)
    rows, minutes, later = rows[whole], minutes[whole], later[whole]
    before, after = (close_M[minute_M.searchsorted(wanted)] for wanted in (minutes, later))
    wrong = (data.direction_N[rows] == 1) != (after > before)
    wrong |= np.abs(data.return_N[rows] - (after - before) / before) > 1e-9
    if wrong.any():
        name, why = _horizon(data, rows[wrong], minute_M, close_M)
        seen = f"{int(wrong.sum())} of {len(rows)} labels, the first {clock(minutes[wrong][0])}: {why}"
        yield Leak(name, f"{product}, labels", seen)


def _is_across(minute_M: NDArray[np.int64], minutes: NDArray[np.int64], horizon: int) -> NDArray[np.bool_]:
    """Return where a hole that ends a segment begins within the horizon."""
    ends = minute_M[:-1][np.diff(minute_M) > LONGEST_FILL_MINUTES + 1]
    ends = np.append(ends, minute_M[-1])
    following = ends[np.minimum(ends.searchsorted(minutes), len(ends) - 1)]
    return np.asarray((following >= minutes) & (following < minutes + horizon))


def _horizon(
    data: Dataset, rows: NDArray[np.int64], minute_M: NDArray[np.int64], close_M: NDArray[np.float64]
) -> tuple[str, str]:
    """Look for the horizon that wrong labels are of."""
    rows = rows[:: max(1, len(rows) // 500)]
    base = close_M[minute_M.searchsorted(data.minute_N[rows])]
    for horizon in _HORIZONS:
        later = data.minute_N[rows] + horizon
        there = np.isin(later, minute_M)
        if there.sum() < max(10, len(rows) // 2):
            continue
        after = close_M[minute_M.searchsorted(later[there])]
        agrees = np.array_equal(data.direction_N[rows][there] == 1, after > base[there])
        if agrees and np.allclose(data.return_N[rows][there], (after - base[there]) / base[there], rtol=0, atol=1e-9):
            return "label of another horizon", f"they tell of {horizon} minutes, not of {data.horizon_minutes}"
    return "label that no candle bears out", "no horizon up to 240 minutes gives them"


def close_leaks(data: Dataset, closes: Closes) -> list[Leak]:
    """Return coins whose close in the data set is not that of the candle known at its cut."""
    leaks = []
    for product in (coin for coin in data.coins if coin in closes):
        minute_M, close_M = closes[product]
        rows = np.flatnonzero(data.coin_N == data.coins.index(product))
        rows = rows[np.isin(data.minute_N[rows], minute_M)]
        wrong = rows[data.close_N[rows] != close_M[minute_M.searchsorted(data.minute_N[rows])]]
        if len(wrong):
            seen = f"{len(wrong)} closes differ from the candles known at the cut, the first {clock(data.minute_N[wrong[0]])}"
            leaks.append(Leak("revised candle", f"{product}, close", seen))
    return leaks


def stored_leaks(
    data: Dataset, computed: Mapping[str, tuple[NDArray[np.int64], NDArray[np.float32]]], columns: Sequence[str]
) -> list[Leak]:
    """Return columns whose values differ from those computed from the past alone, bit for bit."""
    for product, (minute_K, x_KF) in computed.items():
        rows = np.flatnonzero((data.coin_N == data.coins.index(product)) & np.isin(data.minute_N, minute_K))
        there = np.searchsorted(minute_K, data.minute_N[rows])
        wrong = np.argwhere(data.x_NF[rows].view(np.int32) != x_KF[there].view(np.int32))
        if len(wrong):
            row, column = (int(value) for value in wrong[0])
            seen = f"{len(wrong)} values differ from those computed without any later candle, the first {_row(data, rows[row])}"
            return [Leak("inputs that the store does not bear out", f"{product}, {columns[column]}", seen)]
    return []


def tracer(data: Dataset) -> NDArray[np.float32]:
    """Return inputs that say where they are from: coin and minute (N, 2)."""
    return np.column_stack([data.coin_N, data.minute_N - data.minute_N.min()]).astype(np.float32)


def window_leaks(
    data: Dataset, ends: NDArray[np.int64], traced_BTF: NDArray[np.float32], sampled: NDArray[np.int64], minutes: int
) -> list[Leak]:
    """Return what is wrong with input windows; ``traced_BTF`` are those that end at ``sampled``, cut from `tracer`."""
    begins = np.maximum(ends - (minutes - 1), 0)
    is_own = data.coin_N[begins] == data.coin_N[ends]
    is_apart = is_own & (data.minute_N[ends] - data.minute_N[begins] != minutes - 1)
    leaks = [
        Leak(name, "windows", f"{len(wrong)} windows, the first ends at {_row(data, wrong[0])}")
        for name, wrong in (("window mixes coins", ends[~is_own]), ("window across a hole", ends[is_apart]))
        if len(wrong)
    ]
    age_T = np.arange(minutes - 1, -1, -1, dtype=np.float32)
    expected_BTF = tracer(data)[sampled][:, None, :] - age_T[None, :, None] * [0, 1]
    wrong = np.flatnonzero((traced_BTF != expected_BTF).any(axis=(1, 2)))
    if len(wrong) and not leaks:
        seen = f"{len(wrong)} windows hold other minutes than the {minutes} up to their end, the first ends at {_row(data, sampled[wrong[0]])}"
        leaks.append(Leak("window reads past its end", "windows", seen))
    return leaks


def _row(data: Dataset, row: int) -> str:
    return f"{data.coins[data.coin_N[row]]} {clock(data.minute_N[row])}"


def one_coin(data: Dataset) -> Dataset:
    """Return the rows of the first coin alone, which is enough to fit something small."""
    return _rows(replace(data, coins=data.coins[:1]), np.flatnonzero(data.coin_N == 0))


def renamed(data: Dataset, **parts: str) -> Dataset:
    """Return the data set with parts under other names: ``renamed(data, test="train")`` makes test rows training rows."""
    part_N = data.part_N.copy()
    for old, new in parts.items():
        part_N[data.part_N == PARTS.index(old)] = PARTS.index(new)
    return replace(data, part_N=part_N)


def with_labels(data: Dataset, labels: Mapping[str, Mapping[int, tuple[int, float]]]) -> Dataset:
    """Return the data set with other labels: direction and return by product and minute."""
    direction_N, return_N = np.full_like(data.direction_N, UNLABELLED), np.full_like(data.return_N, np.nan)
    for row, (coin, minute) in enumerate(zip(data.coin_N.tolist(), data.minute_N.tolist(), strict=True)):
        direction_N[row], return_N[row] = labels[data.coins[coin]].get(minute, (UNLABELLED, np.nan))
    return replace(data, direction_N=direction_N, return_N=return_N)


def _rows(data: Dataset, rows: NDArray[np.int64]) -> Dataset:
    names = ("coin_N", "minute_N", "close_N", "x_NF", "direction_N", "return_N", "part_N")
    columns: dict[str, Any] = {name: np.ascontiguousarray(getattr(data, name)[rows]) for name in names}
    return replace(data, **columns)


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
    for row in second[60:]:
        part_N[row] = data.part_N[row - 60] if data.direction_N[row] >= 0 else data.part_N[row]
    return replace(data, part_N=part_N)


def _doubled(data: Dataset) -> Dataset:
    """Repeat some training rows in the test part."""
    taken = np.flatnonzero(data.part_N == PARTS.index("train"))[::50]
    rows = np.concatenate([np.arange(len(data.part_N)), taken])
    spoiled = _rows(data, rows)
    spoiled.part_N[len(data.part_N) :] = PARTS.index("test")
    return _rows(spoiled, np.lexsort((np.arange(len(rows)), spoiled.minute_N, spoiled.coin_N)))


def _label_as_input(data: Dataset) -> Dataset:
    """Hide the return of the next 15 minutes, noise and all, in the third column."""
    x_NF = data.x_NF.copy()
    noise_N = np.random.default_rng(0).normal(size=len(x_NF)) * 0.1 * np.nanstd(data.return_N)
    x_NF[:, 2] = np.nan_to_num(1e3 * (data.return_N + noise_N)).astype(np.float32)
    return replace(data, x_NF=x_NF)


SPOILED: Mapping[str, Callable[[Dataset], Dataset]] = {
    "rows dealt out at random": _shuffled,
    "no purge at the borders": _unpurged,
    "second coin split an hour later": _shifted,
    "training rows again in the test part": _doubled,
    "return of the next 15 minutes, with noise, as an input": _label_as_input,
}
"""Ways to spoil a data set, by the plant's title in `leak_list.LEAKS`."""
