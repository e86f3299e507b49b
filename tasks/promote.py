"""Tasks of step 5: judge each candidate on its untouched test part, promote what passes every gate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from core.dataset_files import DatasetRef
from core.errors import ModelError
from core.files import read_json
from core.settings import Settings, load_settings
from models.gates.gate_notes import beside_the_gates
from models.gates.judgement import Judgement
from models.judging.run_judging import judge_in_process
from models.registry import Registry
from models.registry.judging_terms import judging_terms
from models.training.candidate import finished
from models.training.spec import CandidateRef
from reports.models.report import write_model_report
from runtime.backtest import backtest
from runtime.cost_table import costs_lookup
from runtime.loaded_models import load_models
from store.registry_mirror import mirror_registry
from tasks.features import products_in
from tasks.progress import artifact_key
from tasks.runner import child_slots


@task(name="candidates-of-dataset", task_run_name="candidates of dataset")
def candidates_of(
    dataset: DatasetRef, names: str | Sequence[str] | None = None, slots: str | Sequence[str] | None = None
) -> list[CandidateRef]:
    """Return the newest finished training of each architecture and coin on this data set.

    With ``names`` only of those whose id begins with one of them; with ``slots`` only what could fill one of them.

    Raises:
        ModelError: there is none, or none that fits one of the names or slots.
    """
    settings = load_settings()
    trained = _trained(settings.paths.checkpoints, dataset)
    wanted = _parts(names)
    _require_each(wanted, lambda name: any(one.candidate_id.startswith(name) for one in trained), trained)
    chosen = [one for one in trained if not wanted or one.candidate_id.startswith(tuple(wanted))]
    newest = {(one.architecture, one.products): one for one in chosen}.values()
    filled = resolve_slots(settings, slots)
    _require_each(
        _parts(slots), lambda slot: any(resolve_slots(settings, slot) & _slots(one) for one in newest), trained
    )
    return [one for one in newest if not filled or filled & _slots(one)]


def _trained(checkpoints: Path, dataset: DatasetRef) -> list[CandidateRef]:
    """Return what was trained on ``dataset``, oldest first."""
    markers = sorted(checkpoints.glob("*/candidate.json"), key=lambda path: path.stat().st_mtime_ns)
    candidates = [
        finished(marker.parent) for marker in markers if read_json(marker)["dataset_digest"] == dataset.digest
    ]
    trained = [candidate for candidate in candidates if candidate is not None]
    if not trained:
        msg = (
            f"no model was trained on data set {dataset.digest[:16]} yet; run: make train COIN=BTC, or make transformer"
        )
        raise ModelError(msg)
    return trained


def _require_each(wanted: Iterable[str], is_there: Callable[[str], bool], trained: Sequence[CandidateRef]) -> None:
    if absent := [name for name in wanted if not is_there(name)]:
        msg = f"nothing trained on this data set fits {', '.join(absent)}; there are {', '.join(one.candidate_id for one in trained)}"
        raise ModelError(msg)


def _parts(names: str | Sequence[str] | None) -> list[str]:
    listed = names.split(",") if isinstance(names, str) else names or ()
    return [name.strip() for name in listed if name.strip()]


def resolve_slots(settings: Settings, slots: str | Sequence[str] | None) -> set[str]:
    """Return slots as the registry names them for what a person typed: ``lstm:BTC`` is ``lstm:BTC-USD``, ``lstm`` those of all coins.

    Raises:
        UnknownProductError: a short name fits no configured product.
    """
    pairs = [slot.partition(":") for slot in _parts(slots)]
    return {
        f"{architecture}:{product}" for architecture, _, coin in pairs for product in settings.resolve_products(coin)
    }


def _slots(candidate: CandidateRef) -> set[str]:
    return {f"{candidate.architecture.removesuffix('_one_way')}:{product}" for product in candidate.products}


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
    terms = judging_terms(settings, min_accuracy, max_calibration_error, dataset=dataset)
    with child_slots():
        judgement = judge_in_process(candidate, dataset, terms.profile, cost_bps=terms.cost_bps, trials=terms.trials)
    # a look at the test part counts, whatever becomes of the rest of the flow
    Registry(settings.paths.registry).record_judgement(judgement)
    _show_gates(judgement)
    write_model_report(settings, Path(candidate.path))
    return judgement


def _show_gates(judgement: Judgement) -> None:
    logger = get_run_logger()
    passport = read_json(Path(judgement.path) / "passport.json")
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
        for line in beside_the_gates(passport, verdict.product):
            logger.info("%s: %s", verdict.slot, line)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


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
    registry = Registry(settings.paths.registry)
    wanted = resolve_slots(settings, slots)
    promoted: list[str] = []
    # a registry that was cut is refused before anything builds on it
    mirror_registry(settings, registry)
    for judgement in judgements:
        registry.record_judgement(judgement)
        accepted = [verdict.slot for verdict in judgement.verdicts if verdict.accepted]
        chosen = [slot for slot in accepted if not dry_run and (not wanted or slot in wanted)]
        if chosen:
            registry.promote(Path(judgement.path), chosen, why=f"passed every gate of {judgement.profile}")
            promoted.extend(chosen)
    mirror_registry(settings, registry, [row for judgement in judgements for row in judgement.metrics])
    create_markdown_artifact(
        _verdict_lines(judgements, promoted), key="promotion", description="What was promoted, what was refused and why"
    )
    return promoted


def _verdict_lines(judgements: Sequence[Judgement], promoted: Sequence[str]) -> str:
    lines = ["| slot | model | verdict | refused by |", "|---|---|---|---|"]
    for judgement in judgements:
        for verdict in judgement.verdicts:
            passed = "promoted" if verdict.slot in promoted else "passes, not promoted"
            told = passed if verdict.accepted else "refused"
            lines.append(f"| {verdict.slot} | {judgement.model_id} | {told} | {', '.join(verdict.refused_by)} |")
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
