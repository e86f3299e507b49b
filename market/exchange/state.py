"""The state of the local exchange: markets, clock, limits, faults and counters."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from market.exchange.auth import TokenChecker
from market.exchange.behaviour import Behaviour
from market.exchange.clock import Present
from market.exchange.faults import Faults
from market.exchange.token_bucket import TokenBucket

if TYPE_CHECKING:
    from market.exchange.simulated_market import Market


@dataclass(slots=True)
class Exchange:
    """All that the local exchange knows; one per process."""

    markets: dict[str, Market]
    present: Present = field(default_factory=Present)
    checker: TokenChecker = field(default_factory=lambda: TokenChecker({}))
    public: TokenBucket = field(default_factory=lambda: TokenBucket(10))
    private: TokenBucket = field(default_factory=lambda: TokenBucket(30))
    faults: Faults = field(default_factory=Faults)
    behaviour: Behaviour = field(default_factory=Behaviour)
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def kinds(self) -> str:
        """The kinds of market here, such as ``planted,null``."""
        return ",".join(sorted({market.kind for market in self.markets.values()}, reverse=True))
