"""Anytime-valid tests of means by betting: they may be looked at every day, and the error stays what it is.

A bet on "the mean is larger than m" starts with a capital of 1 and multiplies it by ``1 + bet * (x - m)`` at every value.
If the mean is not larger than m, the capital is a supermartingale, so it ever reaches ``1 / alpha`` with a probability of at
most ``alpha`` (Ville), however often one looks. The bets are a fixed set and their capitals are averaged, so that nobody
has to know the right one: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", Journal of
the Royal Statistical Society B 86 (2024), sections 4 and 5 (there: diversified Kelly betting). Nothing is assumed about the
distribution but its bounds, and the order of the values does not matter.

All evidence here is the natural logarithm of such a capital; `shows` compares it with ``log(1 / alpha)``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

_BETS_J = np.concatenate([[0.0], np.geomspace(0.002, 0.99, 18)])
"""Shares of the largest bet that cannot lose more than there is, a factor of 1.44 apart; the one that bets nothing bounds what
the others can lose together at log(19) = 2.9."""
_MEANS_P = np.linspace(0.005, 0.995, 199)
"""Where the unknown mean of the other side is tried; between two of them the evidence moves by less than 0.1 at 3,000 values."""


@dataclass(frozen=True, slots=True)
class Share:
    """A mean of shares with its interval, all between 0 and 1."""

    value: float
    low: float
    high: float
    count: int
    """Rows it was made of."""
    effective: float
    """Independent values these rows are worth."""


def log_capital(values_N: Sequence[float] | NDArray[np.float64], mean_P: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the evidence, for each of ``mean_P``, that the mean of values >= 0 is larger than it.

    Args:
        values_N: Values of 0 or more, without an upper bound. A value below 0 breaks the bound: then there is no evidence.
        mean_P: Means above 0 that are doubted.
    """
    unique_U, count_U = np.unique(np.asarray(values_N, dtype=np.float64), return_counts=True)
    if unique_U.size == 0:
        return np.zeros(len(mean_P))
    if unique_U[0] < 0:
        return np.full(len(mean_P), -math.inf)
    factor_PJU = 1 + _BETS_J[:, None] * (unique_U / mean_P[:, None, None] - 1)
    logs_PJ = np.log(factor_PJU) @ count_U
    # the mean of the capitals, written so that none overflows
    most_P = logs_PJ.max(axis=1)
    return np.asarray(most_P + np.log(np.exp(logs_PJ - most_P[:, None]).mean(axis=1)))


def evidence_of_larger(one_N: Sequence[float], other_M: Sequence[float], gap: float) -> float:
    """Return the evidence that the mean of ``one_N`` is larger than that of ``other_M`` plus ``gap``; values in 0 to 1.

    Both means are unknown. For each mean the other side may have, the evidence against it and the evidence that this side
    lies above it (plus the gap) are independent, so they add up; the least convincing mean decides.
    """
    bound_P = _MEANS_P + gap
    # a mean of 0 or less, or of 1 or more, cannot be doubted by a bet: nothing is below the one, nothing above the other
    above_P = np.where(bound_P <= 0, math.inf, 0.0)
    inside_P = (bound_P > 0) & (bound_P < 1)
    above_P[inside_P] = log_capital(one_N, bound_P[inside_P])
    not_larger_P = _below(tuple(other_M))
    return float((above_P + not_larger_P).min())


@lru_cache(maxsize=64)
def _below(values_M: tuple[float, ...]) -> NDArray[np.float64]:
    """Return the evidence that the mean of values in 0 to 1 is smaller than each mean; a baseline is asked again and again."""
    return log_capital(1 - np.asarray(values_M, dtype=np.float64), 1 - _MEANS_P)


def evidence_above_zero(values_N: Sequence[float], worst: float) -> float:
    """Return the evidence that the mean of values, none below ``-worst``, is above 0."""
    return float(log_capital(np.asarray(values_N, dtype=np.float64) + worst, np.array([worst]))[0])


def shows(evidence: float, alpha: float) -> bool:
    """Return whether evidence is enough, at an error of at most ``alpha`` over all looks together."""
    return evidence >= math.log(1 / alpha)


def interval(values_N: Sequence[float], count: int, alpha: float = 0.05) -> Share | None:
    """Return the mean of values in 0 to 1 with an interval that holds at all looks together; None without any value.

    Args:
        values_N: Independent values.
        count: Rows they were made of.
        alpha: Error of the interval, half of it on each side.
    """
    if not len(values_N):
        return None
    values = np.asarray(values_N, dtype=np.float64)
    enough = math.log(2 / alpha)
    too_low_P = log_capital(values, _MEANS_P) >= enough
    too_high_P = log_capital(1 - values, 1 - _MEANS_P) >= enough
    low, high = _MEANS_P[too_low_P].max(initial=0.0), _MEANS_P[too_high_P].min(initial=1.0)
    return Share(float(values.mean()), float(low), float(high), count, float(len(values)))


def one_at_a_time(rows: Iterable[tuple[int, float]], horizon: int) -> tuple[float, ...]:
    """Return the values that share no minute: whoever held one position at a time would have had these.

    Values of the same minute become their mean; then all are left out until ``horizon`` minutes have passed. Neighbouring
    signals have most of their outcome in common, so counting each would count the same luck many times.

    Args:
        rows: (minute, value) pairs in any order.
        horizon: Minutes an outcome takes.
    """
    taken: list[float] = []
    free_from = -math.inf
    for minute, same in groupby(sorted(rows), key=lambda row: row[0]):
        if minute >= free_from:
            values = [value for _, value in same]
            taken.append(sum(values) / len(values))
            free_from = minute + horizon
    return tuple(taken)


def values_needed(spread: float, distance: float, others: int, alpha: float) -> int | None:
    """Estimate how many values in all show that a mean lies ``distance`` beyond a border; None: the others are too few.

    From the growth of the best bet, ``distance^2 / (2 * spread^2)`` a value, and the price of not knowing it.

    Args:
        spread: Standard deviation of one value.
        distance: How far the mean lies beyond the border.
        others: Values the border itself rests on.
        alpha: Error of the test.
    """
    price = 1.2
    alone = 2 * spread**2 * (math.log(1 / alpha) + price) / max(distance, 1e-9) ** 2
    return math.ceil(1 / (1 / alone - 1 / others)) if others > alone else None
