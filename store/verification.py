"""Prove the store against its exports, its ledger, its checks and its data sets.

Every answer is a `Proof`: what was claimed, whether it holds, what was found, and the command that repairs it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from core.dataset_files import DatasetManifest
from core.errors import CandleFileError, DatasetError
from core.integrity import sha256_of
from store.database import memory_session
from store.ingest import utc
from store.raw_export import read_manifest
from store.sql_files import load_sql

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from core.settings import Paths
    from store.feature_store import FeatureStore
    from store.month_cache import CandleSource
    from store.raw_export import ExportManifest

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
    evidence: str = ""
    repair: str = ""
    """The command that repairs it; empty where nothing has to be."""


_CHECK_REPAIRS = {
    "candles_unasked": "make backfill",
    "ledger_adds_up": "make backfill",
}
_ANY_CHECK = ".venv/bin/desk sql -f sql/checks/{name}.sql shows the rows; then restore a copy of the database, or move it away and run: make backfill"


def _proof(subject: str, claim: str, evidence: str, repair: str = "") -> Proof:
    """Return a proof; a claim holds where there is nothing to repair."""
    return Proof(subject, claim, not repair, evidence, repair)


def proofs(store: FeatureStore, paths: Paths) -> Iterator[Proof]:
    """Yield every proof, exports first; nothing is changed.

    Raises:
        StoreError: there is no database, or it cannot be read.
    """
    yield from _exports(store, paths.raw)
    yield from _ledgers(store)
    yield from _checks(store)
    for row in store.recorded_datasets():
        yield from prove_dataset(row["digest"], paths.home / row["path"])


def _exports(store: FeatureStore, folder: Path) -> Iterator[Proof]:
    manifests = sorted(path for path in folder.glob("*.json") if not path.name.startswith("."))
    for path in manifests:
        try:
            manifest = read_manifest(path)
        except CandleFileError as error:
            yield _unreadable(path, error)
            continue
        ledger = store.ledger_summary(manifest.product, manifest.span)
        revised = store.later_revisions(manifest.product, manifest.span, manifest.cut)
        yield from _prove_export(path, store, ledger, revised)
    content = {path.stem for path in manifests}
    for path in sorted(folder.glob("*.parquet")):
        if path.stem not in content and not path.name.startswith("."):
            again = f"rm {path}; {_EXPORT_AGAIN}"
            yield _proof(path.name, "a manifest tells of it", "it has none", again)


def _ledgers(store: FeatureStore) -> Iterator[Proof]:
    for row in store.coverage():
        product = str(row["product"])
        span = store.span_asked(product)
        if span is not None:
            yield _prove_states(product, store.ledger_summary(product, span))


def _checks(store: FeatureStore) -> Iterator[Proof]:
    for check in store.quality():
        name, bad = str(check["check"]), int(check["bad_rows"])
        evidence = f"{bad} bad rows: {check['sentence']}" if bad else "0 bad rows"
        repair = _CHECK_REPAIRS.get(name, _ANY_CHECK.format(name=name)) if bad else ""
        yield _proof(f"sql/checks/{name}", "the check finds nothing", evidence, repair)


def _prove_export(
    manifest_path: Path, store: CandleSource, ledger: Mapping[str, int], revised: Sequence[datetime]
) -> list[Proof]:
    """Hold one export against its manifest and against the store.

    Args:
        manifest_path: The JSON beside the export.
        store: The store's candles.
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
    proofs.append(_prove_store(path, manifest, table, store))
    if manifest.ledger:
        proofs.append(_prove_ledger(path, manifest, ledger))
    if revised:
        evidence = f"{len(revised)} candles have a later version: {_times(revised)}"
        proofs.append(_proof(path.name, "later revisions are known", evidence))
    return proofs


def _prove_hash(path: Path, manifest: ExportManifest) -> Proof:
    claim = "the file is the one its manifest tells of"
    if not path.exists():
        repair = f"rm {path.with_suffix('.json')}; {_EXPORT_AGAIN}"
        return _proof(path.name, claim, "the file is missing", repair)
    digest = sha256_of(path)
    holds = digest == manifest.sha256
    evidence = digest[:16] if holds else f"sha256 is {digest[:16]}, the manifest says {manifest.sha256[:16]}"
    repair = "" if holds else f"rm {path} {path.with_suffix('.json')}; {_EXPORT_AGAIN}"
    return _proof(path.name, claim, evidence, repair)


def _prove_rows(path: Path, manifest: ExportManifest, table: pa.Table) -> Proof:
    rows = table.num_rows
    content = dict(sorted(Counter(table["source"].to_pylist()).items()))
    holds = (rows, manifest.span.minutes - rows) == (manifest.rows, manifest.missing) and (
        not manifest.sources or content == manifest.sources
    )
    evidence = f"{rows} rows, {manifest.span.minutes - rows} minutes missing"
    if not holds:
        evidence += f"; the manifest says {manifest.rows} and {manifest.missing}, sources {manifest.sources}"
    repair = "" if holds else f"rm {path} {path.with_suffix('.json')}; {_EXPORT_AGAIN}"
    return _proof(path.name, "rows, gaps and sources are counted right", evidence, repair)


def _prove_store(path: Path, manifest: ExportManifest, table: pa.Table, store: CandleSource) -> Proof:
    with memory_session(path.parent) as connection:
        connection.execute(load_sql("tables/candles_1m"))
        store.copy_candles(connection, manifest.product, manifest.span, manifest.cut)
        connection.register("exported", table)
        rows = connection.execute(load_sql("queries/proof_rows")).fetchall()
    claim = f"the store, as known at {manifest.cut:%Y-%m-%d %H:%M:%S}, holds each of its rows"
    if not rows:
        return _proof(path.name, claim, f"{table.num_rows} rows equal")
    by_verdict: dict[str, list[datetime]] = {}
    for moment, verdict in rows:
        by_verdict.setdefault(verdict, []).append(utc(moment))
    evidence = "; ".join(f"{len(times)} {_VERDICTS[verdict]}: {_times(times)}" for verdict, times in by_verdict.items())
    repair = (
        f".venv/bin/desk import --restore {path}"
        if "lost" in by_verdict
        else f"rm {path} {path.with_suffix('.json')}; {_EXPORT_AGAIN}"
    )
    return _proof(path.name, claim, evidence, repair)


def _prove_ledger(path: Path, manifest: ExportManifest, ledger: Mapping[str, int]) -> Proof:
    """An answer is never taken back, so fewer minutes may be open now than at the export, never more."""
    then, now = _unanswered(manifest.ledger), _unanswered(ledger)
    holds = now <= then
    evidence = f"{now} minutes unanswered, {then} at the export"
    repair = "" if holds else "make backfill"
    return _proof(path.name, "no answer in the ledger was lost", evidence, repair)


def _unanswered(states: Mapping[str, int]) -> int:
    return states["failed"] + states["not_asked"]


def _times(moments: Sequence[datetime]) -> str:
    shown = ", ".join(f"{moment:%Y-%m-%d %H:%M}" for moment in moments[:_SHOWN])
    return shown if len(moments) <= _SHOWN else f"{shown} and {len(moments) - _SHOWN} more"


def _prove_states(product: str, states: Mapping[str, int]) -> Proof:
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
    evidence = "; ".join((*faults, counts))
    # a window that is gone is asked for again, and told candles that are the same change nothing
    repair = "make backfill" if faults else ""
    return _proof(product, "the ledger's states add up", evidence, repair)


def prove_dataset(digest: str, path: Path) -> list[Proof]:
    """Hold a data set's file and manifest against the hash it is named by."""
    claim = "the data set is the one it is named by"
    manifest = path.with_suffix(".json")
    again = f"desk dataset rebuild {digest[:16]}"
    if not path.exists():
        return [_proof(path.name, claim, "the file is missing", again)]
    evidence = sha256_of(path)
    if evidence != digest or not evidence.startswith(path.stem):
        return [_proof(path.name, claim, f"sha256 is {evidence[:16]}", again)]
    try:
        is_its_own = DatasetManifest.read(manifest).digest == digest
    except DatasetError:
        is_its_own = False
    if not is_its_own:
        return [_proof(path.name, "its manifest tells of it", f"{manifest.name} does not", again)]
    return [_proof(path.name, claim, evidence[:16])]


def _unreadable(path: Path, error: CandleFileError) -> Proof:
    """Return the proof of a manifest that cannot be read."""
    return _proof(path.name, "the manifest can be read", str(error), f"rm {path}; {_EXPORT_AGAIN}")
