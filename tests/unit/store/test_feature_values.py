"""The numbers of seed39: against their definitions, TA-Lib and Polars on real minutes, and by hand where nothing moves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

from core.candles import MINUTE, Candle, Span
from store.feature_sets import FEATURE_SETS, FeatureBlock
from store.feature_store import FeatureStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from core.candles import Page

T0 = datetime(2024, 3, 4, tzinfo=UTC)  # a Monday
COLUMNS = FEATURE_SETS["seed39"].columns
WARM_UP = FEATURE_SETS["seed39"].warm_up_minutes
RELATIVE = 1e-9
RECURSIVE = 3e-8
"""288 terms leave out 5e-10 of a unit move for rsi and 2e-10 for macd; in standard deviations, and below what float32 keeps."""
LONG = np.longdouble
COINS = ("BTC-USD", "ETH-USD", "SOL-USD")


def flat(minutes: int, *, start: datetime = T0, price: str = "27123.45") -> list[Candle]:
    value = Decimal(price)
    return [
        Candle("BTC-USD", start + number * MINUTE, value, value, value, value, Decimal(2)) for number in range(minutes)
    ]


def block(candles: list[Candle], product: str = "BTC-USD") -> FeatureBlock:
    with FeatureStore.in_memory() as store:
        store.upsert_candles(candles)
        return store.feature_blocks([product], candles[0].open_time, candles[-1].open_time + MINUTE, "seed39")[product]


def column(found: FeatureBlock, name: str) -> np.ndarray:
    return found.x_NF[:, COLUMNS.index(name)]


@pytest.fixture(scope="module", params=COINS)
def real(request: pytest.FixtureRequest, recorded: Callable[..., list[Candle]]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The dense minutes and the features of nine days of a coin, both as doubles."""
    with FeatureStore.in_memory() as store:
        store.upsert_candles(recorded(request.param, 13_000))
        connection = store._connection()
        dense = connection.sql("select minute, high, low, close, volume from candles_dense order by minute").pl()
        rows = connection.sql("select * exclude (open_time, segment_start) from seed39_rows order by minute").pl()
    assert dense.height - rows.height == WARM_UP, "one segment, so that references need not know of segments"
    return dense.with_columns(pl.col(pl.Decimal).cast(pl.Float64)), rows


def windows(values: np.ndarray, length: int) -> np.ndarray:
    return np.lib.stride_tricks.sliding_window_view(values.astype(LONG), length)


def last(values: np.ndarray, rows: pl.DataFrame) -> np.ndarray:
    return np.asarray(values[-rows.height :])


def derived(dense: pl.DataFrame, base: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What is plain arithmetic on the windowed columns."""
    high, low, close, volume = (dense[name].to_numpy().astype(LONG) for name in ("high", "low", "close", "volume"))
    height = min(map(len, base.values()))
    base = {name: values[-height:] for name, values in base.items()}
    high, low, close, volume = (values[-height:] for values in (high, low, close, volume))
    middle, half = base["sma_20"], base["half"]
    return base | {
        "spread": high - low,
        "spread_pct": 100 * (high - low) / close,
        "spread_atr_ratio": (high - low) / (base["atr"] + LONG(1e-8)),
        "volume_ratio": volume / (base["volume_ma"] + LONG(1e-8)),
        **{f"price_sma_{n}_ratio": close / (base[f"sma_{n}"] + LONG(1e-8)) for n in (7, 14, 21, 50)},
        "bb_high": middle + half,
        "bb_low": middle - half,
        "bb_width": 2 * half / close,
        "bb_position": np.where(half == 0, LONG(0.5), (close - middle + half) / np.where(half == 0, 1, 2 * half)),
    }


def by_long_doubles(dense: pl.DataFrame) -> dict[str, np.ndarray]:
    """Every windowed column from its definition, window by window, with 64 bits of mantissa."""
    high, low, close, volume = (dense[name].to_numpy() for name in ("high", "low", "close", "volume"))
    reach = np.maximum(high[1:], close[:-1]).astype(LONG) - np.minimum(low[1:], close[:-1]).astype(LONG)
    base = {f"sma_{n}": windows(close, n).mean(axis=1) for n in (7, 14, 20, 21, 50)}
    apart = windows(close, 20) - base["sma_20"][:, None]
    base |= {
        "half": 2 * np.sqrt((apart * apart).mean(axis=1)),
        "atr": windows(reach, 14).mean(axis=1),
        "volume_ma": windows(volume, 20).mean(axis=1),
        "volume_trend": windows(volume, 20) @ (np.arange(20) - LONG(9.5)) / 665,
    }
    return derived(dense, base)


def by_talib(dense: pl.DataFrame) -> dict[str, np.ndarray]:
    import talib

    high, low, close, volume = (dense[name].to_numpy() for name in ("high", "low", "close", "volume"))
    upper, middle, _ = talib.BBANDS(close, 20, 2, 2)
    base = {f"sma_{n}": talib.SMA(close, n) for n in (7, 14, 21, 50)}
    base |= {"sma_20": middle, "half": upper - middle, "atr": talib.SMA(talib.TRANGE(high, low, close)[1:], 14)}
    base |= {"volume_ma": talib.SMA(volume, 20), "volume_trend": talib.LINEARREG_SLOPE(volume, 20)}
    return derived(dense, base)


def by_polars(dense: pl.DataFrame) -> dict[str, np.ndarray]:
    close, volume = pl.col("close"), pl.col("volume")
    before = close.shift(1)
    frame = dense.select(
        *(close.rolling_mean(n).alias(f"sma_{n}") for n in (7, 14, 20, 21, 50)),
        (2 * close.rolling_std(20, ddof=0)).alias("half"),
        pl.when(before.is_not_null())
        .then(pl.max_horizontal("high", before) - pl.min_horizontal("low", before))
        .rolling_mean(14)
        .alias("atr"),
        volume.rolling_mean(20).alias("volume_ma"),
        volume.rolling_sum(20, weights=[(k - 9.5) / 665 for k in range(20)]).alias("volume_trend"),
    )
    return derived(dense, {name: frame[name].to_numpy() for name in frame.columns})


# where a column passes through 0, sums and square roots keep a share of its scale, not of the value
CROSSES_ZERO = ("volume_trend", "bb_position")


def agree(rows: pl.DataFrame, name: str, expected: np.ndarray) -> None:
    scale = RELATIVE * float(np.asarray(expected, float).std()) if name in CROSSES_ZERO else 0
    np.testing.assert_allclose(rows[name].to_numpy(), expected, rtol=RELATIVE, atol=scale, err_msg=name)


@pytest.mark.real
def test_windowed_inputs_agree_with_their_definitions(real: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    dense, rows = real
    for name, values in by_long_doubles(dense).items():
        if name in rows.columns:
            agree(rows, name, last(values, rows))


@pytest.mark.real
@pytest.mark.parametrize("reference", [by_talib, by_polars])
def test_windowed_inputs_agree_with_talib_and_polars(
    real: tuple[pl.DataFrame, pl.DataFrame], reference: Callable[[pl.DataFrame], dict[str, np.ndarray]]
) -> None:
    dense, rows = real
    compared = set()
    for name, values in reference(dense).items():
        if name in rows.columns:
            agree(rows, name, last(values, rows))
            compared.add(name)
    left = set(COLUMNS) - compared
    assert {name.partition("_")[0] for name in left} == {"session", "day", "is", "rsi", "macd", "volatility"}


def recursion(values: np.ndarray, alpha: LONG) -> np.ndarray:
    found = np.empty(len(values), LONG)
    found[0] = values[0]
    for place in range(1, len(values)):
        found[place] = found[place - 1] + alpha * (values[place] - found[place - 1])
    return found


@pytest.mark.real
def test_rsi_and_macd_agree_with_their_recursions(real: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    import talib

    dense, rows = real
    close = dense["close"].to_numpy()
    exact = close.astype(LONG)
    macd = recursion(exact, LONG(2) / 13) - recursion(exact, LONG(2) / 27)
    signal = recursion(macd, LONG(2) / 10)
    moves = np.diff(exact)
    gain, loss = (recursion(np.maximum(side, 0), LONG(1) / 14) for side in (moves, -moves))
    settled = 2_000  # theirs depend on where history starts, so they are compared once that has died away
    theirs = talib.MACD(close, 12, 26, 9)
    references = {
        "rsi": (100 * gain[settled:] / (gain + loss)[settled:], talib.RSI(close, 14)),
        "macd": (macd, theirs[0]),
        "macd_signal": (signal, theirs[1]),
        "macd_diff": (macd - signal, theirs[2]),
    }
    for name, values in references.items():
        for expected in values:
            wish = expected[-(rows.height - settled) :]
            error = np.abs(rows[name].to_numpy()[settled:] - wish).max() / np.asarray(wish, float).std()
            assert error < RECURSIVE, name


@pytest.mark.real
def test_rsi_and_macd_agree_with_polars(real: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    dense, rows = real
    close = dense["close"]
    macd = close.ewm_mean(span=12, adjust=False) - close.ewm_mean(span=26, adjust=False)
    gain, loss = (
        side.clip(lower_bound=0).ewm_mean(alpha=1 / 14, adjust=False) for side in (close.diff(), -close.diff())
    )
    for name, values in {
        "rsi": 100 * gain / (gain + loss),
        "macd": macd,
        "macd_signal": macd.ewm_mean(span=9, adjust=False),
    }.items():
        wish = values.to_numpy()[-(rows.height - 2_000) :]
        assert np.abs(rows[name].to_numpy()[2_000:] - wish).max() / wish.std() < RECURSIVE, name


@pytest.mark.real
def test_regime_agrees_with_polars(real: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    rows = real[1]
    atr = rows["atr"]
    low, high = (atr.rolling_quantile(q, "linear", window_size=20) for q in (0.33, 0.67))
    expected = pl.select(
        pl.when(atr < low).then(pl.lit("low")).when(atr > high).then(pl.lit("high")).otherwise(pl.lit("medium"))
    ).to_series()
    assert (rows["volatility_regime"][20:] == expected[20:]).all()
    flags = rows.select("volatility_low", "volatility_medium", "volatility_high").to_numpy()
    assert (
        flags == np.array([[name == flag for flag in ("low", "medium", "high")] for name in rows["volatility_regime"]])
    ).all()


def test_flat_market_is_neutral_and_finite() -> None:
    found = block(flat(320))
    assert len(found) == 320 - 288
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
    rising = [Candle("BTC-USD", T0 + n * MINUTE, *(Decimal(100 + n),) * 4, Decimal(0)) for n in range(290)]
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
    assert len(found) == 400 - 288
    assert int(found.is_filled_N.sum()) == 60
    assert (np.diff(found.minute_N) == 1).all()


def test_hole_of_more_than_an_hour_starts_over() -> None:
    candles = flat(700)
    found = block(candles[:320] + candles[381:])
    rows_before, rows_after = 320 - 288, 700 - 381 - 288
    assert len(found) == rows_before + rows_after
    assert int(found.is_filled_N.sum()) == 0


def test_tail_after_the_last_candle_is_not_filled() -> None:
    with FeatureStore.in_memory() as store:
        store.upsert_candles(flat(300))
        found = store.feature_blocks(["BTC-USD"], T0, T0 + timedelta(days=1), "seed39")["BTC-USD"]
    assert found.minute_N[-1] == int(T0.timestamp()) // 60 + 299


def test_feature_blocks_products_do_not_mix(walk: Callable[..., list[Candle]]) -> None:
    coins = {product: walk(product, 320, start=T0, seed=5) for product in ("BTC-USD", "ETH-USD")}
    with FeatureStore.in_memory() as store:
        store.upsert_candles([candle for candles in coins.values() for candle in candles])
        both = store.feature_blocks(["ETH-USD", "BTC-USD", "SOL-USD"], T0, T0 + timedelta(days=1), "seed39")
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
    of_file = store.feature_blocks(["BTC-USD"], start, end, "seed39")["BTC-USD"]
    whole = block(candles)
    here = (whole.minute_N >= of_file.minute_N[0]) & (whole.minute_N <= of_file.minute_N[-1])
    assert len(of_file) == 100
    assert of_file.x_NF.tobytes() == whole.x_NF[here].tobytes()
