"""Every figure a model is judged by: one function each, its formula beside it.

Shapes: N rows, K bins, G groups of equal probability. ``p`` is the probability of up, ``y`` 1 for up, else 0; the
direction called is long if ``p >= 0.5``.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

BINS = 10
# on 41 days of real minutes the ensemble is right in 0.532, 0.555, 0.574 and 0.538 of them (BTC; docs/log.md): confidence pays to
# the tenth, and at a hundredth chance has the word
COVERAGES = (1.0, 0.5, 0.1, 0.01)
MIN_MOVE_BPS = 1e-6
"""A mean move below this is none; a tick of any market is thousands of times as large."""
Bps = TypeVar("Bps", float, Decimal)
"""Money is reckoned in Decimals, statistics in floats."""
# a model that is sure and wrong is punished hard (16 nats), not infinitely
_MIN_PROBABILITY = 1e-7


def accuracy(p_N: NDArray[np.float64], y_N: NDArray[np.int8]) -> float:
    """Return the share of directions called right."""
    return float(np.mean(hits(p_N, y_N)))


def hits(p_N: NDArray[np.float64], y_N: NDArray[np.int8]) -> NDArray[np.float64]:
    """Return 1 for each direction called right, else 0."""
    return np.asarray((p_N >= 0.5) == (y_N == 1), dtype=np.float64)


def base_rate(y_N: NDArray[np.int8]) -> float:
    """Return the accuracy of always calling the commoner direction."""
    up = float(np.mean(y_N == 1))
    return max(up, 1.0 - up)


def auc(p_N: NDArray[np.float64], y_N: NDArray[np.int8]) -> float:
    """Return the area under the ROC curve: P(p of an up row > p of a down row), ties counting half.

    Mann and Whitney (1947); Hanley and McNeil (1982). NaN if one class is missing.
    """
    order = np.argsort(p_N, kind="stable")
    starts = np.flatnonzero(np.concatenate([[True], np.diff(p_N[order]) != 0]))
    up_N = (y_N[order] == 1).astype(np.float64)
    up_G, down_G = np.add.reduceat(up_N, starts), np.add.reduceat(1.0 - up_N, starts)
    pairs = float(up_G.sum() * down_G.sum())
    return float((up_G * (np.cumsum(down_G) - 0.5 * down_G)).sum()) / pairs if pairs else math.nan


def log_losses(p_N: NDArray[np.float64], y_N: NDArray[np.int8]) -> NDArray[np.float64]:
    """Return each row's ``-ln p(what happened)`` (Good 1952), p kept 1e-7 away from 0 and 1."""
    kept_N = np.clip(p_N, _MIN_PROBABILITY, 1.0 - _MIN_PROBABILITY)
    return np.where(y_N == 1, -np.log(kept_N), -np.log1p(-kept_N))


def log_loss(p_N: NDArray[np.float64], y_N: NDArray[np.int8]) -> float:
    """Return the mean of `log_losses`."""
    return float(np.mean(log_losses(p_N, y_N)))


def brier(p_N: NDArray[np.float64], y_N: NDArray[np.int8]) -> float:
    """Return the mean of ``(p - y)^2`` (Brier 1950)."""
    return float(np.mean((p_N - y_N) ** 2))


def brier_skill(p_N: NDArray[np.float64], y_N: NDArray[np.int8]) -> float:
    """Return ``1 - Brier / Brier of always saying the share of ups`` (Murphy 1973); NaN if one class is missing."""
    share = float(np.mean(y_N))
    worst = share * (1.0 - share)
    return 1.0 - brier(p_N, y_N) / worst if worst > 0 else float("nan")


def equal_mass_bins(p_N: NDArray[np.float64], bins: int = BINS) -> NDArray[np.int64]:
    """Return each row's bin, the bins holding equally many rows; equal probabilities share a bin."""
    edges = np.quantile(p_N, np.linspace(0, 1, bins + 1)[1:-1])
    return np.searchsorted(edges, p_N, side="right")


def equal_width_bins(p_N: NDArray[np.float64], bins: int = BINS) -> NDArray[np.int64]:
    """Return each row's bin, the bins cutting [0, 1] into equal pieces."""
    return np.minimum((p_N * bins).astype(np.int64), bins - 1)


def calibration_error(p_N: NDArray[np.float64], y_N: NDArray[np.int8], bin_N: NDArray[np.int64]) -> float:
    """Return the expected calibration error: mean over rows of ``|mean p - mean y|`` of their bin.

    Naeini, Cooper and Hauskrecht (2015); Guo et al. (2017).
    """
    gaps_K = np.bincount(bin_N, weights=p_N - y_N, minlength=BINS)
    return float(np.abs(gaps_K).sum() / len(p_N))


def reliability(p_N: NDArray[np.float64], y_N: NDArray[np.int8], bin_N: NDArray[np.int64]) -> list[dict[str, float]]:
    """Return per bin: rows, mean probability, share of ups; empty bins are left out."""
    rows_K = np.bincount(bin_N, minlength=BINS)
    mean_K = np.bincount(bin_N, weights=p_N, minlength=BINS)
    up_K = np.bincount(bin_N, weights=y_N, minlength=BINS)
    return [
        {
            "bin": position,
            "row_count": int(rows),
            "mean_probability": float(mean_K[position] / rows),
            "up_share": float(up_K[position] / rows),
        }
        for position, rows in enumerate(rows_K)
        if rows
    ]


def confidence(p_N: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``max(p, 1 - p)``."""
    return np.maximum(p_N, 1.0 - p_N)


def confidence_cut(p_N: NDArray[np.float64], coverage: float) -> float:
    """Return the confidence that the most confident share ``coverage`` of rows reaches."""
    return float(np.quantile(confidence(p_N), 1.0 - coverage, method="higher")) if len(p_N) else float("nan")


def covered(p_N: NDArray[np.float64], coverage: float) -> NDArray[np.bool_]:
    """Return which rows are the most confident share ``coverage`` (El-Yaniv and Wiener 2010)."""
    return confidence(p_N) >= confidence_cut(p_N, coverage)


def net_bps(p_N: NDArray[np.float64], return_N: NDArray[np.float64], cost_bps: float) -> NDArray[np.float64]:
    """Return what a position of each called direction earns over the horizon after the round-trip cost, bps."""
    return np.where(p_N >= 0.5, 1.0, -1.0) * return_N * 1e4 - cost_bps


def mean_move_bps(return_N: NDArray[np.float64]) -> float:
    """Return ``E|r|``, the mean size of the move after each row, up or down, bps."""
    return float(np.mean(np.abs(return_N))) * 1e4


def break_even_accuracy(move_bps: float, cost_bps: float) -> float:
    """Return ``0.5 + cost / (2 E|r|)``: the share of right calls at which a move of average size pays the round trip.

    Right calls earn E|r|, wrong ones lose it: ``a E|r| - (1 - a) E|r| = cost``. Above 1 no forecast pays; infinite where
    nothing moves, which JSON and tables, having no infinity, hold as None.
    """
    return 0.5 + cost_bps / (2.0 * move_bps) if move_bps > MIN_MOVE_BPS else math.inf
