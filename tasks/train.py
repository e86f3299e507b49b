"""Tasks of step 4: one training process per coin, and one for the transformer."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from threading import BoundedSemaphore
from typing import TYPE_CHECKING

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact

from desk.config import Settings, load_settings
from desk.errors import TrainingError
from desk.market import CandidateRef, DatasetRef, TrainSpec
from models.presets import train_spec
from models.process import train_in_process
from models.progress import TrainProgress
from tasks.progress import Progress, artifact_key

if TYPE_CHECKING:
    from collections.abc import Sequence


@cache
def _slots() -> BoundedSemaphore:
    """Let TRAIN_WORKERS trainings run at once in this process, whatever the flow's task runner allows."""
    return BoundedSemaphore(load_settings().train_workers)


def plan_trainings(
    settings: Settings,
    products: Sequence[str],
    epochs: int | None,
    *,
    lstm: bool = True,
    transformer: bool = True,
) -> list[TrainSpec]:
    """Return one spec for all coins together and one per coin, longest first so that no core idles at the end."""
    wanted = [("transformer", products)] * transformer + [("lstm", [product]) for product in products] * lstm
    return [_spec(settings, architecture, coins, epochs) for architecture, coins in wanted]


def _spec(settings: Settings, architecture: str, products: Sequence[str], epochs: int | None) -> TrainSpec:
    chosen: dict[str, int] = {}
    if settings.train_preset == "market":
        stride = settings.transformer_stride if architecture == "transformer" else settings.train_stride
        chosen = {"epochs": settings.epochs, "stride": stride}
    if epochs is not None:
        chosen["epochs"] = epochs
    budget = settings.train_budget_seconds
    return train_spec(
        architecture, products, preset=settings.train_preset, seed=settings.train_seed, budget_seconds=budget, **chosen
    )


@task(name="train-model", task_run_name="train {spec.name}", tags=["train"])
def train_model(spec: TrainSpec, dataset: DatasetRef) -> CandidateRef:
    """Train one model in a process of its own; promote nothing.

    Not retried: training is deterministic, so a second try fails the same way. A finished
    candidate of the same spec and data set is taken as it is.
    """
    settings = load_settings()
    progress = Progress(f"train {spec.name}")

    def show(step: TrainProgress) -> None:
        done = (step.epoch - 1 + step.step / max(step.steps, 1)) / max(step.epochs, 1)
        progress(done, f"epoch {step.epoch} of {step.epochs}, training loss {step.train_loss:.4f}")

    with _slots():
        candidate = train_in_process(
            spec,
            dataset,
            settings.paths.checkpoints,
            on_progress=show,
            memory_gb=settings.train_memory_gb,
            timeout_seconds=None,
        )
    progress(1.0)
    _show_curve(spec, candidate)
    return candidate


def _show_curve(spec: TrainSpec, candidate: CandidateRef) -> None:
    report = json.loads((Path(candidate.path) / "candidate.json").read_text(encoding="utf-8"))
    history = report["history"]
    lines = ["| epoch | training loss | early-stopping log loss | seconds |", "|---|---|---|---|"]
    lines += [
        f"| {row['epoch']} | {row['train_loss']:.5f} | {row['early_stop_log_loss']:.5f} | {row['seconds']:.1f} |"
        for row in history
    ]
    create_markdown_artifact(
        "\n".join(lines), key=artifact_key("curve", spec.name), description=f"Training curve of {spec.name}"
    )
    best = min(history, key=lambda row: row["early_stop_log_loss"])
    get_run_logger().info(
        "%s: best log loss %.4f after epoch %d of %d, candidate %s",
        spec.name,
        best["early_stop_log_loss"],
        best["epoch"],
        len(history),
        candidate.candidate_id,
    )


def require_candidates(candidates: Sequence[CandidateRef | BaseException]) -> list[CandidateRef]:
    """Return the trained models; one that failed leaves the others, and is named.

    Raises:
        TrainingError: nothing was trained at all.
    """
    trained = [candidate for candidate in candidates if isinstance(candidate, CandidateRef)]
    failures = [str(failure) for failure in candidates if isinstance(failure, BaseException)]
    for failure in failures:
        get_run_logger().error("%s", failure)
    if not trained:
        msg = "no model could be trained: " + "; ".join(failures)
        raise TrainingError(msg)
    return trained
