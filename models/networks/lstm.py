"""The per-coin network: a two-layer LSTM over the last hour, two-way or one-way.

Shapes: B windows, T minutes, F inputs, H hidden units, D directions read (2 or 1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

WINDOW_MINUTES = 60
HIDDEN = 64
LAYERS = 2


class DirectionLSTM(nn.Module):
    """Logit of "the close 15 minutes on is higher", from the final hidden state of each direction read.

    The backward direction reads the closed window from its last minute to its first; it sees no minute after it.
    """

    def __init__(self, inputs: int, *, two_way: bool = True, dropout: float = 0.4) -> None:
        """Build it; 157,313 parameters two-way and 62,337 one-way with 31 inputs."""
        super().__init__()
        self.lstm = nn.LSTM(inputs, HIDDEN, LAYERS, batch_first=True, bidirectional=two_way, dropout=dropout)
        read = HIDDEN * (2 if two_way else 1)
        self.directions = 2 if two_way else 1
        self.head = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(read, 64), nn.ReLU(), nn.Dropout(dropout), nn.Linear(64, 1)
        )

    def forward(self, x_BTF: Tensor) -> Tensor:
        """Return logit_B of scaled windows."""
        _, (hidden, _) = self.lstm(x_BTF)
        last_BDH = torch.cat([hidden[-self.directions + way] for way in range(self.directions)], dim=1)
        logit_B: Tensor = self.head(last_BDH).squeeze(1)
        return logit_B
