"""Read the published copies, for reports, the command line and anyone else."""

from __future__ import annotations

from concurrent.futures import Future
from contextlib import ExitStack
from datetime import UTC, datetime
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from core.errors import StoreError
from core.files import whole_file
from store.database import memory_session, quoted
from store.error_translation import copy_of_another_version, unreadable_copy
from store.schema import SCHEMA_VERSION, attached_version
from store.sql_files import load_sql
from store.statements import require_reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from core.settings import Paths

Row = tuple[Any, ...]
_T = TypeVar("_T")
_ROWS_AT_A_TIME = 2_048
_MEMORY_MB = 2_048
"""A question needs no more: sorting and windows beyond it spill into `DESK_HOME`. DuckDB's own bound is 80 % of the machine."""
_PARQUET_ROWS = 131_072
_READABLE = {".parquet", ".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson", ".gz", ".zst"}


class Reader:
    """The published market and signals databases in one in-memory session, as `market` and `signals`.

    Their tables and views are found without a prefix: no name occurs in both but `schema_version`. The session reads no
    file but these and those it is given, and its configuration is locked, so that no text can open them again.
    """

    def __init__(self, paths: Paths, files: Sequence[Path] = ()) -> None:
        """Attach whichever copies exist; ``files`` (Parquet, CSV, JSON) may be read too, by their names.

        Raises:
            NotADatabaseError: one of them is damaged, or of newer code.
            StoreError: neither exists yet, one was published by an older version, or one of ``files`` cannot be read.
        """
        self.home = paths.home
        for file in files:
            _require_readable(file, paths)
        present = [
            (name, copy)
            for name, copy in (("market", paths.market_copy), ("signals", paths.signals_copy))
            if copy.exists()
        ]
        if not present:
            msg = f"nothing is published under {paths.home} yet; run: make backfill"
            raise StoreError(msg)
        self._copies = [copy for _, copy in present]
        self._databases = tuple(name for name, _ in present)
        self._open = ExitStack()
        self.connection = self._open.enter_context(memory_session(paths.home, memory_mb=_MEMORY_MB))
        for name, copy in present:
            self._attach(name, copy)
        self.connection.execute("set search_path = '" + ",".join(self._databases) + "'")
        allowed = ", ".join(quoted(file) for file in files)
        # in this order: with external access off the list of files can only be read, and a locked setting never changes
        self.connection.execute(f"set python_enable_replacements = false; set allowed_paths = [{allowed}]")
        self.connection.execute("set enable_external_access = false; set lock_configuration = true")

    def __enter__(self) -> Self:
        """Use it in a with block, so that it is closed."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the session."""
        self._open.close()

    def _attach(self, name: str, copy: Path) -> None:
        try:
            self.connection.execute(f"attach {quoted(copy)} as {name} (read_only)")
        except duckdb.Error as error:
            self._open.close()
            raise unreadable_copy(error, copy) from error
        version = attached_version(self.connection, name)
        if version is not None and version != SCHEMA_VERSION:
            self._open.close()
            raise copy_of_another_version(copy, version, SCHEMA_VERSION)

    def rows(self, query: str, **parameters: object) -> list[dict[str, Any]]:
        """Run ``sql/<query>.sql`` with ``$name`` parameters; return its rows as dictionaries.

        Raises:
            StoreError: a table it needs is not published yet.
        """
        text = load_sql(query)

        def work() -> list[dict[str, Any]]:
            cursor = self.connection.execute(text, parameters or None)
            names = [column[0] for column in cursor.description or []]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

        return _answer(self.connection, work)

    def sql(self, text: str) -> list[dict[str, Any]]:
        """Run SQL text as `stream` does; return its rows as dictionaries."""
        names, rows = self.stream(text)
        return [dict(zip(names, row, strict=True)) for row in rows]

    def stream(self, text: str, parameters: Mapping[str, object] | None = None) -> tuple[list[str], Iterator[Row]]:
        """Run SQL text that only reads, with ``$name`` parameters; return the column names, and its rows as they are asked for.

        Raises:
            StoreError: it would do more than read; DuckDB's own words for what is wrong with it, also while rows are taken.
        """

        def work() -> duckdb.DuckDBPyConnection:
            require_reading(self.connection, text)
            return self.connection.execute(text, dict(parameters) if parameters else None)

        cursor = _answer(self.connection, work)
        return [column[0] for column in cursor.description or []], _taken(cursor)

    def write_parquet(self, text: str, target: Path, parameters: Mapping[str, object] | None = None) -> None:
        """Run one SELECT with ``$name`` parameters and write its rows to ``target`` as Parquet (zstd).

        Raises:
            StoreError: the SQL is wrong, or gives no rows of data.
            FileError: the file cannot be written; one that was there stays.
        """

        def work() -> None:
            require_reading(self.connection, text)
            # the stub does not say that there is none where the text is no SELECT
            relation = cast(
                "duckdb.DuckDBPyRelation | None",
                self.connection.sql(text, params=dict(parameters) if parameters else None),
            )
            if relation is None:
                msg = "a Parquet file needs rows: give one SELECT"
                raise StoreError(msg)
            # written by Arrow: this session may write no file
            batches = relation.to_arrow_reader(_PARQUET_ROWS)
            try:
                with whole_file(target) as draft, pq.ParquetWriter(draft, batches.schema, compression="zstd") as writer:
                    for batch in _batches(batches):
                        writer.write_batch(batch)
            except pa.ArrowException as error:
                msg = f"these rows make no Parquet file ({error}); cast a type that Arrow does not know, such as an interval, to text"
                raise StoreError(msg) from error

        _answer(self.connection, work)

    def names(self) -> list[str]:
        """Return every table, view and macro there is to ask, whichever copy it is in."""
        rows = self.connection.execute(
            "select table_name from duckdb_tables() where not internal "
            "union select view_name from duckdb_views() where not internal "
            "union select function_name from duckdb_functions() where not internal and function_type = 'table_macro'"
        ).fetchall()
        return sorted(row[0] for row in rows)

    @property
    def databases(self) -> tuple[str, ...]:
        """Which of ``market`` and ``signals`` are published."""
        return self._databases

    def published_at(self) -> datetime:
        """Return when the older of the attached copies was published."""
        return datetime.fromtimestamp(min(copy.stat().st_mtime for copy in self._copies), UTC)


def _require_readable(file: Path, paths: Paths) -> None:
    """Refuse what is no file of data; a live database above all, which a reader would hold against every flow.

    Raises:
        StoreError: the file is not there, or is of another kind.
    """
    kinds = ", ".join(sorted(_READABLE))
    if not file.is_file():
        msg = f"--read {file} is no file; name one of these kinds: {kinds}"
        raise StoreError(msg)
    databases = (paths.market_db, paths.signals_db, paths.market_copy, paths.signals_copy)
    if file.resolve().suffix.lower() not in _READABLE or any(
        database.exists() and file.samefile(database) for database in databases
    ):
        msg = f"--read {file} is refused: files of these kinds are read: {kinds}; the databases are there already"
        raise StoreError(msg)


def _taken(cursor: duckdb.DuckDBPyConnection) -> Iterator[Row]:
    while rows := _answer(cursor, lambda: cursor.fetchmany(_ROWS_AT_A_TIME)):
        yield from rows


def _batches(batches: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    """Yield what Arrow takes from DuckDB; a mistake that only rows show is DuckDB's, not one of the file's."""
    try:
        yield from batches
    except (pa.ArrowException, OSError) as error:
        raise StoreError(str(error)) from error


def _answer(connection: duckdb.DuckDBPyConnection, work: Callable[[], _T]) -> _T:
    """Return what ``work`` asks of ``connection``; Ctrl-C ends the query at once.

    In a thread of its own: DuckDB 2.0 waits for its own threads without looking for a signal, for as long as they take.

    Raises:
        StoreError: DuckDB's own words for what is wrong.
    """
    answer: Future[_T] = Future()
    given_up = Event()
    thread = Thread(target=_ask, args=(answer, work, given_up), daemon=True)
    try:
        # Ctrl-C may come at any point of this block, while the thread starts too: then it finds that it is given up
        thread.start()
        return answer.result()
    except KeyboardInterrupt:
        given_up.set()
        # repeated: an interrupt that comes before the query begins is forgotten by DuckDB
        while thread.is_alive():
            connection.interrupt()
            thread.join(0.1)
        raise
    except duckdb.Error as error:
        raise StoreError(str(error)) from error


def _ask(answer: Future[_T], work: Callable[[], _T], given_up: Event) -> None:
    if given_up.is_set():
        return
    try:
        answer.set_result(work())
    except BaseException as error:  # noqa: BLE001 - the caller raises it
        answer.set_exception(error)
