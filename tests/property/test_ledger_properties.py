"""Every minute is exactly one of stored, empty, quarantined, failed and not asked for: views against a naive model."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.candles import MINUTE, Candle, Page, Span
from store.feature_store import FeatureStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

T0 = datetime(2024, 3, 1, 23, 40, tzinfo=UTC)
ASKED = T0 + timedelta(days=2)
REACH = 40


class Event(NamedTuple):
    """A page of a window: which of its minutes are told well and which badly; or a failure; or a wish."""

    kind: str
    low: int
    high: int
    good: frozenset[int]
    bad: frozenset[int]
    hours: int

    @property
    def span(self) -> Span:
        return Span(T0 + self.low * MINUTE, T0 + self.high * MINUTE)


def event(kind: str, low: int, length: int, good: set[int], bad: set[int], hours: int) -> Event:
    high = min(low + length, REACH)
    inside = set(range(low, high))
    return Event(kind, low, high, frozenset(good & inside), frozenset(bad & inside), hours)


minutes = st.sets(st.integers(0, REACH - 1))
events = st.builds(
    event,
    st.sampled_from(["page", "page", "page", "failure", "wish"]),
    st.integers(0, REACH - 1),
    st.integers(1, 15),
    minutes,
    st.sets(st.integers(0, REACH - 1), max_size=8),
    st.integers(0, 5),
)


def page(one: Event) -> Page:
    candles = [Candle("BTC-USD", T0 + minute * MINUTE, *(Decimal(9),) * 5) for minute in one.good]
    # one rule is broken by the value, the other by the time: half a minute off the grid
    candles += [
        Candle("BTC-USD", T0 + minute * MINUTE + minute % 2 * timedelta(seconds=30), *(Decimal(minute % 2 * 9),) * 5)
        for minute in one.bad
    ]
    return Page("BTC-USD", one.span, tuple(candles), ASKED + one.hours * timedelta(hours=1), "coinbase")


def model(history: Sequence[Event]) -> dict[int, str]:
    """Return minute -> state by the words of the issue, minute by minute."""
    told = [one for one in history if one.kind == "page"]
    touched = {minute for one in history for minute in range(one.low, one.high)}
    states = {}
    for minute in range(min(touched), max(touched) + 1):
        asked = [one for one in told if one.low <= minute < one.high]
        if any(minute in one.good for one in asked):
            states[minute] = "stored"
        elif asked:
            newest = max(one.hours for one in asked)
            last = [one for one in asked if one.hours == newest]
            states[minute] = "quarantined" if any(minute in one.bad for one in last) else "empty"
        elif any(one.kind == "failure" and one.low <= minute < one.high for one in history):
            states[minute] = "failed"
        else:
            states[minute] = "not_asked"
    return states


def record(store: FeatureStore, one: Event) -> None:
    if one.kind == "page":
        store.record_pages([page(one)])
    elif one.kind == "failure":
        store.record_failure("BTC-USD", one.span, "busy", "coinbase")
    else:
        store.record_wanted("BTC-USD", one.span)


@pytest.fixture(scope="module")
def reused() -> Iterator[FeatureStore]:
    """One store for all examples: making one costs more than an example."""
    with FeatureStore.in_memory() as store:
        yield store


def emptied(store: FeatureStore) -> FeatureStore:
    tables = ("candles_1m", "candle_revisions", "candle_confirmations", "candle_quarantine", "ledger", "wanted_spans")
    for table in tables:
        store._connection().execute(f"delete from {table}")
    return store


def number(moment: datetime) -> int:
    return (moment - T0) // MINUTE


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(history=st.lists(events, min_size=1, max_size=8))
def test_every_minute_has_exactly_the_state_that_its_history_gives_it(
    reused: FeatureStore, history: Sequence[Event]
) -> None:
    store = emptied(reused)
    for one in history:
        record(store, one)
    rows = store._connection().execute("select * from coverage_windows order by start_time").fetchall()
    seen = {minute: row[4] for row in rows for minute in range(number(row[1]), number(row[2]))}
    assert seen == model(history)
    # the rows follow each other without a hole or an overlap, and no two neighbours could be one
    assert all(one[2] == other[1] for one, other in pairwise(rows))
    assert all(one[4:] != other[4:] for one, other in pairwise(rows))
    assert [row["check"] for row in store.quality() if row["bad_rows"]] == []
    states = list(seen.values())
    (daily,) = (
        store._connection()
        .execute("select sum(stored_minutes), sum(missing_minutes), sum(unasked_minutes) from coverage_daily")
        .fetchall()
    )
    assert daily == (states.count("stored"), len(states) - states.count("stored"), states.count("not_asked"))
    # what a backfill would ask for is what failed or was not asked for
    span = Span(T0 + min(seen) * MINUTE, T0 + (max(seen) + 1) * MINUTE)
    holes = store.missing_windows("BTC-USD", span)
    planned = {minute for hole in holes for minute in range(number(hole.start), number(hole.end))}
    assert planned == {minute for minute, state in seen.items() if state in {"failed", "not_asked"}}
    doubtful = {window.state for window in store.repair_windows("BTC-USD", span)}
    assert doubtful == set(states) & {"empty", "quarantined", "failed"}
