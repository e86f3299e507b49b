"""The leaks that have a name, and what repairs each; rooms that find them share these words."""

from __future__ import annotations

from dataclasses import dataclass

REPAIRS = {
    "future shift": "let the frame end at the current row: lag, never lead, in the view that makes the column",
    "centred window": "let the window trail: rows between N preceding and current row",
    "whole-history statistic": "use a trailing window, or fit the figure on training rows as models/datasets/scaler.py does",
    "warm-up filled from the future": "leave the first rows of a segment out; nothing is back-filled",
    "cross-coin peek": "join other products on the same minute or an earlier one",
    "higher time-frame joined by its open time": "join a bar by its close_time: it may be used from then on",
    "gap filled from the future": "fill a minute without a trade from the close before it",
    "time of learning among the inputs": "leave known_at and source out of the view: they tell how a candle came, later",
    "look-ahead": "let every frame end at the current row and every join at its minute",
    "revised candle": "read candles by queries/candles_as_of with the data set's cut; build it again: make features",
    "label across a segment": "label only where the minute a horizon later is of the same segment, as sql/labels does",
    "label on a filled minute": "label only where both ends are real candles, as sql/labels does",
    "label of another horizon": "compare the close with the one horizon_minutes later; build again: make features",
    "label that no candle bears out": "build the data set again from the store: make features",
    "label among the inputs": "take the column out of the feature set, or look for what of the future it holds",
    "inputs that the store does not bear out": "build the data set again from the store: make features",
    "shuffled split": "split by time alone, the same instants for all coins, as store/splits.py does",
    "label reaches into the next part": "leave out the last horizon_minutes of every part (the purge)",
    "coins split at different instants": "cut all coins at the same minutes, as store/splits.py does",
    "row in two parts": "give each minute of a coin one row; build the data set again: make features",
    "window across a hole": "end windows only where models/datasets/windows.py:usable_ends says a whole one ends",
    "window mixes coins": "end windows only where models/datasets/windows.py:usable_ends says a whole one ends",
    "window reads past its end": "cut windows with models/datasets/windows.py:windows",
    "scaler on all rows": "fit the scaler on the train part alone, as models/datasets/scaler.py does",
    "target scale on all rows": "scale returns by the train part alone",
    "weights fitted on later parts": "train on the train part alone",
    "early stopping on test": "watch the early-stop part, nothing else",
    "early stopping on calibration": "watch the early-stop part, nothing else",
    "calibrator on test": "fit the calibration on the calibration part alone",
    "threshold cut on test": "cut the tiers on the calibration part alone",
    "baseline fitted on later parts": "fit baselines on the train part alone: a figure that is too good refuses good models",
}


@dataclass(frozen=True, slots=True)
class Leak:
    """One leak that was seen."""

    name: str
    """A key of `REPAIRS`."""
    place: str
    """What leaks: a column, a function, a part."""
    seen: str
    """The evidence: product, minute, by how much."""

    @property
    def repair(self) -> str:
        """What to do about it."""
        return REPAIRS[self.name]
