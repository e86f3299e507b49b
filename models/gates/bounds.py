"""How sure a figure is after so few days and so many looks, and how many days would settle it.

The interval of a figure is that of a bootstrap over days (`models.statistics.bootstrap`): for one look, and as wide as resampling can make
it, which with three or four days is not wide enough, for no resampled mean lies outside the days there are. A gate asks more:
Student's quantile for the days there are, at the level 2.5 % divided by the looks (Bonferroni), on the standard deviation between
days that the interval stands for. How often such a bound lies above the truth is counted in the tests, and in the log.
"""

from __future__ import annotations

import math
from numbers import Real
from typing import TYPE_CHECKING, TypeGuard

if TYPE_CHECKING:
    from models.statistics.bootstrap import Interval

LEVEL = 0.025
"""Chance of a lower bound above the truth, over all looks together."""
_MEAN_RANGE = {2: 1.128, 3: 1.693, 4: 2.059, 5: 2.326, 6: 2.534}
"""Expected range of so many normal draws, in standard deviations (the constants d2 of control charts)."""
_MAX_DAYS = 100_000
"""Nearly three centuries: what needs more is beyond any span."""


def is_number(value: object, low: float = -math.inf, high: float = math.inf) -> TypeGuard[float]:
    """Return whether ``value`` is a finite number within ``[low, high]``."""
    return isinstance(value, Real) and math.isfinite(value) and low <= float(value) <= high


def is_whole(figure: Interval | None, low: float = -math.inf, high: float = math.inf) -> bool:
    """Return whether a figure and both ends of its interval are finite, in order, and within ``[low, high]``."""
    if figure is None:
        return False
    ends = (figure.low, figure.value, figure.high)
    # the middle of the replicates need not hold the figure itself: a share of all right is its own upper end
    return all(is_number(end, low, high) for end in ends) and figure.low <= figure.high  # type: ignore[operator]  # both are numbers


def cautious_low(figure: Interval, days: int, looks: int) -> float:
    """Return the figure's lower bound after ``days`` days and ``looks`` looks; never above that of its interval.

    ``value - t * s / sqrt(days)``, t Student's quantile at `LEVEL` over looks, s the standard deviation between days;
    minus infinity where there is no interval, or one day.
    """
    if not is_whole(figure) or figure.low is None or days < 2 or looks < 1:
        return -math.inf
    # with three test days a 2.5 % percentile bound lies above the truth in 11.8 % of draws, this one in 1.3 % (docs/log.md)
    return min(figure.low, figure.value - _student(days, looks) * _spread(figure, days) / math.sqrt(days))


def days_to_clear(figure: Interval, bound: float, days: int, looks: int) -> int | None:
    """Return how many test days would lift the lower bound over ``bound``, figure and spread between days staying as they are.

    None if none would: the figure itself is not above the bound, or a lifetime would not do.
    """
    if not (is_whole(figure) and is_number(bound) and figure.value > bound) or days < 2 or looks < 1:
        return None
    spread = _spread(figure, days)

    def clears(count: int) -> bool:
        return figure.value - _student(count, looks) * spread / math.sqrt(count) > bound

    # doubling, then halving: the bound rises with the days, as the quantile falls and the root grows
    few, many = days, days
    while not clears(many):
        few, many = many, many * 2
        if many > _MAX_DAYS:
            return None
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if clears(middle) else (middle, many)
    return many


def figure_to_clear(figure: Interval, bound: float, days: int, looks: int) -> float | None:
    """Return the figure whose lower bound would be at ``bound``, the interval being as wide as it is; None without one."""
    low = cautious_low(figure, days, looks)
    return bound + figure.value - low if math.isfinite(low) else None


def what_would_clear(figure: Interval, bound: float, days: int, looks: int) -> str:
    """Say how many days, or which figure, would lift the lower bound over ``bound``."""
    if not (is_whole(figure) and is_number(bound)):
        return "There is no interval to tell by; backfill a longer span."
    needed = figure_to_clear(figure, bound, days, looks)
    wanted = f"{needed:.4f} would clear it in as many days" if needed is not None else "a longer span may clear it"
    if figure.value <= bound:
        return f"No number of days changes that, for the figure itself is not above {bound:.4f}; {wanted}."
    enough = days_to_clear(figure, bound, days, looks)
    if enough is None:
        return f"The edge is too small for any number of days to show it; {wanted}."
    return f"If this edge is real, {enough} test days would clear it instead of {days}; or {wanted}."


def chance_calibration_error(brier: float, rows: int, overlap: int, bins: int) -> float:
    """Return about the calibration error that a forecast without any would show in so few rows.

    Each bin's share of ups strays by ``sqrt(p (1 - p) / n)``, of which the mean size is ``sqrt(2 / pi)``; n counts rows whose labels do
    not overlap, and ``p (1 - p)`` is on average the Brier score of a forecast that comes true.
    """
    return math.sqrt(2.0 / math.pi * max(brier, 0.0) * bins * overlap / rows) if rows > 0 else math.inf


def _spread(figure: Interval, days: int) -> float:
    """Return the standard deviation between days that an interval from resampling ``days`` days stands for."""
    if figure.low is None or figure.high is None:
        return math.inf
    # expanded percentiles reach so many standard errors of a resampled mean to each side ...
    reach = _student(days, 1) * math.sqrt(days / (days - 1))
    if days in _MEAN_RANGE:
        # ... but never beyond the best and the worst day
        reach = min(reach, _MEAN_RANGE[days] / 2.0 * days / math.sqrt(days - 1))
    error = (figure.high - figure.low) / 2.0 / reach
    return error * math.sqrt(days) * math.sqrt(days / (days - 1))  # resampling takes the days' mean for the true one


def _student(days: int, looks: int) -> float:
    """Return Student's quantile for so many days, at `LEVEL` over ``looks``."""
    from scipy.special import stdtrit  # noqa: PLC0415  # the runtime reads verdicts and stays without SciPy

    return float(-stdtrit(days - 1, LEVEL / looks))
