"""The seed's way to train a coin: plain eager torch, as a first version is written.

float32, batches of 32, Adam at 1e-3, every window in every epoch, 15 epochs, one item of a torch ``Dataset`` at a time, all
cores torch finds. Two layers two-way with hidden 64 as ours; its dropout is not known, 0.2 is taken. Nothing here is used
outside `benchmarks.training`. Shapes: N rows, B windows of a batch, T minutes, F inputs.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from models.datasets.scaler import fit_scaler
from models.datasets.windows import part_ends
from models.networks.build import build_network, window_minutes

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

    from models.datasets.dataset import Dataset

BATCH, RATE, EPOCHS, DROPOUT = 32, 1e-3, 15, 0.2


@dataclass(frozen=True, slots=True)
class Mark:
    """A look at the validation windows: what it cost to come here, looks not counted, and how good it is."""

    windows: int
    wall_seconds: float
    cpu_seconds: float
    loss: float
    is_epoch: bool
    """Whether the recipe itself looks here; it knows nothing of the others."""


class OneWindowEach(TorchDataset[tuple["Tensor", "Tensor"]]):
    """One window and its label an item."""

    def __init__(self, data: Dataset, part: str, minutes: int, ends: NDArray[np.int64] | None = None) -> None:
        """Take every labelled window of ``part``, or those that end at ``ends``."""
        self.x_NF, self.y_N, self.minutes = data.x_NF, data.direction_N, minutes
        self.ends = part_ends(data, part, minutes) if ends is None else ends

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self.ends)

    def __getitem__(self, place: int) -> tuple[Tensor, Tensor]:
        """Return x_TF and its label."""
        end = int(self.ends[place])
        x_TF = torch.tensor(self.x_NF[end - self.minutes + 1 : end + 1])
        return x_TF, torch.tensor(float(self.y_N[end]))


def losses(network: nn.Module, loader: DataLoader[tuple[Tensor, Tensor]]) -> float:
    """Return the mean log loss over all windows of ``loader``."""
    network.eval()
    total = count = 0.0
    with torch.no_grad():
        for x_BTF, y_B in loader:
            total += nn.functional.binary_cross_entropy_with_logits(network(x_BTF), y_B, reduction="sum").item()
            count += len(y_B)
    network.train()
    return total / count


@dataclass(slots=True)
class SeedRun:
    """What the recipe leaves: its marks, the weights of its best epoch and of its last."""

    marks: list[Mark]
    best: dict[str, Tensor]
    last: dict[str, Tensor]


def train(
    data: Dataset,
    watch: NDArray[np.int64],
    *,
    epochs: int = EPOCHS,
    patience: int = 0,
    look_every: int = 20_000,
    seed: int = 0,
    on_mark: Callable[[Mark], None] = lambda _: None,
) -> SeedRun:
    """Train a two-way LSTM on the train part; look at ``watch`` after each epoch, and on the side every ``look_every`` windows.

    ``patience`` epochs without a better one end it; 0 runs all of them. ``data.x_NF`` is scaled in place.
    """
    torch.manual_seed(seed)
    began, cpu_began, looking, cpu_looking = time.monotonic(), time.process_time(), 0.0, 0.0
    fit_scaler(data).scale_in_place(data.x_NF, data.coin_N)
    minutes = window_minutes("lstm")
    network = build_network("lstm", len(data.columns), 1, DROPOUT)
    loader = DataLoader(OneWindowEach(data, "train", minutes), batch_size=BATCH, shuffle=True)
    validation = DataLoader(OneWindowEach(data, "early_stop", minutes, watch), batch_size=BATCH)
    optimiser = torch.optim.Adam(network.parameters(), lr=RATE)
    marks: list[Mark] = []
    best: dict[str, Tensor] = {}
    windows = 0

    def look(*, is_epoch: bool) -> None:
        nonlocal looking, cpu_looking
        spent, cpu_spent = time.monotonic() - began - looking, time.process_time() - cpu_began - cpu_looking
        before, cpu_before = time.monotonic(), time.process_time()
        marks.append(Mark(windows, spent, cpu_spent, losses(network, validation), is_epoch))
        if not is_epoch:  # the recipe would not have looked, so its clock stands still
            looking += time.monotonic() - before
            cpu_looking += time.process_time() - cpu_before
        on_mark(marks[-1])

    for _ in range(epochs):
        for x_BTF, y_B in loader:
            loss = nn.functional.binary_cross_entropy_with_logits(network(x_BTF), y_B)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            optimiser.step()
            windows += len(y_B)
            if windows % look_every < len(y_B):
                look(is_epoch=False)
        look(is_epoch=True)
        ends = [mark.loss for mark in marks if mark.is_epoch]
        if ends[-1] == min(ends):
            best = {name: value.clone() for name, value in network.state_dict().items()}
        if patience and len(ends) - 1 - int(np.argmin(ends)) >= patience:
            break
    return SeedRun(marks, best, dict(network.state_dict()))
