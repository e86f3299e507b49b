"""Prove the store against its exports, its ledger, its checks and its data sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.errors import CandleFileError
from store.raw_export import read_manifest
from store.verification import Proof, prove_dataset, prove_export, prove_ledger, unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from core.settings import Paths
    from store.feature_store import FeatureStore

_CHECK_REPAIRS = {
    "candles_unasked": "make backfill",
    "ledger_adds_up": "make backfill",
}
_ANY_CHECK = ".venv/bin/desk sql -f sql/checks/{name}.sql shows the rows; then restore a copy of the database, or move it away and run: make backfill"


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
            yield unreadable(path, error)
            continue
        ledger = store.ledger_summary(manifest.product, manifest.span)
        revised = store.later_revisions(manifest.product, manifest.span, manifest.cut)
        yield from prove_export(path, store.copy_candles, ledger, revised)
    told = {path.stem for path in manifests}
    for path in sorted(folder.glob("*.parquet")):
        if path.stem not in told and not path.name.startswith("."):
            again = f"rm {path}; .venv/bin/python flows/backfill.py -p export=true"
            yield Proof(path.name, "a manifest tells of it", holds=False, found="it has none", repair=again)


def _ledgers(store: FeatureStore) -> Iterator[Proof]:
    for row in store.coverage():
        product = str(row["product"])
        span = store.span_asked(product)
        if span is not None:
            yield prove_ledger(product, store.ledger_summary(product, span))


def _checks(store: FeatureStore) -> Iterator[Proof]:
    for check in store.quality():
        name, bad = str(check["check"]), int(check["bad_rows"])
        found = f"{bad} bad rows: {check['sentence']}" if bad else "0 bad rows"
        repair = _CHECK_REPAIRS.get(name, _ANY_CHECK.format(name=name)) if bad else ""
        yield Proof(f"sql/checks/{name}", "the check finds nothing", holds=not bad, found=found, repair=repair)
