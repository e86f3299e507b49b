"""Simulated markets: reproducible, well formed, and with exactly the edge they declare."""

from datetime import UTC, datetime, timedelta
from math import erf, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.candles import Span
from core.errors import ConfigError
from market.exchange.simulated_market import (
    BEST_ACCURACY,
    EPOCH,
    LAG_MINUTES,
    accuracy_of,
    epoch_minute,
    simulated_market,
    strength_for,
)

FIRST = epoch_minute(EPOCH)
YEAR = 365 * 1440
WHOLE = {kind: simulated_market(kind, "ETH-USD", seed=3).rows(FIRST, FIRST + 40_000) for kind in ("planted", "null")}


def closes(kind, product="BTC-USD", seed=7, minutes=YEAR, **options):
    """Return closes on the full grid (NaN where a minute is missing) and z."""
    market = simulated_market(kind, product, seed, **options)
    rows = market.rows(FIRST, FIRST + minutes)
    grid = np.full(minutes, np.nan)
    grid[rows.minute_N - FIRST] = rows.close_N
    return grid, market.hidden_state(FIRST, FIRST + minutes)


def coming_drift(state, horizon=15):
    """Return the sum of the states that move the next ``horizon`` minutes, all of them known already."""
    total = np.concatenate(([0.0], np.cumsum(state)))
    drift = np.full(state.size, 0.0)
    drift[LAG_MINUTES:] = total[horizon:][: state.size - LAG_MINUTES] - total[:-horizon][: state.size - LAG_MINUTES]
    return drift


def hit_rate(signal, close, horizon=15):
    """Return how often the sign of ``signal`` is the direction of what follows."""
    known = np.isfinite(close[:-horizon]) & np.isfinite(close[horizon:])
    up = close[horizon:] > close[:-horizon]
    return float(((signal[:-horizon] > 0) == up)[known].mean())


def ranking(score, close, horizon=15):
    """Return the area under the ROC curve of ``score`` against the direction that follows."""
    known = np.isfinite(close[:-horizon]) & np.isfinite(close[horizon:]) & np.isfinite(score[:-horizon])
    up = (close[horizon:] > close[:-horizon])[known]
    ranks = np.argsort(np.argsort(score[:-horizon][known])) + 1.0
    ups, downs = up.sum(), (~up).sum()
    return float((ranks[up].sum() - ups * (ups + 1) / 2) / (ups * downs))


@settings(max_examples=40, deadline=None)
@given(kind=st.sampled_from(["planted", "null"]), first=st.integers(0, 39_999), length=st.integers(1, 20_000))
def test_market_asked_for_any_part_gives_the_slice_of_the_whole(kind, first, length):
    end = min(first + length, 40_000)
    part = simulated_market(kind, "ETH-USD", seed=3).rows(FIRST + first, FIRST + end)
    for actual, expected in zip(part.columns, WHOLE[kind].slice(FIRST + first, FIRST + end).columns, strict=True):
        assert np.array_equal(actual, expected)


def test_market_asked_out_of_order_and_past_its_memory_gives_the_same():
    market = simulated_market("planted", "ETH-USD", seed=3)
    market.rows(FIRST, FIRST + 900_000)
    again = market.rows(FIRST + 100, FIRST + 200)
    assert np.array_equal(again.close_N, WHOLE["planted"].slice(FIRST + 100, FIRST + 200).close_N)


@pytest.mark.parametrize(
    ("kind", "product", "seed"), [("null", "ETH-USD", 3), ("planted", "SOL-USD", 3), ("planted", "ETH-USD", 4)]
)
def test_market_with_another_kind_product_or_seed_is_another_one(kind, product, seed):
    other = simulated_market(kind, product, seed).rows(FIRST, FIRST + 500)
    same_minutes = np.intersect1d(other.minute_N, WHOLE["planted"].minute_N)
    assert same_minutes.size > 400
    assert not np.array_equal(other.volume_N[:400], WHOLE["planted"].volume_N[:400])


@pytest.mark.parametrize("kind", ["planted", "null"])
def test_candles_are_well_formed(kind):
    rows = WHOLE[kind]
    assert (np.diff(rows.minute_N) > 0).all()
    assert (rows.high_N >= np.maximum(rows.open_N, rows.close_N)).all()
    assert (rows.low_N <= np.minimum(rows.open_N, rows.close_N)).all()
    assert (rows.low_N > 0).all() and (rows.volume_N > 0).all()
    next_to = np.diff(rows.minute_N) == 1
    gap = np.abs(rows.open_N[1:] / rows.close_N[:-1] - 1)[next_to]
    assert gap.max() < 0.002


@pytest.mark.parametrize("kind", ["planted", "null"])
def test_missing_minutes_are_about_one_in_two_thousand(kind):
    missing = 1 - simulated_market(kind, "BTC-USD").rows(FIRST, FIRST + YEAR).minute_N.size / YEAR
    assert 0.0003 < missing < 0.0007


@pytest.mark.parametrize("product", ["BTC-USD", "SOL-USD", "ABC-USD"])
@pytest.mark.parametrize("kind", ["planted", "null"])
def test_prices_stay_positive_over_six_years(kind, product):
    rows = simulated_market(kind, product, seed=11).rows(FIRST + 5 * YEAR, FIRST + 6 * YEAR)
    assert rows.low_N.min() > 0


def test_candles_are_decimals_on_the_increment():
    market = simulated_market("planted", "BTC-USD")
    candles = market.candles(Span(EPOCH, EPOCH + timedelta(minutes=300)))
    assert {candle.close.as_tuple().exponent for candle in candles} == {-2}
    assert {candle.volume.as_tuple().exponent for candle in candles} == {-8}
    assert candles[0].open_time >= EPOCH and candles == sorted(candles, key=lambda candle: candle.open_time)


def test_market_before_its_listing_is_empty():
    listed = EPOCH + timedelta(days=30)
    market = simulated_market("planted", "BNB-USD", listed_at=listed)
    assert market.candles(Span(EPOCH, listed)) == []
    assert market.candles(Span(EPOCH, listed + timedelta(hours=1)))[0].open_time >= listed


def test_market_before_the_epoch_is_empty():
    assert simulated_market("null", "BTC-USD").candles(Span(datetime(2020, 1, 1, tzinfo=UTC), EPOCH)) == []


@pytest.mark.parametrize("accuracy", [0.55, 0.6, 0.75, BEST_ACCURACY, 0.85])
def test_strength_solved_for_an_accuracy_gives_it_back(accuracy):
    assert accuracy_of(strength_for(accuracy)) == pytest.approx(accuracy, abs=1e-9)


def test_accuracy_formula_is_the_mean_of_phi():
    ratio = np.tan(np.pi * (0.8 - 0.5))
    grid = np.linspace(-9, 9, 20_001)
    density = np.exp(-(grid**2) / 2) / np.sqrt(2 * np.pi)
    phi = np.array([0.5 * (1 + erf(ratio * abs(value) / sqrt(2))) for value in grid])
    assert np.sum(phi * density) * (grid[1] - grid[0]) == pytest.approx(0.8, abs=1e-6)


@pytest.mark.parametrize("accuracy", [0.2, 0.999])
def test_accuracy_no_drift_can_give_is_refused(accuracy):
    with pytest.raises(ConfigError, match=r"0\.514 to 0\.99"):
        simulated_market("planted", "BTC-USD", best_accuracy=accuracy)


def test_unknown_kind_is_refused():
    with pytest.raises(ConfigError, match="planted or null"):
        simulated_market("haunted", "BTC-USD")


@pytest.mark.parametrize("accuracy", [0.65, 0.75, 0.80])
def test_planted_state_predicts_as_well_as_declared_and_no_better(accuracy):
    close, state = closes("planted", best_accuracy=accuracy)
    actual = hit_rate(coming_drift(state), close)
    assert accuracy - 0.015 < actual < accuracy + 0.006


def test_planted_state_shows_in_the_volume():
    market = simulated_market("planted", "SOL-USD")
    rows = market.rows(FIRST, FIRST + 20_000)
    state = market.hidden_state(FIRST, FIRST + 20_000)[rows.minute_N - FIRST]
    assert np.corrcoef(np.log(rows.volume_N), state)[0, 1] > 0.95


def test_planted_state_moves_the_price_only_after_the_lag():
    close, state = closes("planted", minutes=40_000)
    move = np.diff(np.log(close))
    known = np.isfinite(move)

    def after(lag):
        size = move.size - lag
        return np.corrcoef(move[lag:][known[lag:]], state[:size][known[lag:]])[0, 1]

    assert after(LAG_MINUTES) > 0.3
    assert after(LAG_MINUTES) > 1.5 * after(0)


def test_planted_last_state_alone_is_worth_much_less():
    close, state = closes("planted", best_accuracy=0.80)
    assert 0.55 < hit_rate(state, close) < 0.68


@pytest.mark.parametrize("seed", [7, 8, 9])
def test_null_market_gives_no_feature_an_edge(seed):
    market = simulated_market("null", "BTC-USD", seed)
    rows = market.rows(FIRST, FIRST + YEAR)
    columns = np.full((4, YEAR), np.nan)
    columns[:, rows.minute_N - FIRST] = (
        rows.close_N,
        rows.volume_N,
        rows.high_N - rows.low_N,
        rows.close_N - rows.open_N,
    )
    close, volume, width, body = columns
    momentum = np.concatenate((np.full(30, np.nan), np.log(close[30:] / close[:-30])))
    for score in (volume, width / close, body, momentum, market.hidden_state(FIRST, FIRST + YEAR)):
        assert ranking(score, close) == pytest.approx(0.5, abs=0.012)


def test_null_market_clusters_its_volatility():
    close, _ = closes("null", minutes=200_000)
    move = np.abs(np.diff(np.log(close)))
    known = np.isfinite(move[:-1]) & np.isfinite(move[1:])
    assert np.corrcoef(move[:-1][known], move[1:][known])[0, 1] > 0.05
