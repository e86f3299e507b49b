"""`desk coverage`, `desk publish`, `desk schema-doc`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from desk.config import load_settings
from store.feature_store import FeatureStore
from store.reader import Reader
from store.schema_doc import schema_markdown
from store.signal_store import SignalStore

console = Console()


def coverage() -> None:
    """Show per product which minutes are stored, proved empty, failed and not asked for."""
    with Reader(load_settings().paths) as reader:
        rows = reader.sql("select * from coverage order by product")
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in rows[0] if rows else ("product",):
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    console.print(table)


def publish() -> None:
    """Refresh the read copies of both databases."""
    paths = load_settings().paths
    for path, copy in ((paths.market_db, paths.market_copy), (paths.signals_db, paths.signals_copy)):
        if path.exists():
            FeatureStore(path).publish(copy) if path == paths.market_db else SignalStore(path).publish(copy)
            console.print(f"published {copy}")


def schema_doc(
    target: Annotated[Path, typer.Option(help="File to write")] = Path("docs/schema.md"),
) -> None:
    """Write what every table, view, label and macro holds, from the headers of the SQL files."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(schema_markdown(), encoding="utf-8")
    console.print(f"wrote {target}")
