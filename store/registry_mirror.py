"""Mirror the registry's file in tables that only grow, each row linked to those before it, and write the file back from them.

DuckDB lets whoever has the file change a row; what it cannot do is change one so that the links still hold
(`sql/checks/registry_events_edited.sql`, `model_metrics_edited.sql`). Nothing in this project updates or deletes here.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Protocol

from core.errors import ModelError, StoreError
from core.failpoints import failpoint
from core.integrity import event_link, is_link, link
from store.feature_store import FeatureStore
from store.ingest import insert_rows, utc
from store.sql_files import headers, load_sql, table_columns

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from _typeshed import DataclassInstance

    from core.settings import Settings
    from store.connection import Connection, StoreSession

EVENT_COLUMNS = ("event_id", "happened_at", "kind", "slot", "model_id", "who", "why")


class RegistryFile(Protocol):
    """The registry's file as the store needs it: `models.registry.Registry` is one, and the store never imports it."""

    @property
    def path(self) -> Path:
        """The file."""

    def events(self) -> Sequence[DataclassInstance]:
        """Return every event of the file, oldest first; field names are the columns of `registry_events`."""

    def restore(self, rows: Sequence[Mapping[str, Any]]) -> Path | None:
        """Write the file anew from the table's rows; return where a damaged one was put."""


def mirror_registry(
    settings: Settings, registry: RegistryFile, metrics: Iterable[DataclassInstance] = ()
) -> int | None:
    """Append every event the tables lack, and ``metrics``; return how many events, None where there is no database yet.

    The file is switched first and alone decides what is served; a process that died in between is made good here by
    whoever comes next.

    Raises:
        StoreError: the tables hold events the file lacks, or cannot be written now.
        ModelError: the registry's file is damaged.
    """
    if not settings.paths.market_db.exists():
        return None
    store = FeatureStore(settings.paths.market_db)
    events = [asdict(event) for event in registry.events()]
    failpoint("registry.before_table")
    fresh = record_history(store, events, [asdict(row) for row in metrics])
    failpoint("registry.after_table")
    return fresh


def restore_registry(settings: Settings, registry: RegistryFile) -> tuple[int, Path | None]:
    """Write the registry's file anew from the tables; return how many events, and where the damaged file was put.

    Raises:
        ModelError: the file is whole, or there is no database to restore from.
        StoreError: the table was edited too.
    """
    if not settings.paths.market_db.exists():
        msg = f"{settings.paths.market_db} is not there, so nothing can be restored from it; put a copy of {registry.path.name} back"
        raise ModelError(msg)
    store = FeatureStore(settings.paths.market_db)
    events = stored_events(store)
    if not events:
        msg = f"the table registry_events holds no event; put a copy of {registry.path} back"
        raise ModelError(msg)
    return len(events), registry.restore(events)


def record_history(
    store: StoreSession, events: Sequence[Mapping[str, Any]], metrics: Sequence[Mapping[str, object]] = ()
) -> int:
    """Append registry events and model metrics in one transaction; return how many events were new.

    Args:
        store: The market database.
        events: The registry's whole history, oldest first (columns of `registry_events`); what is there already is left alone.
        metrics: Figures (columns of `model_metrics`); a row that is there already is left alone.

    Raises:
        StoreError: the table holds events that ``events`` lacks; nothing is appended.
    """
    with store._writing() as connection:
        fresh = append_events(connection, events)
        failpoint("registry.after_events")
        if metrics:
            append_metrics(connection, metrics)
        return fresh


def stored_events(store: StoreSession) -> list[dict[str, Any]]:
    """Return the registry's stored events, oldest first.

    Raises:
        StoreError: the table was edited.
    """
    with store._reading() as connection:
        return linked_events(connection)


def history_faults(store: StoreSession) -> list[str]:
    """Return what the checks of the two append-only tables find, one line for each that finds anything."""
    with store._reading() as connection:
        return _faults(connection)


def append_events(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> int:
    """Append the events that the table does not have yet; ``rows`` is the whole history, oldest first. Return how many.

    Raises:
        StoreError: the table holds events that ``rows`` lacks or tells in another order; nothing is appended.
    """
    chained = connection.execute(load_sql("queries/registry_chain_links")).fetchall()
    stored = {event_id for (event_id,) in connection.execute("select event_id from registry_events").fetchall()}
    event_ids = [str(row["event_id"]) for row in rows]
    _require_beginning([event_id for event_id, _ in chained], stored, event_ids)
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


def _require_beginning(chained: Sequence[str], stored: set[str], event_ids: Sequence[str]) -> None:
    """Refuse a history that is shorter than the table's, or another one."""
    unknown = stored - set(event_ids)
    if not unknown and list(event_ids[: len(chained)]) == list(chained):
        return
    lacks = f"{len(unknown)} that it lacks" if unknown else "the same ones in another order"
    msg = (
        f"the registry's file tells of {len(event_ids)} events, the table registry_events holds {lacks}: the file was cut or is of "
        "another folder; put the right one back, or restore it from the table: desk models restore"
    )
    raise StoreError(msg)


def append_metrics(connection: Connection, rows: Sequence[Mapping[str, object]]) -> None:
    """Append figures (columns of `model_metrics`); a row that is there already is left alone."""
    columns = list(table_columns("model_metrics"))
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


def _faults(connection: Connection) -> list[str]:
    """Return what the checks of both tables find, one line for each that finds anything."""
    faults = []
    for name in ("registry_events_edited", "model_metrics_edited"):
        bad = len(connection.execute(load_sql(f"checks/{name}")).fetchall())
        if bad:
            sentence = headers("checks")[name].sentence
            faults.append(f"{bad} bad rows: {sentence} desk sql -f sql/checks/{name}.sql shows them")
    return faults


def linked_events(connection: Connection) -> list[dict[str, Any]]:
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
