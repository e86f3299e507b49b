"""Doubles of the loop's neighbours: a provider, a scorer, a notifier; all deterministic."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from core.candles import MINUTE, Candle, Page, Span
from core.clock import ManualClock
from core.errors import ExchangeUnavailableError
from runtime.loaded_models import LoadedModel, ProductModels
from runtime.loop import SessionResult, run_loop
from runtime.session import LoopOptions
from store.database import connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from core.settings import Settings
    from store.signal_rows import OutboxRow

START = datetime(2024, 3, 4, 12, 0, 5, tzinfo=UTC)


@dataclass
class FakeProvider:
    """A slow wave per product; minutes in ``absent`` have no candle, ``down`` fails."""

    absent: set[tuple[str, datetime]] = field(default_factory=set)
    down: Callable[[str, Span], bool] = lambda product, span: False
    asked: list[tuple[str, Span]] = field(default_factory=list)
    name: str = "fake"
    closed: bool = False

    async def pages(self, product: str, windows: Sequence[Span]) -> AsyncIterator[Page]:
        for window in windows:
            self.asked.append((product, window))
            if self.down(product, window):
                raise ExchangeUnavailableError(f"{product}: no answer")
            yield Page(product, window, self.candles(product, window), window.end, "local:planted")

    def candles(self, product: str, span: Span) -> list[Candle]:
        found, moment = [], span.start
        while moment < span.end:
            if (product, moment) not in self.absent:
                found.append(self.candle(product, moment))
            moment += MINUTE
        return found

    @staticmethod
    def candle(product: str, moment: datetime) -> Candle:
        phase = {"BTC-USD": 0.0, "ETH-USD": 2.0}.get(product, 4.0)
        price = [
            Decimal(str(round(100 + math.sin(phase + (moment.timestamp() / 60 + step) / 20), 4))) for step in (0, 1)
        ]
        return Candle(product, moment, price[0], max(price), min(price), price[1], Decimal(1))

    async def check(self) -> str:
        return "fake provider ready"

    async def server_time(self) -> datetime:
        return START

    async def first_candle(self, product: str, span: Span) -> datetime | None:
        return None

    async def aclose(self) -> None:
        self.closed = True


class ConstantScorer:
    """Says the same of every window, or what a function says of its last row."""

    def __init__(self, probability: float | Callable[[np.ndarray], np.ndarray]) -> None:
        self.probability = probability

    def score(self, x_BTF: np.ndarray, product: str) -> np.ndarray:
        if callable(self.probability):
            return np.asarray(self.probability(x_BTF[:, -1]), dtype=np.float64)
        return np.full(len(x_BTF), self.probability)


class FakeNotifier:
    """Keeps what it is offered."""

    def __init__(self, on_offer: Callable[[Sequence[OutboxRow]], None] | None = None) -> None:
        self.messages: list[OutboxRow] = []
        self.on_offer = on_offer

    def offer(self, messages: Sequence[OutboxRow]) -> None:
        if self.on_offer is not None:
            self.on_offer(messages)
        self.messages += messages

    def close(self, timeout_seconds: float = 10.0) -> int:
        return 0

    def kinds(self) -> list[str]:
        return [message.kind for message in self.messages]


def models(
    products: Sequence[str], probability: object = 0.9, *, shadow: bool = False, kinds: Mapping[str, int] | None = None
) -> dict[str, ProductModels]:
    return {
        product: ProductModels(
            product,
            {
                kind: LoadedModel(kind, f"{kind}-{product}", window, ConstantScorer(probability), shadow)  # type: ignore[arg-type]
                for kind, window in (kinds or {"lstm": 6, "transformer": 10}).items()
            },
        )
        for product in products
    }


def play(
    settings: Settings,
    minutes: int,
    *,
    start: datetime = START,
    batch: int = 1,
    probability: object = 0.9,
    products: Sequence[str] = ("BTC-USD", "ETH-USD"),
    provider: FakeProvider | None = None,
    notifier: FakeNotifier | None = None,
    loaded: Mapping[str, ProductModels] | None = None,
    clock: ManualClock | None = None,
    mode: str | None = None,
) -> SessionResult:
    return run_loop(
        settings,
        provider=provider or FakeProvider(),
        clock=clock or ManualClock(start, batch),
        models=models(products, probability) if loaded is None else loaded,
        notifier=notifier or FakeNotifier(),
        options=LoopOptions(iterations=minutes, mode=mode, drain_seconds=0.0),
    )


def rows(settings: Settings, query: str) -> list[tuple[Any, ...]]:
    connection = connect(settings.paths.signals_copy, read_only=True)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


@pytest.fixture
def desk_play() -> SimpleNamespace:
    """The doubles and `play`, which runs one session of the real loop between them."""
    return SimpleNamespace(
        play=play,
        models=models,
        rows=rows,
        FakeProvider=FakeProvider,
        FakeNotifier=FakeNotifier,
        ConstantScorer=ConstantScorer,
        START=START,
        minute=lambda number: START.replace(second=0) + timedelta(minutes=number),
    )
