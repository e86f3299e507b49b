"""`desk models ...` and `desk evaluate`: what was trained, judged and promoted, and what it is worth."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from core.dataset_files import DatasetManifest, DatasetRef
from core.errors import DatasetError, DiskFullError, ModelError, StoreBusyError
from core.integrity import sha256_of
from core.settings import Settings, load_settings
from models.gates.judgement import MetricRow
from models.judging import promotion
from models.passport.verify_passport import verify as verify_passport
from models.registry import Registry
from models.registry.trials import candidate_of
from models.serving.passport import Passport
from models.training.candidate import CandidateRef, TrainedCandidate, finished, finished_trainings
from reports.models.history import history_table, judged_models, judged_part_lines
from reports.models.model_card import read_card
from reports.models.tables import calibration_blocks, facts_table, figures_table, gates_table, notes_beside_gates
from reports.page.console import print_blocks, screen
from runtime.risk.execution_costs import round_trip_cost
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
    registry, console = Registry(settings.paths.registry), screen()
    events = registry.events()
    serving = {slot: model.model_id for slot, model in registry.current().items()}
    print_blocks(console, [judged_models(events, serving, everything=everything)])
    trained = [candidate.candidate_id for candidate in finished_trainings(settings.paths.checkpoints)]
    count = registry.count_trials(trained)
    console.print(
        f"\n{count.trainings} trainings ({count.unjudged} never judged), {count.judgings} judgings: {count.total} trials"
    )
    for line in judged_part_lines(events):
        console.print(line)


@app.command("show")
def show(model: Model) -> None:
    """Print a model's passport: origin, figures with intervals beside the baselines, calibration, gates, and its history."""
    settings, console = load_settings(), screen()
    card = read_card(model_folder(settings, model))
    console.print(f"[bold]{card.model_id}[/bold]")
    print_blocks(console, [facts_table(card.passport)])
    for product in card.cards:
        _print_heading(product.slot, "accepted" if product.is_accepted else "", product.failed)
        gates = gates_table([card], product.product)
        print_blocks(console, [figures_table(product), *calibration_blocks(product), gates])
    names = {card.model_id, card.passport.candidate_id}
    console.print("\n[bold]history[/bold]")
    events = [event for event in Registry(settings.paths.registry).events() if event.model_id in names]
    print_blocks(console, [history_table(events)])


def _print_heading(title: str, accepted: str, refused_by: Iterable[str]) -> None:
    outcome = f"[green]{accepted}[/green]" if accepted else f"[red]refused by {', '.join(refused_by)}[/red]"
    screen().print(f"\n[bold]{title}[/bold]  {outcome}", soft_wrap=True)


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
    passport = Passport.read(home, with_seal=False)
    reference = dataset_of(settings, passport.dataset_digest or "", dataset)
    recorded = Registry(settings.paths.registry).recorded_passports(passport.model_id)
    weights = weights_of(settings, passport, home)
    console = screen()
    with console.status("recomputing every figure"):
        verified = verify_passport(
            home, reference, weights=weights, recorded=recorded, memory_gb=settings.train_memory_gb
        )
    remarks = [*verified.remarks, *([] if recorded else ["no registry here recorded its passport"])]
    for remark in remarks:
        console.print(f"note: {remark}", soft_wrap=True)
    if not verified.is_true:
        lines = "\n  ".join(verified.differences)
        msg = (
            f"{verified.model_id} in {home} is not what its passport says:\n  {lines}\n"
            "Do not use it: go back (desk models rollback), put the judged files back, or judge it again: desk evaluate --model"
        )
        raise ModelError(msg)
    console.print(f"{verified.model_id}: all {verified.figures} values recomputed, no difference", soft_wrap=True)


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
    settings, console = load_settings(), screen()
    registry, mirror = Registry(settings.paths.registry), partial(_mirror, settings)
    home, slots = candidate_folder(settings, model), [slot] if slot else []
    switched = promotion.promote(registry, home, slots, why=why, mirror=mirror, dry_run=dry_run)
    if not switched.changes:
        console.print(f"{switched.model_id} is served already; its files are as they were judged")
    verb = "would be served" if dry_run else "is served"
    for name, before in switched.changes.items():
        console.print(f"{name} {verb} by {switched.model_id} (before: {before or 'nothing'})", soft_wrap=True)


@app.command("rollback")
def rollback(
    slot: Annotated[str, typer.Argument(help="Such as lstm:BTC-USD")], why: Why, dry_run: DryRun = False
) -> None:
    """Let a slot serve again what it served before its present model, by one atomic switch."""
    settings = load_settings()
    registry = Registry(settings.paths.registry)
    console = screen()
    if dry_run:
        console.print(f"{slot} would be served by {registry.earlier(slot) or 'nothing'}", soft_wrap=True)
        return
    _mirror(settings, registry)
    earlier = registry.rollback(slot, why=why)
    _mirror(settings, registry)
    console.print(f"{slot} is served by {earlier or 'nothing'}", soft_wrap=True)


@app.command("restore")
def restore() -> None:
    """Write a damaged registry.json anew from the table registry_events; the damaged file is kept beside it."""
    settings = load_settings()
    registry = Registry(settings.paths.registry)
    count, kept = restore_registry(settings, registry)
    console = screen()
    console.print(f"{registry.path} holds {count} events again", soft_wrap=True)
    if kept is not None:
        console.print(
            f"the damaged file is {kept.name}; events after {registry.events()[-1].happened_at:%Y-%m-%d %H:%M} UTC are only there, if any"
        )


def _verify_registry(settings: Settings) -> None:
    registry = Registry(settings.paths.registry)
    events, faults, current = registry.events(), [], registry.current()
    for slot, model in current.items():
        try:
            registry.require_whole(model)
        except ModelError as error:
            faults.append(f"{slot}: {error}")
    fresh = _mirror(settings, registry)
    if fresh:
        # of a home where a promotion could not reach the tables they are honest; who reads this knows whether it was so
        for event in events[-fresh:]:
            line = f"note: the tables lacked the {event.kind} of {event.model_id or 'nothing'} for {event.slot}, {event.happened_at:%Y-%m-%d %H:%M} UTC by {event.who}"
            screen().print(line, soft_wrap=True)
    if settings.paths.market_db.exists():
        faults += history_faults(FeatureStore(settings.paths.market_db))
    if faults:
        lines = "\n  ".join(faults)
        msg = f"the registry does not hold:\n  {lines}\nGo back to copies of these files, or promote again: desk models promote"
        raise ModelError(msg)
    screen().print(
        f"{len(events)} events, each linked to the one before; the tables agree; {len(current)} slots serve whole files",
        soft_wrap=True,
    )


def _mirror(settings: Settings, registry: Registry, metrics: Iterable[MetricRow] = ()) -> int:
    """Bring the tables up to date, return how many events they lacked; where they are busy or the disk is full the next command does it."""
    try:
        return mirror_registry(settings, registry, metrics) or 0
    except (StoreBusyError, DiskFullError) as error:
        screen().print(
            f"note: the tables follow with the next promotion or desk models verify ({error})", soft_wrap=True
        )
        return 0


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
    settings, console = load_settings(), screen()
    wanted = settings.resolve_products(symbol) if symbol else None
    candidate = _candidate(settings, model, model_type, wanted)
    dataset = dataset_of(settings, TrainedCandidate.read(Path(candidate.path)).dataset_digest)
    with console.status(f"judging {candidate.candidate_id}"):
        judgement = promotion.judge_candidate(
            settings, candidate, dataset, round_trip_cost(settings), min_accuracy, max_calibration_error
        )
    _mirror(settings, Registry(settings.paths.registry), judgement.metrics)
    card = read_card(Path(judgement.path))
    verdicts = [verdict for verdict in judgement.verdicts if wanted is None or verdict.product in wanted]
    for verdict in verdicts:
        accepted = "passes every gate" if verdict.accepted else ""
        _print_heading(f"{verdict.slot}  {judgement.model_id}", accepted, verdict.refused_by)
        print_blocks(console, [gates_table([card], verdict.product)])
        for line in notes_beside_gates(card.passport, verdict.product):
            console.print(line, soft_wrap=True)
    if not all(verdict.accepted for verdict in verdicts):
        raise typer.Exit(1)


def _candidate(
    settings: Settings, model: str | None, model_type: str | None, products: tuple[str, ...] | None
) -> CandidateRef:
    if model is not None:
        home = candidate_folder(settings, model)
        candidate = finished(home)
        if candidate is None:
            msg = f"the training in {home} did not finish; run it again, it goes on where it stood"
            raise ModelError(msg)
        return candidate
    for trained in reversed(finished_trainings(settings.paths.checkpoints)):
        is_right = model_type is None or trained.architecture.startswith(model_type)
        if is_right and (products is None or set(products) <= set(trained.products)):
            candidate = finished(settings.paths.checkpoints / trained.candidate_id)
            if candidate is not None:
                return candidate
    msg = "no trained model fits; run: make train COIN=BTC, or make transformer"
    raise ModelError(msg)


def model_folder(settings: Settings, model: str) -> Path:
    """Return the folder of a promoted model, or of a judged candidate where none is promoted.

    Raises:
        ModelError: there is none, or several; the text names them.
    """
    return _resolve_folder(settings, model, (settings.paths.promoted, settings.paths.checkpoints))


def candidate_folder(settings: Settings, model: str) -> Path:
    """Return a candidate's own folder, or the promoted copy where that is gone.

    Raises:
        ModelError: there is none, or several; the text names them.
    """
    return _resolve_folder(settings, model, (settings.paths.checkpoints, settings.paths.promoted))


def _resolve_folder(settings: Settings, model: str, homes: tuple[Path, ...]) -> Path:
    if "/" in model or Path(model).is_dir():
        if not Path(model).is_dir():
            msg = f"{model} is no folder; name a model: desk models list --all"
            raise ModelError(msg)
        return Path(model)
    for home in homes:
        folders = [path for path in sorted(home.glob("*")) if path.is_dir() and not path.name.startswith(".")]
        # a model's id is its candidate's id with the beginning of its graph's hash
        exact = [path for path in folders if path.name == model or candidate_of(model) == path.name]
        fitting = exact or [path for path in folders if path.name.startswith(model)]
        if len(fitting) > 1:
            msg = f"{model!r} fits {', '.join(path.name for path in fitting)}; write one of them whole"
            raise ModelError(msg)
        if fitting:
            return fitting[0]
    msg = f"no model {model!r} under {settings.paths.home / 'models'}; see: desk models list --all"
    raise ModelError(msg)


def weights_of(settings: Settings, passport: Passport, home: Path) -> Path | None:
    """Return the folder with the weights a model was exported from, None if they are not on this machine."""
    named = settings.paths.checkpoints / (passport.candidate_id or candidate_of(passport.model_id))
    return next((folder for folder in (home, named) if finished(folder) is not None), None)


def dataset_of(settings: Settings, digest: str, file: Path | None = None) -> DatasetRef:
    """Return the data set of a digest, or the one in ``file``, whatever its digest.

    Raises:
        DatasetError: it is not there; the text names the command that puts it back.
    """
    path = file if file is not None else settings.paths.datasets / f"{digest[:16]}.parquet"
    manifest = path.with_suffix(".json")
    if file is None and not path.exists() and manifest.exists():
        # a walk-forward's fold is a manifest alone, over the file of the whole
        path = settings.paths.datasets / f"{DatasetManifest.read(manifest).file_digest[:16]}.parquet"
    if not path.exists() or not manifest.exists():
        gone = path if not path.exists() else manifest
        msg = f"{gone} of data set {digest[:16]} is not there; put it back: desk dataset rebuild {digest[:16]}, or name a copy: --dataset FILE"
        raise DatasetError(msg)
    return DatasetRef(digest if file is None else sha256_of(path), str(path), str(manifest))
