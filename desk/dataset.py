"""`desk dataset`: which data sets there are, and building a past one again."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from core.errors import DatasetError
from core.settings import load_settings
from reports.page.console import print_blocks, screen
from reports.page.document import Cell, Table
from store.feature_store import FeatureStore
from store.rebuild import rebuild as rebuild_dataset

console = Console()
app = typer.Typer(help="Data sets: immutable files named by the hash of their content.", no_args_is_help=True)


def _store() -> FeatureStore:
    paths = load_settings().paths
    if not paths.market_db.exists():
        msg = f"{paths.market_db} does not exist yet; run: make backfill, then make features"
        raise DatasetError(msg)
    return FeatureStore(paths.market_db)


@app.command("list")
def list_datasets() -> None:
    """Show every data set that was exported, the newest first."""
    home = load_settings().paths.home
    rows = tuple(
        (
            row["digest"][:16],
            f"{row['feature_set']}@{row['feature_hash'][:8]}",
            row["products"].replace(",", ", "),
            f"{row['start_time']:%Y-%m-%d %H:%M} .. {row['end_time']:%Y-%m-%d %H:%M}",
            f"{row['known_at_cut']:%Y-%m-%d %H:%M:%S}",
            Cell(f"{row['row_count']:,}", "number"),
            "there" if (home / row["path"]).exists() else "missing: desk dataset rebuild",
        )
        for row in _store().recorded_datasets()
    )
    columns = ("data set", "features", "products", "span (UTC)", "known until", "rows", "file")
    print_blocks(screen(), [Table(columns, rows, "no data set was exported yet; run: make features")])


@app.command()
def rebuild(
    digest: Annotated[str, typer.Argument(metavar="HASH", help="The data set's hash, or how it begins")],
) -> None:
    """Compute a past data set again from the store, as candles were known then, and compare every byte.

    A file that is gone or spoiled is put back. Revisions learned since then change nothing.
    """
    settings = load_settings()
    with console.status("computing every row again"):
        done = rebuild_dataset(settings, _store(), digest)
    what = "was missing or spoiled, and is there again" if done.was_missing else "is there, and the same"
    console.print(f"{done.digest[:16]}: {done.rows:,} rows, the same bytes; {done.path.name} {what}", soft_wrap=True)
