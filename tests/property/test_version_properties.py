"""As it was known: whatever order answers reach the store in, it tells at any moment what had been told by then."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.candles import MINUTE, Candle, Page, Span
from store.feature_store import FeatureStore
from store.sql_files import load_sql

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

T0 = datetime(2024, 3, 1, tzinfo=UTC)
TOLD = T0 + timedelta(hours=1)
MINUTES = 3
SPAN = Span(T0, T0 + MINUTES * MINUTE)

Values = tuple[Decimal, Decimal, Decimal, Decimal, Decimal]
Telling = tuple[datetime, Values]


def order(telling: Telling) -> tuple[datetime, Decimal, Decimal, Decimal, Decimal, Decimal]:
    """Of two versions told at one instant the fuller one is the later; then the stated order of prices."""
    known_at, (opened, high, low, close, volume) = telling
    return known_at, volume, close, high, low, opened


class Naive:
    """Remembers every telling there ever was, and looks through all of them."""

    def __init__(self, pages: Iterable[Page]) -> None:
        self.tellings: dict[datetime, set[Telling]] = {}
        for page in pages:
            for candle in page.candles:
                told = (page.known_at, values(candle))
                self.tellings.setdefault(candle.open_time, set()).add(told)

    def as_of(self, cut: datetime) -> dict[datetime, Values]:
        """Return each minute's values as the last telling until ``cut`` has them."""
        heard = {minute: [telling for telling in told if telling[0] <= cut] for minute, told in self.tellings.items()}
        return {minute: max(told, key=order)[1] for minute, told in heard.items() if told}

    def changes(self) -> set[tuple[datetime, datetime, Values, Values]]:
        """Return minute, when it changed, old and new values of every change."""
        found = set()
        for minute, told in self.tellings.items():
            in_order = sorted(told, key=order)
            found |= {
                (minute, after[0], before[1], after[1]) for before, after in pairwise(in_order) if before[1] != after[1]
            }
        return found


def values(candle: Candle) -> Values:
    return candle.open, candle.high, candle.low, candle.close, candle.volume


def candle(minute: int, kind: int) -> Candle:
    """Return one of a few different candles of a minute; kinds 1 and 2 have the same volume."""
    price, volume = Decimal(100 + kind), Decimal([5, 6, 6, 7][kind])
    return Candle("BTC-USD", T0 + minute * MINUTE, price, price, price, price, volume)


pages = st.builds(
    lambda minutes, told: Page(
        "BTC-USD",
        SPAN,
        tuple(candle(minute, kind) for minute, kind in sorted(minutes.items())),
        TOLD + told * timedelta(minutes=7),
        "coinbase",
    ),
    st.dictionaries(st.integers(0, MINUTES - 1), st.integers(0, 3), min_size=1),
    st.integers(0, 9),
)


def stored_as_of(store: FeatureStore, cut: datetime) -> dict[datetime, Values]:
    asked = {"product": "BTC-USD", "since": SPAN.start, "until": SPAN.end, "cut": cut}
    rows = store._connection().execute(load_sql("queries/candles_as_of"), asked)
    return {row[1].astimezone(UTC): row[2:7] for row in rows.fetchall()}


def stored_changes(store: FeatureStore) -> set[tuple[datetime, datetime, Values, Values]]:
    rows = store._connection().execute(
        "select open_time, changed_at, old_open, old_high, old_low, old_close, old_volume, "
        "new_open, new_high, new_low, new_close, new_volume from candle_changes"
    )
    return {(row[0].astimezone(UTC), row[1].astimezone(UTC), row[2:7], row[7:]) for row in rows.fetchall()}


@pytest.fixture(scope="module")
def reused() -> Iterator[FeatureStore]:
    """One store for all examples: making one costs more than an example."""
    with FeatureStore.in_memory() as store:
        yield store


def emptied(store: FeatureStore) -> FeatureStore:
    for table in ("candles_1m", "candle_revisions", "candle_confirmations", "candle_quarantine", "ledger"):
        store._connection().execute(f"delete from {table}")
    return store


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(told=st.lists(pages, min_size=1, max_size=7), data=st.data())
def test_as_of_any_order_and_repetition_equals_all_that_was_told(
    reused: FeatureStore, told: Sequence[Page], data: st.DataObject
) -> None:
    arriving = data.draw(st.permutations([*told, *told[:2]]))
    size = data.draw(st.integers(1, 4))
    naive, store = Naive(told), emptied(reused)
    for first in range(0, len(arriving), size):
        store.record_pages(arriving[first : first + size])
    for cut in sorted({page.known_at + shift for page in told for shift in (-MINUTE, timedelta(0))}):
        assert stored_as_of(store, cut) == naive.as_of(cut), cut
    # of several answers at one instant only the last is ever seen, and how the others followed each other is not kept
    if len({page.known_at for page in told}) == len(told):
        assert stored_changes(store) == naive.changes()
    assert [row["check"] for row in store.quality() if row["bad_rows"]] == []


def test_confirmation_between_two_versions_is_found_when_the_middle_one_comes_late() -> None:
    first, again, middle = (
        Page("BTC-USD", SPAN, (candle(0, kind),), TOLD + hours * timedelta(hours=1), "coinbase")
        for kind, hours in ((0, 0), (0, 2), (3, 1))
    )
    with FeatureStore.in_memory() as store:
        for page in (first, again, middle):
            store.record_pages([page])
        closes = [stored_as_of(store, TOLD + hours * timedelta(hours=1))[T0][3] for hours in (0, 1, 2)]
        assert closes == [Decimal(100), Decimal(103), Decimal(100)]


def test_confirmations_are_kept_for_a_day_of_telling() -> None:
    with FeatureStore.in_memory() as store:
        for hours in (0, 1, 20, 40):
            page = Page("BTC-USD", SPAN, (candle(0, 0),), TOLD + hours * timedelta(hours=1), "coinbase")
            store.record_pages([page])
        kept = store._connection().execute("select told_at from candle_confirmations order by told_at").fetchall()
        assert [row[0] for row in kept] == [TOLD + hours * timedelta(hours=1) for hours in (20, 40)]
