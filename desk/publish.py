"""`desk publish`, `desk schema-doc`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from core.settings import load_settings
from store.feature_store import FeatureStore
from store.schema_doc import schema_markdown
from store.signal_store import SignalStore

console = Console()


def publish() -> None:
    """Refresh the read copies of both databases."""
    paths = load_settings().paths
    for path, copy in ((paths.market_db, paths.market_copy), (paths.signals_db, paths.signals_copy)):
        if path.exists():
            store = FeatureStore(path) if path == paths.market_db else SignalStore(path)
            # an older file is brought up to date first: readers refuse a copy of another version
            store.migrate()
            store.publish(copy)
            console.print(f"published {copy}")


def schema_doc(
    target: Annotated[Path, typer.Option(help="File to write")] = Path("docs/schema.md"),
) -> None:
    """Write what every table, view, label and macro holds, from the headers of the SQL files."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(schema_markdown(), encoding="utf-8")
    console.print(f"wrote {target}")
