"""Two markets never meet in one folder."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from core.candles import MINUTE, Page, Span
from core.errors import MixedSourcesError
from store.feature_store import FeatureStore

START = datetime(2024, 3, 1, tzinfo=UTC)
SPAN = Span(START, START + 30 * MINUTE)


@pytest.fixture
def told(walk):
    candles = tuple(walk("BTC-USD", 60, start=START))
    first = Page("BTC-USD", SPAN, candles[:30], START + 120 * MINUTE, "coinbase")
    later = Span(SPAN.end, SPAN.end + 30 * MINUTE)
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
    candles = tuple(walk("ETH-USD", 30, start=START))
    page = replace(told[0], product="ETH-USD", candles=candles, source="synthetic")
    assert store.record_pages([page]).stored == 30


def test_failed_window_names_no_market(store, told):
    store.record_failure("BTC-USD", told[1].window, "HTTP 502", "local:null")
    assert store.record_pages([told[1]]).stored == 30
