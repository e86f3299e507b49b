"""`flow` has the same bits live and in history: whatever is cut off before, after, or reordered, coins crossing or not."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.candles import MINUTE
from store.feature_sets import feature_set
from store.feature_store import FeatureStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from core.candles import Candle

T0 = datetime(2024, 3, 1, tzinfo=UTC)
COINS = ("BTC-USD", "ETH-USD", "SOL-USD")
HISTORY = feature_set("flow").history_minutes
INPUTS = ", ".join(feature_set("flow").columns)
EVERY = f"select product, minute, close, is_filled, {INPUTS} from flow order by product, minute"
FEW = settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

Row = tuple[object, ...]


def rows(candles: Sequence[Candle]) -> list[Row]:
    """Every input, doubles and all, of every row."""
    with FeatureStore.in_memory() as store:
        store.upsert_candles(candles)
        return store._connection().execute(EVERY).fetchall()


def epoch(moment: datetime) -> int:
    return int(moment.timestamp()) // 60


def market(walk: Callable[..., list[Candle]], minutes: int, seed: int, missing: float) -> list[Candle]:
    """Three coins: one never silent, one as told, one thin, with holes of hours now and then."""
    shares = dict(zip(COINS, (0.0, missing, max(missing, 0.5)), strict=True))
    made = [candle for coin in COINS for candle in walk(coin, minutes, start=T0, seed=seed, missing=shares[coin])]
    dice = random.Random(seed)
    hole = dice.randrange(minutes)
    lost, length = dice.choice(COINS), dice.choice((59, 60, 61, 62, 200))
    return [
        candle
        for candle in made
        if candle.product != lost or not hole <= epoch(candle.open_time) - epoch(T0) < hole + length
    ]


@FEW
@given(seed=st.integers(0, 10**6), missing=st.sampled_from([0.0, 0.1, 0.9]), cut=st.integers(61, 490))
def test_flow_cutting_the_future_changes_no_bit_before_it(
    walk: Callable[..., list[Candle]], seed: int, missing: float, cut: int
) -> None:
    candles = market(walk, 500, seed, missing)
    past = [candle for candle in candles if candle.open_time < T0 + cut * MINUTE]
    last = {candle.product: epoch(candle.open_time) for candle in past}
    whole = [row for row in rows(candles) if row[1] <= last.get(str(row[0]), 0)]  # type: ignore[operator]
    assert rows(past) == whole


@FEW
@given(seed=st.integers(0, 10**6), missing=st.sampled_from([0.0, 0.3, 0.9]), start=st.integers(1, 300))
def test_flow_does_not_depend_on_where_history_starts(
    walk: Callable[..., list[Candle]], seed: int, missing: float, start: int
) -> None:
    candles = market(walk, HISTORY + 330, seed, missing)
    late = [candle for candle in candles if candle.open_time >= T0 + start * MINUTE]
    settled = epoch(T0) + start + HISTORY
    found = [row for row in rows(late) if row[1] >= settled]  # type: ignore[operator]
    assert found == [row for row in rows(candles) if row[1] >= settled]  # type: ignore[operator]
    assert found


def test_flow_less_history_than_the_headers_say_changes_values(walk: Callable[..., list[Candle]]) -> None:
    candles = [candle for coin in COINS[:2] for candle in walk(coin, HISTORY + 100, start=T0)]
    late = [candle for candle in candles if candle.open_time >= T0 + 100 * MINUTE]
    at = epoch(T0) + 100 + 1439
    short, full = ([row for row in rows(some) if row[1] == at] for some in (late, candles))
    assert len(short) == len(full) == 2
    assert short != full


@FEW
@given(seed=st.integers(0, 10**6))
def test_flow_does_not_depend_on_the_order_of_rows(walk: Callable[..., list[Candle]], seed: int) -> None:
    candles = market(walk, 300, seed, 0.2)
    shuffled = random.Random(seed).sample(candles, len(candles))
    assert rows(shuffled) == rows(candles)


@FEW
@given(seed=st.integers(0, 10**6), missing=st.floats(0, 0.97))
def test_flow_has_no_undefined_input_and_no_row_before_its_warm_up(
    walk: Callable[..., list[Candle]], seed: int, missing: float
) -> None:
    candles = market(walk, 700, seed, missing)
    with FeatureStore.in_memory() as store:
        store.upsert_candles(candles)
        blocks = store.feature_blocks(COINS, T0, T0 + 700 * MINUTE, "flow")
        wanted = store._connection().execute(
            "select product, count(*) from candles_dense where minute_of_segment >= 60 group by product"
        )
        counts = dict(wanted.fetchall())
    for coin, block in blocks.items():
        assert np.isfinite(block.x_NF).all()
        assert len(block) == counts.get(coin, 0)


def test_flow_runtime_values_equal_full_history_on_recorded_minutes(recorded: Callable[..., list[Candle]]) -> None:
    skip, length = 172_000, 2_400
    candles = {coin: recorded(coin, length, skip) for coin in COINS[:2]}
    with FeatureStore.in_memory() as store:
        for told in candles.values():
            store.upsert_candles(told)
        first = candles["BTC-USD"][0].open_time
        whole = store.feature_blocks(COINS[:2], first, first + length * MINUTE, "flow")
    dice = random.Random(4)
    for _ in range(3):
        present = first + dice.randrange(HISTORY + 60, length) * MINUTE
        kept = present - (HISTORY + 60) * MINUTE
        with FeatureStore.in_memory(memory_mb=24) as live:
            for told in candles.values():
                live.upsert_candles([candle for candle in told if kept <= candle.open_time <= present])
            found = live.feature_blocks(COINS[:2], present - 59 * MINUTE, present + MINUTE, "flow")
        for coin, block in found.items():
            same = np.isin(whole[coin].minute_N, block.minute_N)
            assert len(block) == 60
            assert block.x_NF.tobytes() == whole[coin].x_NF[same].tobytes()
