"""Tasks of step 5: judge each candidate on its untouched test part, promote what passes every gate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from desk.collect.backfill import open_store
from desk.config import Settings, load_settings
from desk.errors import ModelError
from desk.market import CandidateRef, DatasetRef
from desk.reports.model_report import write_model_report
from desk.runtime.backtest import backtest
from desk.runtime.cost_table import costs_lookup
from desk.runtime.models import load_models
from models.artefacts import read_json
from models.candidate import finished
from models.judgement import Judgement
from models.process import judge_in_process
from models.registry import Registry
from models.terms import judging_terms
from tasks.features import products_in
from tasks.progress import artifact_key


@task(name="candidates-of-dataset", task_run_name="candidates of dataset")
def candidates_of(dataset: DatasetRef) -> list[CandidateRef]:
    """Return the newest finished training of each architecture and coin on this data set.

    Raises:
        ModelError: there is none.
    """
    markers = load_settings().paths.checkpoints.glob("*/candidate.json")
    newest: dict[tuple[str, tuple[str, ...]], CandidateRef] = {}
    for marker in sorted(markers, key=lambda path: path.stat().st_mtime_ns):
        candidate = finished(marker.parent)
        if candidate is not None and read_json(marker)["dataset_digest"] == dataset.digest:
            newest[candidate.architecture, candidate.products] = candidate
    if not newest:
        msg = (
            f"no model was trained on data set {dataset.digest[:16]} yet; run: make train COIN=BTC, or make transformer"
        )
        raise ModelError(msg)
    return list(newest.values())


@task(name="judge-model", task_run_name="judge {candidate.candidate_id}", tags=["train"])
def judge_model(
    candidate: CandidateRef,
    dataset: DatasetRef,
    min_accuracy: float | None = None,
    max_calibration_error: float | None = None,
) -> Judgement:
    """Export, check parity, calibrate, evaluate, compare with the baselines, apply the gates."""
    settings = load_settings()
    terms = judging_terms(settings, min_accuracy, max_calibration_error)
    judgement = judge_in_process(candidate, dataset, terms.profile, cost_bps=terms.cost_bps, trials=terms.trials)
    _show_gates(judgement)
    write_model_report(settings, Path(candidate.path))
    return judgement


def _show_gates(judgement: Judgement) -> None:
    logger = get_run_logger()
    for verdict in judgement.verdicts:
        rows = [
            {
                "gate": gate.name,
                "passed": "yes" if gate.passed else "NO",
                "figure": _number(gate.figure),
                "bound": _number(gate.bound),
                "low 95 %": _number(gate.low),
                "high 95 %": _number(gate.high),
                "what would change it": gate.sentence,
            }
            for gate in verdict.gates
        ]
        create_table_artifact(
            rows, key=artifact_key("gates", verdict.slot), description=f"Gates of {verdict.slot}, {judgement.model_id}"
        )
        outcome = "passes every gate" if verdict.accepted else f"refused by {', '.join(verdict.refused_by)}"
        logger.info("%s: %s", verdict.slot, outcome)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


@task(name="promote-models", task_run_name="promote models")
def promote_models(judgements: Sequence[Judgement]) -> list[str]:
    """Switch every accepted slot to its new model, atomically, and keep the whole history in the store.

    Returns the promoted slots; an empty list is an honest answer.
    """
    settings = load_settings()
    registry = Registry(settings.paths.registry)
    promoted: list[str] = []
    for judgement in judgements:
        registry.record_judgement(judgement)
        accepted = [verdict.slot for verdict in judgement.verdicts if verdict.accepted]
        if accepted:
            registry.promote(Path(judgement.path), accepted, why=f"passed every gate of {judgement.profile}")
            promoted.extend(accepted)
    _keep_history(settings, registry, judgements)
    create_markdown_artifact(
        _verdict_lines(judgements), key="promotion", description="What was promoted, what was refused and why"
    )
    return promoted


def _keep_history(settings: Settings, registry: Registry, judgements: Sequence[Judgement]) -> None:
    store = open_store(settings)
    try:
        store.record_registry_events([asdict(event) for event in registry.events()])
        for judgement in judgements:
            store.record_metrics([asdict(row) for row in judgement.metrics])
    finally:
        store.close()


def _verdict_lines(judgements: Sequence[Judgement]) -> str:
    lines = ["| slot | model | verdict | refused by |", "|---|---|---|---|"]
    for judgement in judgements:
        for verdict in judgement.verdicts:
            failed = ", ".join(verdict.refused_by)
            lines.append(
                f"| {verdict.slot} | {judgement.model_id} | {'promoted' if verdict.accepted else 'refused'} | {failed} |"
            )
    return "\n".join(lines)


@task(name="record-baseline", task_run_name="record baseline")
def record_baseline(dataset: DatasetRef, mode: str) -> str:
    """Replay the test part through the runtime's own decision code; its tier mix is what observation is held to."""
    settings = load_settings()
    try:
        loaded = load_models(settings, products_in(dataset, None), mode)
    except ModelError as error:
        get_run_logger().warning("no baseline: %s", error)
        return str(error)
    store_costs = costs_lookup(settings, settings.products, datetime.now(UTC))
    baseline = backtest(dataset.path, loaded, settings, costs_for=store_costs)
    line = (
        f"{baseline.signals} signals in the test part, win rate {baseline.win_rate:.3f}"
        if baseline.signals
        else "no signal in the test part"
    )
    get_run_logger().info("baseline: %s", line)
    return line
