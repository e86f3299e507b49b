"""The rules a candle must pass, and that two markets never meet in one folder."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from core.candles import MINUTE, Candle, Page, Span
from core.errors import MixedSourcesError
from store.candle_rules import fault
from store.feature_store import FeatureStore

T0 = datetime(2024, 3, 1, tzinfo=UTC)
WINDOW = Span(T0, T0 + 10 * MINUTE)
HALF_HOUR = Span(T0, T0 + 30 * MINUTE)
GOOD = Candle("BTC-USD", T0, Decimal(10), Decimal(12), Decimal(9), Decimal(11), Decimal(0))
LATER = T0 + timedelta(days=1)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"close": Decimal("NaN")}, "not_finite"),
        ({"volume": Decimal("Infinity")}, "not_finite"),
        ({"open_time": T0 + timedelta(seconds=1)}, "off_grid"),
        ({"open_time": T0 + timedelta(microseconds=1)}, "off_grid"),
        ({"open_time": T0 - MINUTE}, "outside_window"),
        ({"open_time": T0 + 10 * MINUTE}, "outside_window"),
        ({"low": Decimal(0)}, "non_positive_price"),
        ({"open": Decimal(-1)}, "non_positive_price"),
        ({"volume": Decimal("-0.1")}, "negative_volume"),
        ({"high": Decimal(10**9)}, "out_of_range"),
        ({"high": Decimal("10.5")}, "ohlc_order"),
        ({"low": Decimal("10.5")}, "ohlc_order"),
        ({"close": Decimal("10.000000001")}, "too_many_decimals"),
        ({"volume": Decimal("0.000000001")}, "too_many_decimals"),
        ({"high": Decimal("1e999")}, "out_of_range"),
        ({"open": Decimal("1e999")}, "ohlc_order"),
    ],
)
def test_fault_names_the_broken_rule(change: dict[str, object], reason: str) -> None:
    assert fault(replace(GOOD, **change), WINDOW, LATER) == reason


def test_fault_good_candle_has_none() -> None:
    assert fault(GOOD, WINDOW, LATER) is None


def test_fault_open_minute_is_refused_until_it_closes() -> None:
    assert fault(GOOD, WINDOW, T0 + timedelta(seconds=59)) == "still_open"
    assert fault(GOOD, WINDOW, T0 + MINUTE) is None


def test_fault_big_move_is_no_fault() -> None:
    crash = replace(GOOD, low=Decimal("0.01"), close=Decimal("0.01"))
    assert fault(crash, WINDOW, LATER) is None


@pytest.fixture
def told(walk):
    candles = tuple(walk("BTC-USD", 60, start=T0))
    first = Page("BTC-USD", HALF_HOUR, candles[:30], T0 + 120 * MINUTE, "coinbase")
    later = Span(HALF_HOUR.end, HALF_HOUR.end + 30 * MINUTE)
    return first, replace(first, window=later, candles=candles[30:])


@pytest.fixture
def store(told):
    with FeatureStore.in_memory() as opened:
        opened.record_pages([told[0]])
        yield opened


@pytest.mark.parametrize("source", ["local:planted", "synthetic", "yfinance", "ccxt:kraken"])
def test_page_of_another_market_is_refused_whole(store, told, source):
    with pytest.raises(MixedSourcesError, match=rf"answered for by coinbase.*now by {source}.*DESK_HOME"):
        store.record_pages([told[1], replace(told[1], source=source)])
    assert store.missing_windows("BTC-USD", told[1].window) == [told[1].window], "nothing of the batch is stored"


@pytest.mark.parametrize("source", ["coinbase", "coinbase:trades", "ccxt:coinbase", "import:candles.csv"])
def test_page_of_the_same_market_or_of_a_file_is_taken(store, told, source):
    assert store.record_pages([replace(told[1], source=source)]).stored == 30


def test_two_markets_in_one_batch_are_refused(told):
    with FeatureStore.in_memory() as empty, pytest.raises(MixedSourcesError):
        empty.record_pages([told[0], replace(told[1], source="local:null")])


def test_other_products_may_come_from_elsewhere(store, told, walk):
    candles = tuple(walk("ETH-USD", 30, start=T0))
    page = replace(told[0], product="ETH-USD", candles=candles, source="synthetic")
    assert store.record_pages([page]).stored == 30


def test_failed_window_names_no_market(store, told):
    store.record_failure("BTC-USD", told[1].window, "HTTP 502", "local:null")
    assert store.record_pages([told[1]]).stored == 30
