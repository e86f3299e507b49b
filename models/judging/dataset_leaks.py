"""Leaks that can be read from a data set: its split, its labels, its inputs, its windows.

Nothing here trusts the SQL that made the rows: labels are computed anew from candles. Shapes: N rows of the data set, F inputs,
M candles of a coin, K chosen rows.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from models.datasets.dataset import PARTS, UNLABELLED
from models.judging.leak_catalogue import Leak
from models.statistics.metrics import auc

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from models.datasets.dataset import Dataset

    Closes = Mapping[str, tuple[NDArray[np.int64], NDArray[np.float64]]]
    """Minute and close of every candle, by product, oldest first."""

LONGEST_FILL_MINUTES = 60
TELLING_AUC = 0.95
"""No honest input orders directions this well by itself; the planted market's best forecast of all reaches 0.88."""
_AUC_ROWS = 20_000
_LEAST_ROWS = 30
"""Of each direction; with fewer an input may order them by chance."""
_HORIZONS = range(1, 241)


def split_leaks(data: Dataset) -> list[Leak]:
    """Return what is wrong with the parts: shuffled, not purged, at different instants, a minute twice."""
    found = [leak for coin in range(len(data.coins)) for leak in _coin_split(data, coin)]
    if not found:
        found += _instants(data)
    return found


def _coin_split(data: Dataset, coin: int) -> Iterator[Leak]:
    rows = np.flatnonzero(data.coin_N == coin)
    product = data.coins[coin]
    order = rows[np.argsort(data.minute_N[rows], kind="stable")]
    minutes = data.minute_N[order]
    twice = np.flatnonzero(np.diff(minutes) == 0)
    if len(twice):
        yield Leak(
            "row in two parts",
            f"{product}, parts",
            f"{len(twice)} minutes twice, the first {_clock(minutes[twice[0]])}",
        )
        return
    kept = order[data.part_N[order] >= 0]
    parts, minutes = data.part_N[kept], data.minute_N[kept]
    backward = np.flatnonzero(np.diff(parts) < 0)
    if len(backward):
        row = backward[0]
        yield Leak(
            "shuffled split",
            f"{product}, parts",
            f"{PARTS[parts[row + 1]]} at {_clock(minutes[row + 1])} comes after {PARTS[parts[row]]} at "
            f"{_clock(minutes[row])}, and so {len(backward)} times",
        )
        return
    for row in np.flatnonzero(np.diff(parts) > 0):
        gap = int(minutes[row + 1] - minutes[row])
        if gap < data.horizon_minutes:
            yield Leak(
                "label reaches into the next part",
                f"{product}, {PARTS[parts[row]]}",
                f"{PARTS[parts[row + 1]]} begins at {_clock(minutes[row + 1])}, {gap} minutes after the last label of "
                f"{PARTS[parts[row]]} begins",
            )


def _instants(data: Dataset) -> Iterator[Leak]:
    """Look across coins: what one is tested on must not be what another is trained on."""
    for position in range(1, len(PARTS)):
        here, before = data.part_N == position, (data.part_N >= 0) & (data.part_N < position)
        if not (here.any() and before.any()):
            continue
        begins, ends = np.flatnonzero(here), np.flatnonzero(before)
        first, last = begins[data.minute_N[begins].argmin()], ends[data.minute_N[ends].argmax()]
        if data.minute_N[first] < data.minute_N[last] + data.horizon_minutes:
            yield Leak(
                "coins split at different instants",
                f"{data.coins[data.coin_N[first]]}, {PARTS[position]}",
                f"begins at {_clock(data.minute_N[first])}, while {data.coins[data.coin_N[last]]} is in "
                f"{PARTS[data.part_N[last]]} until {_clock(data.minute_N[last])}",
            )


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
    if not whole.all():
        broken = minutes[~whole]
        across = _is_across(minute_M, broken, data.horizon_minutes)
        for name, chosen in (("label across a segment", broken[across]), ("label on a filled minute", broken[~across])):
            if len(chosen):
                yield Leak(
                    name,
                    f"{product}, labels",
                    f"{len(chosen)} labels where one end is no candle, the first {_clock(chosen[0])}",
                )
    rows, minutes, later = rows[whole], minutes[whole], later[whole]
    before, after = (close_M[minute_M.searchsorted(wanted)] for wanted in (minutes, later))
    wrong = (data.direction_N[rows] == 1) != (after > before)
    wrong |= np.abs(data.return_N[rows] - (after - before) / before) > 1e-9
    if wrong.any():
        name, told = _horizon(data, rows[wrong], minute_M, close_M)
        first = minutes[wrong][0]
        yield Leak(
            name, f"{product}, labels", f"{int(wrong.sum())} of {len(rows)} labels, the first {_clock(first)}: {told}"
        )


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
        is_told = np.array_equal(data.direction_N[rows][there] == 1, after > base[there])
        if is_told and np.allclose(data.return_N[rows][there], (after - base[there]) / base[there], rtol=0, atol=1e-9):
            return "label of another horizon", f"they tell of {horizon} minutes, not of {data.horizon_minutes}"
    return "label that no candle bears out", "no horizon up to 240 minutes gives them"


def close_leaks(data: Dataset, closes: Closes) -> list[Leak]:
    """Return coins whose close in the data set is not that of the candle known at its cut."""
    found = []
    for product in (coin for coin in data.coins if coin in closes):
        minute_M, close_M = closes[product]
        rows = np.flatnonzero(data.coin_N == data.coins.index(product))
        rows = rows[np.isin(data.minute_N[rows], minute_M)]
        wrong = rows[data.close_N[rows] != close_M[minute_M.searchsorted(data.minute_N[rows])]]
        if len(wrong):
            seen = f"{len(wrong)} closes differ from the candles known at the cut, the first {_clock(data.minute_N[wrong[0]])}"
            found.append(Leak("revised candle", f"{product}, close", seen))
    return found


def input_leaks(data: Dataset) -> list[Leak]:
    """Return columns that order directions by themselves, as they are or against the close."""
    found = []
    for coin, product in enumerate(data.coins):
        rows = np.flatnonzero((data.coin_N == coin) & (data.direction_N != UNLABELLED))
        rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), _AUC_ROWS)).astype(np.int64)]
        ups = int((data.direction_N[rows] == 1).sum())
        if min(ups, len(rows) - ups) < _LEAST_ROWS:
            continue
        for column, name in enumerate(data.columns):
            values = data.x_NF[rows, column].astype(np.float64)
            reached = max(_ordering(data, rows, values), _ordering(data, rows, values / data.close_N[rows]))
            if reached > TELLING_AUC:
                found.append(Leak("label among the inputs", f"{product}, {name}", f"AUC {reached:.3f} by itself"))
    return found


def _ordering(data: Dataset, rows: NDArray[np.int64], values: NDArray[np.float64]) -> float:
    reached = auc(values, data.direction_N[rows])
    return max(reached, 1.0 - reached)


def window_leaks(
    data: Dataset, ends: NDArray[np.int64], traced_BTF: NDArray[np.float32], sampled: NDArray[np.int64], minutes: int
) -> list[Leak]:
    """Return what is wrong with input windows; ``traced_BTF`` are those that end at ``sampled``, cut from `tracer`."""
    found = []
    begins = np.maximum(ends - (minutes - 1), 0)
    mixed = ends[data.coin_N[begins] != data.coin_N[ends]]
    apart = (data.coin_N[begins] == data.coin_N[ends]) & (data.minute_N[ends] - data.minute_N[begins] != minutes - 1)
    for name, wrong in (("window mixes coins", mixed), ("window across a hole", ends[apart])):
        if len(wrong):
            found.append(Leak(name, "windows", f"{len(wrong)} windows, the first ends at {_row(data, wrong[0])}"))
    expected = tracer(data)[sampled][:, None, :] - np.arange(minutes - 1, -1, -1, dtype=np.float32)[None, :, None] * [
        0,
        1,
    ]
    wrong = np.flatnonzero((traced_BTF != expected).any(axis=(1, 2)))
    if len(wrong) and not found:
        seen = f"{len(wrong)} windows hold other minutes than the {minutes} up to their end, the first ends at {_row(data, sampled[wrong[0]])}"
        found.append(Leak("window reads past its end", "windows", seen))
    return found


def tracer(data: Dataset) -> NDArray[np.float32]:
    """Return inputs that say where they are from: coin and minute (N, 2)."""
    return np.column_stack([data.coin_N, data.minute_N - data.minute_N.min()]).astype(np.float32)


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


def _row(data: Dataset, row: int) -> str:
    return f"{data.coins[data.coin_N[row]]} {_clock(data.minute_N[row])}"


def _clock(minute: int) -> str:
    return f"{datetime.fromtimestamp(int(minute) * 60, UTC):%Y-%m-%d %H:%M}"
