"""What must hold for any market: causality, independence of where history starts, idempotent and orderless writes."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.candles import MINUTE, Candle, Page, Span
from store.feature_sets import FEATURE_SETS
from store.feature_store import FeatureStore
from store.ledger import ANSWERED, FAILED, Window, recorded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T0 = datetime(2024, 3, 1, tzinfo=UTC)
HISTORY = FEATURE_SETS["seed39"].history_minutes
EVERY = "select * from seed39_rows order by product, minute"
FEW = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def rows(candles: Sequence[Candle], after: datetime | None = None) -> list[tuple[object, ...]]:
    """Every bookkeeping column and input, doubles and all, of the rows from ``after`` on."""
    with FeatureStore.in_memory() as store:
        store.upsert_candles(candles)
        found = store._connection().execute(EVERY).fetchall()
    return [row for row in found if after is None or row[5] >= after]  # type: ignore[operator]


def without_segment(found: Sequence[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """Leave out segment_start and minute_of_segment, which say where history starts."""
    return [row[:3] + row[5:] for row in found]


@FEW
@given(seed=st.integers(0, 10**6), missing=st.sampled_from([0.0, 0.2, 0.9]), cut=st.integers(260, 590))
def test_features_cutting_the_future_changes_no_bit_before_it(
    walk: Callable[..., list[Candle]], seed: int, missing: float, cut: int
) -> None:
    candles = walk("BTC-USD", 600, start=T0, seed=seed, missing=missing)
    past = [candle for candle in candles if candle.open_time < T0 + cut * MINUTE]
    if not past:
        return
    whole = [row for row in rows(candles) if row[5] <= past[-1].open_time]  # type: ignore[operator]
    assert rows(past) == whole


@FEW
@given(seed=st.integers(0, 10**6), missing=st.sampled_from([0.0, 0.2, 0.9]), start=st.integers(1, 300))
def test_features_do_not_depend_on_where_history_starts(
    walk: Callable[..., list[Candle]], seed: int, missing: float, start: int
) -> None:
    candles = walk("BTC-USD", 800, start=T0, seed=seed, missing=missing)
    late = [candle for candle in candles if candle.open_time >= T0 + start * MINUTE]
    settled = T0 + (start + HISTORY) * MINUTE
    assert without_segment(rows(late, settled)) == without_segment(rows(candles, settled))


@FEW
@given(seed=st.integers(0, 10**6))
def test_features_do_not_depend_on_the_order_of_rows(walk: Callable[..., list[Candle]], seed: int) -> None:
    candles = [
        *walk("BTC-USD", 300, start=T0, seed=seed, missing=0.1),
        *walk("ETH-USD", 300, start=T0, seed=seed, missing=0.1),
    ]
    shuffled = random.Random(seed).sample(candles, len(candles))
    assert rows(shuffled) == rows(candles)


def state(store: FeatureStore) -> dict[str, list[tuple[object, ...]]]:
    connection = store._connection()
    answered = "select product, unnest(range(epoch_us(start_time) // 60000000, epoch_us(end_time) // 60000000)) from ledger where state = 'answered'"
    return {
        "candles": connection.execute("select * from candles_1m order by all").fetchall(),
        "revisions": connection.execute(
            "select * exclude (superseded_at) from candle_revisions order by all"
        ).fetchall(),
        "answered": sorted(connection.execute(answered).fetchall()),
    }


@FEW
@given(data=st.data(), seed=st.integers(0, 10**6))
def test_record_pages_shuffled_overlapping_and_repeated_end_alike(
    walk: Callable[..., list[Candle]], data: st.DataObject, seed: int
) -> None:
    candles = walk("BTC-USD", 200, start=T0, seed=seed, missing=0.2)
    bounds = data.draw(st.lists(st.tuples(st.integers(0, 190), st.integers(5, 60)), min_size=1, max_size=8))
    pages = [told(candles, low, min(low + length, 200), number) for number, (low, length) in enumerate(bounds)]
    order = data.draw(st.permutations(pages + pages[: len(pages) // 2]))
    size = data.draw(st.integers(1, 4))
    with FeatureStore.in_memory() as straight, FeatureStore.in_memory() as mixed:
        straight.record_pages(pages)
        for first in range(0, len(order), size):
            mixed.record_pages(order[first : first + size])
        assert state(mixed) == state(straight)


def told(candles: Sequence[Candle], low: int, high: int, number: int) -> Page:
    """A page learned at minute ``number``; every third minute it tells of has grown since the page before."""
    span = Span(T0 + low * MINUTE, T0 + high * MINUTE)
    inside = [candle for candle in candles if span.start <= candle.open_time < span.end]
    grown = [
        replace(one, volume=one.volume + Decimal(number)) if one.open_time.minute % 3 == 0 else one for one in inside
    ]
    return Page("BTC-USD", span, tuple(grown), T0 + timedelta(days=1, minutes=number), "synthetic")


windows = st.builds(
    lambda low, length, state, asked: Window(
        T0 + low * MINUTE,
        T0 + (low + length) * MINUTE,
        state,
        T0 + timedelta(days=1 + asked),
        1,
        "" if state == ANSWERED else "busy",
        "coinbase",
    ),
    st.integers(0, 100),
    st.integers(1, 40),
    st.sampled_from([ANSWERED, FAILED]),
    st.integers(0, 5),
)


@settings(deadline=None)
@given(news=st.lists(windows, max_size=12))
def test_recorded_windows_never_overlap_and_forget_no_minute(news: list[Window]) -> None:
    kept: list[Window] = []
    for window in news:
        kept = recorded(kept, window)
    assert all(one.end <= other.start for one, other in pairwise(kept))
    assert all(one.start < one.end for one in kept)
    answered = {m for one in news if one.state == ANSWERED for m in minutes(one)}
    assert {m for one in kept if one.state == ANSWERED for m in minutes(one)} == answered
    assert {m for one in kept for m in minutes(one)} == {m for one in news for m in minutes(one)}


def minutes(window: Window) -> range:
    return range(int(window.start.timestamp()) // 60, int(window.end.timestamp()) // 60)


@FEW
@given(seed=st.integers(0, 10**6), missing=st.floats(0, 0.97))
def test_dense_grid_has_every_minute_once_and_no_input_is_undefined(
    walk: Callable[..., list[Candle]], seed: int, missing: float
) -> None:
    candles = walk("BTC-USD", 900, start=T0, seed=seed, missing=missing)
    if not candles:
        return
    with FeatureStore.in_memory() as store:
        store.upsert_candles(candles)
        found = store.feature_blocks(["BTC-USD"], T0, T0 + timedelta(days=1), "seed39")["BTC-USD"]
        dense = store._connection().execute("select minute from candles_dense order by minute").fetchall()
    assert len({row[0] for row in dense}) == len(dense)
    assert np.isfinite(found.x_NF).all()
