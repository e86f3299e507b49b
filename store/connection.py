"""Reach a database: a file that is opened for each call, or one connection in memory."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Self

import duckdb

from core.errors import StoreError
from store.database import memory_session, publish, read_session, write_transaction
from store.error_translation import writing_error
from store.ingest import utc
from store.schema import migrate, require_schema
from store.sql_files import load_sql

if TYPE_CHECKING:
    # for rooms above, which may not import DuckDB; a global that held the type would make nanobind print at exit that it leaked
    Connection = duckdb.DuckDBPyConnection

    from collections.abc import Iterator
    from pathlib import Path


class StoreSession:
    """One database. Naming a file opens nothing, and only `migrate` makes or changes its schema."""

    database: ClassVar[str] = "market"

    def __init__(self, path: Path | None, *, memory_mb: int | None = None, spill: Path | None = None) -> None:
        """Name the file; None means a database in memory, which ``memory_mb`` and ``spill`` bound as in `memory_session`."""
        self.path = path
        # one thread where memory is short: each has working space of its own
        threads = 2 if memory_mb is None else 1
        self._open = ExitStack()
        self._memory = (
            self._open.enter_context(memory_session(spill, threads=threads, memory_mb=memory_mb))
            if path is None
            else None
        )
        self._is_current = False

    def __enter__(self) -> Self:
        """Use it in a with block, so that it is closed."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close the in-memory connection; a file is never held open between calls."""
        self._open.close()

    def migrate(self) -> bool:
        """Create or bring up to date every table, view and macro; return whether anything was done.

        Raises:
            NotADatabaseError: the file is something else, damaged or newer than this code.
            StoreError: it cannot be written; the old version stays whole.
        """
        return migrate(self._file(), self.database)

    def publish(self, copy: Path) -> Path:
        """Refresh the read copy that reports and people open.

        Raises:
            StoreError: the store is in memory, or there is no database or no room.
        """
        return publish(self._file(), copy)

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

    def _connection(self) -> Connection:
        if self._memory is None:
            msg = "only an in-memory store keeps a connection"
            raise StoreError(msg)
        return self._memory

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        if self.path is not None:
            with write_transaction(self._present_file()) as connection, self._of_this_schema(connection):
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
    def _reading(self) -> Iterator[Connection]:
        if self.path is None:
            yield self._connection()
            return
        with read_session(self._present_file()) as connection, self._of_this_schema(connection):
            yield connection

    @contextmanager
    def _of_this_schema(self, connection: Connection) -> Iterator[None]:
        # looked at once: newer code may migrate the file under a running follower or runtime, whose statements still hold
        if not self._is_current:
            require_schema(connection, self.database)
            self._is_current = True
        try:
            yield
        except duckdb.CatalogException as error:
            msg = f"{self.path} lacks a table or view of this version ({str(error).splitlines()[0]}); run: desk migrate"
            raise StoreError(msg) from error

    def _rows(self, query: str, **parameters: object) -> list[dict[str, Any]]:
        with self._reading() as connection:
            return rows_of(connection, query, **parameters)


def rows_of(connection: Connection, query: str, **parameters: object) -> list[dict[str, Any]]:
    """Run ``sql/<query>.sql`` with ``$name`` parameters; return its rows as dictionaries, moments in UTC."""
    cursor = connection.execute(load_sql(query), parameters or None)
    names = [column[0] for column in cursor.description or []]
    return [dict(zip(names, map(_plain, row), strict=True)) for row in cursor.fetchall()]


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Name the repair where there is no room below ``path``.

    Raises:
        DiskFullError: there is none.
    """
    try:
        yield
    except OSError as error:
        raise writing_error(error, path) or error from error


def _plain(value: object) -> object:
    return utc(value) if isinstance(value, datetime) else value
