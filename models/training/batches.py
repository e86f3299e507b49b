"""Scaled windows of one data set on the device that trains, cut when they are asked for.

Shapes: N rows, W windows, B windows of a batch, T minutes, F inputs, C coins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from models.datasets.dataset import Dataset
    from models.datasets.scaler import Scaler

RETURN_CLIP = 3.0


@dataclass(frozen=True, slots=True)
class Batch:
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
        self._minutes, self._inputs = minutes, data.x_NF.shape[1]
        self._window_WI = windows(torch.from_numpy(data.x_NF).to(device), minutes)
        self._coin_N = torch.from_numpy(data.coin_N).to(device)
        self._direction_N = torch.from_numpy(data.direction_N.astype(np.float32)).to(device)
        self._return_N = torch.from_numpy(scaled_N.astype(np.float32)).to(device)

    def at(self, ends: NDArray[np.int64]) -> Batch:
        """Return the batch of windows that end at the rows ``ends``."""
        end_B = torch.from_numpy(ends).to(self._device)
        x_BI = self._window_WI.index_select(0, end_B - (self._minutes - 1))
        return Batch(
            x_BI.view(len(ends), self._minutes, self._inputs),
            self._coin_N.index_select(0, end_B),
            self._direction_N.index_select(0, end_B),
            self._return_N.index_select(0, end_B),
        )


def windows(x_NF: Tensor, minutes: int) -> Tensor:
    """Return every run of ``minutes`` rows as one flat row of a view (W, T x F) on the same memory.

    Flat, because gathering rows of a matrix is twice as fast as gathering slices of three dimensions (measured).
    """
    rows, inputs = x_NF.shape
    return x_NF.as_strided((max(rows - minutes + 1, 0), minutes * inputs), (inputs, 1))
