"""The data set of a universe, made as every data set is: candles told by pages, stored, and turned into features by the SQL."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from core.candles import Page, Span
from market.exchange.simulated_market import EPOCH, simulated_market
from store.feature_store import FeatureStore

if TYPE_CHECKING:
    from pathlib import Path

    from core.dataset_files import DatasetRef
    from validation.null_market.universe import Universe

PRODUCT = "BTC-USD"
PLANTED_ACCURACY = 0.75
"""What the best possible forecast of a planted world reaches; `market.exchange.simulated_market` solves the strength of the drift for it."""


def dataset_of(universe: Universe, folder: Path, best_accuracy: float = PLANTED_ACCURACY) -> DatasetRef:
    """Simulate the universe's market, store its candles and export a data set; labels are not shuffled here."""
    market = simulated_market(universe.market, PRODUCT, universe.market_seed, best_accuracy=best_accuracy)
    span = Span(EPOCH, EPOCH + timedelta(days=universe.days))
    told = Page(PRODUCT, span, tuple(market.candles(span)), span.end + timedelta(hours=1), f"local:{universe.market}")
    with FeatureStore.in_memory() as store:
        store.record_pages([told])
        return store.export_dataset([PRODUCT], span, folder, feature_set=universe.features, threads=1)
