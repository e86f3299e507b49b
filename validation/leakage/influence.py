"""Name the leak behind rows that moved before a change: the shape of the influence tells what made it.

Shapes: K touched rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from models.judging.leak_canaries import Leak, clock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Minutes = Mapping[str, NDArray[np.int64]]
    """The minutes that have a row, by product."""

ROW = "(the row itself)"
"""Stands for a column where rows come or go."""
_BARS = (5, 10, 15, 30, 60, 120, 240, 480, 720, 1440)
_WARM_UP = 300
"""A leak that is seen only this close to where a segment's rows begin belongs to a warm-up."""
_HOLE_MINUTES = 61


@dataclass(frozen=True, slots=True)
class Influence:
    """Rows of one column that lie before a change and moved all the same."""

    column: str
    kind: str
    """As in `validation.leakage.sql_interventions.Intervention`."""
    product: str
    """Whose candle was changed; empty where those of all were."""
    minute: int
    """The first minute that was changed."""
    product_K: tuple[str, ...]
    minute_K: NDArray[np.int64]
    filled_K: NDArray[np.bool_]
    reach: int
    """How far after the changed minute rows of the same product moved, as they may."""

    @property
    def own(self) -> NDArray[np.bool_]:
        """Which touched rows are of the changed product."""
        return np.array([self.product in {"", product} for product in self.product_K], dtype=bool)

    @property
    def earliest(self) -> int:
        """The earliest touched minute of the changed product, or of all where it has none."""
        own = self.own
        return int(self.minute_K[own if own.any() else slice(None)].min())


def name_leaks(features: str, influences: Sequence[Influence], rows: Minutes, middles: Sequence[int]) -> list[Leak]:
    """Return one leak for each column that was moved from its future; ``middles`` are the minutes that show a shape best."""
    moved = sorted((each for each in influences if len(each.minute_K)), key=lambda each: each.column)
    leaks = []
    for column, group in groupby(moved, key=lambda each: each.column):
        seen = list(group)
        leaks.append(Leak(_name(seen, rows, middles), f"{features}.{column}", _evidence(seen, middles)))
    return leaks


def _name(seen: Sequence[Influence], rows: Minutes, middles: Sequence[int]) -> str:
    if all(each.kind == "learned" for each in seen):
        return "time of learning among the inputs"
    if all(each.filled_K.all() for each in seen):
        return "gap filled from the future"
    pointed = [each for each in seen if each.kind == "candle"]
    if pointed and not any(each.own.any() for each in pointed):
        return "cross-coin peek"
    if all(_is_in_warm_up(each, rows) for each in seen):
        return "warm-up filled from the future"
    return _shape(seen, rows, middles)


def _shape(seen: Sequence[Influence], rows: Minutes, middles: Sequence[int]) -> str:
    """Read the shape where one candle was changed in the middle of a segment, or else where all later ones were."""
    pointed = [each for each in seen if each.kind == "candle" and each.minute in middles]
    read = pointed or [each for each in seen if each.kind in {"cut", "other"}]
    if not read:
        return "look-ahead"
    if all(each.earliest in _first_rows(each, rows) for each in read):
        return "whole-history statistic"
    back = {each.minute - each.earliest for each in read}
    is_bar = any(all(_is_bar(each, minutes) for each in read) for minutes in _BARS)
    # seen from one minute alone, a bar may look like a shift of as many minutes as have passed of it
    if len(back) == 1 and (len(read) > 1 or not is_bar):
        return "centred window" if pointed and all(each.reach in back for each in pointed) else "future shift"
    return "higher time-frame joined by its open time" if is_bar else "look-ahead"


def _is_bar(influence: Influence, minutes: int) -> bool:
    return influence.earliest % minutes == 0 and influence.minute < influence.earliest + minutes


def _first_rows(influence: Influence, rows: Minutes) -> set[int]:
    """Return the first minute with a row of the history, and of the segment the change lies in."""
    minutes: set[int] = set()
    for product in {influence.product} - {""} or rows:
        starts = _starts(rows[product])
        minutes.update(starts[:1].tolist(), starts[starts <= influence.minute][-1:].tolist())
    return minutes


def _is_in_warm_up(influence: Influence, rows: Minutes) -> bool:
    for product, minute in zip(influence.product_K, influence.minute_K.tolist(), strict=True):
        starts = _starts(rows[product])
        start = starts[starts <= minute][-1:]
        if not len(start) or influence.minute - int(start[0]) >= _WARM_UP:
            return False
        if len(starts[(starts > minute) & (starts <= influence.minute)]):
            return False  # the change lies in a later segment
    return True


def _starts(minutes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the first minute of every run of rows without a hole of over an hour."""
    return minutes[np.concatenate([[True], np.diff(minutes) > _HOLE_MINUTES])] if len(minutes) else minutes


_DONE = {
    # in the order in which evidence is clear
    "candle": "its candle of {minute} was changed",
    "other": "the candles from {minute} on were others",
    "cut": "the candles from {minute} on were taken away",
    "learned": "candles were learned at other times",
}


def _evidence(seen: Sequence[Influence], middles: Sequence[int]) -> str:
    """Say what was seen where it is clearest: a changed candle before a cut, the middle of a segment before its start."""
    order = list(_DONE)
    clearest = min(
        seen, key=lambda each: (order.index(each.kind), -int(each.own.any()), each.minute not in middles, each.minute)
    )
    first = int(np.argmin(clearest.minute_K))
    product, minute = clearest.product_K[first], int(clearest.minute_K[first])
    done = _DONE[clearest.kind].format(minute=clock(clearest.minute))
    if clearest.kind == "candle" and product != clearest.product:
        done = done.replace("its candle", f"the candle of {clearest.product}")
    rows = "1 row" if len(clearest.minute_K) == 1 else f"{len(clearest.minute_K)} rows"
    earlier = f", {clearest.minute - minute} minutes earlier" if clearest.kind != "learned" else ""
    return f"{product}: {rows} moved, the first of {clock(minute)}{earlier}, when {done}"
