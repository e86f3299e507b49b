"""`desk verify`: prove the store against exports, ledger, checks and data sets."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Literal

import typer

from core.errors import StoreError
from core.settings import load_settings
from reports.page.console import print_blocks, screen
from reports.page.document import Cell, Table
from store.feature_store import FeatureStore
from store.verification import Proof
from store.verify import proofs


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
    console = screen()
    rows = tuple(
        (Cell("ok", "good") if proof.holds else Cell("FAULT", "bad"), proof.subject, proof.claim, proof.found)
        for proof in found
    )
    print_blocks(console, [Table(("", "what", "claim", "found"), rows)])
    faults = [proof for proof in found if not proof.holds]
    for proof in faults:
        # one line, not wrapped: it is meant to be copied
        console.print(f"{proof.subject}: {proof.found}\n  repair: {proof.repair}", soft_wrap=True, highlight=False)
    word = f"{len(faults)} of {len(found)} claims do not hold" if faults else f"all {len(found)} claims hold"
    console.print(word, style="bold red" if faults else "bold green")
