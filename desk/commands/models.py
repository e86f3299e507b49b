"""`desk models ...` and `desk evaluate`: what was trained, judged and promoted, and what it is worth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from desk.config import Settings, load_settings
from desk.errors import ModelError
from desk.market import CandidateRef, DatasetRef
from models.artefacts import read_json
from models.candidate import finished
from models.judgement import Judgement
from models.process import judge_in_process
from models.registry import Registry
from models.terms import judging_terms
from models.verify import verify as verify_passport

console = Console()
app = typer.Typer(help="The model registry.", no_args_is_help=True, add_completion=False)
Why = Annotated[str, typer.Option(help="The reason; kept for ever", prompt=True)]


@app.command("list")
def list_models() -> None:
    """List every judged model: which slots it serves, or which gates refused it."""
    registry = Registry(load_settings().paths.registry)
    serving = {(promoted.slot, promoted.model_id) for promoted in registry.current().values()}
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("slot", "model", "state", "judged", "why"):
        table.add_column(name, overflow="fold")
    for model_id, events in sorted(registry.candidates().items()):
        for event in events:
            state = "[green]promoted[/green]" if (event.slot, model_id) in serving else event.kind
            table.add_row(event.slot, model_id, state, f"{event.happened_at:%Y-%m-%d %H:%M}", event.why)
    console.print(
        table if table.row_count else "no model was ever judged; run: make train COIN=BTC, then make evaluate"
    )


@app.command("show")
def show(model: Annotated[str, typer.Argument(help="Model or candidate id, or its beginning")]) -> None:
    """Print a model's passport in short: figures with intervals, baselines, gates."""
    passport = read_json(_folder(load_settings(), model) / "passport.json")
    console.print(f"[bold]{passport['model_id']}[/bold]  data set {passport['dataset_digest'][:16]}")
    for product, verdict in passport["verdicts"].items():
        console.print(f"\n{product}: {'accepted' if verdict['accepted'] else 'refused'}")
        console.print(_gate_table(verdict["gates"]))


@app.command("verify")
def verify(model: Annotated[str, typer.Argument(help="Model or candidate id, or its beginning")]) -> None:
    """Recompute a passport's hash, canaries and every metric from the data set.

    Raises:
        ModelError: something differs; the text names it.
    """
    settings = load_settings()
    folder = _folder(settings, model)
    found = verify_passport(folder, _dataset(settings, read_json(folder / "passport.json")["dataset_digest"]))
    if not found.is_true:
        msg = f"{found.model_id} is not what its passport says: {'; '.join(found.differences)}. Judge it again: make evaluate"
        raise ModelError(msg)
    console.print(f"{found.model_id}: all {found.figures} figures recomputed, no difference")


@app.command("promote")
def promote(
    model: Annotated[str, typer.Argument(help="Model or candidate id, or its beginning")],
    slot: Annotated[str, typer.Argument(help="Such as lstm:BTC-USD")],
    why: Why,
) -> None:
    """Let a judged model that passed every gate serve a slot."""
    settings = load_settings()
    served = Registry(settings.paths.registry).promote(_folder(settings, model), [slot], why=why)
    console.print(f"{slot} is served by {served}")


@app.command("rollback")
def rollback(slot: Annotated[str, typer.Argument(help="Such as lstm:BTC-USD")], why: Why) -> None:
    """Let a slot serve again what it served before."""
    earlier = Registry(load_settings().paths.registry).rollback(slot, why=why)
    console.print(f"{slot} is served by {earlier or 'nothing'}")


def evaluate(
    model: Annotated[
        str | None, typer.Option(help="Candidate id, its beginning, or its folder; the newest when left out")
    ] = None,
    symbol: Annotated[
        str | None, typer.Option(help="Product, such as BTC-USD or BTC; all the model serves when left out")
    ] = None,
    model_type: Annotated[str | None, typer.Option(help="lstm or transformer, to choose the newest of")] = None,
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
    for verdict in judgement.verdicts:
        if wanted is not None and verdict.product not in wanted:
            continue
        refused |= not verdict.accepted
        outcome = (
            "[green]passes every gate[/green]"
            if verdict.accepted
            else f"[red]refused by {', '.join(verdict.refused_by)}[/red]"
        )
        console.print(f"\n[bold]{verdict.slot}[/bold]  {judgement.model_id}  {outcome}")
        console.print(_gate_table([{name: getattr(gate, name) for name in gate.__slots__} for gate in verdict.gates]))
    if refused:
        raise typer.Exit(1)


def _judge(settings: Settings, candidate: CandidateRef, accuracy: float | None, error: float | None) -> Judgement:
    terms = judging_terms(settings, accuracy, error)
    digest = read_json(Path(candidate.path) / "candidate.json")["dataset_digest"]
    with console.status(f"judging {candidate.candidate_id}"):
        return judge_in_process(
            candidate, _dataset(settings, digest), terms.profile, cost_bps=terms.cost_bps, trials=terms.trials
        )


def _candidate(
    settings: Settings, model: str | None, model_type: str | None, products: tuple[str, ...] | None
) -> CandidateRef:
    if model is not None:
        found = finished(_folder(settings, model))
        if found is None:
            msg = f"the training in {_folder(settings, model)} did not finish; run it again, it goes on after the last epoch"
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


def _folder(settings: Settings, model: str) -> Path:
    if Path(model).is_dir():
        return Path(model)
    homes = (settings.paths.promoted, settings.paths.checkpoints)
    found = [path for home in homes for path in sorted(home.glob(f"{model}*")) if path.is_dir()]
    # a model's id is its candidate's id with the beginning of its graph's hash
    found = found or [path for path in sorted(settings.paths.checkpoints.glob("*")) if model.startswith(path.name)]
    if not found:
        msg = f"no model {model!r} under {settings.paths.home / 'models'}; see: desk models list"
        raise ModelError(msg)
    return found[0]


def _dataset(settings: Settings, digest: str) -> DatasetRef:
    path = settings.paths.datasets / f"{digest[:16]}.parquet"
    if not path.exists():
        msg = f"the data set {digest[:16]} is not in {settings.paths.datasets}; rebuild it: make features"
        raise ModelError(msg)
    return DatasetRef(digest, str(path), str(path.with_suffix(".json")))


def _gate_table(gates: list[dict[str, object]]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name, justify in (("gate", "left"), ("", "left"), ("figure", "right"), ("bound", "right"), ("95 %", "left")):
        table.add_column(name, justify="right" if justify == "right" else "left")
    table.add_column("what would change it", overflow="fold")
    for gate in gates:
        interval = f"{_number(gate['low'])} to {_number(gate['high'])}" if gate["low"] is not None else ""
        state = "[green]pass[/green]" if gate["passed"] else "[red]FAIL[/red]"
        table.add_row(
            str(gate["name"]), state, _number(gate["figure"]), _number(gate["bound"]), interval, str(gate["sentence"])
        )
    return table


def _number(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float | int) else ""
