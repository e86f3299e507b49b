"""Candles a second from the local exchange into the store, free of limits and at the public limit.

Run: ``python -m benchmarks.backfill``. The client, its rate limiter and the store are the real ones.
"""

from __future__ import annotations

import asyncio
import resource
import time
from datetime import timedelta
from typing import TYPE_CHECKING
from unittest.mock import patch

from benchmarks.surroundings import PRESENT, folder, local_exchange, show
from desk.config import load_settings
from desk.market import Span
from desk.providers import PAGE_MINUTES, open_provider
from store.feature_store import FeatureStore

if TYPE_CHECKING:
    from desk.config import Settings

PRODUCTS = ("BTC-USD", "ETH-USD", "SOL-USD")
_PAGES_PER_WRITE = 20


async def _fetch(settings: Settings, span: Span) -> tuple[int, int]:
    store = FeatureStore(settings.paths.make().market_db)
    store.migrate()
    provider = open_provider(settings)
    pages = stored = 0
    try:
        for product in PRODUCTS:
            batch = []
            async for page in provider.pages(product, list(span.pages(PAGE_MINUTES))):
                batch.append(page)
                pages += 1
                if len(batch) == _PAGES_PER_WRITE:
                    stored += store.record_pages(batch).stored
                    batch.clear()
            stored += store.record_pages(batch).stored
    finally:
        await provider.aclose()
        store.close()
    return pages, stored


def _measure(days: int, rate: int, *options: str) -> tuple[object, ...]:
    with folder() as home, local_exchange(home, *options) as environ, patch.dict("os.environ", environ):
        settings = load_settings(public_requests_per_second=rate)
        span = Span(PRESENT - timedelta(days=days), PRESENT)
        began = time.perf_counter()
        pages, stored = asyncio.run(_fetch(settings, span))
        seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    label = "no limit" if rate == 1000 else f"{rate} requests/s"
    allowed = "" if rate == 1000 else 100 * pages / rate / seconds
    return label, days, pages, stored, seconds, stored / seconds, pages / seconds, allowed, peak


def main() -> None:
    """Measure and print."""
    rows = [_measure(30, 1000, "--public-rate", "0"), _measure(10, 10)]
    columns = ("limit", "days", "pages", "candles", "seconds", "candles/s", "pages/s", "% of the limit", "peak MB")
    show("backfill: three products from the local exchange into DuckDB", columns, rows)


if __name__ == "__main__":
    main()
