"""Read-only access to the published copies, for reports, the command line and anyone else."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

import duckdb

from desk.errors import StoreError
from store.database import connect
from store.queries import load_sql

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from desk.config import Paths


class Reader:
    """The published market and signals databases in one in-memory session, as `market` and `signals`.

    Their tables and views are found without a prefix: no name occurs in both but `schema_version`.
    """

    def __init__(self, paths: Paths) -> None:
        """Attach whichever copies exist.

        Raises:
            StoreError: neither exists yet.
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
        self.connection = connect(":memory:")
        for name, copy in present:
            self.connection.execute(f"attach '{str(copy).replace(chr(39), chr(39) * 2)}' as {name} (read_only)")
        self.connection.execute("set search_path = '" + ",".join(name for name, _ in present) + "'")

    def __enter__(self) -> Self:
        """Use it in a with block, so that it is closed."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the session."""
        self.connection.close()

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

    def write_parquet(self, text: str, target: Path) -> None:
        """Run one SELECT and write its rows to ``target`` as Parquet (zstd).

        Raises:
            StoreError: the SQL is wrong or the file cannot be written.
        """
        try:
            self.connection.sql(text).write_parquet(str(target), compression="zstd")
        except duckdb.Error as error:
            raise StoreError(str(error)) from error

    def published_at(self) -> datetime:
        """Return when the older of the attached copies was published."""
        return datetime.fromtimestamp(min(copy.stat().st_mtime for copy in self._copies), UTC)

    def _fetch(self, text: str, parameters: dict[str, object]) -> list[dict[str, Any]]:
        try:
            cursor = self.connection.execute(text, parameters or None)
            names = [column[0] for column in cursor.description or []]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        except duckdb.Error as error:
            raise StoreError(str(error)) from error
