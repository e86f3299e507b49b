"""The network as it is served: raw inputs in, calibrated probability out.

Shapes: B windows, T minutes, F inputs, C coins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from models.scaler import CLIP, Scaler

if TYPE_CHECKING:
    from torch import Tensor

    from models.calibrate import Calibration


class ServedOneCoin(nn.Module):
    """Scaler, network and calibration of a model of one coin."""

    def __init__(self, network: nn.Module, scaler: Scaler, calibrations: list[Calibration]) -> None:
        """Freeze the figures into the graph."""
        super().__init__()
        self.network = network
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.from_numpy(scaler.mean_CF[0].copy()))
        self.register_buffer("deviation", torch.from_numpy(scaler.sd_CF[0].copy()))
        self.slope, self.shift = calibrations[0].slope, calibrations[0].shift

    def forward(self, x_BTF: Tensor) -> Tensor:
        """Return probability_B of up."""
        scaled = ((x_BTF - self.mean) / self.deviation).clamp(-CLIP, CLIP)
        return torch.sigmoid(self.network(scaled) * self.slope + self.shift)


class ServedAllCoins(nn.Module):
    """Scaler, network and calibration of a model of all coins; each coin has its own figures."""

    def __init__(self, network: nn.Module, scaler: Scaler, calibrations: list[Calibration]) -> None:
        """Freeze the figures into the graph."""
        super().__init__()
        self.network = network
        self.mean: Tensor
        self.deviation: Tensor
        self.slope: Tensor
        self.shift: Tensor
        self.register_buffer("mean", torch.from_numpy(scaler.mean_CF.copy()))
        self.register_buffer("deviation", torch.from_numpy(scaler.sd_CF.copy()))
        self.register_buffer("slope", torch.tensor([part.slope for part in calibrations], dtype=torch.float32))
        self.register_buffer("shift", torch.tensor([part.shift for part in calibrations], dtype=torch.float32))

    def forward(self, x_BTF: Tensor, coin_B: Tensor) -> Tensor:
        """Return probability_B of up."""
        scaled = (x_BTF - self.mean[coin_B].unsqueeze(1)) / self.deviation[coin_B].unsqueeze(1)
        logit_B, _ = self.network(scaled.clamp(-CLIP, CLIP), coin_B)
        return torch.sigmoid(logit_B * self.slope[coin_B] + self.shift[coin_B])
