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
    """Steps of that epoch."""
    train_loss: float
    early_stop_loss: float | None
    """Known after a check."""
    seconds: float
    """Spent so far, also by processes that were killed."""
    seconds_left: float
    """At most, if early stopping never ends it; the time budget counts, later members as long as the mean finished one."""
    member: int = 1
    members: int = 1
    checks_left: int | None = None
    """The member at work ends after so many more checks if none of them is better; None without early stopping."""

    ended_by: str = ""
    """What ended the member at work, after its last check: ``epochs``, ``patience`` or ``budget``."""

    @property
    def share(self) -> float:
        """Share of the planned work that is done, 0 to 1; early stopping leaves the rest of a member out."""
        own = 1.0 if self.ended_by else (self.epoch - 1 + self.step / max(self.steps, 1)) / max(self.epochs, 1)
        return min(1.0, (self.member - 1 + min(own, 1.0)) / max(self.members, 1))
