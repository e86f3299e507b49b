"""Make candles of a seeded market inside this process: no network, no key, and named as what it is."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from core.candles import Page, Span, minute_start, require_product
from core.clock import SystemClock
from market.exchange.simulated_market import SimulatedMarket, simulated_market
from market.providers.base import closed_part, require_page_sizes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from datetime import datetime

    from core.clock import Clock
    from core.settings import Settings


class SyntheticProvider:
    """Candles of a planted market; every product there is, each from the seed alone."""

    name = "synthetic"

    def __init__(self, settings: Settings, *, clock: Clock | None = None) -> None:
        """Choose the seed; ``clock`` says which minutes are over."""
        self._seed = settings.synthetic_seed
        self._clock = clock or SystemClock()
        self._markets: dict[str, SimulatedMarket] = {}

    async def pages(self, product: str, windows: Sequence[Span]) -> AsyncIterator[Page]:
        """Yield the closed part of each window; see `Provider.pages`."""
        market = self._market(product)
        require_page_sizes(windows)
        for window in windows:
            now = self._clock.now()
            if (closed := closed_part(window, now)) is not None:
                yield Page(product, closed, tuple(market.candles(closed)), now, self.name)
            await asyncio.sleep(0)

    async def server_time(self) -> datetime:
        """Return this machine's time."""
        return self._clock.now()

    async def check(self) -> str:
        """Return one line that says this is no real market."""
        return f"synthetic market, seed {self._seed}, in this process: not real prices"

    async def first_candle(self, product: str, span: Span) -> datetime | None:
        """Return the open time of the first candle in ``span``, or None if there is none."""
        market = self._market(product)
        start = max(span.start, minute_start(market.first_minute))
        if start >= span.end:
            return None
        candles = market.candles(Span(start, min(span.end, start + timedelta(days=1))))
        return candles[0].open_time if candles else None

    async def aclose(self) -> None:
        """Nothing is open."""

    def _market(self, product: str) -> SimulatedMarket:
        if product not in self._markets:
            self._markets[product] = simulated_market("planted", require_product(product), self._seed)
        return self._markets[product]
