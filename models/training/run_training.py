"""Train a candidate in a child process; nothing here imports torch."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from core.child_process import run_child
from core.errors import TrainingError
from models.training.candidate import candidate_id, finished, spec_as_json
from models.training.train_progress import TrainProgress

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from core.dataset_files import DatasetRef
    from models.training.spec import CandidateRef, TrainSpec


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
