"""List every leak that `desk leak-check` knows: where it is looked for, its repair, and the plants that prove it is caught.

A plant is a mistake made on purpose: an SQL view under ``sql/leaks`` by its file's stem, or what `SPOILED` (in `dataset_checks`)
and `PIPELINES` (in `fit_checks`) hold under the plant's title. A leak without a plant is a general name, given when no other fits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from models.judging.leak_canaries import Leak


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
