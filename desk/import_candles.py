"""`desk import`: candles from CSV, JSON lines and Parquet files into the store."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from core.candles import MINUTE, Span, floor_minute
from core.settings import Settings, load_settings
from market.ingest.backfill import OnProgress
from market.ingest.import_file import ImportOrder, ImportResult, import_file, import_order, restore_file
from store.feature_store import FeatureStore
from store.schema import migrate_databases

console = Console()
remarks = Console(stderr=True)


def import_(
    files: Annotated[list[Path], typer.Argument(help="CSV, JSON lines or Parquet files, plain or gzipped")],
    product: Annotated[str | None, typer.Option(help="Product id, where the file's name does not show it")] = None,
    source: Annotated[str | None, typer.Option(help="What the candles carry as source; the file's name")] = None,
    columns: Annotated[
        str | None,
        typer.Option(help="All columns from the left, such as time,low,high,open,close,volume; - ignores one"),
    ] = None,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Believe the file against the exchange's own answers; both versions are kept"),
    ] = False,
    last_is_closed: Annotated[
        bool,
        typer.Option("--last-is-closed", help="Also store the newest minute: it was over when the file was written"),
    ] = False,
    restore: Annotated[
        bool, typer.Option("--restore", help="The files are exports of this store: put lost rows back as they were")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Do it on a copy of the store, and show what would come of it")
    ] = False,
) -> None:
    """Import candles by the same rules as fetched ones: quality, quarantine, revisions, ledger.

    A row wins by these rules: where the exchange has answered for a minute, the exchange wins (unless --replace); of two
    files the one imported later; within one file the row with more volume, as a minute only grows. Both versions stay.
    Minutes a file lacks are not taken for empty: a backfill asks the exchange for them. Running it again changes nothing.
    """
    settings = load_settings()
    parts = tuple(columns.split(",")) if columns else None
    # every file is looked at before the first is stored
    orders = [
        import_order(path, product, source, parts, replace=replace, last_is_closed=last_is_closed)
        for path in ([] if restore else files)
    ]
    with _target(settings, dry_run=dry_run) as store:
        if restore:
            for path in files:
                with _bar(path.name) as show:
                    count = restore_file(store, path, show)
                console.print(f"{path.name}: {count} rows put back", highlight=False)
        else:
            _import(store, orders)
        if not dry_run:
            store.publish(settings.paths.market_copy)
    if dry_run:
        remarks.print("dry run: nothing was stored", style="yellow")


@contextmanager
def _target(settings: Settings, *, dry_run: bool) -> Iterator[FeatureStore]:
    if not dry_run:
        migrate_databases(settings.paths)
        with FeatureStore(settings.paths.market_db) as store:
            yield store
        return
    with tempfile.TemporaryDirectory(prefix="desk-import-") as folder:
        copy = Path(folder) / "market.duckdb"
        if settings.paths.market_db.exists():
            FeatureStore(settings.paths.market_db).publish(copy)
        with FeatureStore(copy) as store:
            store.migrate()
            yield store


def _import(store: FeatureStore, orders: list[ImportOrder]) -> None:
    results: list[ImportResult] = []
    try:
        for order in orders:
            with _bar(order.path.name) as show:
                results.append(import_file(store, order, show))
    finally:
        if results:
            _show(store, results)


@contextmanager
def _bar(name: str) -> Iterator[OnProgress]:
    """Show a bar while the work runs; it is gone when the work is done."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %  {task.fields[note]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=remarks,
        transient=True,
    )
    with bar:
        task = bar.add_task(name, total=1.0, note="")

        def show(share: float, note: str = "") -> None:
            bar.update(task, completed=share, note=note)

        yield show


def _show(store: FeatureStore, results: list[ImportResult]) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("product", "rows", "stored", "known", "revised", "rejected", "first", "last"):
        table.add_column(name, overflow="fold")
    for result in results:
        count = result.count
        counts = (count.rows, count.stored, count.known, count.revised, count.quarantined.total())
        ends = (_minute(result.first_open_time), _minute(result.last_open_time))
        table.add_row(result.product, *map(str, counts), *ends)
    console.print(table)
    for result in results:
        _remark(store, result)


def _remark(store: FeatureStore, result: ImportResult) -> None:
    """Say what the counts do not: how the columns were read, why rows were set aside, what looks wrong, what is missing."""
    said = [f"columns {result.columns}", f"sha256 {result.sha256[:16]}"]
    said += [f"{number} quarantined as {reason}" for reason, number in sorted(result.count.quarantined.items())]
    if result.first_open_time is not None and result.last_open_time is not None:
        # a row off the grid may be the first or the last
        span = Span(floor_minute(result.first_open_time), floor_minute(result.last_open_time) + MINUTE)
        flags = store.flag_counts(result.product, span)
        states = store.ledger_summary(result.product, span)
        said.append(f"flagged: {flags['early_saves']} minutes look saved too early, {flags['spikes']} spikes")
        said.append(
            f"{states['not_asked'] + states['failed']} minutes of its span are still to be asked for: make backfill"
        )
    console.print(f"{result.source.removeprefix('import:')}: {'; '.join(said)}", soft_wrap=True, highlight=False)


def _minute(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M}" if moment else ""
