"""Train the boosting member: a bag of gradient boostings on the last minute's inputs of all coins together.

LightGBM grows the trees; each member of the bag sees every ``stride``-th minute, from another one on, other inputs at
each split, and its own seed. How many rounds the bag keeps is read from the early-stop part; then it is grown again for
so many rounds on the train and early-stop parts together, for the newest minutes are worth the most. Of a `TrainSpec` it takes
``epochs`` as the most rounds, ``dropout`` as the share of inputs hidden from a split, ``members``, ``stride``, ``seed``,
``learning_rate`` and ``budget_seconds``. Shapes: N rows, E rows of the early-stop part, F inputs, K checks.
"""

from __future__ import annotations

import math
import time
from itertools import pairwise
from typing import TYPE_CHECKING

import lightgbm
import numpy as np
import torch
from scipy.special import expit

from core.errors import TrainingError
from models.datasets.scaler import fit_scaler
from models.datasets.windows import part_ends
from models.networks.trees import BOOSTING_MINUTES, as_bytes, bag
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

LEAVES = 15
LEAF_SHARE = 1 / 64
"""Share of a tree's rows that a leaf holds at least: minutes are noisy, and fifteen neighbours are worth one. As many rows of
its parent's value are mixed into each leaf's: mean gain of both coins over three folds 27.3 with it, 24.7 without (docs/log.md)."""
TREE_SHARE, TREE_ROWS = 0.1, 20_000
"""Each tree sees this share of the rows, other ones each time, but at least so many."""
BINS = 63
"""Edges a split may choose from; 255 took three times as long and gained no more (docs/log.md)."""
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
    """Train ``spec`` on the train part of ``data``; the early-stop part chooses the number of rounds, and is then learnt from too.

    Same spec, data and machine: same weights, bit for bit, also when resumed from ``checkpoint`` after a member. The
    time budget ends the bag after the member that passes it. ``data.x_NF`` is scaled in place.

    Raises:
        TrainingError: there are too few rows, the labels are all alike, or the checkpoint is damaged.
    """
    watch_E = _watched_rows(data, spec)
    state = load(checkpoint)
    clock = TrainingClock(spec.budget_seconds, state.seconds)
    scaler = fit_scaler(data)
    scaler.scale_in_place(data.x_NF, data.coin_N)
    watch_EF, watch_y_E = _inputs(data, watch_E), data.direction_N[watch_E]

    while len(state.finished) < spec.members and not (state.finished and clock.is_over()):
        number, began = len(state.finished), time.monotonic()
        rows_N = _member_rows(data, spec, number)
        state.finished.append(_watched_member(spec, number, data, rows_N, watch_EF))
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
    weights = bag([_final_member(spec, number, data, best.epoch) for number in range(len(state.finished))], best.epoch)
    fitted = Fitted(weights, scaler, [1.0] * len(data.coins), "float32", curve, train_windows=state.windows)
    fitted.best_checks, fitted.ended_by = [best.check], [curve[-1].ended_by]
    return fitted


def _final_member(spec: TrainSpec, number: int, data: Dataset, rounds: int) -> dict[str, Tensor]:
    """Grow a member again on all that precedes the calibration part."""
    newest_N = part_ends(data, "early_stop", BOOSTING_MINUTES, stride=spec.stride, offset=number)
    rows_N = np.concatenate([_member_rows(data, spec, number), newest_N])
    text = as_bytes(_grow(spec, number, data, rows_N, rounds).model_to_string())
    return {"coin": torch.arange(len(data.coins), dtype=torch.float32), "text": text}


def _watched_rows(data: Dataset, spec: TrainSpec) -> NDArray[np.int64]:
    watch_E = part_ends(data, "early_stop", BOOSTING_MINUTES)
    if not len(watch_E):
        msg = f"{spec.name}: the early-stop part holds no labelled minute; backfill a longer span: make backfill"
        raise TrainingError(msg)
    return watch_E


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


def _watched_member(
    spec: TrainSpec, number: int, data: Dataset, rows_N: NDArray[np.int64], watch_EF: NDArray[np.float32]
) -> dict[str, Tensor]:
    """Grow one member; return it with what it says of the early-stop part, and how it fits, at each check."""
    booster = _grow(spec, number, data, rows_N, spec.epochs)
    thin_N = rows_N[np.linspace(0, len(rows_N) - 1, min(len(rows_N), LOSS_ROWS)).astype(np.int64)]
    fitted_KN = _staged_logits(booster, _inputs(data, thin_N), _rounds(spec))
    loss_K = [log_loss(expit(logit_N), data.direction_N[thin_N]) for logit_N in fitted_KN]
    return {
        "coin": torch.arange(len(data.coins), dtype=torch.float32),
        "text": as_bytes(booster.model_to_string()),
        "watched": torch.from_numpy(_staged_logits(booster, watch_EF, _rounds(spec))),
        "train_loss": torch.tensor(loss_K, dtype=torch.float64),
    }


def _grow(spec: TrainSpec, number: int, data: Dataset, rows_N: NDArray[np.int64], rounds: int) -> lightgbm.Booster:
    """Grow ``rounds`` trees of one member on these rows; the same rows give the same trees, bit for bit."""
    # of the sign: a regression on the size of the return gained 3 to 19 where this gains 24 (docs/log.md)
    share = min(1.0, max(TREE_SHARE, TREE_ROWS / len(rows_N)))
    leaf_rows = max(20, round(LEAF_SHARE * share * len(rows_N)))
    parameters = {
        "objective": "binary",
        "learning_rate": spec.learning_rate,
        "num_leaves": LEAVES,
        "min_data_in_leaf": leaf_rows,
        "path_smooth": leaf_rows,
        "lambda_l2": leaf_rows / 10,
        "bagging_fraction": share,
        "bagging_freq": 1,
        "feature_fraction_bynode": 1.0 - spec.dropout,
        "max_bin": BINS,
        "seed": spec.seed + number,
        "use_missing": False,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "verbosity": -1,
    }
    rows = lightgbm.Dataset(_inputs(data, rows_N), data.direction_N[rows_N])
    return lightgbm.train(parameters, rows, rounds)


def _staged_logits(booster: lightgbm.Booster, x_NF: NDArray[np.float32], rounds: list[int]) -> NDArray[np.float64]:
    """Return the logits after each of ``rounds``, (K, N)."""
    added_KN = np.zeros((len(rounds), len(x_NF)))
    for position, (first, last) in enumerate(pairwise([0, *rounds])):
        # fewer rounds were grown if nothing was left to split
        if first < booster.current_iteration():
            added = booster.predict(
                x_NF, start_iteration=first, num_iteration=last - first, raw_score=True, num_threads=1
            )
            added_KN[position] = np.asarray(added)
    return added_KN.cumsum(axis=0)


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
