"""Build immutable data sets, and past ones again: features, labels and parts in one Parquet file named by its hash, a manifest beside it.

The same store, span and cut give the same bytes: rows are sorted, the writer's settings are fixed and no clock is read.
Rows come from `store.month_cache`, which computes only what it does not have yet. Only flows come here; the runtime does not, so
Arrow is welcome.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core.candles import HORIZON_MINUTES, Span, minute_start
from core.dataset_files import DatasetManifest, DatasetRef, ManifestFeatures, PartBorders
from core.errors import DatasetError
from core.integrity import sha256_of
from core.locks import scratch_folder
from store.connection import disk_errors
from store.feature_sets import recorded_set
from store.month_cache import DatasetRequest, MonthCache, schema, writer_options
from store.splits import Borders, walk_forward

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from core.settings import Settings
    from store.feature_store import FeatureStore
    from store.month_cache import CandleSource, PartSummary
    from store.splits import Fold

_PARTS = ("train", "early_stop", "calibration", "test")
_NONE = "none"


@dataclass(frozen=True, slots=True)
class Built:
    """A finished file, before it has a catalogue row."""

    reference: DatasetRef
    rows: int


def build(request: DatasetRequest, source: CandleSource, folder: Path) -> Built:
    """Write the data set of ``request`` into ``folder``; an equal one that is there already is kept as it is.

    Raises:
        DatasetError: no minute of the span has features, or memory is too small.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts = MonthCache(request, source, folder)
    filled = [facts for facts in parts.complete().values() if facts.rows]
    if not filled:
        msg = (
            f"no minute of {request.span} has features for {', '.join(request.products)}: each needs "
            f"{request.features.warm_up_minutes + 1} minutes of candles without a hole of over an hour before it; run: make backfill"
        )
        raise DatasetError(msg)
    first, end = _extent(filled)
    borders = Borders.over(first, end)
    draft = folder / f".draft-{os.getpid()}"
    try:
        counts = _write(request, parts, borders, draft)
        digest = sha256_of(draft)
        path = folder / f"{digest[:16]}.parquet"
        if not path.exists():
            draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    sources = sorted({source for facts in filled for source in facts.sources})
    reference = DatasetRef.at(digest, path)
    _manifest(request, borders, (first, end), digest, counts, sources).write(Path(reference.manifest_path))
    parts.prune()
    total = sum(sum(counted.values()) for counted in counts.values())
    return Built(reference, total)


def _extent(filled: Iterable[PartSummary]) -> tuple[int, int]:
    """Return the first minute with features and the one after the last, over all products."""
    ends = [end for facts in filled for end in (facts.first_minute, facts.last_minute) if end is not None]
    return min(ends), max(ends) + 1


def _write(request: DatasetRequest, parts: MonthCache, borders: Borders, path: Path) -> dict[str, dict[str, int]]:
    """Write the rows product by product and return how many of each part every product has."""
    columns = schema(request.features).append(pa.field("part", pa.string()))
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
    request: DatasetRequest,
    borders: Borders,
    extent: tuple[int, int],
    digest: str,
    counts: dict[str, dict[str, int]],
    sources: Iterable[str],
) -> DatasetManifest:
    features = request.features
    return DatasetManifest(
        digest=digest,
        feature_set=ManifestFeatures(
            features.name, features.version, features.sha256, features.columns, features.warm_up_minutes
        ),
        products=tuple(sorted(request.products)),
        span=request.span,
        known_at_cut=request.cut,
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


@dataclass(frozen=True, slots=True)
class RestoredDataset:
    """What a rebuild came to."""

    digest: str
    path: Path
    rows: int
    was_missing: bool
    """Whether the file was gone (or not the one it is named by), and lies there again now."""


def recorded(store: FeatureStore, digest: str) -> dict[str, Any]:
    """Return the catalogue's row of the data set whose hash begins with ``digest``.

    Raises:
        DatasetError: none does, or several do.
    """
    rows = store.recorded_datasets()
    matching = [row for row in rows if row["digest"].startswith(digest)]
    if len(matching) != 1 or not digest:
        known = ", ".join(row["digest"][:16] for row in rows) or "none"
        what = "none begins" if not matching else f"{len(matching)} begin"
        msg = f"{what} with {digest!r} of the data sets recorded here: {known}; see: desk dataset list"
        raise DatasetError(msg)
    return matching[0]


def rebuild(settings: Settings, store: FeatureStore, digest: str) -> RestoredDataset:
    """Compute every row of a recorded data set again, as the candles were known then, and compare the bytes.

    Nothing cached is used. A file that is missing or spoiled is put back; one that is whole is left alone.

    Raises:
        DatasetError: the data set is not recorded, or the bytes differ.
        ConfigError: the SQL of its feature set is another one today.
    """
    row = recorded(store, digest)
    features = recorded_set(row["feature_set"], row["feature_hash"], row["feature_set"])
    path = settings.paths.home / row["path"]
    path.parent.mkdir(parents=True, exist_ok=True)
    with disk_errors(path.parent), scratch_folder("rebuild", path.parent) as folder:
        request = DatasetRequest(
            tuple(row["products"].split(",")),
            Span(row["start_time"], row["end_time"]),
            features,
            row["known_at_cut"],
            settings.feature_threads,
            settings.feature_memory_mb,
        )
        built = build(request, store, folder)
        if built.reference.digest != row["digest"]:
            msg = (
                f"data set {row['digest'][:16]} came out as {built.reference.digest[:16]}: the store no longer holds what it held, "
                "or another version of the libraries writes other bytes; desk verify looks at the store"
            )
            raise DatasetError(msg)
        is_whole = path.exists() and sha256_of(path) == row["digest"]
        if not is_whole:
            Path(built.reference.manifest_path).replace(path.with_suffix(".json"))
            Path(built.reference.path).replace(path)
    return RestoredDataset(row["digest"], path, built.rows, not is_whole)
