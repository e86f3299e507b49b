"""Asks the exchange for the minutes that have closed, all products at once."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from core.errors import ProviderError, UnknownProductError
from market.providers.base import PAGE_MINUTES

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping
    from datetime import datetime
    from typing import Any

    from core.candles import Candle, Page, Span
    from market.providers.base import Provider

_T = TypeVar("_T")


@dataclass(slots=True)
class Answers:
    """What came back: candles by product and minute, and why a product could not be asked."""

    candles: dict[str, dict[datetime, Candle]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    sources: set[str] = field(default_factory=set)

    def add(self, page: Page) -> None:
        """Take in one page."""
        known = self.candles.setdefault(page.product, {})
        # a row without numbers is no candle to decide on; the market store keeps it in quarantine
        known.update((candle.open_time, candle) for candle in page.candles if candle.close.is_finite())
        self.sources.add(page.source)


class Feed:
    """A provider and the event loop it lives in."""

    def __init__(self, provider: Provider) -> None:
        """Keep one event loop for the whole session: connections stay open from minute to minute."""
        self._provider = provider
        self._runner = asyncio.Runner()

    def check(self) -> str:
        """Return the provider's one line about itself.

        Raises:
            ProviderError: the clock is off, the key was refused, or it cannot be reached.
        """
        return self._run(self._provider.check())

    def ask(self, spans: Mapping[str, Span]) -> Answers:
        """Fetch the span of each product; a product that fails is named, never raised for."""
        return self._run(self._ask(spans))

    async def _ask(self, spans: Mapping[str, Span]) -> Answers:
        answers = Answers()
        await asyncio.gather(*(self._ask_one(product, span, answers) for product, span in spans.items()))
        return answers

    async def _ask_one(self, product: str, span: Span, answers: Answers) -> None:
        try:
            async for page in self._provider.pages(product, list(span.pages(PAGE_MINUTES))):
                answers.add(page)
        except (ProviderError, UnknownProductError) as error:
            answers.failures[product] = str(error)

    def _run(self, work: Coroutine[Any, Any, _T]) -> _T:
        return self._runner.run(work)

    def close(self) -> None:
        """Close the provider's connections and the event loop."""
        self._run(self._provider.aclose())
        self._runner.close()
