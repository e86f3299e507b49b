"""Which costs hold for a product, a session and a moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from runtime.risk.execution_costs import costs_from, costs_lookup
from store.feature_store import FeatureStore

if TYPE_CHECKING:
    from core.settings import Settings
    from runtime.decision import CostsFor

T0 = datetime(2025, 3, 1, tzinfo=UTC)
COLUMNS = ("spread_bps", "spread_p50_bps", "spread_p90_bps", "slippage_bps", "slippage_p50_bps", "slippage_p90_bps")


@pytest.fixture
def costs_for(settings: Settings) -> CostsFor:
    store = FeatureStore(settings.paths.market_db)
    store.migrate()
    for product, session, day, spread in (
        ("*", "*", 0, 12),
        ("BTC-USD", "*", 0, 8),
        ("BTC-USD", "*", 2, 7),
        ("BTC-USD", "tokyo", 4, 20),
    ):
        row = dict.fromkeys(COLUMNS, 1.0) | {"spread_bps": float(spread), "source": "book"}
        store.append(
            "execution_costs", [row | {"product": product, "session": session, "valid_from": T0 + timedelta(days=day)}]
        )
    return costs_lookup(settings)


@pytest.mark.parametrize(
    ("product", "session", "days", "spread"),
    [
        ("BTC-USD", "tokyo", 1, 8),
        ("BTC-USD", "tokyo", 3, 7),
        ("BTC-USD", "tokyo", 5, 20),
        ("BTC-USD", "london", 5, 7),
        ("ETH-USD", "tokyo", 5, 12),
    ],
    ids=["before the newer row", "newest", "of the session", "of no session", "of any product"],
)
def test_costs_are_those_of_the_moment_asked_for(
    costs_for: CostsFor, product: str, session: str, days: int, spread: float
) -> None:
    """A backtest of past months was charged what holds today."""
    assert costs_for(product, session, T0 + timedelta(days=days)).spread_bps == spread


def test_costs_before_the_first_row_are_those_of_the_settings(costs_for: CostsFor, settings: Settings) -> None:
    assert costs_for("BTC-USD", "tokyo", T0 - timedelta(minutes=1)) == costs_from(settings)


def test_costs_without_a_store_are_those_of_the_settings(settings: Settings) -> None:
    assert costs_lookup(settings)("BTC-USD", "tokyo", T0) == costs_from(settings)
