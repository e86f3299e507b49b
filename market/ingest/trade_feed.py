"""The stream of trades as minutes of the products followed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from core.candles import FROM_TRADES, MINUTE, Page, Span
from market.providers.minute_builder import MinuteBuilder
from market.providers.trade_stream import Batch, Lost, Opened

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from datetime import datetime

    from core.candles import Candle
    from market.ingest.followed_product import Coin
    from market.providers.minute_builder import Closing
    from market.providers.trade_stream import Event


class Stream(Protocol):
    """What is needed of `market.providers.trade_stream.TradeStream`."""

    @property
    def trouble(self) -> str:
        """Why there is no connection now; empty while there is one."""
        ...

    def leave_out(self, product: str) -> None:
        """Ask for ``product`` no more."""
        ...

    def events(self) -> AsyncIterator[Event]:
        """Yield what happens, for ever."""
        ...


def name_on_the_wire(product: str) -> str:
    """Return the name under which a product's trades come: ``BTC-USDC`` is another name of the book ``BTC-USD``."""
    return product.removesuffix("C") if product.endswith("-USDC") else product


class TradeFeed:
    """Builds the minutes of several products from one stream, as long as `run` runs."""

    def __init__(self, stream: Stream, products: Sequence[str]) -> None:
        """Connect nothing yet."""
        self._stream = stream
        self._builders = {product: MinuteBuilder(product) for product in products}
        self.seen_until: datetime | None = None
        """The exchange's time of the newest message."""
        self.market = ""
        self.connections = 0
        self.gaps = 0

    @property
    def trouble(self) -> str:
        """Why there is no connection now; empty while there is one."""
        return self._stream.trouble

    def leave_out(self, product: str) -> None:
        """Build ``product`` no more."""
        self._builders.pop(product, None)
        self._stream.leave_out(product)

    async def run(self) -> None:
        """Take in the stream until cancelled."""
        async for event in self._stream.events():
            self.take(event)

    def take(self, event: Event) -> None:
        """Take in one event."""
        if isinstance(event, Opened):
            self.connections += 1
            self.market = event.market
        if isinstance(event, Lost):
            self.gaps += 1
        if isinstance(event, Opened | Lost):
            # whose trades were lost is not known, so every minute in hand is dropped
            for builder in self._builders.values():
                builder.begin(event.at)
        if isinstance(event, Batch):
            for product, builder in self._builders.items():
                names = (product, name_on_the_wire(product))
                builder.add(trade for trade in event.trades if trade.product in names)
        self.seen_until = max(event.at, self.seen_until or event.at)

    def close(self, coins: Sequence[Coin], until: datetime) -> list[Closing]:
        """Close the minutes of ``coins`` that end at or before ``until``."""
        return [self._builders[coin.product].close(until) for coin in coins]

    def page(self, coin: Coin, candle: Candle, known_at: datetime, provider: str) -> Page:
        """Return a built minute as a page of its own, and note it with the coin.

        Its source is that of the exchange's candles with ``:trades`` behind it.
        """
        coin.built[candle.open_time] = candle
        source = coin.source or (f"local:{self.market}" if self.market else provider)
        page = Page(
            coin.product,
            Span(candle.open_time, candle.open_time + MINUTE),
            (candle,),
            known_at,
            f"{source}{FROM_TRADES}",
        )
        coin.note([page])
        return page

    def doubted(self) -> list[tuple[str, datetime]]:
        """Return, once, the minutes that were built and may after all lack a trade."""
        found = [(product, minute) for product, builder in self._builders.items() for minute in builder.doubted]
        for builder in self._builders.values():
            builder.doubted.clear()
        return found
