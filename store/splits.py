"""Cut a data set into its parts, and time into walk-forward folds: the same instants for every product."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from core.candles import HORIZON_MINUTES, minute_start
from core.errors import DatasetError

TRAIN_SHARE, EARLY_STOP_SHARE, CALIBRATION_SHARE = 0.70, 0.075, 0.075
WALK_FORWARD_FOLDS = 5
MINUTES_OF_DAY = 1440
MIN_INNER_MINUTES = 480
"""Of a fold's early-stop and calibration part: a purge, the longest input window and some hundred labels."""


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
    """One walk-forward fold: fit on ``train_start .. train_end - 1``, judge ``test_start .. test_end - 1``.

    What is fitted on is itself cut by time, in the shares of a data set: training, then from ``early_stop`` on early
    stopping, then from ``calibration`` on calibration. A purge of the horizon lies at every border; an embargo would be
    due only where a part precedes one that is fitted on, and in a fold none does.
    """

    train_start: int
    early_stop: int
    calibration: int
    train_end: int
    test_start: int
    test_end: int

    @classmethod
    def before(cls, train_start: int, test_start: int, test_end: int) -> Fold:
        """Cut the minutes before ``test_start`` as a data set's are cut before its test part."""
        fitted = TRAIN_SHARE + EARLY_STOP_SHARE + CALIBRATION_SHARE
        length = test_start - train_start
        early_stop, calibration = (
            train_start + round(share / fitted * length) for share in (TRAIN_SHARE, TRAIN_SHARE + EARLY_STOP_SHARE)
        )
        return cls(train_start, early_stop, calibration, test_start - HORIZON_MINUTES, test_start, test_end)


def walk_forward(
    first: int, end: int, folds: int = WALK_FORWARD_FOLDS, *, rolling_minutes: int | None = None
) -> list[Fold]:
    """Return folds of equal test length over the last half of the minutes ``first .. end - 1``, oldest first.

    Each is fitted on all that lies before its test, or, rolling, on the ``rolling_minutes`` before it.
    """
    start = first + (end - first) // 2
    edges = [start + (end - start) * number // folds for number in range(folds + 1)]
    return [
        Fold.before(first if rolling_minutes is None else max(first, low - rolling_minutes), low, high)
        for low, high in pairwise(edges)
    ]


def require_folds(first: int, end: int, folds: int, *, rolling_minutes: int | None = None) -> list[Fold]:
    """Return `walk_forward`'s folds if each is long enough to be fitted and judged.

    Raises:
        DatasetError: the span is too short for so many folds, or ``rolling_minutes`` for fitting one; the text says how
            many there is room for, or how many days are needed.
    """
    if folds < 1:
        msg = f"{folds} folds cannot be walked forward; take one at least, such as --folds {WALK_FORWARD_FOLDS}"
        raise DatasetError(msg)
    cuts = walk_forward(first, end, folds, rolling_minutes=rolling_minutes)
    if min(fold.test_end - fold.test_start for fold in cuts) < MINUTES_OF_DAY:
        room = (end - first - (end - first) // 2) // MINUTES_OF_DAY
        repair = f"take --folds {room} at most" if room else "backfill a longer span: make backfill, then make features"
        msg = f"{folds} folds do not fit {_days(first, end)}: the later half gives each less than a day to be judged on; {repair}"
        raise DatasetError(msg)
    if min(min(fold.calibration - fold.early_stop, fold.test_start - fold.calibration) for fold in cuts) < (
        MIN_INNER_MINUTES
    ):
        fitted = (TRAIN_SHARE + EARLY_STOP_SHARE + CALIBRATION_SHARE) / min(EARLY_STOP_SHARE, CALIBRATION_SHARE)
        needed = -(-int(fitted * MIN_INNER_MINUTES) // MINUTES_OF_DAY) + 1
        length = cuts[0].test_start - cuts[0].train_start
        repair = (
            f"take --rolling {needed} at least" if rolling_minutes else "backfill: make backfill, then make features"
        )
        msg = f"the first fold would be fitted on {length / MINUTES_OF_DAY:.1f} days; early stopping and calibration need {needed}: {repair}"
        raise DatasetError(msg)
    return cuts


def _days(first: int, end: int) -> str:
    begin, until = minute_start(first), minute_start(end)
    return f"{(end - first) / MINUTES_OF_DAY:.1f} days ({begin:%Y-%m-%d} .. {until:%Y-%m-%d})"
