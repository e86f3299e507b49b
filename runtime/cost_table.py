"""Execution costs in force when a session starts: from the market store where it has them, else from the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.risk.execution_costs import Costs, costs_from
from store.feature_store import FeatureStore

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from core.settings import Settings
    from runtime.engine import CostsFor

SESSIONS = ("tokyo", "london", "new_york")


def costs_lookup(settings: Settings, products: Sequence[str], at: datetime) -> CostsFor:
    """Return a function from (product, session, moment) to costs; read once, so that a backfill never delays a decision."""
    flat = costs_from(settings)
    known: dict[tuple[str, str], Costs] = {}
    if settings.paths.market_db.exists():
        store = FeatureStore(settings.paths.market_db)
        for product in products:
            for session in SESSIONS:
                row = store.execution_costs(product, session, at)
                if row is not None:
                    known[product, session] = Costs.of(row["spread_bps"], row["slippage_bps"], settings.fee_bps)

    def costs_for(product: str, session: str, _at: datetime) -> Costs:
        return known.get((product, session), flat)

    return costs_for
