"""Judge a candidate in a child process."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from core.child_process import run_child
from core.files import read_json
from models.gates.judgement import Judgement, judgement_from_json

if TYPE_CHECKING:
    from core.dataset_files import DatasetRef
    from models.gates import GateProfile
    from models.training.spec import CandidateRef


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
    """Judge a candidate as `models.judging.judge.judge` does, in a child process.

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
        "models.judging.judge_process",
        job,
        name=f"judging {candidate.candidate_id}",
        log=Path(candidate.path) / "judge.log",
        on_line=lambda _: None,
        memory_gb=memory_gb,
        timeout_seconds=timeout_seconds,
    )
    return judgement_from_json(read_json(Path(candidate.path) / "judgement.json"))
