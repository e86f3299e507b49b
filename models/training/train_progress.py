"""Say how far a training is: one JSON line of the training process, read again by its parent."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class TrainProgress:
    """How far a training is, and about how long it still takes; one JSON line of the training process."""

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

    def as_line(self) -> dict[str, Any]:
        """Return the line that the training process prints."""
        return {"progress": asdict(self)}

    @classmethod
    def from_line(cls, line: Mapping[str, Any]) -> TrainProgress | None:
        """Return the report in a line of the training process, None if the line is about something else."""
        return cls(**line["progress"]) if "progress" in line else None
