"""The network as it is served: raw inputs in, calibrated probability out, and beside it the logit it was made from.

The logit is there so that what the calibration changed can be measured again from the graph alone; the runtime does
not ask for it. Shapes: B windows, T minutes, F inputs, C coins, S straight pieces of a calibration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from models.datasets.scaler import CLIP, Scaler
from models.serving.calibration import LOGIT_CLIP

if TYPE_CHECKING:
    from torch import Tensor

    from models.serving.calibration import Calibration


class CalibrationHead(nn.Module):
    """Every coin's calibration as figures of one shape, so that one graph serves coins of different kinds."""

    def __init__(self, calibrations: list[Calibration]) -> None:
        """Lay out the pieces of all coins; what a coin has fewer of begins at infinity and is never reached."""
        super().__init__()
        self.width = max(len(part.pieces().slopes) for part in calibrations)
        self.starts: Tensor
        self.anchors: Tensor
        self.heights: Tensor
        self.slopes: Tensor
        self.curve: Tensor
        pieces = [part.pieces() for part in calibrations]
        self.register_buffer("starts", self._table([part.starts for part in pieces], self.width - 1, float("inf")))
        self.register_buffer("anchors", self._table([part.anchors for part in pieces], self.width, 0.0).flatten())
        self.register_buffer("heights", self._table([part.heights for part in pieces], self.width, 0.0).flatten())
        self.register_buffer("slopes", self._table([part.slopes for part in pieces], self.width, 1.0).flatten())
        self.register_buffer("curve", torch.tensor([[part.low, part.high, part.shift] for part in calibrations]))

    @staticmethod
    def _table(rows: list[tuple[float, ...]], width: int, rest: float) -> Tensor:
        filled = [[*row, *[rest] * (width - len(row))] for row in rows]
        return torch.tensor(filled, dtype=torch.float32).reshape(len(rows), width)

    def forward(self, logit_B: Tensor, coin_B: Tensor) -> Tensor:
        """Return probability_B, strictly inside (0, 1)."""
        kept_B = logit_B.clamp(-LOGIT_CLIP, LOGIT_CLIP)
        piece_B = coin_B * self.width
        if self.width > 1:
            piece_B = piece_B + (kept_B.unsqueeze(1) >= self.starts[coin_B]).sum(dim=1)
        bent_B = self.heights[piece_B] + self.slopes[piece_B] * (kept_B - self.anchors[piece_B])
        low_B, high_B, shift_B = self.curve[coin_B].unbind(dim=1)
        said_B = high_B * functional.softplus(bent_B) - low_B * functional.softplus(-bent_B) + shift_B
        return torch.sigmoid(said_B.clamp(-LOGIT_CLIP, LOGIT_CLIP))


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
        self.calibration = CalibrationHead(calibrations)

    def forward(self, x_BTF: Tensor) -> tuple[Tensor, Tensor]:
        """Return probability_B of up, and logit_B before calibration."""
        scaled = ((x_BTF - self.mean) / self.deviation).clamp(-CLIP, CLIP)
        logit_B = self.network(scaled)
        return self.calibration(logit_B, torch.zeros_like(logit_B, dtype=torch.int64)), logit_B


class ServedAllCoins(nn.Module):
    """Scaler, network and calibration of a model of all coins; each coin has its own figures."""

    def __init__(self, network: nn.Module, scaler: Scaler, calibrations: list[Calibration]) -> None:
        """Freeze the figures into the graph."""
        super().__init__()
        self.network = network
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.from_numpy(scaler.mean_CF.copy()))
        self.register_buffer("deviation", torch.from_numpy(scaler.sd_CF.copy()))
        self.calibration = CalibrationHead(calibrations)

    def forward(self, x_BTF: Tensor, coin_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return probability_B of up, and logit_B before calibration."""
        scaled = (x_BTF - self.mean[coin_B].unsqueeze(1)) / self.deviation[coin_B].unsqueeze(1)
        logit_B, _ = self.network(scaled.clamp(-CLIP, CLIP), coin_B)
        return self.calibration(logit_B, coin_B), logit_B
