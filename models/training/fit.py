"""Train one network, or several of one kind: `fit` and `_fit_member` read from top to bottom.

What is left to chance is seeded, per member and per stretch between two checks, so that a training that was killed and
goes on from its checkpoint ends with the same bytes. That holds on a processor. On CUDA only deterministic algorithms
are allowed too, and cuDNN's LSTM repeats itself under the ``CUBLAS_WORKSPACE_CONFIG`` that `core.child_process` sets, but
another card or driver may round otherwise. Shapes: N rows, B windows of a batch, T minutes, F inputs.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from core.errors import TrainingError
from models.datasets.scaler import Scaler, fit_scaler
from models.datasets.windows import part_ends
from models.networks.build import build_network, joined_weights, window_minutes
from models.serving.passport import TrainingCheck
from models.training.batches import Batches, Schedule
from models.training.checkpoint import MemberState, TrainingState, load, save
from models.training.progress_reporter import ProgressReporter, TrainingClock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from models.datasets.dataset import Dataset
    from models.training.batches import TrainingBatch
    from models.training.candidate import TrainSpec
    from models.training.run_training import TrainProgress

# a batch with a few wild minutes has a gradient many times the usual
CLIP_NORM = 1.0
# neighbouring labels overlap 15-fold: more of them cost time at every check and tell hardly more
EARLY_STOP_WINDOWS = 3000
# a prime, so that no stretch of one member is seeded like a stretch of another
_SEEDS_APART = 1_000_003


@dataclass(slots=True)
class Fitted:
    """What a training leaves: averaged weights of each member's best check, and how it went."""

    weights: dict[str, Tensor]
    scaler: Scaler
    return_scale: list[float]
    precision: str
    history: list[TrainingCheck] = field(default_factory=list)
    best_checks: list[int] = field(default_factory=list)
    """Per network in ``weights``, the check it comes from, counted from 1."""
    ended_by: list[str] = field(default_factory=list)
    """Per network that was begun: ``epochs``, ``patience`` or ``budget``."""
    train_windows: int = 0

    @property
    def members(self) -> int:
        """Networks in ``weights``."""
        return len(self.best_checks)

    @property
    def best_epoch(self) -> int:
        """The latest epoch that any network in ``weights`` comes from, counted from 1."""
        chosen = set(enumerate(self.best_checks, start=1))
        return max(entry.epoch for entry in self.history if (entry.member, entry.check) in chosen)


@dataclass(frozen=True, slots=True)
class _Bench:
    """What all members of a training share."""

    spec: TrainSpec
    data: Dataset
    batches: Batches
    watch: NDArray[np.int64]
    precision: str
    device: str
    checkpoint: Path | None
    state: TrainingState
    clock: TrainingClock
    on_progress: Callable[[TrainProgress], None]


def fit(
    spec: TrainSpec,
    data: Dataset,
    *,
    on_progress: Callable[[TrainProgress], None] = lambda _: None,
    checkpoint: Path | None = None,
    precision: str | None = None,
) -> Fitted:
    """Train ``spec`` on the train part of ``data``; early stopping reads the early-stop part, nothing else.

    Same spec, data and machine: same weights, bit for bit, also when resumed from ``checkpoint`` after a check.
    Member m of an ensemble is what a training with seed ``spec.seed + m`` alone gives. A member that the time budget
    cuts short counts only if none was finished before it. ``data.x_NF`` is scaled in place.

    Raises:
        TrainingError: there are too few windows, the loss is no longer a number, or the checkpoint is damaged.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    precision = precision or fastest_precision(device)
    make_deterministic(spec.seed)
    state = load(checkpoint)
    clock = TrainingClock(spec.budget_seconds, state.seconds)

    minutes = window_minutes(spec.architecture)
    watch = early_stop_ends(data, minutes, spec)
    scaler, return_scale = fit_scaler(data), _return_scale(data)
    batches = Batches(data, scaler, minutes, return_scale, device)
    bench = _Bench(spec, data, batches, watch, precision, device, checkpoint, state, clock, on_progress)

    while len(state.finished) < spec.members and not (state.finished and clock.is_over()):
        member, ended_by = _fit_member(bench, len(state.finished))
        # cut short, it would pull the mean of whole members towards a half-trained one
        if ended_by == "budget" and state.finished:
            break
        state.finished.append(member.best)
        save(checkpoint, state, None)

    weights = {name: value.cpu() for name, value in joined_weights(state.finished).items()}
    fitted = Fitted(weights, scaler, return_scale, precision, state.history, train_windows=state.windows)
    fitted.best_checks = [best_check(state.of(number)).check for number in range(len(state.finished))]
    fitted.ended_by = [ended for number in range(spec.members) if (ended := state.ended_by(number))]
    return fitted


def _fit_member(bench: _Bench, number: int) -> tuple[MemberState, str]:
    """Train one network until its epochs, its patience or the time budget are over; tell which."""
    spec, state, seed = bench.spec, bench.state, bench.spec.seed + number
    torch.manual_seed(seed)
    schedule = Schedule(spec, bench.data, window_minutes(spec.architecture), seed)
    inputs, coins = len(bench.data.columns), len(bench.data.coins)
    network = build_network(spec.architecture, inputs, coins, spec.dropout).to(bench.device)
    member = MemberState(network, spec.learning_rate, spec.weight_decay)
    if state.member is not None:
        member.resume(state.member)
        state.member = None
    reporter = ProgressReporter(spec, bench.clock, state, schedule, number, member, bench.on_progress)
    ended_by = state.ended_by(number)

    for check in [step for step in schedule.checks if step > member.step]:
        if ended_by:
            break
        torch.manual_seed(seed * _SEEDS_APART + member.checks)  # dropout of this stretch, whether resumed or not
        losses: list[Tensor] = []
        began = time.monotonic()
        network.train()
        while member.step < check and not (losses and bench.clock.is_over()):
            for group in member.optimiser.param_groups:
                group["lr"] = schedule.rate(member.step)
            loss = _loss(network, bench.batches.at(schedule.ends(member.step)), bench.precision, bench.device)
            member.optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP_NORM)
            member.optimiser.step()
            _average(member.average, network, schedule.keep(member.step))
            losses.append(loss.detach())  # left on the device: reading each one would wait for every step
            member.step += 1
            reporter.step(losses)

        # in double: thousands of losses are added up
        train_loss = float(torch.stack(losses).double().mean())
        # the average is judged and kept, not the network: weights of the last step alone follow their last windows
        watched = _log_loss(member.average, bench)
        epoch = schedule.epoch(member.step - 1) + 1
        if not (math.isfinite(watched) and math.isfinite(train_loss)):
            msg = f"{spec.name}: the loss is no longer a number in epoch {epoch}; train with a lower learning rate"
            raise TrainingError(msg)
        member.note(watched)
        ended_by = _ending(bench, schedule, member)
        state.history.append(
            TrainingCheck(
                member=number + 1,
                check=member.checks,
                epoch=epoch,
                windows=schedule.seen(member.step),
                train_loss=train_loss,
                early_stop_log_loss=watched,
                seconds=round(time.monotonic() - began, 2),
                ended_by=ended_by,
            )
        )
        # at checks alone: the steps since then are done again, seeded as they were, so a kill changes no byte
        save(bench.checkpoint, state, member)
        reporter.check(losses, watched)
    return member, ended_by


def best_check(entries: list[TrainingCheck]) -> TrainingCheck:
    """Return the first check with the lowest early-stop loss."""
    return min(entries, key=lambda entry: entry.early_stop_log_loss)


def _ending(bench: _Bench, schedule: Schedule, member: MemberState) -> str:
    """Return what ends this member's training after the check it just had; nothing if it goes on."""
    if member.step >= schedule.steps:
        return "epochs"
    if member.checks - member.best_check >= bench.spec.patience > 0:
        return "patience"
    return "budget" if bench.clock.is_over() else ""


def make_deterministic(seed: int) -> None:
    """One thread, seeded, and only algorithms that give the same bits each time."""
    # several threads add up in another order each time; processes side by side use the cores instead
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(mode=True)
    torch.manual_seed(seed)


def fastest_precision(device: str) -> str:
    """Return ``bfloat16`` where the processor multiplies it natively, else ``float32``.

    LSTM windows a CPU second in batches of 32: 1,310 in bfloat16, 672 in float32 (docs/log.md).
    """
    native = (
        torch.cuda.is_bf16_supported() if device == "cuda" else torch.cpu._is_avx512_bf16_supported()
    )  # no public question for it
    return "bfloat16" if native else "float32"


def early_stop_ends(data: Dataset, minutes: int, spec: TrainSpec) -> NDArray[np.int64]:
    """Return the rows whose windows decide early stopping.

    Raises:
        TrainingError: there is none.
    """
    ends = part_ends(data, "early_stop", minutes)
    if not len(ends):
        msg = f"{spec.name}: the early-stop part holds no window of {minutes} minutes; backfill a longer span: make backfill"
        raise TrainingError(msg)
    # evenly thinned: neighbouring minutes say nearly the same
    return ends[np.linspace(0, len(ends) - 1, min(len(ends), EARLY_STOP_WINDOWS)).astype(np.int64)]


def _return_scale(data: Dataset) -> list[float]:
    # of training rows alone, as the scaler: a spread taken from all rows would tell how wild the test part is
    scales = (float(np.std(data.return_N[data.rows(coin, "train")])) for coin in data.coins)
    return [scale if math.isfinite(scale) and scale > 0 else 1.0 for scale in scales]


def forward(network: nn.Module, x_BTF: Tensor, coin_B: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return logit_B, and return_B where the network has one."""
    output = network(x_BTF, coin_B) if hasattr(network, "coin") else network(x_BTF)
    return output if isinstance(output, tuple) else (output, None)


def _loss(network: nn.Module, batch: TrainingBatch, precision: str, device: str) -> Tensor:
    with torch.autocast(device, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
        logit_B, return_B = forward(network, batch.x_BTF, batch.coin_B)
    # in float32: bfloat16 keeps two to three digits, and the edge sought is in the third of a loss of 0.69
    loss = functional.binary_cross_entropy_with_logits(logit_B.float(), batch.direction_B)
    return loss if return_B is None else loss + functional.mse_loss(return_B.float(), batch.return_B)


def _log_loss(network: nn.Module, bench: _Bench) -> float:
    total, size, is_short = 0.0, bench.spec.batch_size, bench.precision == "bfloat16"
    with torch.inference_mode(), torch.autocast(bench.device, dtype=torch.bfloat16, enabled=is_short):
        for start in range(0, len(bench.watch), size):
            batch = bench.batches.at(bench.watch[start : start + size])
            logit_B, _ = forward(network, batch.x_BTF, batch.coin_B)
            total += functional.binary_cross_entropy_with_logits(
                logit_B.float(), batch.direction_B, reduction="sum"
            ).item()
    return total / len(bench.watch)


@torch.no_grad()
def _average(average: nn.Module, network: nn.Module, keep: float) -> None:
    for kept, fresh in zip(average.parameters(), network.parameters(), strict=True):
        kept.lerp_(fresh, 1.0 - keep)
