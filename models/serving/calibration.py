"""Fit and choose the calibration that turns a network's logit into a probability, on the calibration part only.

``none``; ``temperature`` (Guo et al., "On calibration of modern neural networks", 2017); ``platt`` (Platt,
"Probabilistic outputs for support vector machines", 1999). Each is a rising line of the logit, so no ranking is ever
turned round. Beta and isotonic calibration were offered until 2026-12: wherever one of them was chosen on real minutes
it lost or changed nothing (BTC validation, boosting: gain 36.9 before and 20.1 after an isotonic; docs/log.md).

Shapes: N rows, M columns of a regression, H held-out rows, B blocks of time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit

from core.candles import HORIZON_MINUTES
from models.serving.passport import CalibrationChoice, CalibrationTrial
from models.statistics.bootstrap import MINUTES_OF_DAY
from models.statistics.metrics import log_losses

if TYPE_CHECKING:
    from numpy.typing import NDArray

# mean gain on later minutes, in 0.0001 nats: boosting (12 cells) uncalibrated 19.7, temperature 21.4, Platt 19.7, isotonic 18.4;
# LSTM (4 cells) 11.8, 12.1, 12.3, 10.6 (docs/log.md)
KINDS = ("none", "temperature", "platt")
"""From the simplest to the richest."""
MIN_ROWS = 200
"""Below this many rows nothing is fitted: labels overlap 15-fold, so 200 rows hold about 13 independent ones."""
LOGIT_CLIP = 13.8
"""No probability is closer to 0 or 1 than 1 in a million; in float32 that is still inside (0, 1)."""
SLOPES = (0.02, 50.0)
LOG_SLOPE_SPREAD = 0.5
"""Prior standard deviation of the logarithm of a temperature's slope, around 0.

A small edge says little about its own slope: three weeks of real minutes are worth four or five of these units. Without
the prior a temperature loses against doing nothing in 12 of 12 cells of held-out real minutes (docs/log.md).
"""
MIN_Z_SCORE = 2.0
"""Standard errors by which Platt must do better than a temperature to be taken.

A shift that three weeks show is often gone in the next three: even two standard errors let one through on real minutes,
which cost 15.5 of 0.0001 nats (docs/log.md).
"""
# a temperature needs something before the first stretch and later stretches long enough to differ: four of 15 % each
_FIRST_SHARE, _FOLDS = 0.4, 4
# minutes of a day move together, so days are what varies; a part of fewer than 8 days has too few for a standard error
_MIN_DAYS, _SHORT_BLOCK_MINUTES = 8, 120
_MIN_RANGE = 1e-6


@dataclass(frozen=True, slots=True)
class Calibration:
    """``sigmoid(slope * logit + shift)``; ``none`` and ``temperature`` have no shift, ``none`` has slope 1."""

    kind: str
    slope: float = 1.0
    shift: float = 0.0
    rows: int = 0
    """Rows it was fitted on."""
    candidates: tuple[CalibrationTrial, ...] = ()
    held_out_rows: int = 0
    held_out_blocks: int = 0

    def apply(self, logit_N: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return calibrated probabilities, strictly inside (0, 1)."""
        line_N = self.slope * np.clip(logit_N, -LOGIT_CLIP, LOGIT_CLIP) + self.shift
        return np.asarray(expit(np.clip(line_N, -LOGIT_CLIP, LOGIT_CLIP)), dtype=np.float64)

    def choice(self) -> CalibrationChoice:
        """Return the calibration as a passport holds it."""
        parameters = {"slope": self.slope, "shift": self.shift}
        shown = {"none": (), "temperature": ("slope",)}.get(self.kind, ("slope", "shift"))
        return CalibrationChoice(
            self.kind,
            {name: parameters[name] for name in shown},
            self.rows,
            self.held_out_rows,
            self.held_out_blocks,
            self.candidates,
        )


def fit_calibration(
    logit_N: NDArray[np.float64],
    y_N: NDArray[np.int8],
    minute_N: NDArray[np.int64],
    *,
    horizon_minutes: int = HORIZON_MINUTES,
) -> Calibration:
    """Choose a kind by how it does on later minutes than it was fitted on, then fit that kind on every row.

    A temperature is taken unless Platt is better by more than `MIN_Z_SCORE` standard errors of their difference: a shift
    that three weeks show is often gone in the next three, while a slope that is off lasts longer (six stretches of two
    coins; docs/log.md). With too few rows, or labels of one class, nothing can be learnt and ``none`` is returned.

    Args:
        logit_N: The network's output.
        y_N: 1 up, 0 not up.
        minute_N: Epoch minute of each row.
        horizon_minutes: How far a label looks ahead; so much is purged before each held-out stretch.
    """
    rows = len(logit_N)
    if rows < MIN_ROWS or not _is_fittable(logit_N, y_N):
        return Calibration("none", rows=rows)
    # with the rule before this one, the simplest within a standard error of the best, boosting gained 18.3; with this one 20.1
    held_out = _held_out_losses(logit_N, y_N, minute_N, horizon_minutes)
    candidates = _compare(held_out)
    kind = next(candidate.kind for candidate in candidates if candidate.chosen)
    # whatever could be fitted on a part of the rows can be fitted on all of them, since they include that part
    fitted = fit_kind(kind, logit_N, y_N) or Calibration("none", rows=rows)
    blocks = len(np.unique(held_out.block_H))
    return replace(fitted, candidates=candidates, held_out_rows=len(held_out.block_H), held_out_blocks=blocks)


def fit_kind(kind: str, logit_N: NDArray[np.float64], y_N: NDArray[np.int8]) -> Calibration | None:
    """Fit one kind on all the rows; None where they hold one class or one logit only."""
    rows = len(logit_N)
    if kind == "none":
        return Calibration("none", rows=rows)
    if not _is_fittable(logit_N, y_N):
        return None
    kept_N, target_N = np.clip(logit_N, -LOGIT_CLIP, LOGIT_CLIP), _smoothed(y_N)
    slope, shift = (_temperature(kept_N, target_N), 0.0) if kind == "temperature" else _platt(kept_N, target_N)
    return Calibration(kind, slope, shift, rows)


def _is_fittable(logit_N: NDArray[np.float64], y_N: NDArray[np.int8]) -> bool:
    return len(np.unique(y_N)) == 2 and bool(np.ptp(logit_N) >= _MIN_RANGE)


def _smoothed(y_N: NDArray[np.int8]) -> NDArray[np.float64]:
    """Return Platt's targets, (up + 1) / (up + 2) and 1 / (down + 2), so that no slope runs off to infinity."""
    up = int((y_N == 1).sum())
    down = len(y_N) - up
    return np.where(y_N == 1, (up + 1) / (up + 2), 1 / (down + 2))


def _cross_entropy(z_N: NDArray[np.float64], target_N: NDArray[np.float64]) -> float:
    """Return the mean cross entropy of soft targets and the logits ``z``."""
    return float(np.mean(np.logaddexp(0.0, z_N) - target_N * z_N))


def _temperature(logit_N: NDArray[np.float64], target_N: NDArray[np.float64]) -> float:
    """Return the likeliest slope under the prior `LOG_SLOPE_SPREAD`, counting overlapping rows as one."""
    independent_rows = len(logit_N) / HORIZON_MINUTES

    def negative_log_posterior(log_slope: float) -> float:
        fit = _cross_entropy(np.exp(log_slope) * logit_N, target_N)
        return independent_rows * fit + 0.5 * (log_slope / LOG_SLOPE_SPREAD) ** 2

    low, high = np.log(SLOPES)
    return float(np.exp(minimize_scalar(negative_log_posterior, bounds=(low, high), method="bounded").x))


def _platt(logit_N: NDArray[np.float64], target_N: NDArray[np.float64]) -> tuple[float, float]:
    """Return slope and shift; a slope that is not positive would turn every direction round, so it is held above 0.

    The ranking is then worth nothing, which the gates must see rather than have repaired.
    """
    ones_N1 = np.ones((len(logit_N), 1))
    slope, shift = _logistic(np.column_stack([logit_N, ones_N1]), target_N)
    if SLOPES[0] < slope < SLOPES[1]:
        return float(slope), float(shift)
    held = float(np.clip(slope, *SLOPES))
    return held, float(_logistic(ones_N1, target_N, held * logit_N)[0])


def _logistic(
    design_NM: NDArray[np.float64], target_N: NDArray[np.float64], offset_N: NDArray[np.float64] | float = 0.0
) -> NDArray[np.float64]:
    """Return the weights of a logistic regression on soft targets; the columns may be nearly collinear."""
    # made orthogonal first: logits that lie close together are nearly a multiple of the column of ones, and the
    # optimiser would take thousands of steps along that valley
    q_NM, r_MM = np.linalg.qr(design_NM)
    q_NM *= np.sqrt(len(q_NM))

    def loss(weight_M: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        z_N = q_NM @ weight_M + offset_N
        return _cross_entropy(z_N, target_N), q_NM.T @ (expit(z_N) - target_N) / len(z_N)

    best = minimize(loss, np.zeros(design_NM.shape[1]), jac=True, method="BFGS", options={"gtol": 1e-9})
    return np.asarray(np.linalg.solve(r_MM, best.x * np.sqrt(len(q_NM))))


class _HeldOut(NamedTuple):
    """Losses of every kind on rows that none of its fits saw; infinite where it could not be fitted."""

    loss_H: dict[str, NDArray[np.float64]]
    block_H: NDArray[np.int64]
    """Number of the block of time each row lies in."""


def _held_out_losses(
    logit_N: NDArray[np.float64], y_N: NDArray[np.int8], minute_N: NDArray[np.int64], horizon_minutes: int
) -> _HeldOut:
    """Fit on everything before each held-out stretch, less a horizon, and score the stretch; four times."""
    edges = np.quantile(minute_N, np.linspace(_FIRST_SHARE, 1.0, _FOLDS + 1), method="lower")
    losses: dict[str, list[NDArray[np.float64]]] = {kind: [] for kind in KINDS}
    minutes = []
    for position, (start, end) in enumerate(pairwise(edges)):
        before_N = minute_N + horizon_minutes < start
        inside_N = (minute_N >= start) & ((minute_N < end) | (position == _FOLDS - 1))
        minutes.append(minute_N[inside_N])
        for kind in KINDS:
            fitted = fit_kind(kind, logit_N[before_N], y_N[before_N])
            p_N = (fitted or Calibration("none")).apply(logit_N[inside_N])
            losses[kind].append(log_losses(p_N, y_N[inside_N]) if fitted else np.full(len(p_N), np.inf))
    minute_H = np.concatenate(minutes)
    is_long = len(np.unique(minute_H // MINUTES_OF_DAY)) >= _MIN_DAYS
    block_minutes = MINUTES_OF_DAY if is_long else _SHORT_BLOCK_MINUTES
    return _HeldOut({kind: np.concatenate(parts) for kind, parts in losses.items()}, minute_H // block_minutes)


def _compare(held_out: _HeldOut) -> tuple[CalibrationTrial, ...]:
    """Return the kinds that could be fitted every time, with their losses, and mark the one to take."""
    loss_H = {kind: loss_H for kind, loss_H in held_out.loss_H.items() if np.isfinite(loss_H).all()}
    start = take = "temperature" if "temperature" in loss_H else "none"
    scores = []
    for kind, own_H in loss_H.items():
        more_H = own_H - loss_H[start]
        excess, error = float(more_H.mean()), _standard_error(more_H, held_out.block_H)
        scores.append(CalibrationTrial(kind, float(own_H.mean()), excess, error))
        if kind == "platt" and excess < -MIN_Z_SCORE * error:
            take = kind
    return tuple(replace(score, chosen=score.kind == take) for score in scores)


def _standard_error(difference_H: NDArray[np.float64], block_H: NDArray[np.int64]) -> float:
    """Return the standard error of the mean difference when whole blocks of time are what varies."""
    _, block_H = np.unique(block_H, return_inverse=True)
    rows_B = np.bincount(block_H)
    blocks = len(rows_B)
    if blocks < 2:
        return float("inf")
    rest_B = np.bincount(block_H, weights=difference_H) - difference_H.mean() * rows_B
    return float(np.sqrt(np.sum(rest_B**2) * blocks / (blocks - 1)) / rows_B.sum())
