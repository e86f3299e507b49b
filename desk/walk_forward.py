"""`desk walk-forward`: train a model again for each fold on the past, and show how it forecasts what followed."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from core.candles import epoch_minute, minute_start
from core.dataset_files import DatasetManifest, DatasetRef
from core.errors import ConfigError, DatasetError
from core.files import write_text
from core.settings import Settings, load_settings
from models.datasets.folds import FoldBorders, minutes_of
from models.judging.promotion import judging_order
from models.registry import Registry
from models.training.candidate import ALL_COINS, TrainSpec, spec_as_json, spec_from_settings
from models.walk_forward.fold_figures import walk_forward_record
from models.walk_forward.fold_runs import (
    Changes,
    Configuration,
    FinishedJob,
    WalkForwardPlan,
    WalkForwardStep,
    parse_configurations,
    run,
)
from models.walk_forward.walk_record import WalkForwardRecord
from reports.page.console import print_blocks, screen
from reports.page.document import Text
from runtime.risk.execution_costs import round_trip_cost
from store.datasets import recorded
from store.feature_sets import recorded_set
from store.feature_store import FeatureStore
from store.splits import WALK_FORWARD_FOLDS, require_folds

console = Console()
remarks = Console(stderr=True)


def walk_forward(
    products: Annotated[
        str | None, typer.Option(help="Comma separated, such as BTC-USD,ETH; all of the data set when left out")
    ] = None,
    architecture: Annotated[str, typer.Option(help="lstm, lstm_one_way, boosting or transformer")] = "lstm",
    folds: Annotated[int, typer.Option(help="Folds of equal length over the last half of the span")] = (
        WALK_FORWARD_FOLDS
    ),
    rolling: Annotated[
        int | None, typer.Option(metavar="DAYS", help="Fit each fold on so many days; on all before it when left out")
    ] = None,
    configurations: Annotated[
        Path | None, typer.Option(metavar="FILE", help="TOML: a table named configuration for each to be tried")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE[,...]", help="One configuration; again for the next; or: preset"),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Most epochs; EPOCHS when left out")] = None,
    stride: Annotated[int | None, typer.Option(help="Train on every n-th minute; TRAIN_STRIDE when left out")] = None,
    every: Annotated[int, typer.Option(help="Judge every n-th minute: labels overlap 15 times")] = 5,
    test_part: Annotated[
        bool | None,
        typer.Option(
            "--test-part/--no-test-part",
            help="Also walk over the data set's test part; by default only if one configuration is tried",
        ),
    ] = None,
    dataset: Annotated[str | None, typer.Option(metavar="HASH", help="Data set; the newest when left out")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print every figure as JSON instead of tables")] = False,
) -> None:
    """Train again for each fold on what lies before it, judge on what follows, and say by fold what came of it.

    Each fold is a model of its own: scaler, early stopping and calibration from its own past, purged by the horizon, served
    as the exported graph, beside baselines trained on the same rows. Nothing is promoted. Of several configurations it
    also says how likely the best one is best by luck (PBO, deflated Sharpe ratio); each counts as a trial in the registry.
    Killed and started again by the same command it does only what is left. Status 1 if a fold failed.
    """
    settings = load_settings()
    reference = _dataset(settings, dataset)
    manifest = reference.manifest()
    tried = parse_configurations(set_ or [], configurations)
    keeps_test = test_part if test_part is not None else len(tried) == 1
    coins = _coins(settings, manifest, products)
    borders = _borders(reference, manifest, folds, rolling, every, keeps_test=keeps_test)
    terms = judging_order(settings, round_trip_cost(settings))
    typed: Changes = {name: value for name, value in (("epochs", epochs), ("stride", stride)) if value is not None}
    plan = WalkForwardPlan(
        reference,
        coins,
        borders,
        tuple(_configuration(settings, architecture, coins, name, typed | more) for name, more in tried.items()),
        terms.profile,
        terms.cost_bps,
    )
    began = time.monotonic()
    with _bar(plan) as on_step:
        finished = run(
            plan,
            settings.paths.home / "models" / "walk_forward",
            workers=settings.train_workers,
            memory_gb=settings.train_memory_gb,
            on_step=on_step,
        )
    registry = Registry(settings.paths.registry)
    _record_trials(registry, plan, finished)
    record = walk_forward_record(
        plan,
        finished,
        trials=registry.count_trials().total,
        manifest=manifest,
        rolling_days=rolling,
        walks_over_test_part=keeps_test,
        seconds=round(time.monotonic() - began, 1),
    )
    paths = _write(settings, record)
    _show(record, paths, as_json=as_json)
    if any(ended.error for ended in finished):
        raise typer.Exit(1)


def _dataset(settings: Settings, digest: str | None) -> DatasetRef:
    paths = settings.paths
    if not paths.market_db.exists():
        msg = f"{paths.market_db} does not exist yet, so there is no data set; run: make backfill, then make features"
        raise DatasetError(msg)
    store = FeatureStore(paths.market_db)
    if digest is None:
        newest = store.latest_dataset()
        features = newest.manifest().feature_set
        recorded_set(features.name, features.sha256, settings.feature_set)
        return newest
    row = recorded(store, digest)
    path = paths.home / row["path"]
    if not path.exists():
        msg = f"the data set {row['digest'][:16]} is recorded, its file {path} is gone; run: desk dataset rebuild {row['digest'][:16]}"
        raise DatasetError(msg)
    return DatasetRef.at(row["digest"], path)


def _coins(settings: Settings, manifest: DatasetManifest, names: str | None) -> tuple[str, ...]:
    held = manifest.products
    wanted = settings.resolve_products(names) if names else held
    if missing := [product for product in wanted if product not in held]:
        msg = (
            f"the data set {manifest.digest[:16]} holds {', '.join(held)}, not {', '.join(missing)}; name those it holds, "
            f"or backfill them and build it again: make backfill, make features"
        )
        raise DatasetError(msg)
    return wanted


def _borders(
    reference: DatasetRef,
    manifest: DatasetManifest,
    folds: int,
    rolling: int | None,
    every: int,
    *,
    keeps_test: bool,
) -> tuple[FoldBorders, ...]:
    if rolling is not None and rolling < 1:
        msg = (
            f"--rolling {rolling} leaves nothing to fit on; give the days each fold is fitted on, such as --rolling 90"
        )
        raise ConfigError(msg)
    first, end = minutes_of(reference)
    if not keeps_test:
        # what is chosen by looking at the folds must find its test part unseen
        end = min(end, epoch_minute(manifest.borders.test))
    planned = require_folds(first, end, folds, rolling_minutes=None if rolling is None else rolling * 1440)
    return tuple(
        FoldBorders(fold.train_start, fold.early_stop, fold.calibration, fold.test_start, fold.test_end, every)
        for fold in planned
    )


def _configuration(
    settings: Settings, architecture: str, products: tuple[str, ...], name: str, changes: Changes
) -> Configuration:
    groups = [products] if architecture in ALL_COINS else [(product,) for product in products]
    specs = tuple(spec_from_settings(settings, architecture, group, **changes) for group in groups)
    return Configuration(name, changes, specs)


def _record_trials(registry: Registry, plan: WalkForwardPlan, finished: list[FinishedJob]) -> None:
    """Record each configuration whose folds are all there as one trial for each of its models; once, however often run."""
    known = {(event.kind, event.model_id) for event in registry.events()}
    for number, configuration in enumerate(plan.configurations):
        for spec in configuration.specs:
            folds = [ended for ended in finished if ended.job.configuration == number and ended.job.spec == spec]
            model_id = _trial_id(plan, spec)
            if any(ended.error for ended in folds) or ("trial", model_id) in known:
                continue
            registry.record("trial", spec.architecture, model_id, _trial_words(plan, spec, configuration.name))


def _trial_id(plan: WalkForwardPlan, spec: TrainSpec) -> str:
    decides = [plan.base.digest, [asdict(fold) for fold in plan.folds], spec_as_json(spec), plan.cost_bps]
    return f"walk-forward-{spec.name}-{hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:12]}"


def _trial_words(plan: WalkForwardPlan, spec: TrainSpec, name: str) -> str:
    """Return the trial in the words `models.registry.trials` reads: which minutes of which coins were looked at."""
    start, end = (minute_start(minute).isoformat() for minute in (plan.folds[0].test, plan.folds[-1].end))
    label = name.replace(" ", "").replace("=", ":")
    return (
        f"walk-forward over {len(plan.folds)} folds configuration={label} dataset={plan.base.digest[:16]} "
        f"test={start}/{end} of={','.join(spec.products)}"
    )


@contextmanager
def _bar(plan: WalkForwardPlan) -> Iterator[Callable[[WalkForwardStep], None]]:
    """Show how far all jobs are, by their length, and how each ended."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    shares: dict[tuple[int, int, str], float] = {}
    with Progress(*columns, TimeRemainingColumn(), console=remarks, speed_estimate_period=600) as bar:
        task = bar.add_task("walking forward", total=1.0)

        def on_step(step: WalkForwardStep) -> None:
            job = step.job
            shares[job.configuration, job.fold, job.spec.name] = job.weight * step.share
            where = f"{job.spec.name}, fold {job.fold + 1} of {len(plan.folds)}"
            if len(plan.configurations) > 1:
                where += f", {plan.configurations[job.configuration].name}"
            bar.update(task, completed=sum(shares.values()), description=f"{where}: {step.words}"[:100])
            if step.share >= 1:
                bar.console.print(f"{where}: {step.words}", highlight=False, soft_wrap=True)

        yield on_step


def _write(settings: Settings, record: WalkForwardRecord) -> tuple[Path, Path]:
    from reports.walk_forward.page import walk_forward_document  # noqa: PLC0415  # plotting takes a second; --help need not wait

    folder = settings.paths.reports / "walk_forward"
    page, data = folder / f"{record.run_id}.html", folder / f"{record.run_id}.json"
    record.write(data)
    write_text(page, walk_forward_document(record).html())
    return page, data


def _show(record: WalkForwardRecord, paths: tuple[Path, Path], *, as_json: bool) -> None:
    from reports.walk_forward.page import terminal_tables  # noqa: PLC0415  # the same

    if as_json:
        print(json.dumps(record.as_json(), indent=1))
        return
    console = screen()
    for title, table, notes in terminal_tables(record):
        console.print(f"\n[bold]{title}[/bold]")
        print_blocks(console, [table, *map(Text, notes)])
    for failure in record.failures:
        console.print(f"failed: {failure}", style="red", soft_wrap=True)
    for path in paths:
        console.print(f"wrote {path}", soft_wrap=True)
