"""The tables of the model registry only grow: every edit is found, and no statement of ours makes one."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from core.errors import StoreError
from core.integrity import event_link, is_link, link
from store.feature_store import FeatureStore
from store.registry_mirror import history_faults, record_history, stored_events
from store.sql_files import load_sql

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[3]
T0 = datetime(2025, 11, 1, 12, 0, 0, 123456, tzinfo=UTC)
FIELDS = ("event_id", "happened_at", "kind", "slot", "model_id", "who", "why")


def history(count: int, old: int = 2) -> list[dict[str, Any]]:
    """``count`` events, the first ``old`` of them with random ids as the first version gave them."""
    rows, previous = [], ""
    for number in range(count):
        told = [T0 + timedelta(minutes=number), "trial", "lstm", f"m-{number}", "mé@host", f"judged\nn° {number} 'x'"]
        event_id = f"{number:032x}" if number < old else event_link(previous, "0" * 64, *told)
        previous = event_link(previous, event_id, *told)
        rows.append(dict(zip(FIELDS, [event_id, *told], strict=True)))
    return rows


def metrics(model_id: str) -> list[dict[str, Any]]:
    one = {"model_id": model_id, "product": "BTC-USD", "slice": "all", "low_95": None, "high_95": None}
    values = {"auc": 0.1 + 0.2, "log_loss": 1e-17, "net_bps": -1e22 / 3, "nothing": None}
    return [one | {"metric": name, "value": value, "row_count": 9} for name, value in values.items()]


@pytest.fixture(scope="module")
def built() -> Iterator[FeatureStore]:
    with FeatureStore.in_memory() as store:
        yield store


@pytest.fixture
def store(built: FeatureStore) -> Iterator[FeatureStore]:
    yield built
    with built._writing() as connection:
        for table in ("registry_events", "registry_chain", "model_metrics", "model_metrics_chain"):
            connection.execute(f"truncate {table}")


def edit(store: FeatureStore, statement: str) -> None:
    with store._writing() as connection:
        connection.execute(statement)


def test_history_is_appended_in_order_and_once(store):
    rows = history(6)
    assert record_history(store, rows[:3], metrics("m-0")) == 3
    assert record_history(store, rows, metrics("m-1")) == 3
    assert record_history(store, rows, metrics("m-1")) == 0
    assert stored_events(store) == rows
    assert history_faults(store) == []
    with store._reading() as connection:
        links = connection.execute(load_sql("queries/registry_chain_links")).fetchall()
        assert connection.execute("select count(*) from model_metrics_chain").fetchall() == [(8,)]
    # SQL and Python compute the same links, whatever the texts hold
    assert [one for one, _ in links] == [row["event_id"] for row in rows]
    assert all(event_id == told for event_id, told in links[2:])


EVENT_EDITS = {
    "changed why": "update registry_events set why = 'better' where model_id = 'm-3'",
    "changed old event": "update registry_events set who = 'x' where model_id = 'm-0'",
    "changed time": "update registry_events set happened_at = happened_at + interval 1 microsecond where model_id = 'm-4'",
    "changed id": "update registry_events set event_id = repeat('a', 64) where model_id = 'm-4'",
    "removed first": "delete from registry_events where model_id = 'm-0'",
    "removed last": "delete from registry_events where model_id = 'm-5'",
    "put in": "insert into registry_events select repeat('b', 32), happened_at, kind, slot, 'm-9', who, why from registry_events limit 1",
    "stored twice": "insert into registry_events from registry_events where model_id = 'm-2'",
    "link changed": "update registry_chain set link = repeat('c', 64) where position = 2",
    "link removed": "delete from registry_chain where position = 3",
    "event and link removed": "delete from registry_chain where position = 3; delete from registry_events where model_id = 'm-2'",
    "moved": "update registry_chain set position = 7 - position",
}


@pytest.mark.parametrize("what", EVENT_EDITS)
def test_edit_of_the_registrys_table_is_found_and_nothing_is_restored_from_it(store, what):
    record_history(store, history(6))
    edit(store, EVENT_EDITS[what])
    (fault,) = history_faults(store)
    assert "registry_events_edited" in fault
    with pytest.raises(StoreError, match="was edited"):
        stored_events(store)


@pytest.mark.parametrize(
    "statement",
    [
        "update model_metrics set value = value + 1e-16 where metric = 'auc' and model_id = 'm-0'",
        "update model_metrics set value = 0 where metric = 'nothing'",
        "update model_metrics set low_95 = 0 where metric = 'auc'",
        "update model_metrics set row_count = 10 where metric = 'log_loss'",
        "delete from model_metrics where metric = 'net_bps' and model_id = 'm-1'",
        "insert into model_metrics select * replace ('m-9' as model_id) from model_metrics limit 1",
        "delete from model_metrics_chain where position = 1",
        "update model_metrics_chain set link = 'x' where position = 4",
    ],
)
def test_edit_of_a_stored_figure_is_found(store, statement):
    record_history(store, [], metrics("m-0"))
    record_history(store, [], metrics("m-1"))
    assert history_faults(store) == []
    edit(store, statement)
    (fault,) = history_faults(store)
    assert "model_metrics_edited" in fault


def test_rows_of_an_older_database_are_linked_by_the_next_writer(store):
    rows = history(4, old=3)
    for row in rows[:3]:
        with store._writing() as connection:
            connection.execute(
                f"insert into registry_events values ({', '.join('?' * 7)})", [row[name] for name in FIELDS]
            )
    edit(store, "insert into model_metrics values ('m-0', 'BTC-USD', 'all', 'auc', 0.5, null, null, 3)")
    assert history_faults(store) == [], "nothing is linked yet, so nothing can be wrong"
    assert record_history(store, rows, metrics("m-1")) == 1
    assert history_faults(store) == []
    assert stored_events(store) == rows
    edit(store, "update model_metrics set value = 0.9 where model_id = 'm-0'")
    assert len(history_faults(store)) == 1


@pytest.mark.parametrize("told", ["shorter", "another order", "another event", "other beginning"])
def test_history_that_lacks_what_the_table_has_is_refused_and_changes_nothing(store, told):
    rows = history(5)
    record_history(store, rows)
    other = {
        "shorter": rows[:4],
        "another order": [rows[1], rows[0], *rows[2:]],
        "another event": [*rows[:4], rows[4] | {"event_id": "d" * 64}],
        "other beginning": history(7, old=3)[2:],
    }[told]
    with pytest.raises(StoreError, match="desk models restore"):
        record_history(store, other)
    assert stored_events(store) == rows


def test_event_that_does_not_follow_is_refused(store):
    rows = history(5)
    with pytest.raises(StoreError, match=r"event 4 of the registry does not follow"):
        record_history(store, [*rows[:3], rows[4]])
    assert stored_events(store) == []


def test_no_statement_of_ours_updates_or_deletes_the_history():
    tables = "registry_events|registry_chain|model_metrics|model_metrics_chain"
    pattern = re.compile(
        rf"(update|delete\s+from|truncate(\s+table)?|drop\s+table(\s+if\s+exists)?|replace\s+into|alter\s+table|create\s+or\s+replace\s+table|merge\s+into)\s+({tables})\b",
        re.IGNORECASE,
    )
    files = [path for room in ("sql", "store", "desk", "models", "tasks", "flows") for path in (ROOT / room).rglob("*")]
    texts = [path for path in files if path.suffix in {".py", ".sql"}]
    assert len(texts) > 100, "the files were not found"
    assert [str(path) for path in texts if pattern.search(path.read_text(encoding="utf-8"))] == []
    assert pattern.search("DELETE FROM registry_events") and pattern.search("update model_metrics set value = 1")


def test_link_tells_where_a_field_ends():
    assert link("", "ab", "c") != link("", "a", "bc") != link("", "abc")
    assert link("x", "a") != link("", "a")
    assert is_link(link("")) and not is_link("f" * 32) and not is_link("F" * 64)
