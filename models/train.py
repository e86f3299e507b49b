"""Train one network: `fit` reads from top to bottom.

Shapes: N rows, B windows of a batch, T minutes, F inputs.
"""

from __future__ import annotations

import math
import time
from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from desk.errors import TrainingError
from models.networks import build_network, window_minutes
from models.progress import TrainProgress
from models.scaler import Scaler, fit_scaler
from models.window import gather, part_ends, window_view

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from desk.market import TrainSpec
    from models.dataset import Dataset

AVERAGED_SHARE = 0.05  # the kept weights average over about this share of all steps
LONGEST_AVERAGE = 1000.0
CLIP_NORM = 1.0
RETURN_CLIP = 3.0
WARM_UP = 0.1
EARLY_STOP_WINDOWS = 2000
_NOTIFY_SECONDS = 2.0


@dataclass(slots=True)
class Fitted:
    """What a training leaves: averaged weights of the best epoch, and how it went."""

    weights: dict[str, Tensor]
    scaler: Scaler
    return_scale: list[float]
    precision: str
    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    train_windows: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """Tensors of one step: x_BTF, coin_B, direction_B and the clipped, scaled return_B."""

    x_BTF: Tensor
    coin_B: Tensor
    direction_B: Tensor
    return_B: Tensor


class Batches:
    """Scaled windows of one data set, cut on demand."""

    def __init__(self, data: Dataset, scaler: Scaler, minutes: int, return_scale: list[float], device: str) -> None:
        """Scale ``data.x_NF`` in place: it is the only copy there is room for."""
        scaler.scale_in_place(data.x_NF, data.coin_N)
        self.view = window_view(data.x_NF, minutes)
        self.data = data
        self.scale_C = np.array(return_scale)
        self.device = device

    def at(self, ends: NDArray[np.int64]) -> Batch:
        """Return the batch of windows that end at the rows ``ends``."""
        coin_B = self.data.coin_N[ends]
        scaled_B = np.clip(self.data.return_N[ends] / self.scale_C[coin_B], -RETURN_CLIP, RETURN_CLIP)
        return Batch(
            torch.from_numpy(gather(self.view, ends)).to(self.device),
            torch.from_numpy(coin_B).to(self.device),
            torch.from_numpy(self.data.direction_N[ends].astype(np.float32)).to(self.device),
            torch.from_numpy(scaled_B.astype(np.float32)).to(self.device),
        )


def fit(
    spec: TrainSpec,
    data: Dataset,
    *,
    on_progress: Callable[[TrainProgress], None] = lambda _: None,
    checkpoint: Path | None = None,
    precision: str | None = None,
) -> Fitted:
    """Train ``spec`` on the train part of ``data``; early stopping reads the early-stop part, nothing else.

    Same spec, data and machine: same weights, bit for bit, also when resumed from ``checkpoint`` after an epoch.
    ``data.x_NF`` is scaled in place.

    Raises:
        TrainingError: there are too few windows, or the loss is no longer a number.
    """
    began = time.monotonic()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    precision = precision or fastest_precision(device)
    make_deterministic(spec.seed)

    minutes = window_minutes(spec.architecture)
    scaler = fit_scaler(data)
    return_scale = _return_scale(data)
    batches = Batches(data, scaler, minutes, return_scale, device)
    watch = _early_stop_ends(data, minutes, spec)
    steps = math.ceil(len(_epoch_ends(data, minutes, spec, 0)) / spec.batch_size)

    network = build_network(spec.architecture, len(data.columns), len(data.coins), spec.dropout).to(device)
    average = deepcopy(network).requires_grad_(requires_grad=False).eval()
    optimiser = torch.optim.AdamW(network.parameters(), lr=spec.learning_rate, weight_decay=spec.weight_decay)
    fitted = Fitted(deepcopy(average.state_dict()), scaler, return_scale, precision)
    first, best = _resume(checkpoint, network, average, optimiser, fitted)

    teller = _Teller(spec, steps, first, began, on_progress)
    for epoch in range(first, spec.epochs):
        if _is_over(fitted, spec):
            break
        torch.manual_seed(spec.seed * 1_000_003 + epoch)  # dropout of this epoch, whether resumed or not
        ends = _epoch_ends(data, minutes, spec, epoch)
        losses, epoch_began = [], time.monotonic()
        network.train()
        for step, start in enumerate(range(0, len(ends), spec.batch_size)):
            done = epoch * steps + step
            for group in optimiser.param_groups:
                group["lr"] = spec.learning_rate * _rate(done, steps * spec.epochs)
            loss = _loss(network, batches.at(ends[start : start + spec.batch_size]), precision, device)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP_NORM)
            optimiser.step()
            _average(average, network, done, steps * spec.epochs)
            losses.append(loss.item())
            teller.step(epoch, step, losses)

        watched = _log_loss(average, batches, watch, spec.batch_size, precision, device)
        if not math.isfinite(watched) or not np.isfinite(losses).all():
            msg = f"{spec.name}: the loss is no longer a number in epoch {epoch + 1}; train with a lower learning rate"
            raise TrainingError(msg)
        fitted.history.append(
            {
                "epoch": epoch + 1,
                "train_loss": float(np.mean(losses)),
                "early_stop_log_loss": watched,
                "seconds": round(time.monotonic() - epoch_began, 2),
            }
        )
        fitted.train_windows += len(ends)
        if watched < best:
            best, fitted.best_epoch = watched, epoch + 1
            fitted.weights = deepcopy(average.state_dict())
        _save(checkpoint, network, average, optimiser, fitted)
        teller.epoch(epoch, losses, watched)
        if spec.budget_seconds and time.monotonic() - began > spec.budget_seconds:
            break

    fitted.weights = {name: value.cpu() for name, value in fitted.weights.items()}
    return fitted


class _Teller:
    """Tells how far a training is: every two seconds, and after each epoch."""

    def __init__(
        self, spec: TrainSpec, steps: int, first: int, began: float, on_progress: Callable[[TrainProgress], None]
    ) -> None:
        self._spec, self._steps, self._first, self._began = spec, steps, first, began
        self._on_progress = on_progress
        self._told = 0.0

    def step(self, epoch: int, step: int, losses: list[float]) -> None:
        if time.monotonic() - self._told > _NOTIFY_SECONDS:
            self._tell(epoch, step, losses, None)

    def epoch(self, epoch: int, losses: list[float], watched: float) -> None:
        self._tell(epoch, self._steps, losses, watched)

    def _tell(self, epoch: int, step: int, losses: list[float], watched: float | None) -> None:
        self._told = time.monotonic()
        seconds = self._told - self._began
        done = (epoch - self._first) * self._steps + step
        left = seconds / max(1, done) * max(0, (self._spec.epochs - self._first) * self._steps - done)
        recent = float(np.mean(losses[-50:]))
        epochs = self._spec.epochs
        self._on_progress(
            TrainProgress(self._spec.name, epoch + 1, epochs, step, self._steps, recent, watched, seconds, left)
        )


def make_deterministic(seed: int) -> None:
    """One thread, seeded, and only algorithms that give the same bits each time."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(mode=True)
    torch.manual_seed(seed)


def fastest_precision(device: str) -> str:
    """Return ``bfloat16`` where the processor multiplies it natively, else ``float32``."""
    native = (
        torch.cuda.is_bf16_supported() if device == "cuda" else torch.cpu._is_avx512_bf16_supported()
    )  # no public question for it
    return "bfloat16" if native else "float32"


def _epoch_ends(data: Dataset, minutes: int, spec: TrainSpec, epoch: int) -> NDArray[np.int64]:
    """Every ``stride``-th minute in seeded order; another remainder each epoch, so that no minute is left out for ever."""
    offset = (epoch * max(1, round(spec.stride * 0.381966))) % spec.stride
    ends = part_ends(data, "train", minutes, stride=spec.stride, offset=offset)
    if len(ends) < 2:
        msg = f"{spec.name}: {len(ends)} training windows of {minutes} minutes; backfill a longer span or lower the stride"
        raise TrainingError(msg)
    return np.random.default_rng([spec.seed, epoch]).permutation(ends)


def _early_stop_ends(data: Dataset, minutes: int, spec: TrainSpec) -> NDArray[np.int64]:
    ends = part_ends(data, "early_stop", minutes)
    if not len(ends):
        msg = f"{spec.name}: the early-stop part holds no window of {minutes} minutes; backfill a longer span: make backfill"
        raise TrainingError(msg)
    # evenly thinned: neighbouring minutes say nearly the same
    return ends[np.linspace(0, len(ends) - 1, min(len(ends), EARLY_STOP_WINDOWS)).astype(np.int64)]


def _return_scale(data: Dataset) -> list[float]:
    scales = (float(np.std(data.return_N[data.rows(coin, "train")])) for coin in data.coins)
    return [scale if math.isfinite(scale) and scale > 0 else 1.0 for scale in scales]


def _rate(done: int, total: int) -> float:
    """Linear warm-up, then half a cosine down to a fiftieth."""
    warm = max(1, int(total * WARM_UP))
    if done < warm:
        return (done + 1) / warm
    share = min(1.0, (done - warm) / max(1, total - warm))
    return 0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * share))


def forward(network: nn.Module, x_BTF: Tensor, coin_B: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return logit_B, and return_B where the network has one."""
    output = network(x_BTF, coin_B) if hasattr(network, "coin") else network(x_BTF)
    return output if isinstance(output, tuple) else (output, None)


def _loss(network: nn.Module, batch: Batch, precision: str, device: str) -> Tensor:
    with torch.autocast(device, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
        logit_B, return_B = forward(network, batch.x_BTF, batch.coin_B)
    loss = functional.binary_cross_entropy_with_logits(logit_B.float(), batch.direction_B)
    return loss if return_B is None else loss + functional.mse_loss(return_B.float(), batch.return_B)


def _log_loss(
    network: nn.Module, batches: Batches, ends: NDArray[np.int64], size: int, precision: str, device: str
) -> float:
    total = 0.0
    with torch.inference_mode(), torch.autocast(device, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
        for start in range(0, len(ends), size):
            batch = batches.at(ends[start : start + size])
            logit_B, _ = forward(network, batch.x_BTF, batch.coin_B)
            total += functional.binary_cross_entropy_with_logits(
                logit_B.float(), batch.direction_B, reduction="sum"
            ).item()
    return total / len(ends)


@torch.no_grad()
def _average(average: nn.Module, network: nn.Module, done: int, total: int) -> None:
    """Exponential average of the weights; short at first, so that the random start is soon forgotten."""
    decay = min(1.0 - 1.0 / (1.0 + min(AVERAGED_SHARE * total, LONGEST_AVERAGE)), (1 + done) / (10 + done))
    for kept, fresh in zip(average.parameters(), network.parameters(), strict=True):
        kept.lerp_(fresh, 1.0 - decay)


def _is_over(fitted: Fitted, spec: TrainSpec) -> bool:
    return len(fitted.history) - fitted.best_epoch >= spec.patience > 0


def _save(
    checkpoint: Path | None, network: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer, fitted: Fitted
) -> None:
    if checkpoint is None:
        return
    fresh = checkpoint.with_suffix(".tmp")
    state = {
        "network": network.state_dict(),
        "average": average.state_dict(),
        "optimiser": optimiser.state_dict(),
        "best": fitted.weights,
        "history": fitted.history,
        "best_epoch": fitted.best_epoch,
        "train_windows": fitted.train_windows,
    }
    torch.save(state, fresh)
    fresh.replace(checkpoint)


def _resume(
    checkpoint: Path | None, network: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer, fitted: Fitted
) -> tuple[int, float]:
    """Load the last whole epoch, if there is one; return the next epoch and the best loss so far."""
    if checkpoint is None or not checkpoint.exists():
        return 0, math.inf
    state: dict[str, Any] = torch.load(checkpoint, weights_only=True)
    network.load_state_dict(state["network"])
    average.load_state_dict(state["average"])
    optimiser.load_state_dict(state["optimiser"])
    fitted.weights, fitted.history = state["best"], state["history"]
    fitted.best_epoch, fitted.train_windows = state["best_epoch"], state["train_windows"]
    best = min((entry["early_stop_log_loss"] for entry in fitted.history), default=math.inf)
    return len(fitted.history), best
