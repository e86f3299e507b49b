"""Train models as tasks: one process per coin's network, and one for each model of all coins."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import get_run_logger, task, unmapped
from prefect.artifacts import create_markdown_artifact

from core.dataset_files import DatasetRef
from core.errors import RemoteFolderError, TrainingError
from core.remote_folder import is_uri
from core.settings import Settings, load_settings
from models.datasets.remote_dataset import fetch_dataset
from models.registry import Registry
from models.training.candidate import CandidateRef, TrainSpec, candidate_id, spec_from_settings
from models.training.remote_candidate import fetch_candidate, publish_candidate
from models.training.run_training import TrainProgress, train_in_process
from reports.models.training_curves import curve_markdown, overview_markdown, read_curve
from tasks.progress_artifact import Progress, artifact_key
from tasks.runner import Shared, child_slots, share, training_runner

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prefect.futures import PrefectFuture


def plan_training(architecture: str, products: Sequence[str], **chosen: float | None) -> TrainSpec:
    """Return the spec of one training: what is ``chosen`` wins over the settings, and they over the preset."""
    return spec_from_settings(load_settings(), architecture, products, **chosen)


def plan_trainings(
    settings: Settings,
    products: Sequence[str],
    epochs: int | None,
    *,
    lstm: bool = True,
    transformer: bool = True,
    boosting: bool | None = None,
) -> list[TrainSpec]:
    """Return the specs for all coins together and one per coin, longest first so that no core idles at the end.

    ``boosting`` left out is TRAIN_BOOSTING of the preset market; the demo's planted edge is one for sequences.
    """
    if boosting is None:
        boosting = settings.train_boosting and settings.train_preset == "market"
    wanted = [("transformer", products)] * transformer + [("lstm", [product]) for product in products] * lstm
    specs = [spec_from_settings(settings, architecture, coins, epochs=epochs) for architecture, coins in wanted]
    # epochs are the networks': rounds of boosting stand in its preset
    return specs + [spec_from_settings(settings, "boosting", products)] * boosting


def train_models(specs: Sequence[TrainSpec], dataset: DatasetRef) -> list[CandidateRef | TrainingError]:
    """Train every spec, side by side where TASK_RUNNER says; one that fails leaves the others, and is returned named."""
    settings = load_settings()
    shared = share(settings, dataset)
    with training_runner() as lost:
        runs = train_model.map(list(specs), unmapped(shared.dataset), unmapped(shared.candidates))
        outcomes = [_outcome(spec, run, lost) for spec, run in zip(specs, runs, strict=True)]
    brought = [_bring(settings, spec, dataset, shared, outcome) for spec, outcome in zip(specs, outcomes, strict=True)]
    trained = [outcome for outcome in brought if isinstance(outcome, CandidateRef)]
    # counts as a chance to be lucky, also when its folder is gone one day
    Registry(settings.paths.registry).record_trainings([candidate.candidate_id for candidate in trained])
    _show_overview(brought)
    return brought


@task(name="train-model", task_run_name="train {spec.name}", tags=["train"])
def train_model(spec: TrainSpec, dataset: DatasetRef, candidates: str = "") -> CandidateRef:
    """Train one model in a process of its own; promote nothing.

    Not retried: training is deterministic, so a second try fails the same way. A finished candidate of the same spec and
    data set is taken as it is. Runs on any machine: it opens no database, and where ``candidates`` is a URI the
    candidate is put there.
    """
    settings = load_settings()
    progress = Progress(f"train {spec.name}")
    local, began = fetch_dataset(dataset, settings.paths.datasets), time.monotonic()
    if local != dataset:
        get_run_logger().info("data set %s is here, from %s", dataset.digest[:16], Path(local.path).parent)
    checkpoints = settings.paths.checkpoints
    if candidates:
        # trained elsewhere before: brought here, it is not trained again
        fetch_candidate(_identity(spec, local), candidates, checkpoints)
    with child_slots():
        candidate = train_in_process(
            spec,
            local,
            checkpoints,
            on_progress=_Shown(progress),
            memory_gb=settings.train_memory_gb,
            timeout_seconds=None,
        )
    progress(1.0)
    _show_curve(spec, candidate, time.monotonic() - began)
    return publish_candidate(candidate, candidates) if candidates else candidate


class _Shown:
    """Shows how far a training is, on its bar in the Prefect UI."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def __call__(self, step: TrainProgress) -> None:
        note = f"epoch {step.epoch} of {step.epochs}, training loss {step.train_loss:.4f}"
        if step.members > 1:
            note = f"member {step.member} of {step.members}, {note}"
        if step.checks_left is not None:
            note = f"{note}, {step.checks_left} checks to do better or end"
        self._progress(step.share, note, at_most=step.seconds_left)


def _identity(spec: TrainSpec, dataset: DatasetRef) -> str:
    return candidate_id(spec, dataset, dataset.manifest().feature_set.sha256)


def _show_curve(spec: TrainSpec, candidate: CandidateRef, seconds: float) -> None:
    curve = read_curve(Path(candidate.path))
    create_markdown_artifact(
        curve_markdown(curve), key=artifact_key("curve", spec.name), description=f"Training curve of {spec.name}"
    )
    best = min(curve.best, key=lambda check: check.early_stop_log_loss)
    get_run_logger().info(
        "%s: best log loss %.4f in epoch %d, %d checks, candidate %s; %.0f s in process %d on %s",
        spec.name,
        best.early_stop_log_loss,
        best.epoch,
        len(curve.checks),
        candidate.candidate_id,
        seconds,
        os.getpid(),
        platform.node(),
    )


def _outcome(
    spec: TrainSpec, run: PrefectFuture[CandidateRef], lost: tuple[type[Exception], ...]
) -> CandidateRef | TrainingError:
    """Wait for one training; what went wrong becomes an error that names it."""
    try:
        run.wait()
        result: object = run.result(raise_on_failure=False)
    except lost as error:
        cause = (str(error) or type(error).__name__).partition(". ")[0].splitlines()[0]
        msg = f"{spec.name}: its worker was lost ({cause}); run the same flow again, it does only what is left"
        return TrainingError(msg)
    if isinstance(result, CandidateRef):
        return result
    text = str(result) or type(result).__name__
    return TrainingError(text if text.startswith(spec.name) else f"{spec.name}: {text}")


def _bring(
    settings: Settings, spec: TrainSpec, dataset: DatasetRef, shared: Shared, outcome: CandidateRef | TrainingError
) -> CandidateRef | TrainingError:
    """Bring a candidate that was trained elsewhere into this DESK_HOME."""
    if isinstance(outcome, TrainingError) or not is_uri(outcome.path):
        return outcome
    if outcome.candidate_id != _identity(spec, dataset):
        msg = f"{spec.name}: its worker runs other code than this machine (it made {outcome.candidate_id}); install the same commit there and run the flow again"
        return TrainingError(msg)
    try:
        candidate = fetch_candidate(outcome.candidate_id, shared.candidates, settings.paths.checkpoints)
    except RemoteFolderError as error:
        return TrainingError(f"{spec.name}: {error}")
    if candidate is None:
        msg = f"{spec.name}: its worker put no candidate into CANDIDATES_URI; name a folder there that every machine reaches"
        return TrainingError(msg)
    return candidate


def _show_overview(outcomes: Sequence[CandidateRef | TrainingError]) -> None:
    curves = [read_curve(Path(outcome.path)) for outcome in outcomes if isinstance(outcome, CandidateRef)]
    failures = [str(outcome) for outcome in outcomes if isinstance(outcome, TrainingError)]
    create_markdown_artifact(
        overview_markdown(curves, failures),
        key="training",
        description=f"{len(curves)} trained, {len(failures)} failed",
    )


def require_candidates(outcomes: Sequence[CandidateRef | BaseException]) -> list[CandidateRef]:
    """Return the trained models; one that failed leaves the others, and is named.

    Raises:
        TrainingError: nothing was trained at all.
    """
    trained = [outcome for outcome in outcomes if isinstance(outcome, CandidateRef)]
    failures = [str(failure) for failure in outcomes if isinstance(failure, BaseException)]
    for failure in failures:
        get_run_logger().error("%s", failure)
    if not trained:
        msg = "no model could be trained: " + "; ".join(failures)
        raise TrainingError(msg)
    return trained


def require_all(outcomes: Sequence[CandidateRef | BaseException]) -> list[str]:
    """Return the ids of the trained models.

    Raises:
        TrainingError: one failed or all did; the text names each, and the others are kept.
    """
    trained = require_candidates(outcomes)
    failures = [str(failure) for failure in outcomes if isinstance(failure, BaseException)]
    if failures:
        msg = f"{len(failures)} of {len(outcomes)} trainings failed: {'; '.join(failures)}. Kept: " + ", ".join(
            candidate.candidate_id for candidate in trained
        )
        raise TrainingError(msg)
    return [candidate.candidate_id for candidate in trained]
