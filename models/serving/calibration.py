"""Make a probability mean what it says: five kinds of calibration, fitted and chosen on the calibration part only.

``none``; ``temperature`` (Guo et al., "On calibration of modern neural networks", 2017); ``platt`` (Platt,
"Probabilistic outputs for support vector machines", 1999); ``beta`` (Kull, Silva Filho and Flach, "Beta calibration",
AISTATS 2017); ``isotonic`` (Zadrozny and Elkan, 2002; one knot a block, joined by lines: Oron and Flournoy, "Centered
isotonic regression", 2017). Each is a rising function of the network's logit, so no ranking is ever turned round.
Shapes: N rows, K knots.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, asdict, dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression

from models.statistics.metrics import log_losses

if TYPE_CHECKING:
    from numpy.typing import NDArray

KINDS = ("none", "temperature", "platt", "beta", "isotonic")
"""From the simplest to the richest."""
RICHER = KINDS[2:]
"""Those of more than one parameter."""
LEAST_ROWS = 200
LOGIT_CLIP = 13.8
"""Nothing is surer than 1 in a million; in float32 that is still inside (0, 1)."""
SLOPES = (0.02, 50.0)
_OVERLAP = 15
"""Neighbouring labels look at the same minutes, so so many rows are worth one."""
LOG_SLOPE_SPREAD = 0.5
"""How far the logarithm of a temperature's slope may lie from 0 before anything was seen (standard deviation).

A small edge says little about its own slope: three weeks of real minutes are worth four or five of these units.
"""
SURELY = 2.0
"""Standard errors by which a kind of more than one parameter must do better than a temperature."""
LEAST_BLOCK = 1500
"""Rows of an isotonic block, worth a hundred independent ones."""
MOST_BLOCKS = 20
_FIRST_SHARE = 0.4
"""Share of the rows that come before the first held-out stretch."""
_FOLDS = 4
_DAY = 1440
_SHORT_BLOCK = 120
"""Minutes of a block where there are fewer days than a standard error can be had from."""
_LEAST_DAYS = 8
_LEAST_RANGE = 1e-6
_SURE = 1.0 / (LEAST_BLOCK / _OVERLAP + 2)
"""An isotonic block that was always right is taken for right this much less often than always (Laplace)."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """How one kind did on later minutes than it was fitted on, all inside the calibration part."""

    kind: str
    held_out_log_loss: float
    excess: float
    """Held-out log loss above that of the kind it had to beat: the last one before it that did, first the temperature."""
    excess_error: float
    """Standard error of that difference, over blocks of time."""
    chosen: bool = False


class Pieces(NamedTuple):
    """A line in straight pieces: each is ``height + slope * (x - anchor)``."""

    starts: tuple[float, ...]
    """Where each piece but the first begins."""
    anchors: tuple[float, ...]
    heights: tuple[float, ...]
    slopes: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Calibration:
    """``sigmoid(-low softplus(-t) + high softplus(t) + shift)`` with ``t`` the logit, bent at the knots if there are any.

    With ``low = high`` this is a straight line: temperature and Platt; Kull's beta calibration writes a, b, c for
    ``low``, ``high`` and ``shift``.
    """

    kind: str
    _: KW_ONLY
    low: float = 1.0
    high: float = 1.0
    shift: float = 0.0
    knots: tuple[tuple[float, float], ...] = ()
    """(logit, calibrated logit), both rising; beyond the ends the line goes on with ``end_slope``."""
    end_slope: float = 1.0
    rows: int = 0
    """Rows it was fitted on."""
    candidates: tuple[Candidate, ...] = ()
    held_out_rows: int = 0
    held_out_blocks: int = 0

    @classmethod
    def line(cls, kind: str, slope: float, shift: float, rows: int) -> Calibration:
        """Return ``sigmoid(slope * logit + shift)``."""
        return cls(kind, low=slope, high=slope, shift=shift, rows=rows)

    def apply(self, logit_N: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return calibrated probabilities, strictly inside (0, 1)."""
        starts, anchors, heights, slopes = (np.array(part) for part in self.pieces())
        kept_N = np.clip(logit_N, -LOGIT_CLIP, LOGIT_CLIP)
        piece_N = np.searchsorted(starts, kept_N, side="right")
        bent_N = heights[piece_N] + slopes[piece_N] * (kept_N - anchors[piece_N])
        said_N = -self.low * np.logaddexp(0.0, -bent_N) + self.high * np.logaddexp(0.0, bent_N) + self.shift
        return np.asarray(expit(np.clip(said_N, -LOGIT_CLIP, LOGIT_CLIP)), dtype=np.float64)

    def pieces(self) -> Pieces:
        """Return the bend as straight pieces; without knots it is one, the logit itself."""
        if not self.knots:
            return Pieces((), (0.0,), (0.0,), (1.0,))
        x_K, y_K = (np.array(part) for part in zip(*self.knots, strict=True))
        inner = np.diff(y_K) / np.diff(x_K)
        slopes = (self.end_slope, *inner.tolist(), self.end_slope)
        return Pieces(tuple(x_K), (x_K[0], *x_K), (y_K[0], *y_K), slopes)

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "kind": self.kind,
            "parameters": self._parameters(),
            "rows": self.rows,
            "held_out_rows": self.held_out_rows,
            "held_out_blocks": self.held_out_blocks,
            "candidates": [asdict(candidate) for candidate in self.candidates],
        }

    def _parameters(self) -> dict[str, Any]:
        match self.kind:
            case "none":
                return {}
            case "temperature":
                return {"slope": self.low}
            case "platt":
                return {"slope": self.low, "shift": self.shift}
            case "beta":
                return {"a": self.low, "b": self.high, "c": self.shift}
        return {"knots": [list(knot) for knot in self.knots], "end_slope": self.end_slope}


def fit_calibration(
    logit_N: NDArray[np.float64], y_N: NDArray[np.int8], minute_N: NDArray[np.int64], *, horizon_minutes: int = 15
) -> Calibration:
    """Choose a kind by how it does on later minutes than it was fitted on, then fit that kind on every row.

    A temperature is taken unless a kind of more parameters is better by more than `SURELY` standard errors of their
    difference, and a richer one still must beat that one as surely. A shift or a bend that three weeks show is often gone in the next three, while
    a slope that is off lasts longer (six stretches of two coins, with figures that fell short too: see the log). With too few rows, or labels
    of one class, nothing can be learnt and the model is left as it is.

    Args:
        logit_N: What the network says.
        y_N: 1 up, 0 not up.
        minute_N: Epoch minute of each row, ascending.
        horizon_minutes: How far a label looks ahead; so much is purged before each held-out block.
    """
    rows = len(logit_N)
    if rows < LEAST_ROWS or len(np.unique(y_N)) < 2 or np.ptp(logit_N) < _LEAST_RANGE:
        return Calibration("none", rows=rows)
    held = _held_out_losses(logit_N, y_N, minute_N, horizon_minutes)
    candidates = _compared(held)
    chosen = next(candidate.kind for candidate in candidates if candidate.chosen)
    # what could be fitted on a part of the rows can be on all of them, but for a freak: then nothing is done
    fitted = fit_kind(chosen, logit_N, y_N) or Calibration("none", rows=rows)
    blocks = len(np.unique(held.block_H))
    return replace(fitted, candidates=candidates, held_out_rows=len(held.block_H), held_out_blocks=blocks)


def fit_kind(kind: str, logit_N: NDArray[np.float64], y_N: NDArray[np.int8]) -> Calibration | None:
    """Fit one kind on all the rows; None where these rows cannot bear it (too few, one class, an absurd slope)."""
    rows = len(logit_N)
    if kind == "none":
        return Calibration("none", rows=rows)
    if len(np.unique(y_N)) < 2 or np.ptp(logit_N) < _LEAST_RANGE:
        return None
    kept_N, target_N = np.clip(logit_N, -LOGIT_CLIP, LOGIT_CLIP), _smoothed(y_N)
    if kind == "temperature":
        return Calibration.line(kind, _temperature(kept_N, target_N), 0.0, rows)
    slope, shift = _platt(kept_N, target_N)
    if kind == "platt":
        return Calibration.line(kind, slope, shift, rows)
    return _beta(kept_N, target_N) if kind == "beta" else _isotonic(kept_N, y_N, slope)


def _smoothed(y_N: NDArray[np.int8]) -> NDArray[np.float64]:
    """Platt's targets: (up + 1) / (up + 2) and 1 / (down + 2), so that no slope runs off to infinity."""
    up = int((y_N == 1).sum())
    down = len(y_N) - up
    return np.where(y_N == 1, (up + 1) / (up + 2), 1 / (down + 2))


def _logistic(
    design_NM: NDArray[np.float64], target_N: NDArray[np.float64], offset_N: NDArray[np.float64] | float = 0.0
) -> NDArray[np.float64]:
    """Return the weights of a logistic regression on soft targets; the columns may be nearly collinear."""
    # made orthogonal, or the two columns of beta calibration, alike where logits are small, take thousands of steps
    q_NM, r_MM = np.linalg.qr(design_NM)
    q_NM *= np.sqrt(len(q_NM))

    def loss(weight_M: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        z_N = q_NM @ weight_M + offset_N
        value = float(np.mean(np.logaddexp(0.0, z_N) - target_N * z_N))
        return value, q_NM.T @ (expit(z_N) - target_N) / len(z_N)

    best = minimize(loss, np.zeros(design_NM.shape[1]), jac=True, method="BFGS", options={"gtol": 1e-9})
    return np.asarray(np.linalg.solve(r_MM, best.x * np.sqrt(len(q_NM))))


def _temperature(logit_N: NDArray[np.float64], target_N: NDArray[np.float64]) -> float:
    """Return the likeliest slope where its logarithm is normal around 0 beforehand and overlapping rows count as one."""
    worth = len(logit_N) / _OVERLAP

    def surprise(log_slope: float) -> float:
        z_N = np.exp(log_slope) * logit_N
        fit = float(np.mean(np.logaddexp(0.0, z_N) - target_N * z_N))
        return worth * fit + 0.5 * (log_slope / LOG_SLOPE_SPREAD) ** 2

    low, high = np.log(SLOPES)
    return float(np.exp(minimize_scalar(surprise, bounds=(low, high), method="bounded").x))


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


def _beta(logit_N: NDArray[np.float64], target_N: NDArray[np.float64]) -> Calibration | None:
    """Return ``logit q = a ln p - b ln(1 - p) + c`` with a, b >= 0; one below 0 is left out and the rest fitted again."""
    low_N, high_N, one_N = -np.logaddexp(0.0, -logit_N), np.logaddexp(0.0, logit_N), np.ones(len(logit_N))
    a, b, c = _logistic(np.column_stack([low_N, high_N, one_N]), target_N)
    if a < 0 <= b:
        a, (b, c) = 0.0, _logistic(np.column_stack([high_N, one_N]), target_N)
    elif b < 0 <= a:
        b, (a, c) = 0.0, _logistic(np.column_stack([low_N, one_N]), target_N)
    if min(a, b) < 0 or not SLOPES[0] < (a + b) / 2 or max(a, b) > SLOPES[1]:
        return None
    return Calibration("beta", low=float(a), high=float(b), shift=float(c), rows=len(logit_N))


def _isotonic(logit_N: NDArray[np.float64], y_N: NDArray[np.int8], end_slope: float) -> Calibration | None:
    """Pool rows into blocks, blocks into a rising step function, and join the steps' middles by lines."""
    order = np.argsort(logit_N, kind="stable")
    blocks = min(MOST_BLOCKS, len(logit_N) // LEAST_BLOCK)
    if blocks < 2:
        return None
    edges = np.quantile(logit_N, np.linspace(0, 1, blocks + 1)[1:-1])
    block_N = np.searchsorted(np.unique(edges), logit_N[order], side="right")
    rows_K = np.bincount(block_N).astype(np.float64)
    kept_K = rows_K > 0
    x_K = (np.bincount(block_N, weights=logit_N[order]))[kept_K] / rows_K[kept_K]
    up_K = (np.bincount(block_N, weights=y_N[order]))[kept_K] / rows_K[kept_K]
    rising = IsotonicRegression(y_min=_SURE, y_max=1.0 - _SURE).fit(x_K, up_K, rows_K[kept_K]).predict(x_K)
    knots = _fewest_knots(x_K, np.asarray(rising), rows_K[kept_K])
    steepest = max((np.diff([y for _, y in knots]) / np.diff([x for x, _ in knots])).tolist(), default=np.inf)
    if steepest > SLOPES[1]:
        return None
    return Calibration("isotonic", knots=knots, end_slope=end_slope, rows=len(logit_N))


def _fewest_knots(
    x_K: NDArray[np.float64], share_K: NDArray[np.float64], rows_K: NDArray[np.float64]
) -> tuple[tuple[float, float], ...]:
    """Pool neighbours until each step is higher than the one before by more than a standard error."""
    blocks = [(x, share, rows) for x, share, rows in zip(x_K, share_K, rows_K, strict=True)]
    while len(blocks) > 1:
        rises = [
            (right[1] - left[1])
            / np.sqrt(_OVERLAP * (left[1] * (1 - left[1]) / left[2] + right[1] * (1 - right[1]) / right[2]))
            for left, right in pairwise(blocks)
        ]
        least = int(np.argmin(rises))
        if rises[least] > 1:
            break
        left, right = blocks[least], blocks[least + 1]
        rows = left[2] + right[2]
        blocks[least : least + 2] = [
            ((left[0] * left[2] + right[0] * right[2]) / rows, (left[1] * left[2] + right[1] * right[2]) / rows, rows)
        ]
    return tuple((float(x), float(logit(share))) for x, share, _ in blocks)


class _HeldOut(NamedTuple):
    """Losses of every kind on the rows no fit of theirs saw."""

    loss_H: dict[str, NDArray[np.float64]]
    block_H: NDArray[np.int64]


def _held_out_losses(
    logit_N: NDArray[np.float64], y_N: NDArray[np.int8], minute_N: NDArray[np.int64], horizon_minutes: int
) -> _HeldOut:
    """Fit on everything before each held-out stretch, less a horizon, and lose on the stretch; four times."""
    edges = np.quantile(minute_N, np.linspace(_FIRST_SHARE, 1.0, _FOLDS + 1), method="lower")
    losses: dict[str, list[NDArray[np.float64]]] = {kind: [] for kind in KINDS}
    held = []
    for position, (start, end) in enumerate(pairwise(edges)):
        before_N = minute_N + horizon_minutes < start
        inside_N = (minute_N >= start) & ((minute_N < end) | (position == _FOLDS - 1))
        held.append(minute_N[inside_N])
        for kind in KINDS:
            fitted = fit_kind(kind, logit_N[before_N], y_N[before_N])
            p_N = (fitted or Calibration("none")).apply(logit_N[inside_N])
            losses[kind].append(log_losses(p_N, y_N[inside_N]) if fitted else np.full(len(p_N), np.inf))
    minute_H = np.concatenate(held)
    length = _DAY if len(np.unique(minute_H // _DAY)) >= _LEAST_DAYS else _SHORT_BLOCK
    return _HeldOut({kind: np.concatenate(parts) for kind, parts in losses.items()}, minute_H // length)


def _compared(held: _HeldOut) -> tuple[Candidate, ...]:
    """Return the kinds that could be fitted every time, with their losses, and mark the one to take."""
    loss_H = {kind: loss_H for kind, loss_H in held.loss_H.items() if np.isfinite(loss_H).all()}
    take = "temperature" if "temperature" in loss_H else "none"
    found = []
    for kind, own_H in loss_H.items():
        more_H = own_H - loss_H[take]
        excess, error = float(more_H.mean()), _error(more_H, held.block_H)
        found.append(Candidate(kind, float(own_H.mean()), excess, error))
        if kind in RICHER and excess < -SURELY * error:
            take = kind
    return tuple(replace(candidate, chosen=candidate.kind == take) for candidate in found)


def _error(difference_H: NDArray[np.float64], block_H: NDArray[np.int64]) -> float:
    """Return the standard error of the mean difference when whole blocks of time are what varies."""
    _, place_H = np.unique(block_H, return_inverse=True)
    rows_B = np.bincount(place_H)
    blocks = len(rows_B)
    if blocks < 2:
        return float("inf")
    rest_B = np.bincount(place_H, weights=difference_H) - difference_H.mean() * rows_B
    return float(np.sqrt(np.sum(rest_B**2) * blocks / (blocks - 1)) / rows_B.sum())
