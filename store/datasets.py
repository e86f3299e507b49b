"""Immutable data sets: features, labels and parts as one Parquet file named by its hash, with a manifest beside it.

The same store, span and cut give the same bytes: rows are sorted, the writer's settings are fixed and no clock is read.
Rows come from `store.month_cache`, which computes only what it does not have yet. Only flows come here; the runtime does not, so
Arrow is welcome.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core.candles import HORIZON_MINUTES, DatasetRef
from core.errors import DatasetError
from store.month_cache import Parts, schema, writer_options
from store.splits import Borders, walk_forward

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from store.month_cache import Facts, Order

_PARTS = ("train", "early_stop", "calibration", "test")
_NONE = "none"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Built:
    """A finished file, before it has a catalogue row."""

    reference: DatasetRef
    rows: int


def build(order: Order, folder: Path) -> Built:
    """Write the data set of ``order`` into ``folder``; an equal one that is there already is kept as it is.

    Raises:
        DatasetError: no minute of the span has features, or memory is too small.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts = Parts(order, folder)
    filled = [facts for facts in parts.complete().values() if facts.rows]
    if not filled:
        msg = (
            f"no minute of {order.span} has features for {', '.join(order.products)}: each needs "
            f"{order.features.warm_up_minutes + 1} minutes of candles without a hole of over an hour before it; run: make backfill"
        )
        raise DatasetError(msg)
    first, end = _extent(filled)
    borders = Borders.over(first, end)
    draft = folder / f".draft-{os.getpid()}"
    try:
        counts = _write(order, parts, borders, draft)
        with draft.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        path, manifest_path = folder / f"{digest[:16]}.parquet", folder / f"{digest[:16]}.json"
        if not path.exists():
            draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    sources = sorted({source for facts in filled for source in facts.sources})
    manifest = _manifest(order, borders, (first, end), digest, counts, sources)
    _write_text(manifest_path, json.dumps(manifest, indent=2) + "\n")
    parts.prune()
    total = sum(sum(counted.values()) for counted in counts.values())
    return Built(DatasetRef(digest, str(path), str(manifest_path)), total)


def _extent(filled: Iterable[Facts]) -> tuple[int, int]:
    """Return the first minute with features and the one after the last, over all products."""
    ends = [end for facts in filled for end in (facts.first_minute, facts.last_minute) if end is not None]
    return min(ends), max(ends) + 1


def _write_text(path: Path, text: str) -> None:
    draft = path.with_name(path.name + ".draft")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def _write(order: Order, parts: Parts, borders: Borders, path: Path) -> dict[str, dict[str, int]]:
    """Write the rows product by product and return how many of each part every product has."""
    columns = schema(order.features).append(pa.field("part", pa.string()))
    counts: dict[str, Counter[str]] = {}
    with pq.ParquetWriter(path, columns, **writer_options(columns)) as writer:
        for product, months in parts.parts.items():
            counts[product] = Counter(dict.fromkeys((*_PARTS, _NONE), 0))
            for month in months:
                table = _with_part(parts.table(month), borders)
                writer.write_table(table.cast(columns))
                counts[product].update(_counted(table))
    return {product: dict(counted) for product, counted in counts.items()}


def _with_part(table: pa.Table, borders: Borders) -> pa.Table:
    """Say of each row which part it belongs to; none without a label, or where the label reaches a later part."""
    edges = np.array([borders.early_stop, borders.calibration, borders.test])
    minute_N = table["minute"].to_numpy()
    part_N = edges.searchsorted(minute_N, side="right")
    reached_N = edges.searchsorted(minute_N + HORIZON_MINUTES, side="right")
    # rows of the test part have no later one to reach
    none_N = (part_N != reached_N) | table["direction_15m"].is_null().to_numpy()
    names = pa.DictionaryArray.from_arrays(pa.array(part_N, mask=none_N), list(_PARTS))
    return table.append_column("part", names.cast(pa.string()))


def _counted(table: pa.Table) -> dict[str, int]:
    counted = table["part"].value_counts().to_pylist()
    return {entry["values"] or _NONE: entry["counts"] for entry in counted}


def _manifest(
    order: Order,
    borders: Borders,
    extent: tuple[int, int],
    digest: str,
    counts: dict[str, dict[str, int]],
    sources: list[str],
) -> dict[str, Any]:
    features = order.features
    return {
        "digest": digest,
        "feature_set": {
            "name": features.name,
            "version": features.version,
            "sha256": features.sha256,
            "columns": list(features.columns),
            "warm_up_minutes": features.warm_up_minutes,
        },
        "products": sorted(order.products),
        "span": {"start": order.span.start.isoformat(), "end": order.span.end.isoformat()},
        "known_at_cut": order.cut.isoformat(),
        "horizon_minutes": HORIZON_MINUTES,
        "purge_minutes": HORIZON_MINUTES,
        # every part comes after the one before it, so only walk-forward folds that train on later data would need one
        "embargo_minutes": 0,
        "borders": {name: _moment(minute).isoformat() for name, minute in asdict(borders).items()},
        "folds": [
            {name: _moment(minute).isoformat() for name, minute in asdict(fold).items()}
            for fold in walk_forward(*extent)
        ],
        "rows": counts,
        "sources": sources,
    }


def _moment(minute: int) -> datetime:
    return _EPOCH + timedelta(minutes=minute)
