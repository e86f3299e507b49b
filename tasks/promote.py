"""Tasks of step 5: judge each candidate on its untouched test part, promote what passes every gate."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from core.dataset_files import DatasetRef
from core.errors import ModelError
from core.settings import load_settings
from models.gates.judgement import Judgement
from models.judging import promotion
from models.registry import Registry
from models.training.candidate import CandidateRef
from reports.models.model_card import ModelCard, read_card
from reports.models.report import write_model_report
from reports.models.tables import gates_table, notes_beside_gates
from runtime.backtest import backtest
from runtime.loaded_models import load_models
from runtime.risk.execution_costs import costs_lookup, round_trip_cost
from store.registry_mirror import mirror_registry
from tasks.features import products_in
from tasks.progress_artifact import artifact_key
from tasks.runner import child_slots


@task(name="candidates-of-dataset", task_run_name="candidates of dataset")
def candidates_of(
    dataset: DatasetRef, names: str | Sequence[str] | None = None, slots: str | Sequence[str] | None = None
) -> list[CandidateRef]:
    """Return the newest finished training of each architecture and products on this data set.

    With ``names`` only of those whose id begins with one of them; with ``slots`` only what could fill one of them.

    Raises:
        ModelError: there is none, or none that fits one of the names or slots.
    """
    return promotion.candidates_of(load_settings(), dataset, names, slots)


@task(name="judge-model", task_run_name="judge {candidate.candidate_id}", tags=["train"])
def judge_model(
    candidate: CandidateRef,
    dataset: DatasetRef,
    min_accuracy: float | None = None,
    max_calibration_error: float | None = None,
    profile: str | None = None,
) -> Judgement:
    """Export, check parity, calibrate, evaluate, compare with the baselines, apply the gates."""
    settings = load_settings(gate_profile=profile) if profile else load_settings()
    with child_slots():
        judgement = promotion.judge_candidate(
            settings, candidate, dataset, round_trip_cost(settings), min_accuracy, max_calibration_error
        )
    _show_gates(read_card(Path(candidate.path)))
    write_model_report(settings, Path(candidate.path))
    return judgement


def _show_gates(model: ModelCard) -> None:
    logger = get_run_logger()
    for product, verdict in model.passport.verdicts.items():
        create_table_artifact(
            gates_table([model], product).records(),
            key=artifact_key("gates", verdict.slot),
            description=f"Gates of {verdict.slot}, {model.model_id}",
        )
        outcome = "passes every gate" if verdict.accepted else f"refused by {', '.join(verdict.refused_by)}"
        for line in (outcome, *notes_beside_gates(model.passport, product)):
            logger.info("%s: %s", verdict.slot, line)


@task(name="promote-models", task_run_name="promote models")
def promote_models(
    judgements: Sequence[Judgement], slots: str | Sequence[str] | None = None, dry_run: bool = False
) -> list[str]:
    """Switch every accepted slot to its new model, atomically, and keep the whole history in the store.

    Args:
        judgements: One per candidate.
        slots: Switch these only; all when left out.
        dry_run: Switch none.

    Returns:
        The promoted slots; an empty list is an honest answer.
    """
    settings = load_settings()
    registry, mirror = Registry(settings.paths.registry), partial(mirror_registry, settings)
    wanted = promotion.resolve_slots(settings, slots)
    promoted: list[str] = []
    for judgement in judgements:
        accepted = [verdict.slot for verdict in judgement.verdicts if verdict.accepted]
        chosen = [slot for slot in accepted if not dry_run and (not wanted or slot in wanted)]
        if chosen:
            why = f"passed every gate of {judgement.profile}"
            promotion.promote(registry, Path(judgement.path), chosen, why=why, mirror=mirror)
            promoted.extend(chosen)
    mirror(registry, [row for judgement in judgements for row in judgement.metrics])
    create_markdown_artifact(
        _verdict_lines(judgements, promoted), key="promotion", description="What was promoted, what was refused and why"
    )
    return promoted


def _verdict_lines(judgements: Sequence[Judgement], promoted: Sequence[str]) -> str:
    lines = ["| slot | model | verdict | refused by |", "|---|---|---|---|"]
    for judgement in judgements:
        for verdict in judgement.verdicts:
            passed = "promoted" if verdict.slot in promoted else "passes, not promoted"
            outcome = passed if verdict.accepted else "refused"
            lines.append(f"| {verdict.slot} | {judgement.model_id} | {outcome} | {', '.join(verdict.refused_by)} |")
    return "\n".join(lines)


@task(name="record-baseline", task_run_name="record baseline")
def record_baseline(dataset: DatasetRef) -> str:
    """Replay the test part through the runtime's own decision code; what comes out is what an observation is held to.

    The models are those that serve; the newest candidates, as in shadow, only where none was ever promoted.
    """
    settings = load_settings()
    mode = "dryrun" if Registry(settings.paths.registry).current() else "shadow"
    try:
        loaded = load_models(settings, products_in(dataset, None), mode)
    except ModelError as error:
        get_run_logger().warning("no baseline: %s", error)
        return str(error)
    baseline = backtest(dataset.path, loaded, settings, costs_for=costs_lookup(settings))
    line = (
        f"{baseline.signals} signals in the test part, win rate {baseline.win_rate:.3f}"
        if baseline.win_rate is not None
        else f"{baseline.signals} signals in the test part, none closed"
    )
    get_run_logger().info("baseline: %s", line)
    return line
