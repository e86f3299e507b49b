"""Train the boosting member: a bag of gradient boostings on the last minute's inputs of all coins together.

scikit-learn grows the trees; each member of the bag sees every ``stride``-th minute, from another one on, other inputs at
each split, and its own seed. How many rounds the bag keeps is read from the early-stop part. Of a `TrainSpec` it takes
``epochs`` as the most rounds, ``dropout`` as the share of inputs hidden from a split, ``members``, ``stride``, ``seed``,
``learning_rate`` and ``budget_seconds``. Shapes: N rows, E rows of the early-stop part, F inputs, K checks.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.special import expit
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # scikit-learn brings it, without types

from core.errors import TrainingError
from models.datasets.scaler import fit_scaler
from models.datasets.windows import part_ends
from models.networks.trees import BOOSTING_MINUTES, Tree, bag, state_of
from models.serving.passport import TrainingCheck
from models.statistics.metrics import log_loss
from models.training.checkpoint import TrainingState, load, save
from models.training.fit import Fitted, best_check
from models.training.progress_reporter import TrainingClock
from models.training.run_training import TrainProgress

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from models.datasets.dataset import Dataset
    from models.training.candidate import TrainSpec

# mean gains over expanding folds: 8, 15 and 31 leaves 24.2, 24.7 and 25.9; in bags of five 15 gain 32.6, 31 33.8 (docs/log.md)
LEAVES = 15
MIN_LEAF_SHARE = 1 / 64
"""Share of the rows that a leaf holds at least: minutes are noisy, and fifteen neighbours are worth one."""
CHECK_ROUNDS = 10
LOSS_ROWS = 20_000
"""The training loss is computed on so many rows, evenly spread; it is shown, and decides nothing."""


def fit_boosting(
    spec: TrainSpec,
    data: Dataset,
    *,
    on_progress: Callable[[TrainProgress], None] = lambda _: None,
    checkpoint: Path | None = None,
) -> Fitted:
    """Train ``spec`` on the train part of ``data``; the early-stop part chooses the number of rounds, nothing else.

    Same spec, data and machine: same weights, bit for bit, also when resumed from ``checkpoint`` after a member. The
    time budget ends the bag after the member that passes it. ``data.x_NF`` is scaled in place.

    Raises:
        TrainingError: there are too few rows, the labels are all alike, or the checkpoint is damaged.
    """
    watch_E = part_ends(data, "early_stop", BOOSTING_MINUTES)
    if not len(watch_E):
        msg = f"{spec.name}: the early-stop part holds no labelled minute; backfill a longer span: make backfill"
        raise TrainingError(msg)
    state = load(checkpoint)
    clock = TrainingClock(spec.budget_seconds, state.seconds)
    scaler = fit_scaler(data)
    scaler.scale_in_place(data.x_NF, data.coin_N)
    watch_EF, watch_y_E = _inputs(data, watch_E), data.direction_N[watch_E]

    while len(state.finished) < spec.members and not (state.finished and clock.is_over()):
        number, began = len(state.finished), time.monotonic()
        rows_N = _member_rows(data, spec, number)
        state.finished.append(_grow(spec, number, data, rows_N, watch_EF))
        ended_by = "budget" if clock.is_over() and number + 1 < spec.members else "epochs"
        seconds = round(time.monotonic() - began, 2)
        # its losses, round by round, lie beside its trees
        state.history.append(
            TrainingCheck(
                member=number + 1,
                windows=len(rows_N),
                train_loss=math.nan,
                early_stop_log_loss=math.nan,
                seconds=seconds,
                ended_by=ended_by,
            )
        )
        save(checkpoint, state, None)
        on_progress(_progress(spec, state, clock, _curve(spec, state, watch_y_E)))

    curve = _curve(spec, state, watch_y_E)
    best = best_check(curve)
    shown = {"watched", "train_loss"}
    trees = [{name: value for name, value in own.items() if name not in shown} for own in state.finished]
    weights = bag(trees, best.epoch)
    fitted = Fitted(weights, scaler, [1.0] * len(data.coins), "float32", curve, train_windows=state.windows)
    fitted.best_checks, fitted.ended_by = [best.check], [curve[-1].ended_by]
    return fitted


def _rounds(spec: TrainSpec) -> list[int]:
    """Return after which rounds the early-stop part is looked at."""
    return sorted({*range(CHECK_ROUNDS, spec.epochs, CHECK_ROUNDS), spec.epochs})


def _inputs(data: Dataset, rows_N: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return what the trees read of the rows: the scaled inputs, and the number of the coin."""
    # with the coin as an input 24.5, without 22.9 (0.0001 nats, mean of both coins; docs/log.md)
    return np.column_stack([data.x_NF[rows_N], data.coin_N[rows_N].astype(np.float32)])


def _member_rows(data: Dataset, spec: TrainSpec, number: int) -> NDArray[np.int64]:
    rows_N = part_ends(data, "train", BOOSTING_MINUTES, stride=spec.stride, offset=number)
    up = int((data.direction_N[rows_N] == 1).sum())
    if not 0 < up < len(rows_N):
        msg = (
            f"{spec.name}: {len(rows_N)} training minutes, {up} of them up; both directions are needed: "
            "backfill a longer span or lower the stride"
        )
        raise TrainingError(msg)
    return rows_N


def _grow(
    spec: TrainSpec, number: int, data: Dataset, rows_N: NDArray[np.int64], watch_EF: NDArray[np.float32]
) -> dict[str, Tensor]:
    """Grow one member's trees; return them with what they say of the early-stop part, and how they fit, at each check."""
    x_NF, y_N = _inputs(data, rows_N), data.direction_N[rows_N]
    # of the sign: a regression on the size of the return gained 3 to 19 where this gains 24 (docs/log.md)
    model = HistGradientBoostingClassifier(
        learning_rate=spec.learning_rate,
        max_iter=spec.epochs,
        max_leaf_nodes=LEAVES,
        min_samples_leaf=max(20, round(MIN_LEAF_SHARE * len(y_N))),
        max_features=1.0 - spec.dropout,
        early_stopping=False,  # scikit-learn would hold out random rows, whose neighbours it trains on
        random_state=spec.seed + number,
    )
    thin_N = np.linspace(0, len(y_N) - 1, min(len(y_N), LOSS_ROWS)).astype(np.int64)
    with threadpool_limits(1):
        model.fit(x_NF, y_N)
        watched_KE = _staged_logits(model, watch_EF, _rounds(spec))
        fitted_KN = _staged_logits(model, x_NF[thin_N], _rounds(spec))
    # the public interface tells no tree; the versions are pinned, and the property test compares every leaf
    trees = [Tree.of(grown.nodes) for (grown,) in model._predictors]
    state = state_of(trees, float(model._baseline_prediction.item()), len(data.coins), leaves=LEAVES)
    loss_K = [log_loss(expit(logit_N), y_N[thin_N]) for logit_N in fitted_KN]
    return state | {"watched": torch.from_numpy(watched_KE), "train_loss": torch.tensor(loss_K, dtype=torch.float64)}


def _staged_logits(
    model: HistGradientBoostingClassifier, x_NF: NDArray[np.float32], rounds: list[int]
) -> NDArray[np.float64]:
    """Return the logits after each of ``rounds``, (K, N)."""
    staged = enumerate(model.staged_decision_function(x_NF), 1)
    return np.stack([logit_N for number, logit_N in staged if number in rounds])


def _curve(spec: TrainSpec, state: TrainingState, y_E: NDArray[np.int8]) -> list[TrainingCheck]:
    """Return the history of the bag so far as that of one network: an entry for each check, rounds in place of epochs."""
    logit_KE = torch.stack([member["watched"] for member in state.finished]).mean(dim=0).numpy()
    train_loss_K = torch.stack([member["train_loss"] for member in state.finished]).mean(dim=0).tolist()
    rounds = _rounds(spec)
    return [
        TrainingCheck(
            check=position + 1,
            epoch=number,
            windows=state.windows,
            train_loss=train_loss_K[position],
            early_stop_log_loss=log_loss(expit(logit_KE[position]), y_E),
            seconds=round(state.seconds / len(rounds), 2),
            ended_by=state.ended_by(len(state.finished) - 1) if number == rounds[-1] else "",
        )
        for position, number in enumerate(rounds)
    ]


def _progress(spec: TrainSpec, state: TrainingState, clock: TrainingClock, curve: list[TrainingCheck]) -> TrainProgress:
    best, done = best_check(curve), len(state.finished)
    left = (spec.members - done) * state.seconds / done
    return TrainProgress(
        name=spec.name,
        epoch=spec.epochs,
        epochs=spec.epochs,
        step=1,
        steps=1,
        train_loss=best.train_loss,
        early_stop_loss=best.early_stop_log_loss,
        seconds=clock.seconds,
        seconds_left=max(0.0, min(left, clock.left)),
        member=done,
        members=spec.members,
        ended_by=state.history[-1].ended_by,
    )
