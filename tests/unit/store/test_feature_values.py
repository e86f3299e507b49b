"""The numbers of seed39: against TA-Lib and Polars on real minutes, and by hand where nothing moves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

from desk.market import MINUTE, Candle, Span
from store.feature_store import FeatureStore
from store.features import FEATURE_SETS, FeatureBlock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from desk.market import Page

T0 = datetime(2024, 3, 4, tzinfo=UTC)  # a Monday
COLUMNS = FEATURE_SETS["seed39"].columns
RELATIVE = 1e-9
RECURSIVE = 1e-6
"""256 terms leave out 6e-9 of a unit move for rsi and 3e-9 for macd; measured on real minutes 3e-7 of their own spread."""


def flat(minutes: int, *, start: datetime = T0, price: str = "27123.45") -> list[Candle]:
    value = Decimal(price)
    return [
        Candle("BTC-USD", start + number * MINUTE, value, value, value, value, Decimal(2)) for number in range(minutes)
    ]


def block(candles: list[Candle], product: str = "BTC-USD") -> FeatureBlock:
    with FeatureStore.in_memory() as store:
        store.upsert_candles(candles)
        return store.feature_block(product, candles[0].open_time, candles[-1].open_time + MINUTE)


def column(found: FeatureBlock, name: str) -> np.ndarray:
    return found.x_NF[:, COLUMNS.index(name)]


@pytest.fixture(scope="module")
def real(recorded: Callable[..., list[Candle]]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The dense minutes and the features of two weeks of BTC-USD, both as doubles."""
    with FeatureStore.in_memory() as store:
        store.upsert_candles(recorded("BTC-USD", 20_000))
        connection = store._connection()
        dense = connection.sql("select minute, high, low, close, volume from candles_dense order by minute").pl()
        rows = connection.sql("select * exclude (open_time, segment_start) from seed39_rows order by minute").pl()
    return dense.with_columns(pl.col(pl.Decimal).cast(pl.Float64)), rows


def reference(dense: pl.DataFrame) -> dict[str, np.ndarray]:
    import talib

    high, low, close, volume = (dense[name].to_numpy() for name in ("high", "low", "close", "volume"))
    atr = pl.Series(talib.TRANGE(high, low, close)).rolling_mean(14)
    upper, _, lower = talib.BBANDS(close, 20, 2, 2)
    exact = {f"sma_{length}": talib.SMA(close, length) for length in (7, 14, 21, 50)}
    exact |= {f"price_sma_{n}_ratio": close / (exact[f"sma_{n}"] + 1e-8) for n in (7, 14, 21, 50)}
    slope = talib.LINEARREG_SLOPE(volume, 20)
    return exact | {
        "spread": high - low,
        "spread_pct": 100 * (high - low) / close,
        "atr": atr.to_numpy(),
        "spread_atr_ratio": (high - low) / (atr.to_numpy() + 1e-8),
        "volume_ma": talib.SMA(volume, 20),
        "volume_ratio": volume / (talib.SMA(volume, 20) + 1e-8),
        "volume_trend": slope,
        "bb_high": upper,
        "bb_low": lower,
        "bb_width": (upper - lower) / close,
        "bb_position": (close - lower) / (upper - lower),
    }


@pytest.mark.real
def test_windowed_inputs_agree_with_talib(real: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    dense, rows = real
    start = dense.height - rows.height
    for name, values in reference(dense).items():
        # their running sums drift a little; bands divide by a width, so they are held against the price's scale
        np.testing.assert_allclose(rows[name].to_numpy(), values[start:], rtol=1e-7, atol=RELATIVE, err_msg=name)


@pytest.mark.real
def test_rsi_and_macd_agree_with_talib_and_polars(real: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    import talib

    dense, rows = real
    close = dense["close"]
    macd, signal, _ = talib.MACD(close.to_numpy(), 12, 26, 9)
    by_polars = close.ewm_mean(span=12, adjust=False) - close.ewm_mean(span=26, adjust=False)
    found = {
        "rsi": (talib.RSI(close.to_numpy(), 14),),
        "macd": (macd, by_polars.to_numpy()),
        "macd_signal": (signal, by_polars.ewm_mean(span=9, adjust=False).to_numpy()),
    }
    settled = 2_000  # theirs depend on where history starts, so they are compared once that has died away
    for name, references in found.items():
        for values in references:
            expected = values[-rows.height :][settled:]
            error = np.abs(rows[name].to_numpy()[settled:] - expected).max() / expected.std()
            assert error < RECURSIVE, name


@pytest.mark.real
def test_regime_agrees_with_polars(real: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    rows = real[1]
    atr = rows["atr"]
    low, high = (atr.rolling_quantile(q, "linear", window_size=20) for q in (0.33, 0.67))
    expected = pl.select(
        pl.when(atr < low).then(pl.lit("low")).when(atr > high).then(pl.lit("high")).otherwise(pl.lit("medium"))
    ).to_series()
    assert (rows["volatility_regime"][20:] == expected[20:]).all()


def test_flat_market_is_neutral_and_finite() -> None:
    found = block(flat(300))
    assert len(found) == 300 - 256
    for name, value in {
        "rsi": 50,
        "macd": 0,
        "macd_signal": 0,
        "bb_width": 0,
        "bb_position": 0.5,
        "volume_trend": 0,
        "volatility_medium": 1,
    }.items():
        assert (column(found, name) == value).all(), name
    assert np.isfinite(found.x_NF).all()


def test_always_rising_market_has_rsi_100(walk: Callable[..., list[Candle]]) -> None:
    rising = [Candle("BTC-USD", T0 + n * MINUTE, *(Decimal(100 + n),) * 4, Decimal(0)) for n in range(258)]
    assert (column(block(rising), "rsi") == 100).all()


def test_sessions_and_weekdays_follow_utc() -> None:
    found = block(flat(5 * 1440 + 300, start=T0 - timedelta(minutes=300)))
    open_time = found.open_time_N.astype("datetime64[m]").astype(datetime)
    hours = np.array([moment.hour for moment in open_time])
    days = np.array([moment.weekday() for moment in open_time])
    np.testing.assert_array_equal(column(found, "session_tokyo"), hours < 8)
    np.testing.assert_array_equal(column(found, "session_london"), (hours >= 8) & (hours < 16))
    np.testing.assert_array_equal(column(found, "session_new_york"), hours >= 16)
    np.testing.assert_array_equal(column(found, "day_of_week"), days)
    np.testing.assert_array_equal(column(found, "is_weekend"), days >= 5)


def test_session_time_zone_changes_nothing() -> None:
    with FeatureStore.in_memory() as store:
        store.upsert_candles(flat(600))
        connection = store._connection()
        query = "select product, epoch_us(open_time), session, day_of_week from seed39 order by 2"
        in_utc = connection.execute(query).fetchall()
        connection.execute("set timezone = 'Asia/Kolkata'")
        assert connection.execute(query).fetchall() == in_utc


def test_short_hole_is_filled_and_keeps_the_segment() -> None:
    candles = flat(400)
    found = block(candles[:300] + candles[360:])
    assert len(found) == 400 - 256
    assert int(found.is_filled_N.sum()) == 60
    assert (np.diff(found.minute_N) == 1).all()


def test_hole_of_more_than_an_hour_starts_over() -> None:
    candles = flat(700)
    found = block(candles[:300] + candles[361:])
    rows_before, rows_after = 300 - 256, 700 - 361 - 256
    assert len(found) == rows_before + rows_after
    assert int(found.is_filled_N.sum()) == 0


def test_tail_after_the_last_candle_is_not_filled() -> None:
    with FeatureStore.in_memory() as store:
        store.upsert_candles(flat(300))
        found = store.feature_block("BTC-USD", T0, T0 + timedelta(days=1))
    assert found.minute_N[-1] == int(T0.timestamp()) // 60 + 299


def test_feature_blocks_products_do_not_mix(walk: Callable[..., list[Candle]]) -> None:
    coins = {product: walk(product, 300, start=T0, seed=5) for product in ("BTC-USD", "ETH-USD")}
    with FeatureStore.in_memory() as store:
        store.upsert_candles([candle for candles in coins.values() for candle in candles])
        both = store.feature_blocks(["ETH-USD", "BTC-USD", "SOL-USD"], T0, T0 + timedelta(days=1))
    assert len(both["SOL-USD"]) == 0
    assert both["SOL-USD"].x_NF.shape == (0, 31)
    for product, candles in coins.items():
        alone = block(candles, product)
        assert both[product].x_NF.tobytes() == alone.x_NF.tobytes()
        assert both[product].x_NF.flags.c_contiguous
        assert both[product].x_NF.dtype == np.float32


def test_feature_blocks_of_a_file_equal_those_in_memory(
    tmp_path: Path, walk: Callable[..., list[Candle]], as_pages: Callable[..., list[Page]]
) -> None:
    candles = walk("BTC-USD", 2_000, start=T0, missing=0.3)
    store = FeatureStore(tmp_path / "market.duckdb")
    store.migrate()
    store.record_pages(as_pages(candles, Span(T0, T0 + 2_000 * MINUTE)))
    start, end = T0 + 1_500 * MINUTE, T0 + 1_600 * MINUTE
    of_file = store.feature_block("BTC-USD", start, end)
    whole = block(candles)
    here = (whole.minute_N >= of_file.minute_N[0]) & (whole.minute_N <= of_file.minute_N[-1])
    assert len(of_file) == 100
    assert of_file.x_NF.tobytes() == whole.x_NF[here].tobytes()
