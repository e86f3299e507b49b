"""The market database as one object: candles in, features and data sets out.

Reads are nouns, writes are verbs. On a file every call takes the write lock, opens the database, is short and closes it
again, so any number of processes may share the file; `FeatureStore.in_memory` keeps one connection instead and belongs to
one thread. Both answer features from the same views. Long work (features of a file, data sets) copies the candles it
needs into an in-memory store first and computes there, without the lock.

Imports only DuckDB and numpy: the runtime uses it. What needs Arrow lives in `store.datasets` and `store.raw`.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import duckdb
import numpy as np

from desk.errors import DatasetError, StoreError
from desk.market import MINUTE, DatasetRef, Span
from store import ingest
from store.database import connect, publish, write_lock, write_transaction
from store.features import LONGEST_FILL_MINUTES, block_query, blocks, feature_set
from store.ledger import ANSWERED, not_covered
from store.queries import headers, load_sql, statement
from store.schema import apply_schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from desk.market import Candle, Page
    from store.features import FeatureBlock
    from store.ingest import WriteCount

TRIMS_PER_REBUILD = 240


@dataclass(frozen=True, slots=True)
class Listing:
    """Whether the exchange offers a product, and since when it has candles."""

    product: str
    state: str
    first_open_time: datetime | None
    checked_at: datetime
    reason: str


class FeatureStore:
    """Reads and writes one market database; holds a connection only when it is in memory."""

    def __init__(self, path: Path | None, *, memory_mb: int | None = None) -> None:
        """Name the file; `migrate` makes it. None is what `in_memory` passes."""
        self.path = path
        self._trims = 0
        # one thread where memory is short: each has working space of its own
        threads = 2 if memory_mb is None else 1
        self._memory = connect(":memory:", threads=threads, memory_mb=memory_mb) if path is None else None

    @classmethod
    def in_memory(cls, *, memory_mb: int | None = None) -> FeatureStore:
        """Return an empty store, schema in place, that lives as long as the object.

        The runtime, which has to stay small, names the megabytes its queries may use.
        """
        store = cls(None, memory_mb=memory_mb)
        with store._writing() as connection:
            apply_schema(connection, "market", with_comments=False)
        return store

    def close(self) -> None:
        """Close the in-memory connection; a file is never held open between calls."""
        if self._memory is not None:
            self._memory.close()

    def __enter__(self) -> Self:
        """Use it in a with block, so that it is closed."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def migrate(self) -> bool:
        """Create or refresh every table, view and macro; return whether anything was done."""
        with self._writing() as connection:
            return apply_schema(connection, "market")

    def publish(self, copy: Path) -> Path:
        """Refresh the read copy that readers open.

        Raises:
            StoreError: the store is in memory, or there is no database or no room.
        """
        return publish(self._file(), copy)

    # --- writes

    def record_pages(self, pages: Sequence[Page]) -> WriteCount:
        """Store candles, revisions, quarantined rows and the ledger of ``pages``, all or nothing.

        Idempotent: the same pages again, in another order or overlapping, change nothing.
        """
        with self._writing() as connection:
            return ingest.record_pages(connection, pages)

    def record_failure(self, product: str, window: Span, reason: str, source: str) -> None:
        """Note that ``window`` could not be fetched; it stays missing."""
        with self._writing() as connection:
            ingest.record_failure(connection, product, window, reason, source, datetime.now(UTC))

    def record_listing(self, product: str, state: str, first_open_time: datetime | None, reason: str) -> None:
        """Note whether the exchange offers ``product``; replaces what was noted before."""
        with self._writing() as connection:
            connection.execute("delete from listings where product = $1", [product])
            connection.execute(
                "insert into listings values ($1, $2, $3, $4, $5)",
                [product, state, first_open_time, datetime.now(UTC), reason],
            )

    def record_registry_events(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Append registry events (columns of `registry_events`); an event that is there already is left alone."""
        self._append("registry_events", rows)

    def record_metrics(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Append model metrics (columns of `model_metrics`); a row that is there already is left alone."""
        self._append("model_metrics", rows)

    def record_execution_costs(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Append dated execution costs (columns of `execution_costs`)."""
        self._append("execution_costs", rows)

    def _append(self, table: str, rows: Sequence[Mapping[str, object]]) -> None:
        if not rows:
            return
        columns = list(headers("tables")[table].columns)
        with self._writing() as connection:
            ingest.insert_rows(connection, table, columns, [[row.get(name) for name in columns] for row in rows])

    def upsert_candles(self, candles: Sequence[Candle]) -> None:
        """Store candles without ledger or revisions, the newest word winning; for the in-memory store."""
        with self._writing() as connection:
            ingest.replace_candles(connection, candles)

    def trim(self, before: datetime) -> None:
        """Forget candles older than ``before``; for the in-memory store.

        Raises:
            StoreError: the store is a file, whose history is never deleted.
        """
        if self._memory is None:
            msg = f"{self.path} is the market's history; only an in-memory store may be trimmed"
            raise StoreError(msg)
        self._memory.execute("delete from candles_1m where open_time < $1", [before])
        self._trims += 1
        if self._trims % TRIMS_PER_REBUILD == 0:
            # deleted rows keep their place in memory until the table is written anew
            self._memory.execute("create or replace temp table kept as select * from candles_1m")
            self._memory.execute(f"drop table candles_1m; {load_sql('tables/candles_1m')}")
            self._memory.execute("insert into candles_1m from kept; drop table kept")

    # --- reads

    def listing(self, product: str) -> Listing | None:
        """Return what is known of the product's listing, None if it was never asked."""
        rows = self._rows("queries/listing", product=product)
        return Listing(**rows[0]) if rows else None

    def missing_windows(self, product: str, span: Span) -> list[Span]:
        """Return the parts of ``span`` that nobody has answered yet, failed ones included, oldest first."""
        with self._reading() as connection:
            windows = ingest.ledger_windows(connection, product, span.start, span.end)
        return not_covered(span, [window for window in windows if window.state == ANSWERED])

    def repair_windows(self, product: str, span: Span, max_tries: int = 3) -> list[Span]:
        """Return minutes proved empty that are worth asking again: asked for fewer than ``max_tries`` times."""
        rows = self._rows(
            "queries/empty_windows", product=product, since=span.start, until=span.end, max_tries=max_tries
        )
        return [Span(row["gap_start"], row["gap_end"]) for row in rows]

    def span_stored(self, product: str) -> Span | None:
        """Return the span from the product's first candle to its last, None when there is none."""
        first, last = self._ends(product)
        return Span(first, last + MINUTE) if first is not None and last is not None else None

    def last_open_time(self, product: str) -> datetime | None:
        """Return the open time of the product's last candle, None when there is none."""
        return self._ends(product)[1]

    def _ends(self, product: str) -> tuple[datetime | None, datetime | None]:
        (row,) = self._rows("queries/candle_ends", product=product)
        return row["first_open_time"], row["last_open_time"]

    def coverage(self) -> list[dict[str, Any]]:
        """Return per product what was asked for, stored, proved empty, failed and never asked."""
        return self._rows("queries/coverage_rows")

    def gaps(self) -> list[dict[str, Any]]:
        """Return every run of minutes without a candle, longest first."""
        return self._rows("queries/gap_rows")

    def quality(self) -> list[dict[str, Any]]:
        """Run every check of ``sql/checks``; return name, sentence and number of bad rows, none of them missing."""
        with self._reading() as connection:
            return [
                {
                    "check": name,
                    "sentence": header.sentence,
                    "bad_rows": _count(connection, load_sql(f"checks/{name}")),
                }
                for name, header in headers("checks").items()
            ]

    def execution_costs(self, product: str, session: str, at: datetime) -> dict[str, Any] | None:
        """Return the costs that hold for a product and session at a moment, the most specific and newest; None if none."""
        rows = self._rows("queries/execution_costs_at", product=product, session=session, at=at)
        return rows[0] if rows else None

    def latest_dataset(self) -> DatasetRef:
        """Return the data set exported last.

        Raises:
            DatasetError: none was exported yet, or its file is gone.
        """
        rows = self._rows("queries/latest_dataset")
        if not rows:
            msg = "no data set was exported yet; run: make features"
            raise DatasetError(msg)
        path = self._file().parent / rows[0]["path"]
        if not path.exists():
            msg = f"the data set {path} is gone; build it again: make features"
            raise DatasetError(msg)
        return DatasetRef(rows[0]["digest"], str(path), str(path.with_suffix(".json")))

    # --- features

    def feature_block(self, product: str, start: datetime, end: datetime, name: str = "seed39") -> FeatureBlock:
        """Return one product's features over ``[start, end)``; see `feature_blocks`."""
        return self.feature_blocks([product], start, end, name)[product]

    def feature_blocks(
        self, products: Sequence[str], start: datetime, end: datetime, name: str = "seed39"
    ) -> dict[str, FeatureBlock]:
        """Return several products' features over ``[start, end)`` with one query.

        A minute has no row when its windows are not full. Bits never depend on how much history is stored beyond
        ``FeatureSet.history_minutes`` before ``start``.
        """
        if self._memory is not None:
            return _blocks(self._memory, products, start, end, name)
        # a last minute without a trade is seen to be empty by the candle after it
        early = Span(start - feature_set(name).history_minutes * MINUTE, end + (LONGEST_FILL_MINUTES + 1) * MINUTE)
        with FeatureStore.in_memory() as scratch:
            target = scratch._connection()
            for product in products:
                self.copy_candles(target, product, early, datetime.now(UTC))
            return _blocks(target, products, start, end, name)

    def copy_candles(self, target: duckdb.DuckDBPyConnection, product: str, span: Span, cut: datetime) -> None:
        """Copy a product's candles, as they were known at ``cut``, into another in-memory database with the same schema."""
        asked = {"product": product, "since": span.start, "until": span.end, "cut": cut}
        query = load_sql("queries/candles_as_of")
        if self._memory is not None:
            target.register("copied", self._memory.sql(query, params=asked).to_arrow_table())
            target.execute("insert into candles_1m by name select * from copied")
            target.unregister("copied")
            return
        with write_lock(self._present_file()):
            location = str(self._file()).replace("'", "''")
            target.execute(f"attach '{location}' as live")
            try:
                # unqualified names in the query mean the file's tables while it is in use
                target.execute("use live")
                target.execute(f"insert into memory.candles_1m by name {query}", asked)
            finally:
                target.execute("use memory")
                target.execute("detach live")

    # --- exports

    def export_dataset(
        self,
        products: Sequence[str],
        span: Span,
        folder: Path,
        *,
        feature_set: str = "seed39",
        known_at_cut: datetime | None = None,
    ) -> DatasetRef:
        """Write an immutable data set of ``products`` over ``span``; the same order gives the same bytes.

        ``known_at_cut`` rebuilds a past one: candle versions learned later do not exist for it. By default everything
        stored counts, and the manifest names the newest time of learning, so that it can be rebuilt.

        Raises:
            DatasetError: no minute of the span has features.
        """
        from store import datasets  # noqa: PLC0415  # Arrow is not for the runtime, which imports this module

        cut = known_at_cut or self._last_known(products, span)
        chosen = _feature_set(feature_set)
        order = datasets.Order(tuple(products), span, chosen, cut, self.copy_candles)
        built = datasets.build(order, folder)
        with self._writing() as connection:
            connection.execute(
                load_sql("queries/record_dataset"),
                {
                    "digest": built.reference.digest,
                    "feature_set": chosen.name,
                    "feature_hash": chosen.sha256,
                    "products": ",".join(sorted(products)),
                    "start_time": span.start,
                    "end_time": span.end,
                    "known_at_cut": cut,
                    "row_count": built.rows,
                    "created_at": datetime.now(UTC),
                    "path": f"{folder.name}/{Path(built.reference.path).name}",
                },
            )
        return built.reference

    def export_raw(self, product: str, span: Span, folder: Path) -> Path:
        """Write a product's candles over ``span`` as an immutable Parquet file with a manifest beside it.

        Raises:
            StoreError: a file of that name with another content is there already; a name never changes its content.
        """
        from store import raw  # noqa: PLC0415  # Arrow is not for the runtime, which imports this module

        cut = self._last_known([product], span)
        return raw.export(product, span, cut, folder, self.copy_candles)

    def _last_known(self, products: Sequence[str], span: Span) -> datetime:
        (row,) = self._rows("queries/last_known", products=list(products), since=span.start, until=span.end)
        if row["known_at"] is None:
            msg = f"no candle of {', '.join(products)} is stored in {span}; run: make backfill"
            raise DatasetError(msg)
        return ingest.utc(row["known_at"])

    # --- connections

    def _file(self) -> Path:
        if self.path is None:
            msg = "this store is in memory and has no file; name one: FeatureStore(path)"
            raise StoreError(msg)
        return self.path

    def _present_file(self) -> Path:
        # connecting to a file that is not there would make an empty one
        if not self._file().exists():
            msg = f"{self.path} does not exist yet; run: make backfill"
            raise StoreError(msg)
        return self._file()

    def _connection(self) -> duckdb.DuckDBPyConnection:
        if self._memory is None:
            msg = "only an in-memory store keeps a connection"
            raise StoreError(msg)
        return self._memory

    @contextmanager
    def _writing(self) -> Iterator[duckdb.DuckDBPyConnection]:
        if self.path is not None:
            with write_transaction(self.path) as connection, _schema_errors(self.path):
                yield connection
            return
        connection = self._connection()
        connection.execute("begin")
        try:
            yield connection
        except BaseException:
            connection.execute("rollback")
            raise
        connection.execute("commit")

    @contextmanager
    def _reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        if self.path is None:
            yield self._connection()
            return
        with write_lock(self._present_file()):
            connection = connect(self.path)
            try:
                with _schema_errors(self.path):
                    yield connection
            finally:
                connection.close()

    def _rows(self, query: str, **parameters: object) -> list[dict[str, Any]]:
        with self._reading() as connection:
            cursor = connection.execute(load_sql(query), parameters or None)
            names = [column[0] for column in cursor.description or []]
            return [dict(zip(names, map(_plain, row), strict=True)) for row in cursor.fetchall()]


_feature_set = feature_set


@contextmanager
def _schema_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except duckdb.CatalogException as error:
        msg = f"{path} lacks a table or view of this version ({str(error).splitlines()[0]}); run: make features"
        raise StoreError(msg) from error


def _count(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    counted = f"select count(*) from ({statement(query).rstrip(';')})"  # noqa: S608  # our own files
    return int(connection.execute(counted).fetchall()[0][0])


def _plain(value: object) -> object:
    return ingest.utc(value) if isinstance(value, datetime) else value


def _blocks(
    connection: duckdb.DuckDBPyConnection, products: Sequence[str], start: datetime, end: datetime, name: str
) -> dict[str, FeatureBlock]:
    bounds = {"first": int(start.timestamp()) // 60, "last": -int(-end.timestamp() // 60)}
    found = connection.execute(block_query(name), {"products": list(products), **bounds}).fetchnumpy()
    return blocks(products, {column: np.asarray(values) for column, values in found.items()}, name)
