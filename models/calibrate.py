"""Make a probability mean what it says: Platt's sigmoid, or one temperature, fitted on the calibration part only.

Platt, "Probabilistic outputs for support vector machines" (1999), with his smoothed targets; Guo et al., "On
calibration of modern neural networks" (2017), for the temperature. Shapes: N rows.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST_ROWS = 200
_SLOPES = (0.02, 50.0)


@dataclass(frozen=True, slots=True)
class Calibration:
    """``p = sigmoid(slope * logit + shift)``."""

    kind: str
    """``platt``, ``temperature`` (no shift) or ``none``."""
    slope: float
    shift: float
    rows: int
    """Rows it was fitted on."""

    def apply(self, logit_N: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return calibrated probabilities."""
        return np.asarray(expit(self.slope * logit_N + self.shift), dtype=np.float64)

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def fit_calibration(logit_N: NDArray[np.float64], y_N: NDArray[np.int8]) -> Calibration:
    """Fit Platt's sigmoid; fall back to a temperature if its slope is not positive, to nothing if rows are too few.

    A slope that is not positive would turn every direction round: then the shift is what fits, and the ranking is
    worth nothing, which the gates must see rather than have repaired.
    """
    rows = len(logit_N)
    if rows < LEAST_ROWS or len(np.unique(y_N)) < 2:
        return Calibration("none", 1.0, 0.0, rows)
    slope, shift = _minimum(logit_N, _smoothed(y_N), has_shift=True)
    if _SLOPES[0] < slope < _SLOPES[1]:
        return Calibration("platt", slope, shift, rows)
    slope, _ = _minimum(logit_N, y_N.astype(np.float64), has_shift=False)
    return Calibration("temperature", float(np.clip(slope, *_SLOPES)), 0.0, rows)


def _smoothed(y_N: NDArray[np.int8]) -> NDArray[np.float64]:
    """Platt's targets: (up + 1) / (up + 2) and 1 / (down + 2), so that no slope runs off to infinity."""
    up = int((y_N == 1).sum())
    down = len(y_N) - up
    return np.where(y_N == 1, (up + 1) / (up + 2), 1 / (down + 2))


def _minimum(logit_N: NDArray[np.float64], target_N: NDArray[np.float64], *, has_shift: bool) -> tuple[float, float]:
    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        z_N = parameters[0] * logit_N + (parameters[1] if has_shift else 0.0)
        error_N = expit(z_N) - target_N
        value = float(np.mean(np.logaddexp(0.0, z_N) - target_N * z_N))
        gradient = [float(np.mean(error_N * logit_N)), float(np.mean(error_N)) if has_shift else 0.0]
        return value, np.array(gradient)

    best = minimize(loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B")
    return float(best.x[0]), float(best.x[1])
