"""Lay out a training: which windows each step takes, how fast it learns there, where the checks are; and cut those windows.

The layout follows from the spec and the data set alone, so that a resumed training goes the same way. Shapes: N rows,
E epochs, S steps, B windows of a batch, T minutes, F inputs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from core.errors import TrainingError
from models.datasets.windows import part_ends, windows

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from models.datasets.dataset import Dataset
    from models.datasets.scaler import Scaler
    from models.training.candidate import TrainSpec

# AdamW's moments begin empty, so its first full steps would go astray; 5,000 windows are 20 steps of 256
WARM_UP_SHARE, WARM_UP_WINDOWS = 0.1, 5_000
# after so many windows the rate has 0.7 of its height; on real minutes the first 20,000 carry the gain and later checks lose
# again (0.69243 after 27 s, 0.69357 after 61; docs/log.md)
DECAY_WINDOWS = 100_000
AVERAGED_SHARE = 0.05
"""The average never reaches further back than this share of all epochs: a short training has little past worth keeping."""
# only a training that early stopping does not end comes so far
COOL_SHARE, COOLEST = 0.4, 0.02
# on 270 days of BTC the first of them, after 2,304 windows and 3 s, is already past the best of the seed recipe (247 s)
EARLY_CHECKS = (1 / 8, 1 / 4, 1 / 2)
"""Shares of the first stretch at which it is checked as well: on real minutes most of the gain is made there."""
GOLDEN_SECTION = 0.381966
"""Each epoch's minutes lie as far as can be from those of the epochs before, whatever the stride."""


class Schedule:
    """The steps of one network's training; members of an ensemble differ in the order of their windows alone."""

    def __init__(self, spec: TrainSpec, data: Dataset, minutes: int, seed: int) -> None:
        """Lay out all epochs.

        Raises:
            TrainingError: an epoch has fewer than two windows.
        """
        self._spec, self._seed = spec, seed
        self._ends_N = part_ends(data, "train", minutes)
        self._remainder_N = data.minute_N[self._ends_N] % spec.stride
        # another remainder each epoch, so that no minute is left out for ever
        hop = max(1, round(spec.stride * GOLDEN_SECTION))
        self._offset_E = (np.arange(spec.epochs) * hop) % spec.stride
        windows_E = np.bincount(self._remainder_N, minlength=spec.stride)[self._offset_E]
        if (fewest := int(windows_E.min())) < 2:
            msg = f"{spec.name}: {fewest} training windows of {minutes} minutes; backfill a longer span or lower the stride"
            raise TrainingError(msg)
        steps_E = -(-windows_E // spec.batch_size)
        self._first_E = np.concatenate([[0], np.cumsum(steps_E)])
        self._seen_E = np.concatenate([[0], np.cumsum(windows_E)])
        self._epoch_at_work = -1
        self._order = np.empty(0, dtype=np.int64)
        self.checks = self._checks()

    @property
    def steps(self) -> int:
        """Steps of all epochs."""
        return int(self._first_E[-1])

    def epoch(self, step: int) -> int:
        """Return the epoch that ``step`` belongs to, counted from 0."""
        return int(np.searchsorted(self._first_E, step, side="right")) - 1

    def seen(self, step: int) -> int:
        """Return how many windows the steps before ``step`` take."""
        epoch = min(self.epoch(step), self._spec.epochs - 1)
        inside = (step - int(self._first_E[epoch])) * self._spec.batch_size
        return int(min(self._seen_E[epoch] + inside, self._seen_E[epoch + 1]))

    def step_of_epoch(self, step: int) -> tuple[int, int]:
        """Return which step of its epoch ``step`` is, counted from 0, and how many that epoch has."""
        epoch = self.epoch(step)
        first, following = int(self._first_E[epoch]), int(self._first_E[epoch + 1])
        return step - first, following - first

    def ends(self, step: int) -> NDArray[np.int64]:
        """Return the rows at which the windows of ``step`` end: every ``stride``-th minute, in seeded order."""
        epoch = self.epoch(step)
        if epoch != self._epoch_at_work:
            chosen = self._ends_N[self._remainder_N == self._offset_E[epoch]]
            # seeded by epoch, not drawn from one stream: a resumed training need not draw the epochs before again
            self._order = np.random.default_rng([self._seed, epoch]).permutation(chosen)
            self._epoch_at_work = epoch
        first = (step - int(self._first_E[epoch])) * self._spec.batch_size
        return self._order[first : first + self._spec.batch_size]

    def rate(self, step: int) -> float:
        """Return the learning rate of ``step``.

        It warms up, then falls with the root of the windows seen, which suits a training that early stopping ends
        at an unknown place, and cools down in the last part of the epochs if it comes so far.
        """
        total, seen = self.steps * self._spec.batch_size, step * self._spec.batch_size
        warm = min(WARM_UP_SHARE * total, WARM_UP_WINDOWS)
        if seen < warm:
            return self._spec.learning_rate * (seen + self._spec.batch_size) / (warm + self._spec.batch_size)
        slowed = 1.0 / math.sqrt(1.0 + (seen - warm) / DECAY_WINDOWS)
        cooled = max(COOLEST, min(1.0, (total - seen) / (COOL_SHARE * total)))
        return self._spec.learning_rate * slowed * cooled

    def keep(self, step: int) -> float:
        """Return how much of the averaged weights stays at ``step``; little at first, so that the random start is forgotten."""
        longest = min(self._spec.average_windows / self._spec.batch_size, AVERAGED_SHARE * self.steps)
        return min(longest / (1.0 + longest), (1.0 + step) / (10.0 + step))

    def _checks(self) -> list[int]:
        """Return the steps before which the averaged weights are checked, the last one being the end."""
        stretch = max(1, round(self._spec.check_windows / self._spec.batch_size))
        checks = {step for share in EARLY_CHECKS if (step := int(stretch * share)) and step < self._first_E[1]}
        for first, following in zip(self._first_E[:-1].tolist(), self._first_E[1:].tolist(), strict=True):
            # the last stretch of an epoch may be half as long again rather than be followed by a short one
            checks.update(range(first + stretch, following - stretch // 2, stretch))
            checks.add(following)
        return sorted(checks)


# beyond three standard deviations a squared error would be about a few minutes and nothing else
RETURN_CLIP = 3.0


@dataclass(frozen=True, slots=True)
class TrainingBatch:
    """Tensors of one step: x_BTF, coin_B, direction_B and the clipped, scaled return_B."""

    x_BTF: Tensor
    coin_B: Tensor
    direction_B: Tensor
    return_B: Tensor


class Batches:
    """The rows lie on the device once; a batch is gathered there, and nothing but the row numbers travels."""

    def __init__(self, data: Dataset, scaler: Scaler, minutes: int, return_scale: list[float], device: str) -> None:
        """Scale ``data.x_NF`` in place: on the processor it is the only copy there is room for."""
        scaler.scale_in_place(data.x_NF, data.coin_N)
        scaled_N = np.clip(data.return_N / np.array(return_scale)[data.coin_N], -RETURN_CLIP, RETURN_CLIP)
        self._device = device
        self._minutes = minutes
        # rows, not windows: cut beforehand, windows of 60 minutes would take 60 times the memory
        self._x_NF = torch.from_numpy(data.x_NF).to(device)
        self._coin_N = torch.from_numpy(data.coin_N).to(device)
        self._direction_N = torch.from_numpy(data.direction_N.astype(np.float32)).to(device)
        self._return_N = torch.from_numpy(scaled_N.astype(np.float32)).to(device)

    def at(self, ends: NDArray[np.int64]) -> TrainingBatch:
        """Return the batch of windows that end at the rows ``ends``."""
        # 720,000 windows a second can be cut, a training takes about 1,300 of them: nothing is gained by cutting ahead (docs/log.md)
        end_B = torch.from_numpy(ends).to(self._device)
        return TrainingBatch(
            windows(self._x_NF, ends, self._minutes),
            self._coin_N.index_select(0, end_B),
            self._direction_N.index_select(0, end_B),
            self._return_N.index_select(0, end_B),
        )
