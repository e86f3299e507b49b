"""Model execution: what a position pays to get in and out, from the market store where it has figures, else the settings.

Half the spread, slippage and the fee are paid on each side. Money and prices are Decimals throughout this
package, so a limit is compared exactly; floats enter only through `exact`, by their shortest decimal text.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from typing import TYPE_CHECKING

from runtime.risk.firm_rules import fee_bps
from store.feature_store import FeatureStore

if TYPE_CHECKING:
    from datetime import datetime

    from core.settings import Settings
    from runtime.decision import CostsFor

BPS = Decimal(10_000)
CENT = Decimal("0.01")
PRICE_STEP = Decimal("0.00000001")


def exact(value: float | Decimal) -> Decimal:
    """Return ``value`` as a Decimal, a float by its shortest decimal text (0.1 is 0.1)."""
    return value if isinstance(value, Decimal) else Decimal(repr(value))


def to_cents(amount: Decimal) -> Decimal:
    """Round money to whole cents, half to even."""
    return amount.quantize(CENT, ROUND_HALF_EVEN)


@dataclass(frozen=True, slots=True)
class Costs:
    """Costs assumed for one position, in basis points of the price."""

    spread_bps: Decimal
    """Full bid-ask spread; half of it is paid on each side."""
    slippage_bps: Decimal
    """Per side."""
    fee_bps: Decimal
    """Per side."""

    @classmethod
    def of(cls, spread_bps: float, slippage_bps: float, fee_bps: float) -> Costs:
        """Return costs from plain numbers."""
        return cls(exact(spread_bps), exact(slippage_bps), exact(fee_bps))

    @property
    def price_bps(self) -> Decimal:
        """What each side costs in price: half the spread and the slippage."""
        return self.spread_bps / 2 + self.slippage_bps

    def fill(self, price: Decimal, side: int) -> Decimal:
        """Return the price paid (``side`` +1) or received (-1) when the market stands at ``price``."""
        return (price * (1 + side * self.price_bps / BPS)).quantize(PRICE_STEP)


def costs_from(settings: Settings) -> Costs:
    """Return the costs the settings name, with the firm's commission where FEE_BPS is left empty.

    Raises:
        ConfigError: the firm's rules cannot be used.
    """
    return Costs.of(settings.spread_bps, settings.slippage_bps, fee_bps(settings))


def round_trip_cost(settings: Settings) -> float:
    """Return what opening and closing a position costs by the settings, bps: the spread once, slippage and fee on both sides."""
    costs = costs_from(settings)
    return float(costs.spread_bps + 2 * (costs.slippage_bps + costs.fee_bps))


def costs_lookup(settings: Settings) -> CostsFor:
    """Return a function from (product, session, moment) to the costs that held then, from the store, else from the settings.

    The store is read once, so that a backfill never delays a decision.
    """
    flat, fee = costs_from(settings), fee_bps(settings)
    market_db = settings.paths.market_db
    dated = FeatureStore(market_db).execution_costs() if market_db.exists() else []

    def costs_for(product: str, session: str, at: datetime) -> Costs:
        for row in dated:
            if row.product in {product, "*"} and row.session in {session, "*"} and row.valid_from <= at:
                return Costs.of(row.spread_bps, row.slippage_bps, fee)
        return flat

    return costs_for
