"""Immutable data sets: features, labels and parts as one Parquet file named by its hash, with a manifest beside it.

The same store, span and cut give the same bytes: rows are sorted, the writer's settings are fixed and no clock is read.
Only flows come here; the runtime does not, so Arrow is welcome.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from desk.errors import DatasetError
from desk.market import HORIZON_MINUTES, MINUTE, DatasetRef, Span
from store.database import connect
from store.features import LONGEST_FILL_MINUTES
from store.queries import load_sql
from store.schema import apply_schema
from store.splits import Borders, walk_forward

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import duckdb

    from store.features import FeatureSet

    Snapshot = Callable[[duckdb.DuckDBPyConnection, str, Span, datetime], None]
    """Copies one product's candles, as known at a moment, into an in-memory store."""

_PART_MINUTES = 131_072
"""A product is computed this many minutes at a time, which bounds memory; rows have the same bits however it is cut."""
_PARTS = ("train", "early_stop", "calibration", "test")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Order:
    """What a data set is made of; two equal orders on one store give one file."""

    products: tuple[str, ...]
    span: Span
    features: FeatureSet
    cut: datetime
    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class Built:
    """A finished file, before it has a catalogue row."""

    reference: DatasetRef
    rows: int


def build(order: Order, folder: Path) -> Built:
    """Write the data set of ``order`` into ``folder``; an equal one that is there already is kept as it is.

    Raises:
        DatasetError: no minute of the span has features.
    """
    folder.mkdir(parents=True, exist_ok=True)
    scratch = _Scratch(order)
    try:
        return _built(order, folder, scratch)
    finally:
        scratch.connection.close()


def _built(order: Order, folder: Path, scratch: _Scratch) -> Built:
    extents, sources = _survey(order, scratch)
    if not extents:
        msg = (
            f"no minute of {order.span} has features for {', '.join(order.products)}: each needs "
            f"{order.features.warm_up_minutes + 1} minutes of candles without a hole of over an hour before it; run: make backfill"
        )
        raise DatasetError(msg)
    first, end = min(low for low, _ in extents), max(high for _, high in extents) + 1
    borders = Borders.over(first, end)
    draft = folder / f".draft-{os.getpid()}"
    try:
        counts = _write(order, scratch, borders, draft)
        with draft.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        path, manifest_path = folder / f"{digest[:16]}.parquet", folder / f"{digest[:16]}.json"
        if not path.exists():
            draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    manifest = _manifest(order, borders, (first, end), digest, counts, sources)
    _write_text(manifest_path, json.dumps(manifest, indent=2) + "\n")
    total = sum(sum(parts.values()) for parts in counts.values())
    return Built(DatasetRef(digest, str(path), str(manifest_path)), total)


def _write_text(path: Path, text: str) -> None:
    draft = path.with_name(path.name + ".draft")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


class _Scratch:
    """An in-memory store for one part of one product at a time: its candles as of the cut, and those its rows depend on."""

    def __init__(self, order: Order) -> None:
        self.connection = connect(":memory:")
        self._order = order
        apply_schema(self.connection, "market", with_comments=False)
        inputs = ", ".join(f"cast({name} as float) as {name}" for name in order.features.columns)
        self.connection.execute(
            "create temp view feature_rows as select product, open_time, minute, cast(close as double) as close, "  # noqa: S608  # names from our own list
            f"is_filled, {inputs} from {order.features.view}"
        )

    def load(self, product: str, part: Span) -> duckdb.DuckDBPyConnection:
        """Forget what was loaded before and copy one product's candles around one part of the span."""
        # dropped rather than emptied: deleted rows would keep their memory
        self.connection.execute("drop table candles_1m")
        self.connection.execute(load_sql("tables/candles_1m"))
        early = part.start - self._order.features.history_minutes * MINUTE
        # the label of the last minute, and the candle that shows whether that label's minute was without a trade
        late = min(part.end + (HORIZON_MINUTES + LONGEST_FILL_MINUTES + 1) * MINUTE, self._order.span.end)
        self._order.snapshot(self.connection, product, Span(early, late), self._order.cut)
        return self.connection


def _survey(order: Order, scratch: _Scratch) -> tuple[list[tuple[int, int]], list[str]]:
    """Return first and last minute with features of each part of each product that has any, and who told the candles."""
    extents: list[tuple[int, int]] = []
    sources: set[str] = set()
    for product in order.products:
        for part in order.span.pages(_PART_MINUTES):
            connection = scratch.load(product, part)
            parameters = _bounds(part) | {"warm_up": order.features.warm_up_minutes}
            first, last = connection.execute(load_sql("queries/dataset_extent"), parameters).fetchall()[0]
            if first is not None:
                extents.append((first, last))
                rows = connection.execute("select distinct source from candles_1m").fetchall()
                sources |= {row[0] for row in rows}
    return extents, sorted(sources)


def _schema(features: FeatureSet) -> pa.Schema:
    return pa.schema(
        [
            ("product", pa.string()),
            ("open_time", pa.timestamp("us", tz="UTC")),
            ("minute", pa.int64()),
            ("close", pa.float64()),
            ("is_filled", pa.bool_()),
            *((name, pa.float32()) for name in features.columns),
            ("direction_15m", pa.int8()),
            ("return_15m", pa.float64()),
            ("part", pa.string()),
        ]
    )


def _write(order: Order, scratch: _Scratch, borders: Borders, path: Path) -> dict[str, dict[str, int]]:
    """Write the rows product by product and return how many of each part every product has."""
    schema = _schema(order.features)
    counts: dict[str, Counter[str]] = {}
    with pq.ParquetWriter(
        path, schema, compression="zstd", compression_level=3, version="2.6", use_dictionary=["product", "part"]
    ) as writer:
        for product in sorted(order.products):
            counts[product] = Counter(dict.fromkeys((*_PARTS, "none"), 0))
            for part in order.span.pages(_PART_MINUTES):
                table = _rows(scratch.load(product, part), part, borders).cast(schema)
                writer.write_table(table, row_group_size=_PART_MINUTES)
                counts[product].update(_parts(table))
    return {product: dict(counted) for product, counted in counts.items()}


def _rows(connection: duckdb.DuckDBPyConnection, part: Span, borders: Borders) -> pa.Table:
    parameters = _bounds(part) | asdict(borders) | {"purge": HORIZON_MINUTES}
    return connection.sql(load_sql("queries/dataset_rows"), params=parameters).to_arrow_table()


def _parts(table: pa.Table) -> dict[str, int]:
    counted = table["part"].value_counts().to_pylist()
    return {entry["values"] or "none": entry["counts"] for entry in counted}


def _bounds(span: Span) -> dict[str, int]:
    return {"first": _minute(span.start), "last": _minute(span.end)}


def _manifest(
    order: Order,
    borders: Borders,
    extent: tuple[int, int],
    digest: str,
    counts: dict[str, dict[str, int]],
    sources: Sequence[str],
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
        "sources": list(sources),
    }


def _minute(moment: datetime) -> int:
    return int(moment.timestamp()) // 60


def _moment(minute: int) -> datetime:
    return _EPOCH + timedelta(minutes=minute)
