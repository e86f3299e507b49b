"""Offer the market database as one object: candles in, features and data sets out.

Reads are nouns, writes are verbs. On a file every call takes the write lock, opens the database, is short and closes it
again, so any number of processes may share the file; `FeatureStore.in_memory` keeps one connection instead and belongs to
one thread. Both answer features from the same views. Long work (features of a file, data sets) copies the candles it
needs into an in-memory store first and computes there, without the lock.

Imports only DuckDB and numpy: the runtime uses it. What needs Arrow lives in `store.datasets` and `store.raw_export`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from core.candles import MINUTE, Span, epoch_minute
from core.dataset_files import DatasetRef
from core.errors import DatasetError, StoreError
from store import file_import, ingest
from store.connection import disk_errors
from store.coverage_store import CoverageStore, Listing
from store.database import attached
from store.feature_sets import LONGEST_FILL_MINUTES, block_query, blocks, feature_set
from store.schema import apply_schema
from store.sql_files import load_sql, table_columns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import duckdb

    from core.candles import Candle, Page
    from store.feature_sets import FeatureBlock
    from store.file_import import ImportCount
    from store.ingest import WriteCount

TRIMS_PER_REBUILD = 240


__all__ = ["FeatureStore", "Listing"]


class DatedCosts(NamedTuple):
    """Execution costs from a moment on, in basis points of the price; `*` stands for any product or session."""

    product: str
    session: str
    valid_from: datetime
    spread_bps: float
    slippage_bps: float


class FeatureStore(CoverageStore):
    """Reads and writes one market database; holds a connection only when it is in memory."""

    def __init__(self, path: Path | None, *, memory_mb: int | None = None, spill: Path | None = None) -> None:
        """Name the file; `migrate` makes it. None is what `in_memory` passes."""
        super().__init__(path, memory_mb=memory_mb, spill=spill)
        self._trims = 0

    @classmethod
    def in_memory(cls, *, memory_mb: int | None = None, spill: Path | None = None) -> FeatureStore:
        """Return an empty store, schema in place, that lives as long as the object.

        The runtime, which has to stay small, names the megabytes its queries may use, and the folder for what is more.
        """
        store = cls(None, memory_mb=memory_mb, spill=spill)
        with store._writing() as connection:
            apply_schema(connection, "market", with_comments=False)
        return store

    # --- writes

    def record_pages(self, pages: Sequence[Page]) -> WriteCount:
        """Store candles, revisions, quarantined rows and the ledger of ``pages``, all or nothing.

        Idempotent: the same pages again, in another order or overlapping, change nothing.
        """
        with self._writing() as connection:
            return ingest.record_pages(connection, pages)

    def append(self, table: str, rows: Sequence[Mapping[str, object]]) -> None:
        """Append rows (columns of ``table``); one that is there already is left alone, a column that is left out is null."""
        columns = list(table_columns(table))
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

    def execution_costs(self) -> list[DatedCosts]:
        """Return all execution costs ever set, the most specific first, of those the newest."""
        return [DatedCosts(**row) for row in self._rows("queries/execution_costs_dated")]

    def latest_dataset(self) -> DatasetRef:
        """Return the data set exported last.

        Raises:
            DatasetError: none was exported yet, or its file is gone.
        """
        rows = self.recorded_datasets()
        if not rows:
            msg = "no data set was exported yet; run: make features"
            raise DatasetError(msg)
        path = self._file().parent / rows[0]["path"]
        if not path.exists():
            msg = f"the data set {path} is gone; build it again: make features"
            raise DatasetError(msg)
        return DatasetRef.at(rows[0]["digest"], path)

    # --- features

    def feature_blocks(
        self,
        products: Sequence[str],
        start: datetime,
        end: datetime,
        name: str,
        *,
        market: Sequence[str] | None = None,
    ) -> dict[str, FeatureBlock]:
        """Return several products' features over ``[start, end)`` with one query.

        A minute has no row when its windows are not full. Bits never depend on how much history is stored beyond
        ``FeatureSet.history_minutes`` before ``start``.

        A set that reads other coins reads all of an in-memory store; of a file those of ``market``, by default all
        that are stored: name the products of the data set to get its rows.
        """
        if self._memory is not None:
            return _blocks(self._memory, products, start, end, name)
        # a last minute without a trade is seen to be empty by the candle after it
        early = Span(start - feature_set(name).history_minutes * MINUTE, end + (LONGEST_FILL_MINUTES + 1) * MINUTE)
        needed = set(products)
        if feature_set(name).crosses_products:
            needed |= set(self._stored_products() if market is None else market)
        with FeatureStore.in_memory(spill=self._file().parent) as scratch:
            target = scratch._connection()
            for product in sorted(needed):
                self.copy_candles(target, product, early, datetime.now(UTC))
            return _blocks(target, products, start, end, name)

    def _stored_products(self) -> list[str]:
        with self._reading() as connection:
            return [row[0] for row in connection.execute("select distinct product from candles_1m").fetchall()]

    def copy_candles(self, target: duckdb.DuckDBPyConnection, product: str, span: Span, cut: datetime) -> None:
        """Copy a product's candles, as they were known at ``cut``, into another in-memory database with the same schema."""
        parameters = {"product": product, "since": span.start, "until": span.end, "cut": cut}
        query = load_sql("queries/candles_as_of")
        if self._memory is not None:
            target.register("copied", self._memory.sql(query, params=parameters).to_arrow_table())
            target.execute("insert into candles_1m by name select * from copied")
            target.unregister("copied")
            return
        with attached(target, self._present_file()):
            target.execute(f"insert into memory.candles_1m by name {query}", parameters)

    def candle_fingerprints(self, product: str, span: Span, cut: datetime) -> dict[int, str]:
        """Return a fingerprint of every day (since 1970) of a product's candles in ``span``, as known at ``cut``."""
        rows = self._rows("queries/candle_fingerprints", product=product, since=span.start, until=span.end, cut=cut)
        return {row["day"]: f"{row['candles']} {row['mixed']:x} {row['added']:x}" for row in rows}

    # --- exports

    def export_dataset(
        self,
        products: Sequence[str],
        span: Span,
        folder: Path,
        *,
        feature_set: str,
        known_at_cut: datetime | None = None,
        threads: int = 2,
        memory_mb: int | None = None,
    ) -> DatasetRef:
        """Write an immutable data set of ``products`` over ``span``; the same order gives the same bytes.

        ``known_at_cut`` rebuilds a past one: candle versions learned later do not exist for it. By default everything
        stored counts, and the manifest names the newest time of learning, so that it can be rebuilt. ``threads`` and
        ``memory_mb`` bound the computation and change no byte.

        Raises:
            DatasetError: no minute of the span has features, or memory is too small.
        """
        from store import datasets, month_cache  # noqa: PLC0415  # Arrow is not for the runtime, which imports this module

        cut = known_at_cut or self._last_known(products, span)
        chosen = _feature_set(feature_set)
        request = month_cache.DatasetRequest(tuple(products), span, chosen, cut, threads, memory_mb)
        with disk_errors(folder):
            built = datasets.build(request, self, folder)
        row = {
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
        }
        with self._writing() as connection:
            connection.execute(load_sql("queries/record_dataset"), row)
        return built.reference

    def recorded_datasets(self) -> list[dict[str, Any]]:
        """Return what every exported data set was made of (columns of `datasets`), the one exported last first."""
        return self._rows("queries/recorded_datasets")

    def export_raw(self, product: str, span: Span, folder: Path) -> Path:
        """Write a product's candles over ``span`` as an immutable Parquet file with a manifest beside it.

        Raises:
            StoreError: a file of that name with another content is there already; a name never changes its content.
        """
        from store import raw_export  # noqa: PLC0415  # Arrow is not for the runtime, which imports this module

        cut = self._last_known([product], span)
        summary = self.ledger_summary(product, span)
        with disk_errors(folder):
            return raw_export.export(product, span, cut, folder, self, summary)

    def _last_known(self, products: Sequence[str], span: Span) -> datetime:
        (row,) = self._rows("queries/last_known", products=list(products), since=span.start, until=span.end)
        if row["known_at"] is None:
            msg = f"no candle of {', '.join(products)} is stored in {span}; run: make backfill"
            raise DatasetError(msg)
        return ingest.utc(row["known_at"])

    # --- files of candles

    def import_rows(
        self,
        candles: Sequence[Candle],
        source: str,
        at: datetime,
        *,
        replace: bool = False,
        trust_prices: bool = False,
    ) -> ImportCount:
        """Store rows of a file of one product, learned ``at``, all or nothing; see `store.file_import` for what it may prove.

        Raises:
            CandleFileError: the prices are those of another product, and are not to be trusted.
        """
        with self._writing() as connection:
            return file_import.record_rows(connection, candles, source, at, replace=replace, trust_prices=trust_prices)

    def quarantine(self, candles: Sequence[Candle], reason: str, source: str, at: datetime) -> int:
        """Keep rows that are not believed, with the reason; return how many there are. The ledger is not told."""
        with self._writing() as connection:
            file_import.quarantine_rows(connection, [(candle, reason) for candle in candles], source, at)
        return len(candles)

    def ledger_summary(self, product: str, span: Span) -> dict[str, int]:
        """Return how many minutes of ``span`` are in each state; see `queries/ledger_summary`."""
        (row,) = self._rows("queries/ledger_summary", product=product, since=span.start, until=span.end)
        return row

    def flag_counts(self, product: str, span: Span) -> dict[str, int]:
        """Return how many minutes of ``span`` are flagged: ``early_saves`` and ``spikes``."""
        (row,) = self._rows("queries/flag_counts", product=product, since=span.start, until=span.end)
        return row

    def early_saves(self, product: str, span: Span) -> list[Span]:
        """Return minutes that look saved too early and that the exchange has not confirmed: worth asking it for, once."""
        rows = self._rows("queries/early_save_windows", product=product, since=span.start, until=span.end)
        return [Span(row["open_time"], row["open_time"] + MINUTE) for row in rows]

    def later_revisions(self, product: str, span: Span, cut: datetime) -> list[datetime]:
        """Return the minutes whose candle of ``cut`` was replaced afterwards, oldest first."""
        rows = self._rows("queries/later_revisions", product=product, since=span.start, until=span.end, cut=cut)
        return [row["open_time"] for row in rows]

    def record_import(self, row: Mapping[str, object]) -> None:
        """Note a finished import (columns of `imports`)."""
        self.append("imports", [row])


_feature_set = feature_set


def _blocks(
    connection: duckdb.DuckDBPyConnection, products: Sequence[str], start: datetime, end: datetime, name: str
) -> dict[str, FeatureBlock]:
    bounds = {"first": epoch_minute(start), "last": epoch_minute(end + MINUTE - end.resolution)}
    chosen = feature_set(name)
    for own in chosen.own_sql:
        connection.execute(own)
    columns = connection.execute(block_query(chosen), {"products": list(products), **bounds}).fetchnumpy()
    return blocks(products, {column: np.asarray(values) for column, values in columns.items()}, name)
