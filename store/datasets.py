"""Immutable data sets: features, labels and parts as one Parquet file named by its hash, with a manifest beside it.

The same store, span and cut give the same bytes: rows are sorted, the writer's settings are fixed and no clock is read.
Rows come from `store.month_cache`, which computes only what it does not have yet. Only flows come here; the runtime does not, so
Arrow is welcome.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core.candles import HORIZON_MINUTES, minute_start
from core.dataset_files import DatasetManifest, DatasetRef, ManifestFeatures, PartBorders
from core.errors import DatasetError
from core.integrity import sha256_of
from store.month_cache import Parts, schema, writer_options
from store.splits import Borders, walk_forward

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from store.month_cache import Facts, Order
    from store.splits import Fold

_PARTS = ("train", "early_stop", "calibration", "test")
_NONE = "none"


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
        digest = sha256_of(draft)
        path = folder / f"{digest[:16]}.parquet"
        if not path.exists():
            draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    sources = sorted({source for facts in filled for source in facts.sources})
    reference = DatasetRef.at(digest, path)
    _manifest(order, borders, (first, end), digest, counts, sources).write(Path(reference.manifest_path))
    parts.prune()
    total = sum(sum(counted.values()) for counted in counts.values())
    return Built(reference, total)


def _extent(filled: Iterable[Facts]) -> tuple[int, int]:
    """Return the first minute with features and the one after the last, over all products."""
    ends = [end for facts in filled for end in (facts.first_minute, facts.last_minute) if end is not None]
    return min(ends), max(ends) + 1


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
    sources: Iterable[str],
) -> DatasetManifest:
    features = order.features
    return DatasetManifest(
        digest=digest,
        feature_set=ManifestFeatures(
            features.name, features.version, features.sha256, features.columns, features.warm_up_minutes
        ),
        products=tuple(sorted(order.products)),
        span=order.span,
        known_at_cut=order.cut,
        horizon_minutes=HORIZON_MINUTES,
        purge_minutes=HORIZON_MINUTES,
        # every part comes after the one before it, so only walk-forward folds that train on later data would need one
        embargo_minutes=0,
        borders=PartBorders(**_moments(borders)),
        folds=tuple(_moments(fold) for fold in walk_forward(*extent)),
        rows=counts,
        sources=tuple(sources),
    )


def _moments(minutes: Borders | Fold) -> dict[str, datetime]:
    return {name: minute_start(number) for name, number in asdict(minutes).items()}
