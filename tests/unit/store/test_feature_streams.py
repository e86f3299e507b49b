"""Why the feature views are quick, and what keeps that safe: they stream through sorted rows, and count on no order they did not see."""

from __future__ import annotations

import random
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from core.candles import MINUTE, Candle
from store.feature_sets import FEATURE_SETS
from store.feature_store import FeatureStore
from store.sql_files import load_sql

if TYPE_CHECKING:
    from collections.abc import Callable

    import duckdb

START = datetime(2024, 3, 1, tzinfo=UTC)


def windows(connection: duckdb.DuckDBPyConnection, query: str) -> set[str]:
    plan = connection.execute(f"explain {query}").fetchall()[0][1]
    return set(re.findall(r"(?:Streaming )?Window", plan))


@pytest.mark.parametrize("view", FEATURE_SETS["seed39"].views)
def test_views_of_seed39_need_no_window_with_its_own_sort(view: str) -> None:
    with FeatureStore.in_memory() as store:
        assert windows(store._connection(), f"select * from {view}") == {"Streaming Window"}


def test_labels_stream_as_well() -> None:
    with FeatureStore.in_memory() as store:
        assert windows(store._connection(), "select * from labels_15m") == {"Streaming Window"}


def test_rows_in_another_order_lose_values_and_change_none(walk: Callable[..., list[Candle]]) -> None:
    candles = [*walk("BTC-USD", 900, start=START), *walk("ETH-USD", 900, start=START)]
    query = "select * exclude (segment_start, minute_of_segment) from seed39_rows"
    with FeatureStore.in_memory() as store:
        store.upsert_candles(candles)
        connection = store._connection()
        right = {row[:2]: row for row in connection.execute(query).fetchall()}
        # a grid that does not sort, over candles of which two hours lie elsewhere
        unsorted = load_sql("views/candles_dense").replace("order by\n        product,\n        minute\n", "", 1)
        assert unsorted != load_sql("views/candles_dense")
        connection.execute(unsorted)
        connection.execute("create temp table held as select * from candles_1m order by product, open_time")
        connection.execute("truncate candles_1m")
        for part in ("hour(open_time) not in (9, 10)", "hour(open_time) in (9, 10)"):
            connection.execute(f"insert into candles_1m select * from held where {part} order by product, open_time")
        found = connection.execute(query).fetchall()
    assert 0 < len(found) < len(right)
    assert all(right[row[:2]] == row for row in found)


def test_minute_of_a_product_never_reaches_into_the_product_before_it(walk: Callable[..., list[Candle]]) -> None:
    # ETH-USD begins in the very minute after BTC-USD ends, so that only the name tells them apart
    first = walk("BTC-USD", 400, start=START)
    second = walk("ETH-USD", 400, start=START + 400 * MINUTE)
    with FeatureStore.in_memory() as store, FeatureStore.in_memory() as alone:
        store.upsert_candles(random.Random(1).sample([*first, *second], 800))
        alone.upsert_candles(second)
        query = "select * from seed39_rows where product = 'ETH-USD' order by minute"
        found, expected = (each._connection().execute(query).fetchall() for each in (store, alone))
    assert len(found) == 400 - 288
    assert found == expected


def test_duplicate_candle_breaks_the_segment_instead_of_shifting_it(walk: Callable[..., list[Candle]]) -> None:
    candles = walk("BTC-USD", 700, start=START)
    with FeatureStore.in_memory() as store:
        store.upsert_candles(candles)
        connection = store._connection()
        right = dict(connection.execute("select minute, rsi from seed39_rows").fetchall())
        connection.execute("insert into candles_1m select * from candles_1m order by open_time limit 1 offset 300")
        found = dict(connection.execute("select minute, rsi from seed39_rows").fetchall())
    assert len(found) == (301 - 288) + (400 - 288)
    assert all(right[minute] == value for minute, value in found.items())
