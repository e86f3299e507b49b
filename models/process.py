"""Train and judge in child processes; nothing here imports torch."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from desk.errors import TrainingError
from models.artefacts import read_json
from models.candidate import candidate_id, finished, spec_as_json
from models.child import run_child
from models.judgement import Judgement, judgement_from_json
from models.progress import TrainProgress

if TYPE_CHECKING:
    from collections.abc import Callable

    from desk.market import CandidateRef, DatasetRef, TrainSpec
    from models.gates import GateProfile


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
    feature_hash = read_json(Path(dataset.manifest_path))["feature_set"]["sha256"]
    home = folder / candidate_id(spec, dataset, feature_hash)
    if (found := finished(home)) is not None:
        return found
    job = {"spec": spec_as_json(spec), "dataset": asdict(dataset), "folder": str(home.absolute())}

    def hear(line: dict[str, Any]) -> None:
        if "progress" in line:
            on_progress(TrainProgress(**line["progress"]))

    run_child(
        "models.train_process",
        job,
        name=spec.name,
        log=home / "train.log",
        on_line=hear,
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


def judge_in_process(
    candidate: CandidateRef,
    dataset: DatasetRef,
    gates: GateProfile,
    *,
    cost_bps: float,
    trials: int,
    memory_gb: float = 8.0,
    timeout_seconds: float | None = None,
) -> Judgement:
    """Judge a candidate as `models.judge.judge` does, in a child process.

    Raises:
        TrainingError: the judging crashed or passed a limit; the text names the candidate and the cause.
    """
    job = {
        "candidate": asdict(candidate),
        "dataset": asdict(dataset),
        "gates": asdict(gates),
        "cost_bps": cost_bps,
        "trials": trials,
    }
    run_child(
        "models.judge_process",
        job,
        name=f"judging {candidate.candidate_id}",
        log=Path(candidate.path) / "judge.log",
        on_line=lambda _: None,
        memory_gb=memory_gb,
        timeout_seconds=timeout_seconds,
    )
    return judgement_from_json(read_json(Path(candidate.path) / "judgement.json"))
