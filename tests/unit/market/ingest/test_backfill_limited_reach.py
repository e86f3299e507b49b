"""A backfill from a source that reaches back only so far: what is stored, and what must not be believed of it."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from core.candles import MINUTE, Candle, Page, Span
from core.errors import ListingUnknownError
from market.ingest.backfill import backfill
from market.providers import FetchFailed, FetchFailedError
from store.feature_store import FeatureStore

NOW = datetime(2024, 3, 1, 12, 0, tzinfo=UTC)
REACH = NOW - timedelta(hours=12)
SPAN = Span(NOW - timedelta(days=3), NOW)
PRICE = Decimal("0.06789012")


class ShortSighted:
    """Answers for the last twelve hours only."""

    name = "yfinance"

    def __init__(self):
        self.requested = []

    async def pages(self, product, windows):
        failed = []
        for window in windows:
            self.requested.append(window)
            start = max(window.start, REACH)
            if start < window.end:
                moments = [start + count * MINUTE for count in range((window.end - start) // MINUTE)]
                candles = tuple(Candle(product, moment, PRICE, PRICE, PRICE, PRICE, Decimal(1)) for moment in moments)
                yield Page(product, Span(start, window.end), candles, NOW, self.name)
            if window.start < REACH:
                failed.append(FetchFailed(Span(window.start, min(window.end, REACH)), "out of reach"))
        if failed:
            raise FetchFailedError(product, failed, gave_up=False)

    async def first_candle(self, product, span):
        raise ListingUnknownError("where its answers begin is no listing")


@pytest.fixture
def run(settings):
    def go():
        provider = ShortSighted()
        return provider, asyncio.run(backfill(settings, "BTC-USD", SPAN, provider=provider))

    return go


@pytest.fixture
def store(settings):
    opened = FeatureStore(settings.paths.market_db)
    yield opened
    opened.close()


def test_backfill_stores_what_is_in_reach_and_says_why_the_rest_failed(run, store):
    _, result = run()
    assert (result.state, result.stored, result.empty_minutes) == ("partial", 720, 0)
    assert result.reason == "out of reach" and result.failed_windows == 12


def test_backfill_never_stores_the_end_of_a_reach_as_a_listing(run, store):
    run()
    known = store.listing("BTC-USD")
    assert known is None or known.first_open_time is None


def test_minutes_out_of_reach_stay_missing_for_a_provider_that_has_them(run, store):
    run()
    assert store.missing_windows("BTC-USD", SPAN) == [Span(SPAN.start, REACH)]


def test_second_backfill_asks_only_for_what_failed_and_revises_nothing(run, store):
    run()
    provider, result = run()
    assert {window.end <= REACH for window in provider.requested} == {True}
    assert (result.stored, result.revised) == (0, 0)
