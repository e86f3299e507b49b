"""Take finished trainings to models that serve: choose them, judge each in a child process, record the look, promote.

Every door goes through here: the flow, the command line, the walk-forward and the null check. Nothing here imports torch,
Prefect or the database; what keeps the registry's tables up to date is handed in.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.child_process import run_child
from core.errors import ModelError
from models.gates import GateProfile, gate_profile
from models.gates.judgement import Judgement
from models.registry import Promotion, Registry
from models.registry.trials import looks_at
from models.serving.passport import slot_of
from models.training.candidate import finished, finished_trainings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from core.dataset_files import DatasetRef
    from core.settings import Settings
    from models.training.candidate import CandidateRef

    Names = str | Sequence[str] | None
    """Several names, or one text with commas between them; None and nothing mean all."""


@dataclass(frozen=True, slots=True)
class JudgingOrder:
    """What a judging needs beside candidate and data set."""

    profile: GateProfile
    cost_bps: float
    """Round trip: the spread once, slippage and fee on both sides."""
    trials: int
    """Trainings and judgings so far: each was a chance to be lucky."""


def judging_order(
    settings: Settings,
    cost_bps: float,
    min_accuracy: float | None = None,
    max_calibration_error: float | None = None,
    *,
    dataset: DatasetRef | None = None,
) -> JudgingOrder:
    """Return what the settings order, at a round trip of ``cost_bps``; the two figures win over MIN_ACCURACY and MAX_CALIBRATION_ERROR.

    With ``dataset`` the gates are told how often its test part was looked at; without they count one look.

    Raises:
        ConfigError: there is no such gate profile.
        DatasetError: the data set's manifest is missing or damaged.
        ModelError: the registry is damaged.
    """
    registry = Registry(settings.paths.registry)
    # a candidate whose folder was removed still counts: the registry recorded it
    trained = {
        candidate.candidate_id: (candidate.dataset_digest, frozenset(candidate.products))
        for candidate in finished_trainings(settings.paths.checkpoints)
    }
    profile = gate_profile(
        settings.gate_profile,
        looks=1 if dataset is None else looks_at(dataset, trained, registry.events()),
        min_accuracy=settings.min_accuracy if min_accuracy is None else min_accuracy,
        max_calibration_error=settings.max_calibration_error
        if max_calibration_error is None
        else max_calibration_error,
    )
    return JudgingOrder(profile, cost_bps, registry.count_trials(trained).total)


def candidates_of(
    settings: Settings, dataset: DatasetRef, names: Names = None, slots: Names = None
) -> list[CandidateRef]:
    """Return the newest finished training of each architecture and products on this data set.

    Args:
        settings: Where candidates lie, and which products short names stand for.
        dataset: What they must be trained on.
        names: Only candidates whose id begins with one of these.
        slots: Only candidates that could fill one of these.

    Raises:
        ModelError: there is none, or none that fits one of the names or slots.
    """
    checkpoints = settings.paths.checkpoints
    known = [own.candidate_id for own in finished_trainings(checkpoints) if own.dataset_digest == dataset.digest]
    trained = [candidate for name in known if (candidate := finished(checkpoints / name)) is not None]
    if not trained:
        msg = (
            f"no model was trained on data set {dataset.digest[:16]} yet; run: make train COIN=BTC, or make transformer"
        )
        raise ModelError(msg)
    beginnings = split_names(names)
    _require_each(beginnings, lambda name: any(own.candidate_id.startswith(name) for own in trained), trained)
    chosen = [own for own in trained if not beginnings or own.candidate_id.startswith(tuple(beginnings))]
    newest = {(own.architecture, own.products): own for own in chosen}.values()
    filled = resolve_slots(settings, slots)
    _require_each(
        split_names(slots), lambda slot: any(resolve_slots(settings, slot) & _slots(own) for own in newest), trained
    )
    return [own for own in newest if not filled or filled & _slots(own)]


def _require_each(wanted: Iterable[str], is_there: Callable[[str], bool], trained: Sequence[CandidateRef]) -> None:
    if absent := [name for name in wanted if not is_there(name)]:
        known = ", ".join(own.candidate_id for own in trained)
        msg = f"nothing trained on this data set fits {', '.join(absent)}; there are {known}"
        raise ModelError(msg)


def split_names(names: Names) -> list[str]:
    """Return the names that a person typed, commas between them, or gave as a list."""
    listed = names.split(",") if isinstance(names, str) else names or ()
    return [name.strip() for name in listed if name.strip()]


def resolve_slots(settings: Settings, slots: Names) -> set[str]:
    """Return slots as the registry names them: ``lstm:BTC`` is ``lstm:BTC-USD``, ``lstm`` those of all products.

    Raises:
        UnknownProductError: a short name fits no configured product.
    """
    pairs = [slot.partition(":") for slot in split_names(slots)]
    return {
        f"{architecture}:{product}" for architecture, _, short in pairs for product in settings.resolve_products(short)
    }


def _slots(candidate: CandidateRef) -> set[str]:
    return {slot_of(candidate.architecture, product) for product in candidate.products}


def judge_candidate(
    settings: Settings,
    candidate: CandidateRef,
    dataset: DatasetRef,
    cost_bps: float,
    min_accuracy: float | None = None,
    max_calibration_error: float | None = None,
) -> Judgement:
    """Judge a candidate on the terms of the settings and record it: a look at the test part counts, whatever comes of it.

    Raises as `judging_order` and `judge_in_process` do.
    """
    order = judging_order(settings, cost_bps, min_accuracy, max_calibration_error, dataset=dataset)
    judgement = judge_in_process(candidate, dataset, order.profile, cost_bps=order.cost_bps, trials=order.trials)
    Registry(settings.paths.registry).record_judgement(judgement)
    return judgement


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
    """Judge a candidate as `models.judging.judge.judge` does, in a child process; record nothing.

    Raises:
        TrainingError: the judging crashed or passed a limit; the text names the candidate and the cause.
    """
    folder = Path(candidate.path)
    job = {
        "candidate": asdict(candidate),
        "dataset": asdict(dataset),
        "gates": asdict(gates),
        "cost_bps": cost_bps,
        "trials": trials,
    }
    run_child(
        "models.judging.judge",
        job,
        name=f"judging {candidate.candidate_id}",
        log=folder / "judge.log",
        on_line=lambda _: None,
        memory_gb=memory_gb,
        timeout_seconds=timeout_seconds,
    )
    return Judgement.read(folder)


def promote(
    registry: Registry,
    folder: Path,
    slots: Sequence[str] = (),
    *,
    why: str,
    mirror: Callable[[Registry], object] = lambda _: None,
    dry_run: bool = False,
) -> Promotion:
    """Let a judged model serve ``slots``, by one atomic switch; without ``slots`` all whose gates it passed.

    Args:
        registry: Where the switch is recorded.
        folder: The candidate's, or a copy of it.
        slots: Such as ``lstm:BTC-USD``.
        why: The reason; kept for ever.
        mirror: Brings the registry's tables up to date; called before the switch too, so that a registry that was cut is
            refused before anything builds on it.
        dry_run: Only return what would change.

    Raises:
        ModelError: it may not be promoted: the text names the gates, or the file that is not the judged one.
        DiskFullError: there is no room; what was served before is served on.
    """
    wanted = registry.promotion(folder, slots)
    if dry_run:
        return wanted
    mirror(registry)
    promotion = registry.promote(folder, slots, why=why)
    mirror(registry)
    return promotion
