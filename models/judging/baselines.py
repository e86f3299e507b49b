"""What a model must beat: simple forecasts, trained on the train part and judged on the same rows.

Each reads the inputs of a window's last minute only; what a network gains over them it gains from the minutes
before, or not at all. Shapes: N rows, F inputs.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # scikit-learn brings it, without types

from models.datasets.scaler import CLIP
from models.statistics.metrics import auc

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from models.datasets.dataset import Dataset

TRAIN_ROWS = 50_000
"""Rows are thinned evenly to at most this many: labels overlap, and boosting is to stay within seconds."""
SHUFFLES = 200
CONTROL_ROWS = 10_000
CONTROL_ROUNDS = 40
"""Controls need to be trained well enough to find a leak, not well enough to be the best forecast."""


@dataclass(frozen=True, slots=True)
class Controls:
    """Two forecasts whose quality is known beforehand, and so say whether the judging itself can be trusted."""

    shuffled_auc: tuple[float, ...]
    """AUC of a linear fit to shuffled labels, once for each shuffle; 0.5 on average if nothing leaks."""
    future_p_N: NDArray[np.float64]
    """Forecast of boosting that was shown the inputs at the end of the horizon: what a leak looks like."""
    future_seen_N: NDArray[np.bool_]
    """Rows for which those inputs exist."""


def baseline_forecasts(data: Dataset, product: str, test_rows: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """Return each baseline's probability of up on the test rows."""
    rows = thinned(data.rows(product, "train"))
    y_N = data.direction_N[rows]
    share = float(np.clip(np.mean(y_N), 0.01, 0.99))
    forecasts = {
        "base_rate": np.full(len(test_rows), share),
        "last_move_sign": _last_move(data, rows, test_rows, share),
    }
    if len(np.unique(y_N)) < 2:
        return forecasts
    x_NF, test_NF = data.x_NF[rows], data.x_NF[test_rows]
    forecasts["logistic_regression"] = _logistic(x_NF, y_N, test_NF)
    forecasts["gradient_boosting"] = boosted(x_NF, y_N, test_NF)
    return forecasts


def controls(data: Dataset, product: str, test_rows: NDArray[np.int64], *, seed: int = 0) -> Controls:
    """Fit shuffled labels, and train boosting on inputs from the future."""
    rows = thinned(data.rows(product, "train"), CONTROL_ROWS)
    y_N, test_y_N = data.direction_N[rows], data.direction_N[test_rows]
    shuffled = _shuffled_aucs(data.x_NF[rows], y_N, data.x_NF[test_rows], test_y_N, seed)
    train_seen_N, test_seen_N = _has_future(data, rows), _has_future(data, test_rows)
    train_y_N = y_N[train_seen_N]
    if len(np.unique(train_y_N)) < 2 or not test_seen_N.any():
        return Controls(shuffled, np.full(len(test_rows), 0.5), np.zeros(len(test_rows), dtype=bool))
    later = data.horizon_minutes
    future_p_N = np.full(len(test_rows), 0.5)
    future_p_N[test_seen_N] = boosted(
        data.x_NF[rows[train_seen_N] + later], train_y_N, data.x_NF[test_rows[test_seen_N] + later], CONTROL_ROUNDS
    )
    return Controls(shuffled, future_p_N, test_seen_N)


def thinned(rows: NDArray[np.int64], most: int = TRAIN_ROWS) -> NDArray[np.int64]:
    """Return at most ``most`` of the rows, evenly spread."""
    return rows if len(rows) <= most else rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]


def boosted(
    x_NF: NDArray[np.float32], y_N: NDArray[np.int8], test_NF: NDArray[np.float32], rounds: int = 100
) -> NDArray[np.float64]:
    """Train gradient boosting on one thread and return its probabilities of up on the test inputs."""
    model = HistGradientBoostingClassifier(
        max_iter=rounds,
        learning_rate=5.0 / rounds,
        max_leaf_nodes=15,
        min_samples_leaf=min(200, max(20, len(y_N) // 50)),
        early_stopping=False,
        random_state=0,
    )
    with threadpool_limits(1):
        model.fit(x_NF, y_N)
        return np.asarray(model.predict_proba(test_NF)[:, 1], dtype=np.float64)


def _shuffled_aucs(
    x_NF: NDArray[np.float32],
    y_N: NDArray[np.int8],
    test_NF: NDArray[np.float32],
    test_y_N: NDArray[np.int8],
    seed: int,
) -> tuple[float, ...]:
    """Return the test AUC of least squares fitted to each of many shuffles of the labels.

    A single fit to noise can reach 0.45 or 0.55 by chance, because inputs and labels both move slowly; five boosted
    ones raised one false alarm in nine (measured). Two hundred linear ones cost one solve and settle it.
    """
    if len(np.unique(y_N)) < 2:
        return ()
    generator = np.random.default_rng(seed)
    shuffled_NS = np.stack([generator.permutation(y_N) for _ in range(SHUFFLES)], axis=1) - np.mean(y_N)
    train_NF, scaled_NF = _standardised(x_NF, test_NF)
    with threadpool_limits(1):
        ridge_FF = train_NF.T @ train_NF + len(train_NF) * 1e-3 * np.eye(train_NF.shape[1])
        score_NS = scaled_NF @ np.linalg.solve(ridge_FF, train_NF.T @ shuffled_NS)
    return tuple(auc(score_NS[:, shuffle], test_y_N) for shuffle in range(SHUFFLES))


def _logistic(x_NF: NDArray[np.float32], y_N: NDArray[np.int8], test_NF: NDArray[np.float32]) -> NDArray[np.float64]:
    train_NF, scaled_NF = _standardised(x_NF, test_NF)
    with threadpool_limits(1), warnings.catch_warnings():
        # inputs are nearly collinear; what is reached after 500 steps is the baseline
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LogisticRegression(C=0.1, max_iter=500).fit(train_NF, y_N)
        return np.asarray(model.predict_proba(scaled_NF)[:, 1], dtype=np.float64)


def _standardised(
    x_NF: NDArray[np.float32], test_NF: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return both, scaled and clipped by the figures of the first."""
    mean_F, sd_F = x_NF.mean(axis=0, dtype=np.float64), x_NF.std(axis=0, dtype=np.float64)
    sd_F[sd_F < 1e-12] = 1.0
    return np.clip((x_NF - mean_F) / sd_F, -CLIP, CLIP), np.clip((test_NF - mean_F) / sd_F, -CLIP, CLIP)


def _last_move(
    data: Dataset, rows: NDArray[np.int64], test_rows: NDArray[np.int64], share: float
) -> NDArray[np.float64]:
    """Call what the last horizon did, with the probability that this was right in training."""
    move_N = _past_move(data, rows)
    known_N = move_N != 0
    rose_N = data.direction_N[rows] == 1
    after = {sign: float(np.mean(rose_N[move_N == sign])) if (move_N == sign).any() else share for sign in (-1, 1)}
    test_move_N = _past_move(data, test_rows)
    p_N = np.where(test_move_N == 1, after[1], np.where(test_move_N == -1, after[-1], share))
    return np.clip(p_N, 0.01, 0.99) if known_N.any() else np.full(len(test_rows), share)


def _past_move(data: Dataset, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the sign of the move over the horizon before each row, 0 where that minute is missing."""
    back = data.horizon_minutes
    earlier = np.maximum(rows - back, 0)
    whole_N = (data.coin_N[earlier] == data.coin_N[rows]) & (data.minute_N[rows] - data.minute_N[earlier] == back)
    return np.where(whole_N, np.sign(data.close_N[rows] - data.close_N[earlier]), 0).astype(np.int64)


def _has_future(data: Dataset, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    later = np.minimum(rows + data.horizon_minutes, len(data.minute_N) - 1)
    same_coin_N = data.coin_N[later] == data.coin_N[rows]
    return np.asarray(same_coin_N & (data.minute_N[later] - data.minute_N[rows] == data.horizon_minutes))
