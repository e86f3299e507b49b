"""`desk models ...` and `desk evaluate`: what was trained, judged and promoted, and what it is worth."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from core.errors import DiskFullError, ModelError, StoreBusyError
from core.files import read_json
from core.settings import Settings, load_settings
from desk import model_tables
from desk.model_files import candidate_folder, dataset_of, model_folder, weights_of
from models.gates.gate_notes import beside_the_gates
from models.gates.judgement import Judgement, MetricRow
from models.judging.run_judging import judge_in_process
from models.passport.verify import verify as verify_passport
from models.registry import Registry, recorded_passports, require_whole
from models.registry.judging_terms import judging_terms
from models.training.candidate import finished
from models.training.spec import CandidateRef
from store.feature_store import FeatureStore
from store.registry_mirror import history_faults, mirror_registry, restore_registry

app = typer.Typer(
    help="The model registry: what was trained, judged, promoted and rolled back, by whom and why.",
    no_args_is_help=True,
    add_completion=False,
)
Model = Annotated[str, typer.Argument(help="Model or candidate id, or how it begins, or its folder")]
Why = Annotated[str, typer.Option(help="The reason; kept for ever", prompt=True)]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would change, and change nothing")]


@app.command("list")
def list_models(
    everything: Annotated[bool, typer.Option("--all", help="Every model ever judged, not only the last")] = False,
) -> None:
    """List of each slot the model it serves and the one judged last: passed, or the gates that refused it.

    Also says how many trainings and judgings there were, which every result must be weighed with.
    """
    settings = load_settings()
    registry = Registry(settings.paths.registry)
    events = registry.events()
    serving = {slot: found.model_id for slot, found in registry.current().items()}
    table = model_tables.judged_models(events, serving, everything=everything)
    screen = model_tables.screen()
    screen.print(table if table.row_count else "no model was ever judged; run: make train COIN=BTC, then make evaluate")
    trained = [marker.parent.name for marker in settings.paths.checkpoints.glob("*/candidate.json")]
    count = registry.counted(trained)
    screen.print(
        f"\n{count.trainings} trainings ({count.unjudged} never judged), {count.judgings} judgings: {count.total} trials"
    )
    for line in model_tables.judged_part_lines(events):
        screen.print(line)


@app.command("show")
def show(model: Model) -> None:
    """Print a model's passport: origin, figures with intervals beside the baselines, calibration, gates, and its history."""
    settings = load_settings()
    passport = read_json(model_folder(settings, model) / "passport.json")
    registry = Registry(settings.paths.registry)
    screen = model_tables.screen()
    screen.print(f"[bold]{passport['model_id']}[/bold]")
    screen.print(model_tables.facts(passport))
    for product, verdict in (passport.get("verdicts") or {}).items():
        outcome = "[green]accepted[/green]" if verdict["accepted"] else "[red]refused[/red]"
        screen.print(f"\n[bold]{verdict.get('slot', product)}[/bold]  {outcome}")
        screen.print(model_tables.figures(verdict))
        for line in model_tables.calibration_lines(verdict):
            screen.print(line)
        screen.print(model_tables.gates(verdict.get("gates", [])))
    names = {passport["model_id"], passport.get("candidate_id")}
    events = [event for event in registry.events() if event.model_id in names]
    screen.print("\n[bold]history[/bold]")
    screen.print(model_tables.history(events) if events else "the registry of this folder knows nothing of it")


@app.command("verify")
def verify(
    model: Annotated[
        str, typer.Argument(help="Model or candidate id, or how it begins; the registry when left out")
    ] = "",
    folder: Annotated[
        Path | None, typer.Option("--model", help="A model's folder, such as one copied from elsewhere")
    ] = None,
    dataset: Annotated[Path | None, typer.Option(help="The data set's Parquet file, its manifest beside it")] = None,
) -> None:
    """Prove a model: recompute seal, hashes, parity, calibration, every figure, gates and verdicts from data set and graph.

    Without a model: the registry's file, its tables, and the files of all that is promoted; takes a moment.
    """
    settings = load_settings()
    if not model and folder is None:
        _verify_registry(settings)
        return
    home = folder if folder is not None else model_folder(settings, model)
    passport = read_json(home / "passport.json")
    reference = dataset_of(settings, passport, dataset)
    recorded = recorded_passports(Registry(settings.paths.registry).events(), str(passport.get("model_id")))
    screen = model_tables.screen()
    with screen.status("recomputing every figure"):
        found = verify_passport(
            home,
            reference,
            weights=weights_of(settings, passport, home),
            recorded=recorded,
            memory_gb=settings.train_memory_gb,
        )
    remarks = list(found.remarks)
    if not recorded:
        remarks.append("no registry here recorded its passport")
    for remark in remarks:
        screen.print(f"note: {remark}", soft_wrap=True)
    if not found.is_true:
        lines = "\n  ".join(found.differences)
        msg = (
            f"{found.model_id} in {home} is not what its passport says:\n  {lines}\n"
            "Do not use it: go back (desk models rollback), put the judged files back, or judge it again: desk evaluate --model"
        )
        raise ModelError(msg)
    screen.print(f"{found.model_id}: all {found.figures} values recomputed, no difference", soft_wrap=True)


@app.command("promote")
def promote(
    model: Model,
    why: Why,
    slot: Annotated[
        str, typer.Argument(help="Such as lstm:BTC-USD; every slot whose gates it passed when left out")
    ] = "",
    dry_run: DryRun = False,
) -> None:
    """Let a judged model that passed every gate serve a slot, by one atomic switch; the runtime takes it up within a minute."""
    settings = load_settings()
    registry = Registry(settings.paths.registry)
    home, slots = candidate_folder(settings, model), [slot] if slot else []
    wanted = registry.promotion(home, slots)
    screen = model_tables.screen()
    if not dry_run:
        # before the switch too: a registry that was cut is refused before anything builds on it
        _keep(settings, registry)
        registry.promote(home, slots, why=why)
        _keep(settings, registry)
    if not wanted.changes:
        screen.print(f"{wanted.model_id} is served already; its files are as they were judged")
    verb = "would be served" if dry_run else "is served"
    for name, before in wanted.changes.items():
        screen.print(f"{name} {verb} by {wanted.model_id} (before: {before or 'nothing'})", soft_wrap=True)


@app.command("rollback")
def rollback(
    slot: Annotated[str, typer.Argument(help="Such as lstm:BTC-USD")], why: Why, dry_run: DryRun = False
) -> None:
    """Let a slot serve again what it served before its present model, by one atomic switch."""
    settings = load_settings()
    registry = Registry(settings.paths.registry)
    screen = model_tables.screen()
    if dry_run:
        screen.print(f"{slot} would be served by {registry.earlier(slot) or 'nothing'}", soft_wrap=True)
        return
    _keep(settings, registry)
    earlier = registry.rollback(slot, why=why)
    _keep(settings, registry)
    screen.print(f"{slot} is served by {earlier or 'nothing'}", soft_wrap=True)


@app.command("restore")
def restore() -> None:
    """Write a damaged registry.json anew from the table registry_events; the damaged file is kept beside it."""
    settings = load_settings()
    registry = Registry(settings.paths.registry)
    count, kept = restore_registry(settings, registry)
    screen = model_tables.screen()
    screen.print(f"{registry.path} holds {count} events again", soft_wrap=True)
    if kept is not None:
        screen.print(
            f"the damaged file is {kept.name}; events after {registry.events()[-1].happened_at:%Y-%m-%d %H:%M} UTC are only there, if any"
        )


def _verify_registry(settings: Settings) -> None:
    registry = Registry(settings.paths.registry)
    events = registry.events()
    faults = []
    current = registry.current()
    for slot, found in current.items():
        try:
            require_whole(found.path, found.model_id, recorded_passports(events, found.model_id))
        except ModelError as error:
            faults.append(f"{slot}: {error}")
    _keep(settings, registry)
    if settings.paths.market_db.exists():
        faults += history_faults(FeatureStore(settings.paths.market_db))
    if faults:
        lines = "\n  ".join(faults)
        msg = f"the registry does not hold:\n  {lines}\nGo back to copies of these files, or promote again: desk models promote"
        raise ModelError(msg)
    model_tables.screen().print(
        f"{len(events)} events, each linked to the one before; the tables agree; {len(current)} slots serve whole files",
        soft_wrap=True,
    )


def _keep(settings: Settings, registry: Registry, metrics: Iterable[MetricRow] = ()) -> None:
    """Bring the tables up to date; where they are busy or the disk is full the next command does it."""
    try:
        mirror_registry(settings, registry, metrics)
    except (StoreBusyError, DiskFullError) as error:
        model_tables.screen().print(
            f"note: the tables follow with the next promotion or desk models verify ({error})", soft_wrap=True
        )


def evaluate(
    model: Annotated[
        str | None, typer.Option(help="Candidate id, its beginning, or its folder; the newest when left out")
    ] = None,
    symbol: Annotated[
        str | None, typer.Option(help="Product, such as BTC-USD or BTC; all the model serves when left out")
    ] = None,
    model_type: Annotated[
        str | None, typer.Option(help="lstm, transformer or boosting, to choose the newest of")
    ] = None,
    min_accuracy: Annotated[float | None, typer.Option(help="Least accuracy; MIN_ACCURACY when left out")] = None,
    max_calibration_error: Annotated[float | None, typer.Option(help="MAX_CALIBRATION_ERROR when left out")] = None,
) -> None:
    """Judge one model on its untouched test part and print every gate; exit status 1 if it is refused.

    Promotes nothing: `make evaluate` does, or `desk models promote`.
    """
    settings = load_settings()
    wanted = settings.resolve_products(symbol) if symbol else None
    candidate = _candidate(settings, model, model_type, wanted)
    judgement = _judge(settings, candidate, min_accuracy, max_calibration_error)
    refused = False
    screen = model_tables.screen()
    for verdict in judgement.verdicts:
        if wanted is not None and verdict.product not in wanted:
            continue
        refused |= not verdict.accepted
        outcome = (
            "[green]passes every gate[/green]"
            if verdict.accepted
            else f"[red]refused by {', '.join(verdict.refused_by)}[/red]"
        )
        screen.print(f"\n[bold]{verdict.slot}[/bold]  {judgement.model_id}  {outcome}")
        screen.print(model_tables.gates([asdict(gate) for gate in verdict.gates]))
        passport = read_json(Path(judgement.path) / "passport.json")
        for line in beside_the_gates(passport, verdict.product):
            screen.print(line, soft_wrap=True, highlight=False)
    if refused:
        raise typer.Exit(1)


def _judge(settings: Settings, candidate: CandidateRef, accuracy: float | None, error: float | None) -> Judgement:
    dataset = dataset_of(settings, read_json(Path(candidate.path) / "candidate.json"))
    terms = judging_terms(settings, accuracy, error, dataset=dataset)
    with model_tables.screen().status(f"judging {candidate.candidate_id}"):
        judgement = judge_in_process(candidate, dataset, terms.profile, cost_bps=terms.cost_bps, trials=terms.trials)
    # a look at the test part counts, whatever comes of it
    registry = Registry(settings.paths.registry)
    registry.record_judgement(judgement)
    _keep(settings, registry, judgement.metrics)
    return judgement


def _candidate(
    settings: Settings, model: str | None, model_type: str | None, products: tuple[str, ...] | None
) -> CandidateRef:
    if model is not None:
        home = candidate_folder(settings, model)
        found = finished(home)
        if found is None:
            msg = f"the training in {home} did not finish; run it again, it goes on where it stood"
            raise ModelError(msg)
        return found
    markers = sorted(settings.paths.checkpoints.glob("*/candidate.json"), key=lambda path: path.stat().st_mtime)
    for marker in reversed(markers):
        candidate = finished(marker.parent)
        if candidate is not None and _fits(candidate, model_type, products):
            return candidate
    msg = "no trained model fits; run: make train COIN=BTC, or make transformer"
    raise ModelError(msg)


def _fits(candidate: CandidateRef, model_type: str | None, products: tuple[str, ...] | None) -> bool:
    right_type = model_type is None or candidate.architecture.startswith(model_type)
    return right_type and (products is None or set(products) <= set(candidate.products))
