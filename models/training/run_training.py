"""Train a candidate in a child process and follow how far it is; nothing here imports torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from core.child_process import run_child
from core.errors import TrainingError
from models.training.candidate import candidate_id, finished, spec_as_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from core.dataset_files import DatasetRef
    from models.training.candidate import CandidateRef, TrainSpec


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


def train_in_process(
    spec: TrainSpec,
    dataset: DatasetRef,
    folder: Path,
    *,
    on_progress: Callable[[TrainProgress], None] = lambda _: None,
    memory_gb: float = 8.0,
    timeout_seconds: float | None = None,
) -> CandidateRef:
    """Train one candidate under ``folder``, or return it at once if it is already finished.

    Killed at any point, the same call goes on from the last check and ends with the same weights.

    Raises:
        TrainingError: the training refused, crashed or passed a limit; the text names which and why.
    """
    home = folder / candidate_id(spec, dataset, dataset.manifest().feature_set.sha256)
    if (candidate := finished(home)) is not None:
        return candidate
    job = {"spec": spec_as_json(spec), "dataset": asdict(dataset), "folder": str(home.absolute())}

    def on_line(line: dict[str, Any]) -> None:
        if (progress := TrainProgress.from_line(line)) is not None:
            on_progress(progress)

    # a process each: torch's seed is global to one, so two trainings in threads would change each other's numbers, and a killed
    # worker would break its whole pool; it costs 1.5 s of imports (docs/decisions/0002)
    run_child(
        "models.training.train_process",
        job,
        name=spec.name,
        log=home / "train.log",
        on_line=on_line,
        memory_gb=memory_gb,
        timeout_seconds=timeout_seconds,
    )
    trained = finished(home)
    if trained is None:
        msg = (
            f"{spec.name}: its process ended without a finished candidate in {home}; remove that folder and train again"
        )
        raise TrainingError(msg)
    return trained
