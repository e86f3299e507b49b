"""Where a data set's parts begin and end: by time alone, the same instants for every product."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from desk.market import HORIZON_MINUTES

TRAIN_SHARE, EARLY_STOP_SHARE, CALIBRATION_SHARE = 0.70, 0.075, 0.075
WALK_FORWARD_FOLDS = 5


@dataclass(frozen=True, slots=True)
class Borders:
    """First minute of each later part; training comes before ``early_stop``, the test part after ``test``."""

    early_stop: int
    calibration: int
    test: int

    @classmethod
    def over(cls, first: int, end: int) -> Borders:
        """Cut the minutes ``first .. end - 1`` 70 / 7.5 / 7.5 / 15."""
        length = end - first
        shares = (TRAIN_SHARE, TRAIN_SHARE + EARLY_STOP_SHARE, TRAIN_SHARE + EARLY_STOP_SHARE + CALIBRATION_SHARE)
        return cls(*(first + round(share * length) for share in shares))


@dataclass(frozen=True, slots=True)
class Fold:
    """One walk-forward fold: train on everything before ``test_start`` less the purge, judge ``test_start .. test_end - 1``."""

    train_end: int
    test_start: int
    test_end: int


def walk_forward(first: int, end: int, folds: int = WALK_FORWARD_FOLDS) -> list[Fold]:
    """Return folds of equal test length over the last half of the minutes, each trained on all that lies before it."""
    start = first + (end - first) // 2
    edges = [start + (end - start) * number // folds for number in range(folds + 1)]
    return [Fold(low - HORIZON_MINUTES, low, high) for low, high in pairwise(edges)]
