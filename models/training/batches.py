"""Hold the scaled rows of a data set on the device that trains, and cut the windows of each step from them.

Shapes: N rows, B windows of a batch, T minutes, F inputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from models.datasets.windows import windows

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from models.datasets.dataset import Dataset
    from models.datasets.scaler import Scaler

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
        self._x_NF = torch.from_numpy(data.x_NF).to(device)
        self._coin_N = torch.from_numpy(data.coin_N).to(device)
        self._direction_N = torch.from_numpy(data.direction_N.astype(np.float32)).to(device)
        self._return_N = torch.from_numpy(scaled_N.astype(np.float32)).to(device)

    def at(self, ends: NDArray[np.int64]) -> TrainingBatch:
        """Return the batch of windows that end at the rows ``ends``."""
        end_B = torch.from_numpy(ends).to(self._device)
        return TrainingBatch(
            windows(self._x_NF, ends, self._minutes),
            self._coin_N.index_select(0, end_B),
            self._direction_N.index_select(0, end_B),
            self._return_N.index_select(0, end_B),
        )
