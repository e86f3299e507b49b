"""`desk migrate`, `desk publish`, `desk schema-doc`: bring databases, read copies and their page up to date."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from core.errors import StoreError
from core.settings import load_settings
from store.feature_store import FeatureStore
from store.schema import migrate_databases
from store.schema_doc import schema_markdown
from store.signal_store import SignalStore

console = Console()


def publish() -> None:
    """Refresh the read copies of both databases.

    Raises:
        StoreError: there is neither, or one cannot be written.
    """
    paths = load_settings().paths
    stores = (
        (FeatureStore(paths.market_db), paths.market_copy),
        (SignalStore(paths.signals_db), paths.signals_copy),
    )
    present = [(store, copy) for store, copy in stores if store.path is not None and store.path.exists()]
    if not present:
        msg = f"there is no database under {paths.home} yet; run: make backfill"
        raise StoreError(msg)
    for store, copy in present:
        # an older file is brought up to date first: readers refuse a copy of another version
        store.migrate()
        console.print(f"published {store.publish(copy)}")


def migrate() -> None:
    """Create the market database, and bring it and the signals database up to this version's tables, views and macros.

    Flows and the commands that fetch or import do it themselves; opening a database to read it never does.
    """
    changed = migrate_databases(load_settings().paths)
    console.print(
        "\n".join(f"brought up to date: {path}" for path in changed) or "nothing to do: the schema is current"
    )


def schema_doc(
    target: Annotated[Path, typer.Option(help="File to write")] = Path("docs/schema.md"),
) -> None:
    """Write what every table, view, label and macro holds, from the headers of the SQL files."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(schema_markdown(), encoding="utf-8")
    console.print(f"wrote {target}")
