"""Read-only access to the published copies, for reports, the command line and anyone else."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self, cast

import duckdb

from core.errors import StoreError
from store.database import connect
from store.error_translation import copy_of_another_version, unreadable_copy
from store.schema import SCHEMA_VERSION, attached_version
from store.sql_files import load_sql

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from types import TracebackType

    from core.settings import Paths

Row = tuple[Any, ...]
_ROWS_AT_A_TIME = 2_048


class Reader:
    """The published market and signals databases in one in-memory session, as `market` and `signals`.

    Their tables and views are found without a prefix: no name occurs in both but `schema_version`.
    """

    def __init__(self, paths: Paths) -> None:
        """Attach whichever copies exist.

        Raises:
            NotADatabaseError: one of them is damaged, or of newer code.
            StoreError: neither exists yet, or one was published by an older version.
        """
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
        self.connection = connect(":memory:")
        for name, copy in present:
            self._attach(name, copy)
        self.connection.execute("set search_path = '" + ",".join(name for name, _ in present) + "'")

    def __enter__(self) -> Self:
        """Use it in a with block, so that it is closed."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the session."""
        self.connection.close()

    def _attach(self, name: str, copy: Path) -> None:
        try:
            self.connection.execute(f"attach '{str(copy).replace(chr(39), chr(39) * 2)}' as {name} (read_only)")
        except duckdb.Error as error:
            self.connection.close()
            raise unreadable_copy(error, copy) from error
        version = attached_version(self.connection, name)
        if version is not None and version != SCHEMA_VERSION:
            self.connection.close()
            raise copy_of_another_version(copy, version, SCHEMA_VERSION)

    def rows(self, query: str, **parameters: object) -> list[dict[str, Any]]:
        """Run ``sql/<query>.sql`` with ``$name`` parameters; return its rows as dictionaries.

        Raises:
            StoreError: a table it needs is not published yet.
        """
        return self._fetch(load_sql(query), parameters)

    def sql(self, text: str) -> list[dict[str, Any]]:
        """Run any SQL text a person typed; return its rows as dictionaries.

        Raises:
            StoreError: DuckDB's own first line of what is wrong with it.
        """
        return self._fetch(text, {})

    def stream(self, text: str, parameters: Mapping[str, object] | None = None) -> tuple[list[str], Iterator[Row]]:
        """Run any SQL text with ``$name`` parameters; return the column names, and its rows as they are asked for.

        Raises:
            StoreError: DuckDB's own words for what is wrong with it; also while rows are taken.
        """
        with _asking():
            cursor = self.connection.execute(text, dict(parameters) if parameters else None)
        return [column[0] for column in cursor.description or []], _taken(cursor)

    def write_parquet(self, text: str, target: Path, parameters: Mapping[str, object] | None = None) -> None:
        """Run one SELECT with ``$name`` parameters and write its rows to ``target`` as Parquet (zstd).

        Raises:
            StoreError: the SQL is wrong or the file cannot be written.
        """
        with _asking():
            # the stub does not say that there is none where the text is no SELECT
            relation = cast(
                "duckdb.DuckDBPyRelation | None",
                self.connection.sql(text, params=dict(parameters) if parameters else None),
            )
            if relation is None:
                msg = "a Parquet file needs rows: give one SELECT"
                raise StoreError(msg)
            relation.write_parquet(str(target), compression="zstd")

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

    def _fetch(self, text: str, parameters: dict[str, object]) -> list[dict[str, Any]]:
        with _asking():
            cursor = self.connection.execute(text, parameters or None)
            names = [column[0] for column in cursor.description or []]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _taken(cursor: duckdb.DuckDBPyConnection) -> Iterator[Row]:
    while True:
        with _asking():
            rows = cursor.fetchmany(_ROWS_AT_A_TIME)
        if not rows:
            return
        yield from rows


@contextmanager
def _asking() -> Iterator[None]:
    """Raise what DuckDB refuses as `StoreError`, and Ctrl-C during a query as what it is."""
    try:
        yield
    except duckdb.Error as error:
        raise StoreError(str(error)) from error
    except RuntimeError as error:
        if str(error) == "Query interrupted":
            raise KeyboardInterrupt from error
        raise
