"""Build a database from the statements under `sql/`, in the order of their `reads`, and bring an older one up to date.

``sql/tables`` says what a table is now; ``sql/migrations/NNNN_name.sql`` how tables of version NNNN - 1 become those of
version NNNN. Views, labels and macros hold nothing, so they are simply made anew.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING

from core.errors import StoreError
from store.database import build_file
from store.error_translation import foreign, newer
from store.sql_files import Header, all_columns, headers, load_sql, statements

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb

    from core.settings import Paths

SCHEMA_VERSION = 4
_FOLDERS = ("tables", "views", "labels", "macros")
_HALLMARKS = {"market": "candles_1m", "signals": "decisions"}
"""A table of each database that no version was ever without."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step from a version of the tables to the next."""

    number: int
    """The version it leads to."""
    name: str
    text: str

    @property
    def sha256(self) -> str:
        """Hash of its file, recorded with it."""
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Applied:
    """What a database was last built by."""

    version: int
    sql_sha256: str


@cache
def objects(database: str) -> dict[str, tuple[str, Header]]:
    """Return every object of ``market`` or ``signals`` as name -> (folder, header), parents first."""
    known = {
        name: (folder, header)
        for folder in _FOLDERS
        for name, header in headers(folder).items()
        if header.database in {database, "both"}
    }
    graph = {name: [read for read in header.reads if read in known] for name, (_, header) in known.items()}
    return {name: known[name] for name in TopologicalSorter(graph).static_order()}


@cache
def migrations(database: str) -> tuple[Migration, ...]:
    """Return the steps of ``market`` or ``signals``, oldest first."""
    return tuple(
        Migration(int(name.partition("_")[0]), name, load_sql(f"migrations/{name}"))
        for name, header in sorted(headers("migrations").items())
        if header.database in {database, "both"}
    )


@cache
def schema_hash() -> str:
    """Return the sha256 over every statement that makes an object."""
    digest = hashlib.sha256()
    for folder in _FOLDERS:
        for name, text in sorted(statements(folder).items()):
            digest.update(f"{name}\0{text}".encode())
    return digest.hexdigest()


def migrate(path: Path, database: str) -> bool:
    """Create the file of ``market`` or ``signals``, or bring it up to date; return whether anything was done.

    Raises:
        NotADatabaseError: the file is something else, damaged or newer than this code.
        StoreError: it cannot be written; the old version stays whole.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"the folder {path.parent} cannot be written ({error.strerror}); set DESK_HOME to one you own"
        raise StoreError(msg) from error
    return build_file(path, lambda connection: apply_schema(connection, database))


def migrate_databases(paths: Paths) -> list[Path]:
    """Create the market database, bring it and the signals database up to date; return the files that changed.

    The task ``apply-schema``, ``desk migrate`` and the commands that begin in an empty folder call this, once; opening
    a store never does, so that a report neither waits for a writer nor changes the file.

    Raises:
        NotADatabaseError: a file is something else, damaged or newer than this code.
        StoreError: it cannot be written; the old version stays whole.
    """
    files = {"market": paths.make().market_db}
    if paths.signals_db.exists():
        files["signals"] = paths.signals_db
    return [path for database, path in files.items() if migrate(path, database)]


def require_schema(connection: duckdb.DuckDBPyConnection, database: str) -> None:
    """Refuse a database whose schema is not that of this code; nothing is changed.

    Raises:
        NotADatabaseError: it is another database, or newer code wrote it.
        StoreError: it has no schema yet, or an older one; the text names the command that applies it.
    """
    before = applied(connection)
    _require_ours(connection, database, before)
    if before != Applied(SCHEMA_VERSION, schema_hash()):
        what = "has no schema yet" if before is None else f"is as an older version left it (schema {before.version})"
        msg = f"{_file(connection)} {what}; bring it up to date: desk migrate"
        raise StoreError(msg)


def applied(connection: duckdb.DuckDBPyConnection) -> Applied | None:
    """Return what the database was last built by, None for one that was never built.

    Raises:
        NotADatabaseError: newer code wrote it.
    """
    if "schema_version" not in _tables(connection):
        return None
    # in the order of writing: a clock may have been set back in between
    rows = connection.execute(
        "select version, sql_sha256 from schema_version order by version desc, rowid desc limit 1"
    ).fetchall()
    if not rows:
        return None
    if rows[0][0] > SCHEMA_VERSION:
        raise newer(_file(connection), f"its schema is {rows[0][0]}, this code knows {SCHEMA_VERSION}")
    return Applied(int(rows[0][0]), str(rows[0][1]))


def attached_version(connection: duckdb.DuckDBPyConnection, database: str) -> int | None:
    """Return the schema version of an attached database, None if it has none."""
    rows = connection.execute(
        "select 1 from duckdb_tables() where database_name = $1 and table_name = 'schema_version'", [database]
    ).fetchall()
    if not rows:
        return None
    version = connection.execute(f"select max(version) from {database}.schema_version").fetchall()[0][0]  # noqa: S608  # market or signals
    return None if version is None else int(version)


def apply_schema(connection: duckdb.DuckDBPyConnection, database: str, *, with_comments: bool = True) -> bool:
    """Create or bring up to date every object of ``database``; return whether anything was done.

    Call it inside a write transaction: a database is built whole or not at all. In-memory stores that nobody
    browses leave out the comments, some 400 statements.

    Raises:
        NotADatabaseError: newer code wrote it, or it is another database.
    """
    wanted = schema_hash()
    before = applied(connection)
    _require_ours(connection, database, before)
    if before == Applied(SCHEMA_VERSION, wanted):
        return False
    if before is not None:
        _drop_derived(connection)
        _migrate(connection, database, before.version)
    for name, (folder, header) in objects(database).items():
        connection.execute(load_sql(f"{folder}/{name}")).fetchall()
        if with_comments:
            _comment(connection, folder, header)
    _record(connection, SCHEMA_VERSION, wanted)
    return True


def _migrate(connection: duckdb.DuckDBPyConnection, database: str, version: int) -> None:
    for migration in migrations(database):
        if migration.number > version:
            connection.execute(migration.text)
            _record(connection, migration.number, migration.sha256)


def _record(connection: duckdb.DuckDBPyConnection, version: int, sha256: str) -> None:
    connection.execute("insert into schema_version values ($1, $2, $3)", [version, sha256, datetime.now(UTC)])


def _require_ours(connection: duckdb.DuckDBPyConnection, database: str, before: Applied | None) -> None:
    tables = _tables(connection)
    if before is None and tables:
        raise foreign(_file(connection), f"tables of another program ({', '.join(sorted(tables)[:3])})")
    if before is not None and _HALLMARKS[database] not in tables:
        raise foreign(_file(connection), f"no table {_HALLMARKS[database]}: it is not the {database} database")


def _drop_derived(connection: duckdb.DuckDBPyConnection) -> None:
    """Drop all that holds no rows, so that tables can change under it and what is no longer known goes."""
    views = connection.execute("select view_name from duckdb_views() where not internal and not temporary").fetchall()
    for (name,) in views:
        connection.execute(f'drop view "{name}"')
    macros = connection.execute(
        "select distinct function_name from duckdb_functions() where function_type = 'table_macro' and not internal"
    ).fetchall()
    for (name,) in macros:
        connection.execute(f'drop macro table "{name}"')


def _tables(connection: duckdb.DuckDBPyConnection) -> set[str]:
    rows = connection.execute("select table_name from duckdb_tables() where not internal and not temporary")
    return {row[0] for row in rows.fetchall()}


def _file(connection: duckdb.DuckDBPyConnection) -> str:
    rows = connection.execute("select path from duckdb_databases() where database_name = current_database()").fetchall()
    return rows[0][0] or "the database in memory"


def _comment(connection: duckdb.DuckDBPyConnection, folder: str, header: Header) -> None:
    kind = {"tables": "table", "views": "view", "labels": "view", "macros": "macro table"}[folder]
    connection.execute(f"comment on {kind} {header.name} is {_literal(header.sentence)}")
    if folder == "macros":
        return
    for column, text in all_columns(folder, header.name).items():
        connection.execute(f"comment on column {header.name}.{column} is {_literal(text)}")


def _literal(text: str) -> str:
    # COMMENT ON takes no parameters; the text comes from our own files
    return "'" + text.replace("'", "''") + "'"
