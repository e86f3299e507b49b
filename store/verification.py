"""Is an export still what it was, and does the store still hold what the export says it held?

Every answer is a `Proof`: what was claimed, whether it holds, what was found, and the command that repairs it.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from store.database import connect
from store.ingest import utc
from store.raw_export import file_digest, read_manifest
from store.sql_files import load_sql

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from core.errors import CandleFileError
    from store.month_cache import Snapshot
    from store.raw_export import Manifest

_EXPORT_AGAIN = ".venv/bin/python flows/backfill.py -p export=true"
_SHOWN = 3
_VERDICTS = {
    "lost": "no longer stored",
    "changed": "stored differently",
    "extra": "stored and not in the export",
}


@dataclass(frozen=True, slots=True)
class Proof:
    """One claim and whether it holds."""

    subject: str
    """File, product or check it is about."""
    claim: str
    holds: bool
    found: str = ""
    repair: str = ""
    """The command that repairs it; empty where nothing has to be."""


def prove_export(
    manifest_path: Path, snapshot: Snapshot, ledger: Mapping[str, int], revised: Sequence[datetime]
) -> list[Proof]:
    """Hold one export against its manifest and against the store.

    Args:
        manifest_path: The JSON beside the export.
        snapshot: Copies a product's candles as of a moment into an in-memory store.
        ledger: The states of the span's minutes now.
        revised: Minutes of the span with a later version, learned after the cut: listed, no fault.
    """
    path = manifest_path.with_suffix(".parquet")
    manifest = read_manifest(manifest_path)
    proofs = [_prove_hash(path, manifest)]
    if not proofs[0].holds:
        return proofs
    table = pq.read_table(path)
    proofs.append(_prove_rows(path, manifest, table))
    proofs.append(_prove_store(path, manifest, table, snapshot))
    if manifest.ledger:
        proofs.append(_prove_ledger(path, manifest, ledger))
    if revised:
        found = f"{len(revised)} candles have a later version: {_times(revised)}"
        proofs.append(Proof(path.name, "later revisions are known", holds=True, found=found))
    return proofs


def _prove_hash(path: Path, manifest: Manifest) -> Proof:
    claim = "the file is the one its manifest tells of"
    if not path.exists():
        repair = f"rm {path.with_suffix('.json')}; {_EXPORT_AGAIN}"
        return Proof(path.name, claim, holds=False, found="the file is missing", repair=repair)
    digest = file_digest(path)
    holds = digest == manifest.sha256
    found = digest[:16] if holds else f"sha256 is {digest[:16]}, the manifest says {manifest.sha256[:16]}"
    repair = "" if holds else f"rm {path} {path.with_suffix('.json')}; {_EXPORT_AGAIN}"
    return Proof(path.name, claim, holds=holds, found=found, repair=repair)


def _prove_rows(path: Path, manifest: Manifest, table: pa.Table) -> Proof:
    rows = table.num_rows
    told = dict(sorted(Counter(table["source"].to_pylist()).items()))
    holds = (rows, manifest.span.minutes - rows) == (manifest.rows, manifest.missing) and (
        not manifest.sources or told == manifest.sources
    )
    found = f"{rows} rows, {manifest.span.minutes - rows} minutes missing"
    if not holds:
        found += f"; the manifest says {manifest.rows} and {manifest.missing}, sources {manifest.sources}"
    repair = "" if holds else f"rm {path} {path.with_suffix('.json')}; {_EXPORT_AGAIN}"
    return Proof(path.name, "rows, gaps and sources are counted right", holds=holds, found=found, repair=repair)


def _prove_store(path: Path, manifest: Manifest, table: pa.Table, snapshot: Snapshot) -> Proof:
    connection = connect(":memory:")
    try:
        connection.execute(load_sql("tables/candles_1m"))
        snapshot(connection, manifest.product, manifest.span, manifest.cut)
        connection.register("exported", table)
        rows = connection.execute(load_sql("queries/proof_rows")).fetchall()
    finally:
        connection.close()
    claim = f"the store, as known at {manifest.cut:%Y-%m-%d %H:%M:%S}, holds each of its rows"
    if not rows:
        return Proof(path.name, claim, holds=True, found=f"{table.num_rows} rows equal")
    by_verdict: dict[str, list[datetime]] = {}
    for moment, verdict in rows:
        by_verdict.setdefault(verdict, []).append(utc(moment))
    found = "; ".join(f"{len(times)} {_VERDICTS[verdict]}: {_times(times)}" for verdict, times in by_verdict.items())
    repair = (
        f".venv/bin/desk import --restore {path}"
        if "lost" in by_verdict
        else f"rm {path} {path.with_suffix('.json')}; {_EXPORT_AGAIN}"
    )
    return Proof(path.name, claim, holds=False, found=found, repair=repair)


def _prove_ledger(path: Path, manifest: Manifest, ledger: Mapping[str, int]) -> Proof:
    """An answer is never taken back, so fewer minutes may be open now than at the export, never more."""
    then, now = _unanswered(manifest.ledger), _unanswered(ledger)
    holds = now <= then
    found = f"{now} minutes unanswered, {then} at the export"
    repair = "" if holds else "make backfill"
    return Proof(path.name, "no answer in the ledger was lost", holds=holds, found=found, repair=repair)


def _unanswered(states: Mapping[str, int]) -> int:
    return states["failed"] + states["not_asked"]


def _times(moments: Sequence[datetime]) -> str:
    shown = ", ".join(f"{moment:%Y-%m-%d %H:%M}" for moment in moments[:_SHOWN])
    return shown if len(moments) <= _SHOWN else f"{shown} and {len(moments) - _SHOWN} more"


def prove_ledger(product: str, states: Mapping[str, int]) -> Proof:
    """Hold the states of a product's minutes, first to last window, against each other: they add up, none twice."""
    names = ("stored", "proved_empty", "quarantined", "failed", "not_asked")
    total = sum(states[name] for name in names)
    faults = []
    if states["asked_twice"]:
        faults.append(f"{states['asked_twice']} minutes lie in two windows")
    if states["stored_unasked"]:
        faults.append(f"{states['stored_unasked']} candles lie in no answered window")
    if total != states["minutes"] or min(states[name] for name in names) < 0:
        faults.append(f"the states add up to {total} of {states['minutes']} minutes")
    counts = ", ".join(f"{states[name]} {name.replace('_', ' ')}" for name in names)
    found = "; ".join((*faults, counts))
    # a window that is gone is asked for again, and told candles that are the same change nothing
    repair = "make backfill" if faults else ""
    return Proof(product, "the ledger's states add up", holds=not faults, found=found, repair=repair)


def prove_dataset(digest: str, path: Path) -> list[Proof]:
    """Hold a data set's file and manifest against the hash it is named by."""
    claim = "the data set is the one it is named by"
    manifest = path.with_suffix(".json")
    again = f"desk dataset rebuild {digest[:16]}"
    if not path.exists():
        return [Proof(path.name, claim, holds=False, found="the file is missing", repair=again)]
    found = file_digest(path)
    if found != digest or not found.startswith(path.stem):
        return [Proof(path.name, claim, holds=False, found=f"sha256 is {found[:16]}", repair=again)]
    try:
        told: Any = json.loads(manifest.read_text(encoding="utf-8"))
        holds = told["digest"] == digest
    except (OSError, ValueError, KeyError, TypeError):
        holds = False
    if not holds:
        return [
            Proof(path.name, "its manifest tells of it", holds=False, found=f"{manifest.name} does not", repair=again)
        ]
    return [Proof(path.name, claim, holds=True, found=found[:16])]


def unreadable(path: Path, error: CandleFileError) -> Proof:
    """Return the proof of a manifest that cannot be read."""
    return Proof(
        path.name, "the manifest can be read", holds=False, found=str(error), repair=f"rm {path}; {_EXPORT_AGAIN}"
    )
