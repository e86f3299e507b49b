"""Networks by name, and what each one reads.

Shapes: B windows, T minutes, F inputs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.errors import TrainingError
from models.networks import lstm, transformer, trees
from models.networks.ensemble import Ensemble
from models.networks.lstm import DirectionLSTM
from models.networks.transformer import DirectionTransformer
from models.networks.trees import BoostedTrees

if TYPE_CHECKING:
    from torch import nn

_WINDOW_MINUTES = {
    "lstm": lstm.WINDOW_MINUTES,
    "lstm_one_way": lstm.WINDOW_MINUTES,
    "transformer": transformer.WINDOW_MINUTES,
    "boosting": trees.WINDOW_MINUTES,
}


def window_minutes(architecture: str) -> int:
    """Return how many minutes the architecture reads.

    Raises:
        TrainingError: there is no such architecture.
    """
    try:
        return _WINDOW_MINUTES[architecture]
    except KeyError:
        msg = f"there is no architecture {architecture!r}; choose one of {', '.join(_WINDOW_MINUTES)}"
        raise TrainingError(msg) from None


def build_network(architecture: str, inputs: int, coins: int, dropout: float, members: int = 1) -> nn.Module:
    """Build a network with fresh weights from torch's current seed; several ``members`` answer as one, by their mean logit.

    Raises:
        TrainingError: there is no such architecture.
    """
    window_minutes(architecture)
    if architecture == "boosting":
        return BoostedTrees(coins)  # a bag of any number of members is one set of trees
    if members > 1:
        return Ensemble([build_network(architecture, inputs, coins, dropout) for _ in range(members)])
    if architecture == "transformer":
        return DirectionTransformer(inputs, coins, dropout=dropout)
    return DirectionLSTM(inputs, two_way=architecture == "lstm", dropout=dropout)
