"""How the market store reaches its database: a file opened for each call, or one connection in memory."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

import duckdb

from core.errors import StoreError
from store.database import MEMORY, connect, write_lock, write_transaction
from store.error_translation import writing_error
from store.ingest import utc
from store.sql_files import load_sql

if TYPE_CHECKING:
    # for rooms above, which may not import DuckDB; a global that held the type would make nanobind print at exit that it leaked
    Connection = duckdb.DuckDBPyConnection

    from collections.abc import Iterator
    from pathlib import Path


class StoreSession:
    """One market database; a file is never held open between calls."""

    def __init__(self, path: Path | None, *, memory_mb: int | None = None) -> None:
        """Name the file; None means a database in memory, which ``memory_mb`` bounds."""
        self.path = path
        # one thread where memory is short: each has working space of its own
        threads = 2 if memory_mb is None else 1
        self._memory = connect(MEMORY, threads=threads, memory_mb=memory_mb) if path is None else None

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
            with write_transaction(self._present_file()) as connection, _schema_errors(self.path):
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
            except duckdb.Error as error:
                raise writing_error(error, self.path) or error from error
            finally:
                connection.close()

    def _rows(self, query: str, **parameters: object) -> list[dict[str, Any]]:
        with self._reading() as connection:
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


@contextmanager
def _schema_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except duckdb.CatalogException as error:
        msg = f"{path} lacks a table or view of this version ({str(error).splitlines()[0]}); run: make features"
        raise StoreError(msg) from error


def _plain(value: object) -> object:
    return utc(value) if isinstance(value, datetime) else value
