"""Build a database from the files under `sql/`, in the order their headers say they read each other."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from functools import cache
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING

from desk.errors import NotADatabaseError
from store.queries import SQL_ROOT, Header, headers, load_sql, parse_header

if TYPE_CHECKING:
    import duckdb

SCHEMA_VERSION = 1
_FOLDERS = ("tables", "views", "labels", "macros")


@cache
def objects(database: str) -> dict[str, tuple[str, Header]]:
    """Return every object of ``market`` or ``signals`` as name -> (folder, header), parents first."""
    found = {
        name: (folder, header)
        for folder in _FOLDERS
        for name, header in headers(folder).items()
        if header.database in {database, "both"}
    }
    graph = {name: [read for read in header.reads if read in found] for name, (_, header) in found.items()}
    return {name: found[name] for name in TopologicalSorter(graph).static_order()}


@cache
def schema_hash() -> str:
    """Return the sha256 over every file that makes an object."""
    digest = hashlib.sha256()
    for folder in _FOLDERS:
        for path in sorted((SQL_ROOT / folder).glob("*.sql")):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def applied_hash(connection: duckdb.DuckDBPyConnection) -> str | None:
    """Return the hash the database was last built with, None for an empty one.

    Raises:
        NotADatabaseError: newer code wrote it.
    """
    known = connection.execute("select count(*) from duckdb_tables() where table_name = 'schema_version'").fetchall()
    if known[0][0] == 0:
        return None
    rows = connection.execute(
        "select version, sql_sha256 from schema_version order by applied_at desc limit 1"
    ).fetchall()
    if not rows:
        return None
    if rows[0][0] > SCHEMA_VERSION:
        msg = f"the database has schema {rows[0][0]}, this code knows {SCHEMA_VERSION}; update Candledesk"
        raise NotADatabaseError(msg)
    return str(rows[0][1])


def apply_schema(connection: duckdb.DuckDBPyConnection, database: str, *, with_comments: bool = True) -> bool:
    """Create or refresh every object of ``database``; return whether anything was done.

    Call it inside a write transaction: a database is built whole or not at all. In-memory stores that nobody
    browses leave out the comments, some 400 statements.
    """
    wanted = schema_hash()
    if applied_hash(connection) == wanted:
        return False
    for name, (folder, header) in objects(database).items():
        connection.execute(load_sql(f"{folder}/{name}")).fetchall()
        if with_comments:
            _comment(connection, folder, header)
    connection.execute("insert into schema_version values ($1, $2, $3)", [SCHEMA_VERSION, wanted, datetime.now(UTC)])
    return True


def _comment(connection: duckdb.DuckDBPyConnection, folder: str, header: Header) -> None:
    kind = {"tables": "table", "views": "view", "labels": "view", "macros": "macro table"}[folder]
    connection.execute(f"comment on {kind} {header.name} is {_literal(header.sentence)}")
    if folder == "macros":
        return
    for column, text in all_columns(folder, header.name).items():
        connection.execute(f"comment on column {header.name}.{column} is {_literal(text)}")


@cache
def all_columns(folder: str, name: str) -> dict[str, str]:
    """Return every column of an object with its text: first those it carries from another view, then its own."""
    header = parse_header(load_sql(f"{folder}/{name}"))
    carried = all_columns(folder, header.carries) if header.carries else {}
    return carried | header.columns


def _literal(text: str) -> str:
    # COMMENT ON takes no parameters; the text comes from our own files
    return "'" + text.replace("'", "''") + "'"
