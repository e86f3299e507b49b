"""The seed39 views: rows a second over history, and the latency of the runtime's live query.

Run: ``python -m benchmarks.features``. Rows come from the planted market; a figure is the median of its runs.
"""

from __future__ import annotations

import statistics
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from benchmarks.surroundings import PRESENT, folder, show
from desk.market import MINUTE, Page, Span
from desk.simulation import simulated_market
from store.feature_store import FeatureStore

if TYPE_CHECKING:
    from pathlib import Path

PRODUCTS = ("BTC-USD", "ETH-USD", "SOL-USD")
_PART = 20_000


def _store(path: Path | None, days: int) -> FeatureStore:
    store = FeatureStore(path) if path else FeatureStore.in_memory()
    store.migrate()
    span = Span(PRESENT - timedelta(days=days), PRESENT)
    for product in PRODUCTS:
        market = simulated_market("planted", product)
        if path is None:
            store.upsert_candles(market.candles(span))
            continue
        for part in span.pages(_PART):
            store.record_pages([Page(product, part, market.candles(part), PRESENT, "local:planted")])
    return store


def _history(days: int) -> tuple[object, ...]:
    with folder() as home:
        store = _store(home / "market.duckdb", days)
        span = Span(PRESENT - timedelta(days=days), PRESENT)
        began = time.perf_counter()
        dataset = store.export_dataset(list(PRODUCTS), span, home)
        seconds = time.perf_counter() - began
        store.close()
        rows = days * 1440 * len(PRODUCTS)
        assert dataset.digest
    return f"{days} days x 3, views to data set", rows, seconds, rows / seconds


def _live(runs: int = 30) -> tuple[object, ...]:
    store = _store(None, 1)
    store.trim(PRESENT - 600 * MINUTE)
    took = []
    for _ in range(runs):
        began = time.perf_counter()
        blocks = store.feature_blocks(PRODUCTS, PRESENT - MINUTE, PRESENT)
        took.append(time.perf_counter() - began)
        assert len(blocks) == len(PRODUCTS)
    store.close()
    return "600 minutes x 3, newest row of each (median)", 3, statistics.median(took), 3 / statistics.median(took)


def main() -> None:
    """Measure and print."""
    show("features: seed39 in SQL", ("what", "rows", "seconds", "rows/s"), [_history(30), _history(60), _live()])


if __name__ == "__main__":
    main()
