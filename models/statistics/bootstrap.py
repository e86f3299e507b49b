"""95 % intervals by resampling whole days, because neighbouring minutes share their labels.

Künsch (1989), with blocks of a UTC day: a label overlaps 14 of its neighbours' minutes, and moods last hours, so rows
are not independent but days nearly are. Every metric is resampled from sums per day, the AUC from sums per pair of
days. With few days plain percentiles are too narrow; they are taken further out (Hesterberg, "What teachers should
know about the bootstrap", The American Statistician 69, 2015: the expanded percentile interval). How often all this
covers the truth is counted by ``python -m benchmarks.intervals``.

Shapes: N rows, D days, R replicates, M columns, K bins, G groups of equal probability.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import stats

from models.statistics import metrics

if TYPE_CHECKING:
    from numpy.typing import NDArray

# each end of a 95 % interval rests on 25 of them
REPLICATES = 1000
MINUTES_OF_DAY = 1440
# probabilities at once in the AUC's tables of days: 16,384 x 60 days x 8 bytes are 8 MB
_CHUNK_GROUPS = 16_384
_HALVINGS = 24
"""Steps of a bisection: to a ten-millionth of where it began."""


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
        # of 400 simulated histories, intervals that take each row as independent hold the true accuracy in 51.5 %, whole days in
        # 94.8 % (60 days) and 90 % (5 days; docs/log.md)
        self.day_N = _days(minute_N)
        self.days = int(self.day_N.max()) + 1 if len(self.day_N) else 0
        # one draw for all metrics of the same rows: their differences are then paired, and the same rows give the same ends
        generator = np.random.default_rng(seed)
        even = np.full(max(self.days, 1), 1.0 / max(self.days, 1))
        self.times_RD = generator.multinomial(max(self.days, 1), even, size=replicates).astype(np.float64)

    @property
    def tail(self) -> float:
        """Share of replicates beyond each end: 0.025, less for few days (Hesterberg 2015, section 5.3)."""
        if self.days < 2:
            return 0.025
        reach = math.sqrt(self.days / (self.days - 1)) * stats.t.ppf(0.975, self.days - 1)
        return float(stats.norm.cdf(-reach))

    def sums(self, values_NM: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the columns' sums in each replicate, (R, M)."""
        return np.asarray(self.times_RD @ self._daily(values_NM))

    def mean(self, value_N: NDArray[np.float64], chosen_N: NDArray[np.bool_] | None = None) -> Interval:
        """Return the mean of the chosen rows with its interval."""
        weight_N = np.ones(len(value_N)) if chosen_N is None else chosen_N.astype(np.float64)
        if not weight_N.sum():
            return Interval(float("nan"), None, None)
        total_R2 = self.sums(np.stack([value_N * weight_N, weight_N], axis=1))
        return self.interval(float(value_N @ weight_N / weight_N.sum()), _ratio(total_R2[:, 0], total_R2[:, 1]))

    def effective_rows(self, value_N: NDArray[np.float64]) -> float:
        """Return how many independent rows would leave the mean as uncertain as it is (Kish 1965), at most N.

        The variance of a mean of independent rows over the variance that the days really show.
        """
        rows = len(value_N)
        daily_D2 = self._daily(np.stack([value_N, np.ones(rows)], axis=1))
        rest_D = daily_D2[:, 0] - value_N.mean() * daily_D2[:, 1] if rows else np.zeros(1)
        between = float(np.sum(rest_D**2))
        if self.days < 2 or between <= 0:
            return float("nan")
        return min(float(rows), rows * float(np.var(value_N)) * rows * (self.days - 1) / self.days / between)

    def brier_skill(self, p_N: NDArray[np.float64], y_N: NDArray[np.int8]) -> Interval:
        """Return the Brier skill with its interval; the share of ups is resampled too."""
        total_R3 = self.sums(np.stack([(p_N - y_N) ** 2, y_N.astype(np.float64), np.ones(len(p_N))], axis=1))
        share_R = _ratio(total_R3[:, 1], total_R3[:, 2])
        skill_R = 1.0 - _ratio(_ratio(total_R3[:, 0], total_R3[:, 2]), share_R * (1.0 - share_R))
        return self.interval(metrics.brier_skill(p_N, y_N), skill_R)

    def calibration_error(self, p_N: NDArray[np.float64], y_N: NDArray[np.int8], bin_N: NDArray[np.int64]) -> Interval:
        """Return the calibration error with an interval for its true value, the bins kept as they are.

        A sum of absolute gaps is too large by its own noise, and resampling adds that noise once more: percentiles lie
        too high and never hold 0 (Bröcker 2012 and Kumar, Liang and Ma 2019 on the bias). So the question is turned
        round, as in DiCiccio and Romano, "Nonparametric confidence limits by resampling methods and least favorable
        families" (1990): for which true errors would the figure that was seen be no surprise? True gaps are taken in
        proportion to those seen, to those seen less their own standard error, or as one and the same in every bin; the
        resampled noise is added to them. The interval holds every error that one of the three does not refuse, and the
        figure itself.
        """
        value = metrics.calibration_error(p_N, y_N, bin_N)
        if self.days < 2:
            return Interval(value, None, None)
        gap_NK = np.zeros((len(p_N), metrics.BINS))
        gap_NK[np.arange(len(p_N)), bin_N] = p_N - y_N
        gap_K = gap_NK.sum(axis=0) / len(p_N)
        noise_RK = self.sums(gap_NK) / len(p_N) - gap_K
        shrunk_K = np.sign(gap_K) * np.maximum(np.abs(gap_K) - noise_RK.std(axis=0), 0.0)
        even_K = gap_K.sum() * np.bincount(bin_N, minlength=metrics.BINS) / len(p_N)
        # the third, one shift in every bin, was added after two had held an even shift in 87 to 89 % of draws; with it 95.5 to 99.5 %
        ends = [_errors_not_refused(value, shape_K, noise_RK, self.tail) for shape_K in (gap_K, shrunk_K, even_K)]
        return Interval(value, min(low for low, _ in ends), max(value, *(high for _, high in ends)))

    def auc(self, p_N: NDArray[np.float64], y_N: NDArray[np.int8]) -> Interval:
        """Return the AUC with its interval: a replicate weighs each pair of days by how often it drew both."""
        # a thousand replicates then weigh 3,600 pairs of sixty days instead of 60,000 rows
        won_DD, up_D, down_D = self._pairs_of_days(p_N, y_N)
        won_R = ((self.times_RD @ won_DD) * self.times_RD).sum(axis=1)
        return self.interval(metrics.auc(p_N, y_N), _ratio(won_R, (self.times_RD @ up_D) * (self.times_RD @ down_D)))

    def interval(self, value: float, value_R: NDArray[np.float64]) -> Interval:
        """Return the middle of the replicates, 95 % of them or for few days more; none for fewer than two days."""
        kept_R = value_R[np.isfinite(value_R)]
        if self.days < 2 or not len(kept_R):
            return Interval(value, None, None)
        low, high = np.quantile(kept_R, (self.tail, 1.0 - self.tail))
        return Interval(value, float(low), float(high))

    def _daily(self, values_NM: NDArray[np.float64]) -> NDArray[np.float64]:
        columns = [np.bincount(self.day_N, weights=column, minlength=max(self.days, 1)) for column in values_NM.T]
        return np.stack(columns, axis=1)

    def _pairs_of_days(
        self, p_N: NDArray[np.float64], y_N: NDArray[np.int8]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return for each pair of days how many (up row of one, down row of the other) are ranked right, and the rows."""
        order = np.argsort(p_N, kind="stable")
        day_N, up_N = self.day_N[order], y_N[order] == 1
        group_N = np.concatenate([[0], np.cumsum(np.diff(p_N[order]) != 0)])
        starts = np.searchsorted(group_N, np.arange(0, group_N[-1] + 1, _CHUNK_GROUPS))
        won_DD, below_D = np.zeros((self.days, self.days)), np.zeros(self.days)
        for start, end in zip(starts, [*starts[1:], len(p_N)], strict=True):
            cell = (group_N[start:end] - group_N[start]) * self.days + day_N[start:end]
            shape = (int(group_N[end - 1] - group_N[start]) + 1, self.days)
            up = up_N[start:end]
            up_GD = np.bincount(cell[up], minlength=shape[0] * shape[1]).reshape(shape).astype(np.float64)
            down_GD = np.bincount(cell[~up], minlength=shape[0] * shape[1]).reshape(shape).astype(np.float64)
            won_DD += up_GD.T @ (below_D + np.cumsum(down_GD, axis=0) - 0.5 * down_GD)
            below_D += down_GD.sum(axis=0)
        return won_DD, np.bincount(day_N[up_N], minlength=self.days).astype(np.float64), below_D


def _days(minute_N: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return each row's UTC day, counted from 0; a first or last one of less than half the usual rows joins its neighbour.

    A day of an hour would weigh as much as any other, and a replicate that drew nothing else would be no estimate.
    """
    _, day_N, rows_D = np.unique(minute_N // MINUTES_OF_DAY, return_inverse=True, return_counts=True)
    if len(rows_D) < 3:
        return np.asarray(day_N, dtype=np.int64)
    short_D = rows_D < np.median(rows_D) / 2
    joined_N = np.where(short_D[-1] & (day_N == len(rows_D) - 1), day_N - 1, day_N)
    return np.asarray(np.maximum(joined_N - 1, 0) if short_D[0] else joined_N, dtype=np.int64)


def _errors_not_refused(
    value: float, shape_K: NDArray[np.float64], noise_RK: NDArray[np.float64], tail: float
) -> tuple[float, float]:
    """Return the least and the largest true error, spread over the bins like ``shape_K``, that could look like ``value``."""
    size = float(np.abs(shape_K).sum())
    if size <= 0:
        return 0.0, value

    def end(share: float) -> float:
        def seen(error: float) -> float:
            return float(np.quantile(np.abs(error / size * shape_K + noise_RK).sum(axis=1), share))

        low, high = 0.0, value
        if seen(low) >= value:
            return low
        while seen(high) < value:
            low, high = high, 2.0 * high
        for _ in range(_HALVINGS):
            middle = (low + high) / 2.0
            low, high = (middle, high) if seen(middle) < value else (low, middle)
        return high

    return end(1.0 - tail), end(tail)


def _ratio(top_R: NDArray[np.float64], bottom_R: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.divide(top_R, bottom_R, out=np.full(len(top_R), np.nan), where=bottom_R > 0))
