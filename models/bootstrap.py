"""95 % intervals by resampling whole days, because neighbouring minutes share their labels.

Künsch (1989), with blocks of a UTC day: a label overlaps 14 of its neighbours' minutes, and moods last hours, so rows
are not independent but days nearly are. Every metric is resampled from sums per day; only the AUC needs the rows.

Shapes: N rows, D days, R replicates, M columns, K bins.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from models import evaluate

if TYPE_CHECKING:
    from numpy.typing import NDArray

REPLICATES = 1000
MINUTES_OF_DAY = 1440
_CHUNK_VALUES = 20_000_000


class Interval(NamedTuple):
    """A figure and the ends of its 95 % interval; the ends are None where none can be given."""

    value: float
    low: float | None
    high: float | None

    def as_json(self) -> dict[str, float | None]:
        """Return the figure under the column names of `model_metrics`; a value that is no number becomes None."""
        value = float(self.value)
        return {"value": value if math.isfinite(value) else None, "low_95": self.low, "high_95": self.high}


class DayBootstrap:
    """One seeded set of resampled days, used for every metric of the same rows."""

    def __init__(self, minute_N: NDArray[np.int64], *, seed: int = 0, replicates: int = REPLICATES) -> None:
        """Draw how often each day occurs in each replicate."""
        days, self.day_N = np.unique(minute_N // MINUTES_OF_DAY, return_inverse=True)
        self.days = len(days)
        generator = np.random.default_rng(seed)
        even = np.full(max(self.days, 1), 1.0 / max(self.days, 1))
        self.times_RD = generator.multinomial(max(self.days, 1), even, size=replicates).astype(np.float64)

    def sums(self, values_NM: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the columns' sums in each replicate, (R, M)."""
        columns = [np.bincount(self.day_N, weights=column, minlength=self.days) for column in values_NM.T]
        return np.asarray(self.times_RD @ np.stack(columns, axis=1))

    def mean(self, value_N: NDArray[np.float64], chosen_N: NDArray[np.bool_] | None = None) -> Interval:
        """Return the mean of the chosen rows with its interval."""
        weight_N = np.ones(len(value_N)) if chosen_N is None else chosen_N.astype(np.float64)
        if not weight_N.sum():
            return Interval(float("nan"), None, None)
        total_R2 = self.sums(np.stack([value_N * weight_N, weight_N], axis=1))
        return self.interval(float(value_N @ weight_N / weight_N.sum()), _ratio(total_R2[:, 0], total_R2[:, 1]))

    def brier_skill(self, p_N: NDArray[np.float64], y_N: NDArray[np.int8]) -> Interval:
        """Return the Brier skill with its interval; the share of ups is resampled too."""
        total_R3 = self.sums(np.stack([(p_N - y_N) ** 2, y_N.astype(np.float64), np.ones(len(p_N))], axis=1))
        share_R = _ratio(total_R3[:, 1], total_R3[:, 2])
        skill_R = 1.0 - _ratio(_ratio(total_R3[:, 0], total_R3[:, 2]), share_R * (1.0 - share_R))
        return self.interval(evaluate.brier_skill(p_N, y_N), skill_R)

    def calibration_error(self, p_N: NDArray[np.float64], y_N: NDArray[np.int8], bin_N: NDArray[np.int64]) -> Interval:
        """Return the calibration error with its interval, the bins kept as they are."""
        # resampling adds its own noise to every bin, so the interval sits a little high: the safe side for a gate
        gap_NK = np.zeros((len(p_N), evaluate.BINS))
        gap_NK[np.arange(len(p_N)), bin_N] = p_N - y_N
        rows_R = self.sums(np.ones((len(p_N), 1)))[:, 0]
        error_R = _ratio(np.abs(self.sums(gap_NK)).sum(axis=1), rows_R)
        return self.interval(evaluate.calibration_error(p_N, y_N, bin_N), error_R)

    def auc(self, p_N: NDArray[np.float64], y_N: NDArray[np.int8]) -> Interval:
        """Return the AUC with its interval."""
        step = max(1, _CHUNK_VALUES // max(1, len(p_N)))
        parts = [
            evaluate.weighted_auc(p_N, y_N, self.times_RD[start : start + step][:, self.day_N])
            for start in range(0, len(self.times_RD), step)
        ]
        return self.interval(evaluate.auc(p_N, y_N), np.concatenate(parts))

    def interval(self, value: float, value_R: NDArray[np.float64]) -> Interval:
        """Return the middle 95 % of the replicates; none for fewer than two days."""
        kept_R = value_R[np.isfinite(value_R)]
        if self.days < 2 or not len(kept_R):
            return Interval(value, None, None)
        low, high = np.quantile(kept_R, (0.025, 0.975))
        return Interval(value, float(low), float(high))


def _ratio(top_R: NDArray[np.float64], bottom_R: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.divide(top_R, bottom_R, out=np.full(len(top_R), np.nan), where=bottom_R > 0))
