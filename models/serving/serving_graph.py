"""The network as it is served: raw inputs in, calibrated probability out, and beside it the logit it was made from.

The logit is there so that what the calibration changed can be measured again from the graph alone; the runtime does
not ask for it. Shapes: B windows, T minutes, F inputs, C coins, S straight pieces of a calibration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from models.datasets.scaler import CLIP, Scaler
from models.serving.calibration import LOGIT_CLIP

if TYPE_CHECKING:
    from torch import Tensor

    from models.serving.calibration import Calibration


class CalibrationHead(nn.Module):
    """Every coin's calibration as a slope and a shift, so that one graph serves coins of different kinds."""

    def __init__(self, calibrations: list[Calibration]) -> None:
        """Freeze slope and shift of each coin into the graph, float32."""
        super().__init__()
        self.slope_C: Tensor
        self.shift_C: Tensor
        self.register_buffer("slope_C", torch.tensor([calibration.slope for calibration in calibrations]))
        self.register_buffer("shift_C", torch.tensor([calibration.shift for calibration in calibrations]))

    def forward(self, logit_B: Tensor, coin_B: Tensor) -> Tensor:
        """Return probability_B, strictly inside (0, 1)."""
        line_B = self.slope_C[coin_B] * logit_B.clamp(-LOGIT_CLIP, LOGIT_CLIP) + self.shift_C[coin_B]
        return torch.sigmoid(line_B.clamp(-LOGIT_CLIP, LOGIT_CLIP))


class _Served(nn.Module):
    """Scaler, network and calibration, frozen into one module."""

    def __init__(self, network: nn.Module, scaler: Scaler, calibrations: list[Calibration]) -> None:
        """Keep mean and deviation of every coin, shaped (C, F)."""
        super().__init__()
        self.network = network
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.from_numpy(scaler.mean_CF.copy()))
        self.register_buffer("deviation", torch.from_numpy(scaler.sd_CF.copy()))
        self.calibration = CalibrationHead(calibrations)


class ServedOneCoin(_Served):
    """A model of one coin."""

    def forward(self, x_BTF: Tensor) -> tuple[Tensor, Tensor]:
        """Return probability_B of up, and logit_B before calibration."""
        logit_B = self.network(((x_BTF - self.mean[0]) / self.deviation[0]).clamp(-CLIP, CLIP))
        return self.calibration(logit_B, torch.zeros_like(logit_B, dtype=torch.int64)), logit_B


class ServedAllCoins(_Served):
    """A model of all coins; each coin has its own scaler and calibration."""

    def forward(self, x_BTF: Tensor, coin_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return probability_B of up, and logit_B before calibration."""
        scaled = (x_BTF - self.mean[coin_B].unsqueeze(1)) / self.deviation[coin_B].unsqueeze(1)
        logit_B, _ = self.network(scaled.clamp(-CLIP, CLIP), coin_B)
        return self.calibration(logit_B, coin_B), logit_B
