"""Compute the population stability index: how far one distribution has moved from another.

Shapes: N values of a sample, K bins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

BINS = 10
SHIFTED = 0.2
"""Above this an input is called shifted, live and on the data page. Siddiqi (Credit Risk Scorecards, 2006) calls below
0.1 stable and above 0.25 a large shift; an alarm should come before the shift is large."""
_MIN_SHARE = 1e-4
"""An empty bin counts as this much, so that the index stays finite."""


def decile_edges(value_N: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the inner edges of `BINS` bins of equal share; equal deciles (a flag's, say) make fewer bins."""
    return np.unique(np.quantile(value_N, np.linspace(0, 1, BINS + 1)[1:-1]))


def bin_counts(value_N: NDArray[np.float32], edges: Sequence[float] | NDArray[np.float64]) -> NDArray[np.int64]:
    """Return how many values fall into each bin; a value on an edge belongs to the bin above it."""
    return np.bincount(np.searchsorted(edges, value_N, side="right"), minlength=len(edges) + 1)


def stability_index(
    expected_K: Sequence[float] | NDArray[np.float64], count_K: Sequence[int] | NDArray[np.int64]
) -> float:
    """Return the sum over the bins of ``(actual - expected) ln(actual / expected)``; 0 for equal shares.

    Args:
        expected_K: Share of each bin in what is compared with, 0 to 1.
        count_K: Values in each bin now.
    """
    expected = np.maximum(np.asarray(expected_K), _MIN_SHARE)
    actual = np.maximum(np.asarray(count_K) / max(1, int(np.sum(count_K))), _MIN_SHARE)
    return float(np.sum((actual - expected) * np.log(actual / expected)))


def sample_shift(early_N: NDArray[np.float32], late_N: NDArray[np.float32]) -> float:
    """Return the stability index of a sample against an earlier one, in the deciles of the earlier."""
    edges = decile_edges(early_N)
    return stability_index(bin_counts(early_N, edges) / max(1, len(early_N)), bin_counts(late_N, edges))
