"""Population stability index of two samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Rows = Sequence[Mapping[str, Any]]


def stability_index(early_N: NDArray[np.float32], late_N: NDArray[np.float32]) -> float:
    """Return the population stability index of two samples, in ten bins of equal share of the first.

    Sum over the bins of (late - early) * ln(late / early), shares kept above 1e-4; 0 for equal samples. Below 0.1 is
    called stable, above 0.25 a large shift (Siddiqi, Credit Risk Scorecards, 2006).
    """
    edges = np.unique(np.quantile(early_N, np.linspace(0.1, 0.9, 9)))
    shares = []
    for values_N in (early_N, late_N):
        counted = np.bincount(np.searchsorted(edges, values_N, side="left"), minlength=len(edges) + 1)
        shares.append(np.maximum(counted / len(values_N), 1e-4))
    return float(np.sum((shares[1] - shares[0]) * np.log(shares[1] / shares[0])))
