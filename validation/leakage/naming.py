"""From rows that moved to the name of a leak: the shape of an influence tells what made it.

Shapes: K touched rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from models.judging.leak_catalogue import Leak

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

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
    """As in `validation.leakage.sql_interventions.Change`."""
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


def named(
    features: str, found: Sequence[Influence], rows: Mapping[str, NDArray[np.int64]], middles: Sequence[int]
) -> list[Leak]:
    """Return one leak for each column that was moved from its future.

    ``rows`` are the minutes that have a row, by product; ``middles`` the changed minutes that show a shape best.
    """
    lit = sorted((one for one in found if len(one.minute_K)), key=lambda one: one.column)
    leaks = []
    for column, group in groupby(lit, key=lambda one: one.column):
        seen = list(group)
        leaks.append(Leak(_name(seen, rows, middles), f"{features}.{column}", _told(seen, middles)))
    return leaks


def _name(seen: Sequence[Influence], rows: Mapping[str, NDArray[np.int64]], middles: Sequence[int]) -> str:
    if all(one.kind == "learned" for one in seen):
        return "time of learning among the inputs"
    if all(one.filled_K.all() for one in seen):
        return "gap filled from the future"
    pointed = [one for one in seen if one.kind == "candle"]
    if pointed and not any(one.own.any() for one in pointed):
        return "cross-coin peek"
    if all(_is_in_warm_up(one, rows) for one in seen):
        return "warm-up filled from the future"
    return _shape(seen, rows, middles)


def _shape(seen: Sequence[Influence], rows: Mapping[str, NDArray[np.int64]], middles: Sequence[int]) -> str:
    """Read the shape where one candle was changed in the middle of a segment, or else where all later ones were."""
    pointed = [one for one in seen if one.kind == "candle" and one.minute in middles]
    read = pointed or [one for one in seen if one.kind in {"cut", "other"}]
    if not read:
        return "look-ahead"
    if all(one.earliest in _first_rows(one, rows) for one in read):
        return "whole-history statistic"
    back = {one.minute - one.earliest for one in read}
    is_bar = any(all(_is_bar(one, minutes) for one in read) for minutes in _BARS)
    # seen from one minute alone, a bar may look like a shift of as many minutes as have passed of it
    if len(back) == 1 and (len(read) > 1 or not is_bar):
        return "centred window" if pointed and all(one.reach in back for one in pointed) else "future shift"
    return "higher time-frame joined by its open time" if is_bar else "look-ahead"


def _is_bar(one: Influence, minutes: int) -> bool:
    return one.earliest % minutes == 0 and one.minute < one.earliest + minutes


def _first_rows(one: Influence, rows: Mapping[str, NDArray[np.int64]]) -> set[int]:
    """Return the first minute with a row of the history, and of the segment the change lies in."""
    found = set()
    for product in {one.product} - {""} or rows:
        starts = _starts(rows[product])
        found |= set(starts[:1]) | set(starts[starts <= one.minute][-1:].tolist())
    return {int(minute) for minute in found}


def _is_in_warm_up(one: Influence, rows: Mapping[str, NDArray[np.int64]]) -> bool:
    for product, minute in zip(one.product_K, one.minute_K.tolist(), strict=True):
        starts = _starts(rows[product])
        start = starts[starts <= minute][-1:]
        if not len(start) or one.minute - int(start[0]) >= _WARM_UP:
            return False
        if len(starts[(starts > minute) & (starts <= one.minute)]):
            return False  # the change lies in a later segment
    return True


def _starts(minutes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the first minute of every run of rows without a hole of over an hour."""
    return minutes[np.concatenate([[True], np.diff(minutes) > _HOLE_MINUTES])] if len(minutes) else minutes


_DONE = {
    "candle": "its candle of {minute} was changed",
    "cut": "the candles from {minute} on were taken away",
    "other": "the candles from {minute} on were others",
    "learned": "candles were learned at other times",
}


def _told(seen: Sequence[Influence], middles: Sequence[int]) -> str:
    """Say what was seen where it is clearest: a changed candle before a cut, the middle of a segment before its start."""
    order = {"candle": 0, "other": 1, "cut": 2, "learned": 3}
    one = min(seen, key=lambda each: (order[each.kind], -int(each.own.any()), each.minute not in middles, each.minute))
    place = int(np.argmin(one.minute_K))
    product, minute = one.product_K[place], int(one.minute_K[place])
    done = _DONE[one.kind].format(minute=_clock(one.minute))
    if one.kind == "candle" and product != one.product:
        done = done.replace("its candle", f"the candle of {one.product}")
    back = one.minute - minute
    rows = "1 row" if len(one.minute_K) == 1 else f"{len(one.minute_K)} rows"
    earlier = f", {back} minutes earlier" if one.kind != "learned" else ""
    return f"{product}: {rows} moved, the first of {_clock(minute)}{earlier}, when {done}"


def _clock(minute: int) -> str:
    return f"{datetime.fromtimestamp(minute * 60, UTC):%Y-%m-%d %H:%M}"
