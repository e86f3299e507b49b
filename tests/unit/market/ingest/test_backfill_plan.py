"""How few requests a backfill makes for what is missing."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from core.candles import MINUTE, Page, Span
from core.clock import ManualClock
from market.exchange.simulated_market import simulated_market
from market.ingest.backfill import backfill
from market.providers.synthetic import SyntheticProvider
from store.feature_store import FeatureStore

START = datetime(2024, 3, 1, tzinfo=UTC)
SPAN = Span(START, START + 1200 * MINUTE)


class Counting(SyntheticProvider):
    """Remembers the windows that were asked for."""

    def __init__(self, settings, clock):
        super().__init__(settings, clock=clock)
        self.requested = []

    async def pages(self, product, windows):
        self.requested += windows
        async for page in super().pages(product, windows):
            yield page


def test_many_small_holes_are_asked_for_by_the_page(settings):
    market = simulated_market("planted", "BTC-USD", settings.synthetic_seed)
    known = [
        Page(
            "BTC-USD",
            Span(minute, minute + MINUTE),
            market.candles(Span(minute, minute + MINUTE)),
            SPAN.end,
            "synthetic",
        )
        for minute in (START + number * MINUTE for number in range(0, 1200, 3))
    ]
    with FeatureStore(settings.paths.market_db) as store:
        store.record_pages(known)
    provider = Counting(settings, ManualClock(SPAN.end + 60 * MINUTE))
    result = asyncio.run(backfill(settings, "BTC-USD", SPAN, provider=provider))
    with FeatureStore(settings.paths.market_db) as store:
        assert result.state == "complete" and store.missing_windows("BTC-USD", SPAN) == []
    assert len(provider.requested) == 4, "800 holes of two minutes fit into four pages"
