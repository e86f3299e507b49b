"""The minute grid on real candles: filled for at most an hour, a new segment after a longer hole."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq
import pytest

from core.candles import MINUTE
from store.feature_store import FeatureStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from core.candles import Candle

T0 = datetime(2024, 3, 1, tzinfo=UTC)
HOLE = datetime(2024, 5, 31, 22, 12, tzinfo=UTC)
"""First of 67 missing minutes; the last candle before them is of 22:11."""
_GRID = """
select epoch_us(open_time) // 60000000 as m, minute_of_segment, epoch_us(segment_start) // 60000000 as s,
    open::double as o, high::double as h, low::double as l, close::double as c, volume::double as v, is_filled
from candles_dense order by minute
"""


@pytest.fixture
def store() -> Iterator[FeatureStore]:
    with FeatureStore.in_memory() as made:
        yield made


def load(store: FeatureStore, path: Path, since: datetime, until: datetime) -> None:
    connection = store._connection()
    connection.register("recorded", pq.read_table(path, filters=[("time", ">=", since), ("time", "<", until)]))
    connection.execute(
        "insert into candles_1m by name select 'P-USD' as product, time as open_time, open, high, low, close, volume, "
        "'recorded' as source, time + interval 1 minute as known_at from recorded"
    )


@pytest.mark.parametrize("missing", [0, 1, 59, 60, 61, 62])
def test_sixty_missing_minutes_are_filled_and_sixty_one_start_a_segment(
    store: FeatureStore, walk: Callable[..., list[Candle]], missing: int
) -> None:
    rows = walk("BTC-USD", 200, start=T0)
    store.upsert_candles([*rows[:50], *rows[50 + missing :]])
    filled, longest, segments = store._connection().execute(
        "select count(*) filter (where is_filled), max(minute_of_segment), count(distinct segment_start) from candles_dense"
    ).fetchall()[0]  # fmt: skip
    assert filled == (missing if missing <= 60 else 0)
    assert segments == (1 if missing <= 60 else 2)
    assert longest == (199 if missing <= 60 else max(49, 199 - 50 - missing))
    gaps = store.gaps()
    assert [(gap["missing_minutes"], gap["is_long"]) for gap in gaps] == ([(missing, missing > 60)] if missing else [])


@pytest.mark.real
def test_hole_of_67_minutes_in_bitcoin_starts_a_new_segment(store: FeatureStore, recorded_candles: Path) -> None:
    load(store, recorded_candles / "coinbase_BTC-USD_1m.parquet", HOLE - timedelta(days=2), HOLE + timedelta(days=2))
    (gap,) = [gap for gap in store.gaps() if gap["is_long"]]
    assert (gap["gap_start"], gap["missing_minutes"]) == (HOLE, 67)
    rows = store._connection().execute(
        "select open_time, segment_start, minute_of_segment, is_filled from candles_dense "
        "where open_time between $1 and $2 order by open_time",
        [HOLE - MINUTE, HOLE + 67 * MINUTE],
    ).fetchall()  # fmt: skip
    last, first = rows
    assert (last[0].astimezone(UTC), last[2]) == (HOLE - MINUTE, 2 * 1440 - 1)
    assert (first[0].astimezone(UTC), first[1], first[2], first[3]) == (HOLE + 67 * MINUTE, first[0], 0, False)


@pytest.mark.real
def test_feature_rows_and_labels_never_cross_the_hole(store: FeatureStore, recorded_candles: Path) -> None:
    load(store, recorded_candles / "coinbase_BTC-USD_1m.parquet", HOLE - timedelta(days=1), HOLE + timedelta(days=1))
    connection = store._connection()
    after = connection.execute("select min(open_time) from seed39 where open_time >= $1", [HOLE]).fetchall()[0][0]
    labelled = connection.execute(
        "select max(open_time) from labels_15m where open_time < $1 and direction_15m is not null", [HOLE + 30 * MINUTE]
    ).fetchall()[0][0]  # fmt: skip
    assert after.astimezone(UTC) >= HOLE + (67 + 49) * MINUTE
    assert labelled.astimezone(UTC) == HOLE - 16 * MINUTE


@pytest.mark.real
def test_grid_of_a_thin_coin_equals_one_laid_by_hand(store: FeatureStore, recorded_candles: Path) -> None:
    """DASH-USD, 79 % of whose minutes have no trade: each column recomputed with numpy over the whole half year."""
    path = recorded_candles / "coinbase_DASH-USD_1m.parquet"
    load(store, path, T0 - timedelta(days=999), T0 + timedelta(days=999))
    grid = store._connection().execute(_GRID).fetchnumpy()
    table = pq.read_table(path)
    minute_N = table["time"].cast("int64").to_numpy() // 60_000_000
    step_N = np.diff(minute_N)
    assert step_N.max() <= 61
    every_M = np.arange(minute_N[0], minute_N[-1] + 1)
    source_M = np.searchsorted(minute_N, every_M, side="right") - 1
    is_filled_M = minute_N[source_M] != every_M
    assert is_filled_M.mean() == pytest.approx(0.79, abs=0.01)
    assert np.array_equal(grid["m"], every_M)
    assert np.array_equal(grid["is_filled"], is_filled_M)
    close_M = table["close"].to_numpy()[source_M]
    assert np.array_equal(grid["c"], close_M)
    for short, name in (("o", "open"), ("h", "high"), ("l", "low")):
        assert np.array_equal(grid[short], np.where(is_filled_M, close_M, table[name].to_numpy()[source_M]))
    assert np.array_equal(grid["v"], np.where(is_filled_M, 0.0, table["volume"].to_numpy()[source_M]))
    assert np.array_equal(grid["minute_of_segment"], every_M - every_M[0])
    assert set(grid["s"]) == {minute_N[0]}
