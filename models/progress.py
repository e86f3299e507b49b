"""What a training says of itself while it runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TrainProgress:
    """How far a training is, and about how long it still takes."""

    name: str
    epoch: int
    """The epoch at work, counted from 1."""
    epochs: int
    step: int
    steps: int
    """Steps of an epoch."""
    train_loss: float
    early_stop_loss: float | None
    """Known after the last step of an epoch."""
    seconds: float
    seconds_left: float
