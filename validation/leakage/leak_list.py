"""List every leak that `desk leak-check` knows (where it is looked for, its repair, its plants), and name one by what it moved.

A plant is a mistake made on purpose: an SQL view under ``sql/leaks`` by its file's stem, or what `SPOILED` (in `dataset_checks`)
and `PIPELINES` (in `fit_checks`) hold under the plant's title. A leak without a plant is a general name, given when no other fits.
Rows that moved before a change are named by the shape of the influence: it tells what made it.

Shapes: K touched rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from models.judging.leak_canaries import Leak, clock

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    Minutes = Mapping[str, NDArray[np.int64]]
    """The minutes that have a row, by product."""


class Where(StrEnum):
    """Which check looks for a leak."""

    SQL = "feature SQL"
    CUT = "data set at its cut"
    LABELS = "label SQL"
    DATASET = "data set"
    FIT = "what is fitted"


@dataclass(frozen=True, slots=True)
class KnownLeak:
    """One row of the list."""

    name: str
    where: Where
    repair: str
    plants: tuple[str, ...] = ()


# name | plants | repair, by the check that looks for it
_LIST = """
[feature SQL]
future shift | leak_future_shift | let the frame end at the current row: lag, never lead, in the view that makes the column
centred window | leak_centred_window | let the window trail: rows between N preceding and current row
whole-history statistic | leak_whole_history | use a trailing window, or fit the figure on training rows as models/datasets/scaler.py does
warm-up filled from the future | leak_warm_up | leave the first rows of a segment out; nothing is back-filled
cross-coin peek | leak_cross_coin | join other products on the same minute or an earlier one
higher time-frame joined by its open time | leak_hour_open; leak_day_range | join a bar by its close_time: it may be used from then on
gap filled from the future | leak_gap_fill | fill a minute without a trade from the close before it
time of learning among the inputs | leak_known_at | leave known_at and source out of the view: they tell how a candle came, later
look-ahead | - | let every frame end at the current row and every join at its minute
[data set at its cut]
revised candle | a store that forgets the cut | read candles by queries/candles_as_of with the data set's cut; build it again: make features
inputs that the store does not bear out | - | build the data set again from the store: make features
[label SQL]
label across a segment | labels_across_segment | label only where the minute a horizon later is of the same segment, as sql/labels does
label of another horizon | labels_other_horizon | compare the close with the one horizon_minutes later; build again: make features
label on a filled minute | labels_filled | label only where both ends are real candles, as sql/labels does
label that no candle bears out | - | build the data set again from the store: make features
[data set]
shuffled split | rows dealt out at random | split by time alone, the same instants for all coins, as store/splits.py does
label reaches into the next part | no purge at the borders | leave out the last horizon_minutes of every part (the purge)
coins split at different instants | second coin split an hour later | cut all coins at the same minutes, as store/splits.py does
row in two parts | training rows again in the test part | give each minute of a coin one row; build the data set again: make features
label among the inputs | return of the next 15 minutes, with noise, as an input | take the column out of the feature set, or look for what of the future it holds
[what is fitted]
scaler on all rows | scaler on all rows | fit the scaler on the train part alone, as models/datasets/scaler.py does
target scale on all rows | returns scaled by all rows | scale returns by the train part alone
weights fitted on later parts | calibration part trained on | train on the train part alone
early stopping on test | early stopping watches test | watch the early-stop part, nothing else
early stopping on calibration | early stopping watches calibration | watch the early-stop part, nothing else
calibrator on test | calibrator on test | fit the calibration on the calibration part alone
threshold cut on test | tiers cut on test | cut the tiers on the calibration part alone
baseline fitted on later parts | baselines on all rows | fit baselines on the train part alone: a figure that is too good refuses good models
window across a hole | windows over holes | end windows only where models/datasets/windows.py:usable_ends says a whole one ends
window mixes coins | windows over two coins | end windows only where models/datasets/windows.py:usable_ends says a whole one ends
window reads past its end | windows one minute late | cut windows with models/datasets/windows.py:windows
"""


def _parsed() -> Iterator[KnownLeak]:
    where = Where.SQL
    for line in _LIST.strip().splitlines():
        if line.startswith("["):
            where = Where(line.strip("[]"))
            continue
        name, planted, repair = line.split(" | ")
        yield KnownLeak(name, where, repair, tuple(planted.split("; ")) if planted != "-" else ())


LEAKS = {known.name: known for known in _parsed()}


def plants(where: Where) -> dict[str, str]:
    """Return the plants that a check must catch: the leak's name by the plant's."""
    return {plant: known.name for known in LEAKS.values() if known.where is where for plant in known.plants}


@dataclass(frozen=True, slots=True)
class LeakCheck:
    """One line of a leak check: what was probed, how often, and what was seen."""

    what: str
    probes: int
    """Interventions, or comparisons of a whole data set."""
    leaks: Sequence[Leak] = field(default_factory=list)
    expected: str = ""
    """The name a planted leak must be given; empty where nothing may be found."""
    note: str = ""
    """Why there was nothing to probe."""

    @property
    def holds(self) -> bool:
        """Whether nothing was found, or what was planted was called by its name."""
        return self.expected in {leak.name for leak in self.leaks} if self.expected else not self.leaks


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
