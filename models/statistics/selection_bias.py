"""How much of a good result is the luck of having searched: Sharpe ratios deflated by trials, and CSCV.

Bailey and Lopez de Prado, "The Sharpe ratio efficient frontier" (Journal of Risk 15(2), 2012): probabilistic Sharpe
ratio and minimum track record length. The same, "The deflated Sharpe ratio" (Journal of Portfolio Management 40(5),
2014): the best of N trials is held against what the best of N lucky ones would show. Bailey, Borwein, Lopez de Prado
and Zhu, "The probability of backtest overfitting" (Journal of Computational Finance 20(4), 2016; SSRN 2015):
combinatorially symmetric cross-validation.

Every Sharpe ratio in this file is per period (here: per UTC day) unless its name says ``annual``; kurtosis is that of
Pearson, 3 for a normal distribution. Shapes: N rows (minutes), D days, M configurations, S blocks, C combinations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import stats
from scipy.stats import norm

from core.errors import ModelError
from models.statistics.bootstrap import MINUTES_OF_DAY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

DAYS_OF_YEAR = 365
"""Crypto trades every day; the papers annualise by 250."""
CONFIDENCE = 0.95
MIN_DAYS = 10
"""Below this many days no figure is given: skewness and kurtosis rest on the few largest of them."""
BLOCKS = 16
"""The paper's choice: 12,870 ways to halve them."""

Statistic = Literal["sharpe", "mean"]


def sharpe_ratio(return_D: NDArray[np.float64]) -> float:
    """Return ``mean / standard deviation`` (n - 1) per period; NaN for fewer than two periods or no deviation."""
    if len(return_D) < 2:
        return math.nan
    deviation = float(np.std(return_D, ddof=1))
    # constant returns leave a deviation of rounding errors, not of risk
    if deviation <= 1e-12 * (1e-300 + float(np.max(np.abs(return_D)))):
        return math.nan
    return float(np.mean(return_D)) / deviation


def sharpe_variance(sharpe: float, skewness: float, kurtosis: float) -> float:
    """Return ``1 - skewness SR + (kurtosis - 1) / 4 SR^2``: (n - 1) times the variance of an estimated Sharpe ratio.

    Mertens (2002), as used in Bailey and Lopez de Prado (2012), equation 8. Never negative for moments that a
    distribution can have (kurtosis >= 1 + skewness^2).
    """
    return 1.0 - skewness * sharpe + (kurtosis - 1.0) / 4.0 * sharpe**2


def probabilistic_sharpe_ratio(
    sharpe: float, periods: int, *, benchmark: float = 0.0, skewness: float = 0.0, kurtosis: float = 3.0
) -> float:
    """Return the probability that the true Sharpe ratio lies above ``benchmark``.

    ``norm.cdf((SR - SR*) sqrt(n - 1) / sqrt(1 - skewness SR + (kurtosis - 1) / 4 SR^2))``, Bailey and Lopez de Prado
    (2012), equation 11. NaN where it is not defined.
    """
    spread = sharpe_variance(sharpe, skewness, kurtosis)
    if periods < 2 or not math.isfinite(spread) or spread <= 0:
        return math.nan
    return float(norm.cdf((sharpe - benchmark) * math.sqrt(periods - 1) / math.sqrt(spread)))


def expected_maximum_sharpe(trials: int, variance: float) -> float:
    """Return the Sharpe ratio that the best of ``trials`` worthless, independent trials shows on average.

    ``sqrt(V) ((1 - g) Z(1 - 1/N) + g Z(1 - 1/(N e)))`` with Euler's constant g, Bailey and Lopez de Prado (2014),
    equation 1; ``variance`` is that of the trials' Sharpe ratios, per period as they are. One trial searches nothing: 0.
    """
    if trials <= 1 or not variance > 0:
        return 0.0
    first, second = norm.ppf(1.0 - 1.0 / trials), norm.ppf(1.0 - 1.0 / (trials * math.e))
    return float(math.sqrt(variance) * ((1.0 - np.euler_gamma) * first + np.euler_gamma * second))


def deflated_sharpe_ratio(
    sharpe: float, periods: int, *, trials: int, variance: float, skewness: float = 0.0, kurtosis: float = 3.0
) -> float:
    """Return the probability that the true Sharpe ratio lies above what the best of ``trials`` lucky ones would show.

    Bailey and Lopez de Prado (2014), equation 2: the probabilistic Sharpe ratio with `expected_maximum_sharpe` as
    benchmark. Their example: SR 2.5 a year, 1250 days, skewness -3, kurtosis 10, the best of 100 trials whose yearly
    Sharpe ratios vary by 0.5, is SR0 = 0.1132 a day and 0.9004.
    """
    benchmark = expected_maximum_sharpe(trials, variance)
    return probabilistic_sharpe_ratio(sharpe, periods, benchmark=benchmark, skewness=skewness, kurtosis=kurtosis)


def minimum_track_record(
    sharpe: float,
    *,
    benchmark: float = 0.0,
    skewness: float = 0.0,
    kurtosis: float = 3.0,
    confidence: float = CONFIDENCE,
) -> float:
    """Return how many periods such a Sharpe ratio must last to exceed ``benchmark`` at ``confidence``; infinity if never.

    ``1 + (1 - skewness SR + (kurtosis - 1) / 4 SR^2) (Z / (SR - SR*))^2``, Bailey and Lopez de Prado (2012), equation 13.
    """
    if math.isnan(sharpe):
        return math.nan
    if sharpe <= benchmark:
        return math.inf
    needed = float(norm.ppf(confidence)) / (sharpe - benchmark)
    return 1.0 + sharpe_variance(sharpe, skewness, kurtosis) * needed**2


@dataclass(frozen=True, slots=True)
class Selection:
    """What one model's returns are worth after the search that found it; figures that cannot be given are None."""

    trials: int
    days: int
    trial_variance_from: str
    """``trials`` where it was measured over them, ``chance`` where it is what chance alone gives trials of no worth."""
    trial_variance: float | None = None
    """Variance of the trials' daily Sharpe ratios."""
    sharpe_daily: float | None = None
    sharpe_annual: float | None = None
    skewness: float | None = None
    kurtosis: float | None = None
    expected_maximum_sharpe: float | None = None
    """Daily Sharpe ratio that the best of as many worthless trials shows on average."""
    probabilistic_sharpe_ratio: float | None = None
    deflated_sharpe_ratio: float | None = None
    minimum_track_record_days: float | None = None
    """Days such returns must last to be above zero at 95 %; None if the Sharpe ratio is not positive."""


def selection(
    net_bps_N: NDArray[np.float64],
    minute_N: NDArray[np.int64],
    trials: int,
    *,
    trial_sharpes: Sequence[float] | None = None,
) -> Selection:
    """Weigh a model's net returns with the number of trials before it.

    The day's return is the mean net return of its decisions, so neighbouring minutes, whose labels overlap, count as
    one. Days are taken as independent: label and holding time are 15 minutes.

    Args:
        net_bps_N: Net return of each decision after costs, bps (`models.statistics.metrics.net_bps`).
        minute_N: Minute of each decision, minutes since 1970 UTC, any order.
        trials: How many models were tried until this one, itself included; fewer than one counts as one.
        trial_sharpes: Daily Sharpe ratios of the trials, where they are known (two at least). Else their variance is
            taken as ``1 / (days - 1)``, what chance gives independent trials of no worth over as many days.

    Returns:
        A `Selection`; with fewer than `MIN_DAYS` days, or returns that never move, its figures are None.
    """
    trials = max(1, trials)
    return_D = daily_means(net_bps_N, minute_N)
    sharpe = sharpe_ratio(return_D) if len(return_D) >= MIN_DAYS else math.nan
    known = [value for value in trial_sharpes or () if math.isfinite(value)]
    source = "trials" if len(known) >= 2 else "chance"
    if not math.isfinite(sharpe):
        return Selection(trials, len(return_D), source)
    moments = {"skewness": float(stats.skew(return_D)), "kurtosis": float(stats.kurtosis(return_D, fisher=False))}
    # chance's own: a Sharpe ratio of no worth over n days has the variance 1 / (n - 1) (docs/decisions/0008)
    variance = float(np.var(known, ddof=1)) if source == "trials" else 1.0 / (len(return_D) - 1)
    return Selection(
        trials=trials,
        days=len(return_D),
        sharpe_daily=sharpe,
        sharpe_annual=sharpe * math.sqrt(DAYS_OF_YEAR),
        **moments,
        trial_variance=variance,
        trial_variance_from=source,
        expected_maximum_sharpe=expected_maximum_sharpe(trials, variance),
        probabilistic_sharpe_ratio=_finite(probabilistic_sharpe_ratio(sharpe, len(return_D), **moments)),
        deflated_sharpe_ratio=_finite(
            deflated_sharpe_ratio(sharpe, len(return_D), trials=trials, variance=variance, **moments)
        ),
        minimum_track_record_days=_finite(minimum_track_record(sharpe, **moments)),
    )


def daily_means(value_N: NDArray[np.float64], minute_N: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean of each UTC day that has rows, oldest first."""
    _, day_N = np.unique(minute_N // MINUTES_OF_DAY, return_inverse=True)
    return np.asarray(np.bincount(day_N, weights=value_N) / np.bincount(day_N), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Overfitting:
    """What choosing the best of several configurations is worth outside the days it was chosen on."""

    configurations: int
    days: int
    blocks: int
    statistic: Statistic
    probability: float
    """Share of combinations in which the best inside is below the middle outside; 0.5 is what noise gives."""
    logits: tuple[float, ...]
    """Of each combination: ``ln(w / (1 - w))``, w the relative rank outside of what was best inside, in (0, 1)."""
    inside: tuple[float, ...]
    """Statistic of the best inside, inside."""
    outside: tuple[float, ...]
    """Statistic of the same configuration outside."""
    slope: float | None
    """Performance degradation: outside = intercept + slope inside, by least squares; None if inside never varies."""
    intercept: float | None
    probability_of_loss: float
    """Share of combinations in which the chosen one is below zero outside."""
    chosen: tuple[float, ...]
    """Share of combinations that chose each configuration."""


def overfitting(value_DM: NDArray[np.float64], *, blocks: int = BLOCKS, statistic: Statistic = "sharpe") -> Overfitting:
    """Return the probability of back-test overfitting by combinatorially symmetric cross-validation.

    The days are cut into ``blocks`` consecutive blocks of (nearly) equal length. Each half of them in turn is the inside,
    on which the best configuration is chosen, the other half the outside, on which its rank is looked up: relative rank
    w = rank / (M + 1), logit = ln(w / (1 - w)), probability = share of logits below 0. Equal figures share their mean
    rank, equally good ones inside share the choice, and a logit of exactly 0 (the middle rank) counts half: the paper
    counts it whole, which for three configurations of pure noise would give 2/3.

    Args:
        value_DM: One figure a day (row) and configuration (column), higher is better: a net return, a log-loss gain.
        blocks: An even number; lowered to the days there are. 16 give 12,870 combinations.
        statistic: ``sharpe`` (mean over deviation) or ``mean`` of a configuration's days.

    Raises:
        ModelError: fewer than two configurations, fewer than four days, an odd or impossible number of blocks, or a
            value that is not finite.
    """
    # four settings of one boosting member: the best on one half of the days was below the middle on the other in 92 % (BTC) and
    # 65 % (ETH) of the 12,870 halvings (docs/log.md)
    blocks = min(blocks, len(value_DM) // 2 * 2)
    _check(value_DM, blocks)
    inside_CS = np.array([_mask(part, blocks) for part in combinations(range(blocks), blocks // 2)])
    inside_CM = _statistics(value_DM, inside_CS, statistic)
    outside_CM = _statistics(value_DM, 1.0 - inside_CS, statistic)
    best_CM = inside_CM == inside_CM.max(axis=1, keepdims=True)
    best_CM = best_CM / best_CM.sum(axis=1, keepdims=True)
    rank_C = (stats.rankdata(outside_CM, axis=1) * best_CM).sum(axis=1) / (value_DM.shape[1] + 1)
    logit_C = np.log(rank_C / (1.0 - rank_C))
    # equal ranks come out as logits of rounding error, which would fall on one side of the count below
    logit_C[np.abs(logit_C) < 1e-12] = 0.0
    chosen_C, later_C = inside_CM.max(axis=1), (outside_CM * best_CM).sum(axis=1)
    line = stats.linregress(chosen_C, later_C) if np.ptp(chosen_C) > 0 else None
    return Overfitting(
        configurations=value_DM.shape[1],
        days=len(value_DM),
        blocks=blocks,
        statistic=statistic,
        probability=float(np.mean(logit_C < 0) + 0.5 * np.mean(logit_C == 0)),
        logits=tuple(logit_C.tolist()),
        inside=tuple(chosen_C.tolist()),
        outside=tuple(later_C.tolist()),
        slope=None if line is None else float(line.slope),
        intercept=None if line is None else float(line.intercept),
        probability_of_loss=float(np.mean(later_C < 0)),
        chosen=tuple(best_CM.mean(axis=0).tolist()),
    )


def _check(value_DM: NDArray[np.float64], blocks: int) -> None:
    if value_DM.ndim != 2 or value_DM.shape[1] < 2:
        msg = f"over-fitting is a matter of choosing among configurations, there is {value_DM.shape[-1] if value_DM.ndim == 2 else 'no'} column; try two or more: desk walk-forward --set learning_rate=0.001 --set learning_rate=0.0003"
        raise ModelError(msg)
    if blocks < 4 or blocks % 2:
        msg = f"{len(value_DM)} days in {blocks} blocks cannot be halved in more ways than two; take an even number of blocks, four at least, and four days at least"
        raise ModelError(msg)
    if not np.isfinite(value_DM).all():
        day, column = np.argwhere(~np.isfinite(value_DM))[0]
        msg = f"day {day + 1} of configuration {column + 1} has the figure {value_DM[day, column]}; leave such days out for all of them"
        raise ModelError(msg)


def _mask(part: tuple[int, ...], blocks: int) -> NDArray[np.float64]:
    mask_S = np.zeros(blocks)
    mask_S[list(part)] = 1.0
    return mask_S


def _statistics(
    value_DM: NDArray[np.float64], taken_CS: NDArray[np.float64], statistic: Statistic
) -> NDArray[np.float64]:
    """Return each configuration's statistic over the blocks of each combination, from the blocks' sums alone."""
    starts = np.linspace(0, len(value_DM), taken_CS.shape[1] + 1).astype(np.int64)[:-1]
    days_C1 = taken_CS @ np.diff(np.append(starts, len(value_DM)))[:, None]
    mean_CM = taken_CS @ np.add.reduceat(value_DM, starts, axis=0) / days_C1
    if statistic == "mean":
        return np.asarray(mean_CM)
    # about the configuration's own mean, so that no digits are lost to a large one
    centre_M = value_DM.mean(axis=0)
    square_CM = taken_CS @ np.add.reduceat((value_DM - centre_M) ** 2, starts, axis=0) / days_C1
    variance_CM = np.maximum(square_CM - (mean_CM - centre_M) ** 2, 0.0) * days_C1 / np.maximum(days_C1 - 1, 1)
    # days that never move have no Sharpe ratio; 0 says that nothing is known for or against them
    moves_CM = variance_CM > 1e-24 * (1e-300 + np.max(np.abs(value_DM), axis=0) ** 2)
    return np.asarray(np.divide(mean_CM, np.sqrt(variance_CM), out=np.zeros_like(mean_CM), where=moves_CM))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
