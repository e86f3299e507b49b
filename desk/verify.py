"""`desk verify`: prove the store against exports, ledger, checks and data sets."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from core.errors import StoreError
from core.settings import load_settings
from store.feature_store import FeatureStore
from store.verification import Proof
from store.verify import proofs

console = Console()


def verify(
    output: Annotated[Literal["table", "json"], typer.Option("--format", help="How the rows are printed")] = "table",
) -> None:
    """Prove every export row by row against the store, the ledger, all checks and the data sets; changes nothing.

    Ends with 0 when all holds and with 1 when something does not; each fault names the command that repairs it.
    """
    paths = load_settings().paths
    if not paths.market_db.exists():
        msg = f"{paths.market_db} does not exist yet, so there is nothing to prove; run: make backfill"
        raise StoreError(msg)
    with FeatureStore(paths.market_db) as store:
        found = list(proofs(store, paths))
    if output == "json":
        print(json.dumps([asdict(proof) for proof in found], indent=2))
    else:
        _show(found)
    if not all(proof.holds for proof in found):
        raise typer.Exit(1)


def _show(found: list[Proof]) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("", "what", "claim", "found"):
        table.add_column(name, overflow="fold")
    for proof in found:
        mark = Text("ok", style="green") if proof.holds else Text("FAULT", style="bold red")
        table.add_row(mark, proof.subject, proof.claim, proof.found)
    console.print(table)
    faults = [proof for proof in found if not proof.holds]
    for proof in faults:
        # one line, not wrapped: it is meant to be copied
        console.print(f"{proof.subject}: {proof.found}\n  repair: {proof.repair}", soft_wrap=True, highlight=False)
    word = f"{len(faults)} of {len(found)} claims do not hold" if faults else f"all {len(found)} claims hold"
    console.print(word, style="bold red" if faults else "bold green")
