"""Compute and cache a product's features and labels month by month, each in a file named by what it is made of.

A data set is its parts, one after the other. The name of a part's file holds a hash of everything its rows depend on: the SQL
and the columns, the product and the month, and a fingerprint of every day of candles within reach, as they were known at the
cut. So a day more costs one month's part, a late revision those within its reach, and a part that is found is the one that
would be computed; the data set has the same bytes either way. Parts may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core.candles import HORIZON_MINUTES, MINUTE, Span, epoch_minute
from core.errors import DatasetError
from core.files import whole_file
from store.database import memory_session
from store.feature_sets import LONGEST_FILL_MINUTES
from store.schema import objects
from store.splits import MINUTES_OF_DAY
from store.sql_files import load_sql, statement

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from store.feature_sets import FeatureSet

FOLDER = "parts"
_FORMAT = 1
"""Belongs to every part's name; raise it when a part's file changes in a way its SQL does not show."""
_CHUNK_MINUTES = 524_288
"""Neighbouring parts are computed together, up to this many minutes: planning a query costs as much as 50,000 rows."""
_BYTES_A_MINUTE = 600
"""What a minute of a chunk takes at most, measured; with little memory chunks are shorter. No value depends on it."""
_REACH_MINUTES = HORIZON_MINUTES + LONGEST_FILL_MINUTES + 1
"""Candles after a part that decide its rows: the last label, and whether that label's minute was without a trade."""


class CandleSource(Protocol):
    """Where a data set's candles come from: `store.feature_store.FeatureStore`."""

    def copy_candles(self, target: duckdb.DuckDBPyConnection, product: str, span: Span, cut: datetime) -> None:
        """Copy one product's candles, as known at ``cut``, into an in-memory store."""

    def candle_fingerprints(self, product: str, span: Span, cut: datetime) -> Mapping[int, str]:
        """Return, per day since 1970, what one product's candles of ``span`` were at ``cut``."""


@dataclass(frozen=True, slots=True)
class DatasetRequest:
    """What a data set is made of; two equal requests of one store give one file."""

    products: tuple[str, ...]
    span: Span
    features: FeatureSet
    cut: datetime
    """Only candle versions learned until then exist for it."""
    threads: int = 2
    memory_mb: int | None = None
    """What the computation may use, all threads together; None leaves it to DuckDB. Neither changes a byte."""


@dataclass(frozen=True, slots=True)
class Part:
    """One product over one calendar month, or the piece of it that the request's span covers."""

    product: str
    span: Span
    path: Path


@dataclass(frozen=True, slots=True)
class PartSummary:
    """What a part's file says of itself."""

    rows: int
    first_minute: int | None
    last_minute: int | None
    sources: tuple[str, ...]


def schema(features: FeatureSet) -> pa.Schema:
    """Return the columns of a part: those of a data set but the last, which depends on the whole span."""
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
        ]
    )


def writer_options(columns: pa.Schema) -> dict[str, Any]:
    """Return how Parquet is written: fixed, so that equal rows are equal bytes.

    Splitting floats into their bytes makes zstd's first level smaller and twice as fast as its third without.
    """
    texts = [field.name for field in columns if pa.types.is_string(field.type)]
    floats = {field.name: "BYTE_STREAM_SPLIT" for field in columns if pa.types.is_floating(field.type)}
    return {
        "compression": "zstd",
        "compression_level": 1,
        "version": "2.6",
        "use_dictionary": texts,
        "column_encoding": floats,
        "write_page_checksum": True,
    }


class MonthCache:
    """The parts of one request, by product; what is not there yet is computed by `complete`."""

    def __init__(self, request: DatasetRequest, source: CandleSource, folder: Path) -> None:
        """Name every part; ``folder`` is that of the data sets."""
        self._request = request
        self._source = source
        self._loading = threading.Lock()
        self._folder = folder
        root = folder / FOLDER / request.features.name
        wide = Span(request.span.start - request.features.history_minutes * MINUTE, request.span.end)
        days = {product: source.candle_fingerprints(product, wide, request.cut) for product in sorted(request.products)}
        self.parts = {product: list(self._named(product, root, days)) for product in days}

    def complete(self) -> dict[Path, PartSummary]:
        """Compute the parts that are missing or damaged; return what every part says of itself."""
        facts = {part.path: _facts(part) for parts in self.parts.values() for part in parts}
        chunks = [chunk for parts in self.parts.values() for chunk in _chunks(parts, facts, self._chunk_minutes())]
        if chunks:
            for made in self._computed(chunks):
                facts |= made
        return {path: fact for path, fact in facts.items() if fact is not None}

    def table(self, part: Part) -> pa.Table:
        """Return a part's rows; computed once more if another process has pruned its file meanwhile."""
        try:
            return _read(part)
        except (OSError, pa.ArrowException):
            for _ in self._computed([[part]]):
                pass
            return _read(part)

    def prune(self) -> None:
        """Delete the files that these parts replace: the same month of the same product, made of something else."""
        for parts in self.parts.values():
            kept = {part.path for part in parts}
            for path in kept:
                for other in path.parent.glob(f"{path.name.partition('_')[0]}_*"):
                    if other not in kept:
                        other.unlink(missing_ok=True)

    def _named(self, product: str, root: Path, days: Mapping[str, Mapping[int, str]]) -> Iterator[Part]:
        features = self._request.features
        needed = days if features.crosses_products else {product: days[product]}
        for span in _months(self._request.span):
            reach = self._reach(span)
            within = range(
                epoch_minute(reach.start) // MINUTES_OF_DAY, epoch_minute(reach.end - MINUTE) // MINUTES_OF_DAY + 1
            )
            made_of = {
                "format": [_FORMAT, duckdb.__version__],
                "sql": [features.sha256, statement(load_sql("labels/labels_15m"))],
                "rows": [product, span.start.isoformat(), span.end.isoformat()],
                "candles": {other: [known.get(day) for day in within] for other, known in needed.items()},
            }
            key = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()
            name = f"{span.start:%Y%m%dT%H%M}_{span.end:%Y%m%dT%H%M}-{key[:32]}.parquet"
            yield Part(product, span, root / product / name)

    def _chunk_minutes(self) -> int:
        if self._request.memory_mb is None:
            return _CHUNK_MINUTES
        coins = len(self.parts) if self._request.features.crosses_products else 1
        each = self._request.memory_mb * 1_000_000 // (self._request.threads * coins)
        return min(_CHUNK_MINUTES, each // _BYTES_A_MINUTE)

    def _reach(self, span: Span) -> Span:
        """Return the candles that decide the rows of ``span``."""
        early = span.start - self._request.features.history_minutes * MINUTE
        return Span(early, min(span.end + _REACH_MINUTES * MINUTE, self._request.span.end))

    def _computed(self, chunks: Sequence[list[Part]]) -> Iterator[dict[Path, PartSummary]]:
        count = max(1, min(self._request.threads, len(chunks)))
        memory_mb = self._request.memory_mb and max(1, self._request.memory_mb // count)
        idle: SimpleQueue[Scratch] = SimpleQueue()
        scratches = [Scratch(self._request.features, memory_mb, self._folder) for _ in range(count)]
        for scratch in scratches:
            idle.put(scratch)

        def compute(chunk: list[Part]) -> dict[Path, PartSummary]:
            scratch = idle.get()
            try:
                return self._compute(chunk, scratch)
            finally:
                idle.put(scratch)

        pool = ThreadPoolExecutor(count)
        try:
            yield from pool.map(compute, chunks)
        finally:
            pool.shutdown(cancel_futures=True)
            for scratch in scratches:
                scratch.close()

    def _compute(self, chunk: list[Part], scratch: Scratch) -> dict[Path, PartSummary]:
        span = Span(chunk[0].span.start, chunk[-1].span.end)
        product, reach = chunk[0].product, self._reach(span)
        scratch.empty()
        for other in self.parts if self._request.features.crosses_products else (product,):
            # one at a time: on a file this takes the write lock and attaches it
            with self._loading:
                self._source.copy_candles(scratch.connection, other, reach, self._request.cut)
        table = scratch.rows(product, span).cast(schema(self._request.features))
        minute_N = table["minute"].to_numpy()
        made: dict[Path, PartSummary] = {}
        for part in chunk:
            low, high = minute_N.searchsorted([epoch_minute(part.span.start), epoch_minute(part.span.end)])
            inside_N = minute_N[low:high]
            first, last = (int(inside_N[0]), int(inside_N[-1])) if len(inside_N) else (None, None)
            facts = PartSummary(len(inside_N), first, last, scratch.sources(product, part.span))
            _write(part.path, table.slice(low, high - low), facts)
            made[part.path] = facts
        return made


class Scratch:
    """An in-memory store for the candles that some neighbouring parts depend on."""

    def __init__(self, features: FeatureSet, memory_mb: int | None, spill: Path | None = None) -> None:
        """Create the tables and views that ``features`` and the labels read, no others."""
        # one thread: the views stream through sorted rows, so products and chunks are what runs side by side
        self._open = ExitStack()
        self.connection = self._open.enter_context(memory_session(spill, threads=1, memory_mb=memory_mb))
        needed = {"candles_1m", "labels_15m", *features.views}
        for name, (folder, _) in objects("market").items():
            if name in needed:
                self.connection.execute(load_sql(f"{folder}/{name}"))
        for own in features.own_sql:
            self.connection.execute(own)
        inputs = ", ".join(f"cast({name} as float) as {name}" for name in features.columns)
        self.connection.execute(
            "create temp view feature_rows as select product, open_time, minute, cast(close as double) as close, "  # noqa: S608  # names from our own list
            f"is_filled, {inputs} from {features.view}"
        )

    def close(self) -> None:
        """Close the connection and remove what it spilled."""
        self._open.close()

    def empty(self) -> None:
        """Forget the candles: dropped rather than emptied, as deleted rows would keep their memory."""
        self.connection.execute("drop table candles_1m")
        self.connection.execute(load_sql("tables/candles_1m"))

    def rows(self, product: str, span: Span) -> pa.Table:
        """Return features and labels, sorted by minute."""
        return _labelled(self.features(product, span), self._rows_of("dataset_labels", product, span))

    def features(self, product: str, span: Span) -> pa.Table:
        """Return the features alone."""
        return self._rows_of("dataset_rows", product, span)

    def _rows_of(self, query: str, product: str, span: Span) -> pa.Table:
        parameters = {"product": product, "first": epoch_minute(span.start), "last": epoch_minute(span.end)}
        try:
            return _sorted(self.connection.sql(load_sql(f"queries/{query}"), params=parameters).to_arrow_table())
        except duckdb.OutOfMemoryException as error:
            msg = f"features of {product} over {span} need more memory than FEATURE_MEMORY_MB allows; raise it, or lower FEATURE_THREADS"
            raise DatasetError(msg) from error

    def sources(self, product: str, span: Span) -> tuple[str, ...]:
        """Return who told the candles of ``span``."""
        rows = self.connection.execute(
            "select distinct source from candles_1m where product = $1 and open_time >= $2 and open_time < $3",
            [product, span.start, span.end],
        ).fetchall()
        return tuple(sorted(row[0] for row in rows))


def _sorted(rows: pa.Table) -> pa.Table:
    """Return rows by minute; views that stream bring them so, and looking is cheaper than sorting."""
    minute_N = rows["minute"].to_numpy()
    return rows if (minute_N[1:] > minute_N[:-1]).all() else rows.sort_by("minute")


def _labelled(rows: pa.Table, labels: pa.Table) -> pa.Table:
    """Append the labels of each row's minute, null where there is none."""
    minute_N, labelled_M = rows["minute"].to_numpy(), labels["minute"].to_numpy()
    place_N = labelled_M.searchsorted(minute_N)
    found_N = np.isin(minute_N, labelled_M, assume_unique=True)
    places = pa.array(place_N, mask=~found_N)
    for name in ("direction_15m", "return_15m"):
        rows = rows.append_column(name, labels[name].take(places))
    return rows


def _months(span: Span) -> Iterator[Span]:
    start = span.start
    while start < span.end:
        month = start.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        end = min((month + timedelta(days=32)).replace(day=1), span.end)
        yield Span(start, end)
        start = end


def _chunks(parts: Sequence[Part], facts: Mapping[Path, PartSummary | None], most: int) -> Iterator[list[Part]]:
    """Group neighbouring parts without a file, up to ``most`` minutes a group, but at least one part."""
    chunk: list[Part] = []
    for part in parts:
        if facts[part.path] is not None:
            continue
        follows = bool(chunk) and chunk[-1].span.end == part.span.start
        if chunk and (not follows or (part.span.end - chunk[0].span.start) // MINUTE > most):
            yield chunk
            chunk = []
        chunk.append(part)
    if chunk:
        yield chunk


def _write(path: Path, table: pa.Table, facts: PartSummary) -> None:
    notes = json.dumps({"first_minute": facts.first_minute, "last_minute": facts.last_minute, "sources": facts.sources})
    with whole_file(path) as draft:
        pq.write_table(table.replace_schema_metadata({"part": notes}), draft, **writer_options(table.schema))


def _facts(part: Part) -> PartSummary | None:
    """Return what the part's file says of itself, None when there is no sound one."""
    try:
        footer = pq.read_metadata(part.path)
        notes = json.loads(footer.metadata[b"part"])
        return PartSummary(footer.num_rows, notes["first_minute"], notes["last_minute"], tuple(notes["sources"]))
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
        return None


def _read(part: Part) -> pa.Table:
    with pq.ParquetFile(part.path, page_checksum_verification=True) as file:
        return file.read(use_threads=False).replace_schema_metadata(None)
