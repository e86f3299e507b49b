"""`desk import`: candles from CSV, JSON, Parquet and Feather files into the store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from core.candles import MINUTE, Span
from core.locks import scratch_folder
from core.settings import Settings, load_settings
from market.ingest.backfill import OnProgress
from market.ingest.file_layout import IGNORED
from market.ingest.import_file import (
    Examined,
    ImportOrder,
    ImportResult,
    examine,
    faults_of,
    import_file,
    import_order,
    restore_file,
)
from reports.page.console import print_blocks
from reports.page.document import Table, Text
from store.feature_store import FeatureStore
from store.schema import migrate_databases

console = Console()
remarks = Console(stderr=True)

_REPAIRS = {
    "last_of_file": "--last-is-closed stores it",
    "contradicts_exchange": "--replace believes the file",
    "too_many_decimals": "the store keeps 8 decimals",
}


def import_(
    files: Annotated[list[Path], typer.Argument(help="CSV, JSON, Parquet or Feather files, plain or packed")],
    product: Annotated[str | None, typer.Option(help="Product id, where the file's name does not show it")] = None,
    source: Annotated[str | None, typer.Option(help="What the candles carry as source; the file's name")] = None,
    columns: Annotated[
        str | None,
        typer.Option(help="All columns from the left, such as date,time,open,high,low,close,volume; - ignores one"),
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
    trust_prices: Annotated[
        bool,
        typer.Option(
            "--trust-prices", help="The prices are of this product, however far from those stored around then"
        ),
    ] = False,
    sparse: Annotated[
        bool, typer.Option("--sparse", help="The rows are minutes, though no two of them follow one another")
    ] = False,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Say how each file would be read, and which rows set aside; change nothing"),
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
    orders = [
        import_order(
            path,
            product,
            source,
            parts,
            replace=replace,
            last_is_closed=last_is_closed,
            trust_prices=trust_prices,
            sparse=sparse,
        )
        for path in ([] if restore else files)
    ]
    # every file is looked at before the first is stored
    examined = [examine(order) for order in orders]
    if explain:
        for order, seen in zip(orders, examined, strict=True):
            _explain(order, seen)
        return
    with _target(settings, dry_run=dry_run) as store:
        if restore:
            for path in files:
                with _bar(path.name) as show:
                    count = restore_file(store, path, show)
                console.print(f"{path.name}: {count} rows put back", highlight=False)
        else:
            _import(store, orders, examined)
        if not dry_run:
            store.publish(settings.paths.market_copy)
    if dry_run:
        remarks.print("dry run: nothing was stored", style="yellow")


def _explain(order: ImportOrder, seen: Examined) -> None:
    """Say what a file is taken for, and which rows would be set aside."""
    layout = seen.layout
    rows = []
    for number, meaning in enumerate(str(layout).split(","), 1):
        name = layout.names[number - 1] if number <= len(layout.names) else ""
        rows.append((str(number), name, "not read" if meaning == IGNORED else meaning))
    print_blocks(console, [Text(str(order.path)), Table(("column", "in the file", "is"), tuple(rows))])
    faults = faults_of(order, seen)
    lines = [
        f"order of columns   {layout.recipe}",
        f"time               {layout.unit}",
        f"product            {seen.product}",
        f"interval           {'1 minute' if seen.interval_minutes == 1 else 'minutes, by --sparse' if order.sparse else 'one row, taken for a minute'}",
        f"first, last        {_minute(seen.first)} .. {_minute(seen.last)} UTC",
        f"rows               {seen.rows}, of {seen.minutes} different minutes",
        f"set aside          {', '.join(f'{count} as {_reason(why)}' for why, count in sorted(faults.items())) or 'none'}",
    ]
    if layout.skipped:
        lines.insert(0, f"above the data     {layout.skipped} line(s), a header among them where there is one")
    if seen.other_products:
        others = ", ".join(f"{count} of {name}" for name, count in seen.other_products.most_common())
        lines.append(f"left out           {others}")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _target(settings: Settings, *, dry_run: bool) -> Iterator[FeatureStore]:
    if not dry_run:
        migrate_databases(settings.paths)
        with FeatureStore(settings.paths.market_db) as store:
            yield store
        return
    with scratch_folder("import") as folder:
        copy = folder / "market.duckdb"
        if settings.paths.market_db.exists():
            FeatureStore(settings.paths.market_db).publish(copy)
        with FeatureStore(copy) as store:
            store.migrate()
            yield store


def _import(store: FeatureStore, orders: list[ImportOrder], examined: list[Examined]) -> None:
    results: list[ImportResult] = []
    try:
        for order, seen in zip(orders, examined, strict=True):
            with _bar(order.path.name) as show:
                results.append(import_file(store, order, show, seen=seen))
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
    rows = []
    for result in results:
        count = result.count
        counts = (count.rows, count.stored, count.known, count.revised, count.quarantined.total())
        ends = (_minute(result.first_open_time), _minute(result.last_open_time))
        rows.append((result.product, *map(str, counts), *ends))
    columns = ("product", "rows", "stored", "known", "revised", "rejected", "first", "last")
    print_blocks(console, [Table(columns, tuple(rows))])
    for result in results:
        _remark(store, result)


def _remark(store: FeatureStore, result: ImportResult) -> None:
    """Say what the counts do not: how the columns were read, why rows were set aside, what looks wrong, what is missing."""
    count = result.count
    facts = [f"columns {result.columns}", f"sha256 {result.sha256[:16]}"]
    facts += [f"{number} quarantined as {_reason(name)}" for name, number in sorted(count.quarantined.items())]
    if count.rounded:
        facts.append(f"{count.rounded} volumes rounded to 8 decimals")
    facts += [f"{number} rows of {name} left out" for name, number in result.other_products.most_common(3)]
    span = Span(result.first_open_time, result.last_open_time + MINUTE)
    flags = store.flag_counts(result.product, span)
    states = store.ledger_summary(result.product, span)
    facts.append(f"flagged: {flags['early_saves']} minutes look saved too early, {flags['spikes']} spikes")
    if missing := states["not_asked"] + states["failed"]:
        facts.append(
            f"{missing} minutes of its span are still to be asked for: .venv/bin/python flows/backfill.py -p products={result.product} "
            f"-p start={span.start:%Y-%m-%dT%H:%MZ} -p end={span.end:%Y-%m-%dT%H:%MZ}"
        )
    console.print(f"{result.source.removeprefix('import:')}: {'; '.join(facts)}", soft_wrap=True, highlight=False)


def _reason(name: str) -> str:
    """Return a reason with what can be done about it."""
    return f"{name} ({_REPAIRS[name]})" if name in _REPAIRS else name


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"
