"""Fetch the minutes that have closed, all products at once, for the runtime's loop, which is synchronous."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from market.ingest.live_feed import LiveFeed

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
    """The live feed and the event loop it lives in: one for the whole session, so that connections stay open."""

    def __init__(self, provider: Provider) -> None:
        """Ask ``provider``, which `close` closes."""
        self._feed = LiveFeed(provider)
        self._runner = asyncio.Runner()

    def check(self) -> str:
        """Return the provider's one line about itself.

        Raises:
            ProviderError: the clock is off, the key was refused, or it cannot be reached.
        """
        return self._run(self._feed.provider.check())

    def ask(self, spans: Mapping[str, Span]) -> Answers:
        """Fetch the span of each product; a product that fails is named, never raised for."""
        answers = Answers()
        for product, answer in self._run(self._feed.fetch(spans)).items():
            for page in answer.pages:
                answers.add(page)
            if answer.error is not None:
                answers.failures[product] = str(answer.error)
        return answers

    def _run(self, work: Coroutine[Any, Any, _T]) -> _T:
        return self._runner.run(work)

    def close(self) -> None:
        """Close the provider's connections and the event loop."""
        self._run(self._feed.provider.aclose())
        self._runner.close()
