"""Decide by DuckDB's own parser whether SQL that a person typed only reads."""

from __future__ import annotations

import re

import duckdb

from core.errors import StoreError

MOST_CHARACTERS = 262_144
"""Of the text; more may take DuckDB's parser minutes."""
MOST_BRACKETS = 100
"""Open at once; the time of DuckDB's parser grows with the square of those that are never closed."""
# each ends at the end of the text where it is not closed, so that no text is gone through twice
_NO_BRACKETS = re.compile(
    r"(?<!\w)e'(?:[^'\\]|\\.)*(?:'|\Z)|'[^']*(?:'|\Z)|\"[^\"]*(?:\"|\Z)|\$(\w*)\$.*?(?:\$\1\$|\Z)|--[^\n]*|/\*.*?(?:\*/|\Z)",
    re.I | re.S,
)
_BRACKET = re.compile(r"[(\[{]|[)\]}]")
_EXPLAIN = re.compile(r"(?:\s|--[^\n]*\n|/\*.*?\*/)*explain\s+(?:analyze\b\s*)?(?:\([^()]*\)\s*)?", re.I | re.S)
# quotes inside a literal are escaped in JSON, so neither pattern can begin or end in one; and text of any depth is searched
_QUERY_NODE = re.compile(r'"type":"(\w+_NODE)"')
_FUNCTION = re.compile(r'"function_name":"([^"]*)"')
_READING_NODES = {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"}
_RUN_TEXT = {"query", "json_execute_serialized_sql"}


def require_reading(connection: duckdb.DuckDBPyConnection, text: str) -> None:
    """Refuse ``text`` unless each of its statements only reads; what does not parse is left to DuckDB's own words.

    A statement's type is not enough: `with t as (copy ... to 'file') from t` counts as SELECT and would overwrite any
    file that may be read, the read copy among them. So the tree of each statement is looked through, and a function
    that runs text is refused.

    Raises:
        StoreError: one of them is of another kind, or has one inside; or there is none; or the text is too long or too deep.
    """
    _require_bounded(text)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        msg = "the SQL is no UTF-8 text; write it in UTF-8"
        raise StoreError(msg) from error
    statements = connection.extract_statements(text)
    if not statements:
        msg = "there is no SQL to run; try: from help"
        raise StoreError(msg)
    for statement in statements:
        kind = statement.type
        if kind == duckdb.StatementType.SELECT:
            _require_reading_tree(connection, statement.query)
        elif kind == duckdb.StatementType.EXPLAIN and (opening := _EXPLAIN.match(statement.query)):
            # EXPLAIN ANALYZE runs what it explains
            require_reading(connection, statement.query[opening.end() :])
        elif kind == duckdb.StatementType.MULTI:
            msg = "PIVOT runs here with its values named: pivot TABLE on COLUMN in (VALUE, VALUE)"
            raise StoreError(msg)
        else:
            raise _refused(kind.name.replace("_", " "))


def _require_bounded(text: str) -> None:
    """Refuse what would keep DuckDB's parser busy or break it, before it sees it.

    Raises:
        StoreError: the text is too long, or too many brackets are open at once.
    """
    if len(text) > MOST_CHARACTERS:
        msg = f"the SQL has {len(text):,} characters, more than {MOST_CHARACTERS:,}; put long lists into a file and read it with --read FILE"
        raise StoreError(msg)
    depth = 0
    for bracket in _BRACKET.findall(_NO_BRACKETS.sub(" ", text)):
        depth = depth + 1 if bracket in "([{" else max(depth - 1, 0)
        if depth > MOST_BRACKETS:
            msg = f"the SQL opens more than {MOST_BRACKETS} brackets within each other; name inner queries with WITH instead"
            raise StoreError(msg)


def _require_reading_tree(connection: duckdb.DuckDBPyConnection, query: str) -> None:
    ((tree,),) = connection.execute("select json_serialize_sql($1)", [query]).fetchall()
    nodes = set(_QUERY_NODE.findall(tree))
    if not nodes:
        msg = f"this statement is refused, as DuckDB cannot take it apart ({tree[:200]}); put it more simply"
        raise StoreError(msg)
    for node in nodes - _READING_NODES:
        raise _refused(node.partition("_")[0])
    for function in {name.lower() for name in _FUNCTION.findall(tree)} & _RUN_TEXT:
        words = f"{function}(), which runs text that is not seen here,"
        raise _refused(words)


def _refused(kind: str) -> StoreError:
    return StoreError(
        f"{kind} is refused: only statements that read run here: SELECT, FROM, WITH, VALUES, DESCRIBE, SHOW, SUMMARIZE, "
        "EXPLAIN; keep rows with --parquet FILE or --format csv, read a file of your own with --read FILE"
    )
