"""The registry's events and the models' figures in tables that only grow, each row linked to those before it.

DuckDB lets whoever has the file change a row; what it cannot do is change one so that the links still hold
(`sql/checks/registry_events_edited.sql`, `model_metrics_edited.sql`). Nothing in this project updates or deletes here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from core.errors import StoreError
from core.hash_chain import event_link, is_link, link
from store.ingest import insert_rows, utc
from store.sql_files import headers, load_sql

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import duckdb

EVENT_COLUMNS = ("event_id", "happened_at", "kind", "slot", "model_id", "who", "why")


def append_events(connection: duckdb.DuckDBPyConnection, rows: Sequence[Mapping[str, Any]]) -> int:
    """Append the events that the table does not have yet; ``rows`` is the whole history, oldest first. Return how many.

    Raises:
        StoreError: the table holds events that ``rows`` lacks or tells in another order; nothing is appended.
    """
    chained = connection.execute(load_sql("queries/registry_chain_links")).fetchall()
    stored = {event_id for (event_id,) in connection.execute("select event_id from registry_events").fetchall()}
    told = [str(row["event_id"]) for row in rows]
    _require_beginning([event_id for event_id, _ in chained], stored, told)
    previous = chained[-1][1] if chained else ""
    links = []
    for position, row in enumerate(rows[len(chained) :], len(chained) + 1):
        previous = event_link(previous, *(row[name] for name in EVENT_COLUMNS))
        if is_link(row["event_id"]) and row["event_id"] != previous:
            msg = (
                f"event {position} of the registry does not follow those in the table registry_events; the registry's file "
                "is of another folder or was made anew: put the right one back, or restore it: desk models restore"
            )
            raise StoreError(msg)
        links.append([position, row["event_id"], previous])
    fresh = [[row[name] for name in EVENT_COLUMNS] for row in rows if row["event_id"] not in stored]
    insert_rows(connection, "registry_events", EVENT_COLUMNS, fresh)
    insert_rows(connection, "registry_chain", ("position", "event_id", "link"), links)
    return len(fresh)


def _require_beginning(chained: Sequence[str], stored: set[str], told: Sequence[str]) -> None:
    """Refuse a history that is shorter than the table's, or another one."""
    unknown = stored - set(told)
    if not unknown and list(told[: len(chained)]) == list(chained):
        return
    lacks = f"{len(unknown)} that it lacks" if unknown else "the same ones in another order"
    msg = (
        f"the registry's file tells of {len(told)} events, the table registry_events holds {lacks}: the file was cut or is of "
        "another folder; put the right one back, or restore it from the table: desk models restore"
    )
    raise StoreError(msg)


def append_metrics(connection: duckdb.DuckDBPyConnection, rows: Sequence[Mapping[str, object]]) -> None:
    """Append figures (columns of `model_metrics`); a row that is there already is left alone."""
    columns = list(headers("tables")["model_metrics"].columns)
    insert_rows(connection, "model_metrics", columns, [[row.get(name) for name in columns] for row in rows])
    last = connection.execute(
        "select position, link from model_metrics_chain order by position desc limit 1"
    ).fetchall()
    position, previous = last[0] if last else (0, "")
    links = []
    for (row_sha256,) in connection.execute(load_sql("queries/model_metrics_unlinked")).fetchall():
        position, previous = position + 1, link(previous, row_sha256)
        links.append([position, row_sha256, previous])
    insert_rows(connection, "model_metrics_chain", ("position", "row_sha256", "link"), links)


def faults(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Return what the checks of both tables find, one line for each that finds anything."""
    found = []
    for name in ("registry_events_edited", "model_metrics_edited"):
        bad = len(connection.execute(load_sql(f"checks/{name}")).fetchall())
        if bad:
            sentence = headers("checks")[name].sentence
            found.append(f"{bad} bad rows: {sentence} desk sql -f sql/checks/{name}.sql shows them")
    return found


def linked_events(connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """Return the stored events, oldest first.

    Raises:
        StoreError: the table was edited; the text names the check that shows the rows.
    """
    cursor = connection.execute(load_sql("queries/registry_events_linked"))
    rows = [dict(zip((*EVENT_COLUMNS, "link"), row, strict=True)) for row in cursor.fetchall()]
    bad = connection.execute(load_sql("checks/registry_events_edited")).fetchall()
    if bad:
        msg = (
            f"the table registry_events was edited ({len(bad)} bad rows); desk sql -f sql/checks/registry_events_edited.sql "
            "shows them, and nothing is restored from it: go back to a copy of the database"
        )
        raise StoreError(msg)
    return [{name: row[name] for name in EVENT_COLUMNS} | {"happened_at": utc(row["happened_at"])} for row in rows]
