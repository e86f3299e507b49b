"""Trades as they happen: the WebSocket channel ``market_trades``, with ``heartbeats`` beside it, kept open for ever.

No key is needed. Two things tell that something was lost: ``sequence_num``, which counts every message of a
connection, and heartbeats that stop. The first is said, so that whoever builds minutes lets go of the one in hand;
after the second, and after any other end, a new connection is made, with growing pauses and jitter.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import stamina
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from core.errors import ConfigError, ProviderError
from market.providers.minute_builder import Trade

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from websockets.asyncio.client import ClientConnection

    from core.settings import Settings

COINBASE_STREAM_URL: Final = "wss://advanced-trade-ws.coinbase.com"
STALE_SECONDS = 5.0
"""Heartbeats come once a second; so long without one, and the connection is dead, whatever TCP says."""
_COINBASE_HOST = "api.coinbase.com"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_CHANNELS = ("heartbeats", "market_trades")
_MOST_BYTES = 8 * 1024 * 1024
_log = logging.getLogger(__name__)


class StreamError(ProviderError):
    """The stream of trades ended, was refused, or said something that is none."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A connection is made and both channels are acknowledged; what happened before ``at`` was not seen whole."""

    at: datetime
    market: str
    """What the local exchange says it trades; the real one says nothing."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Some trades, in the order of the wire; ``at`` is the exchange's time."""

    at: datetime
    trades: tuple[Trade, ...]


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The connection lives; ``at`` is the exchange's time."""

    at: datetime


@dataclass(frozen=True, slots=True)
class Lost:
    """Messages are missing between the last one and the one sent at ``at``."""

    at: datetime
    messages: int


Event = Opened | Batch | Heartbeat | Lost


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses between connections, in seconds: doubling, with jitter; Coinbase allows eight connections a second."""

    wait_initial: float = 0.5
    wait_max: float = 30.0
    wait_jitter: float = 1.0


class TradeStream:
    """The trades of some products, as one endless row of events."""

    def __init__(
        self,
        settings: Settings,
        products: Sequence[str],
        *,
        stale_seconds: float = STALE_SECONDS,
        backoff: Backoff | None = None,
    ) -> None:
        """Name what is wanted; nothing is connected yet.

        Args:
            settings: The address, see `stream_url`.
            products: Product ids, at least one.
            stale_seconds: After so long without a heartbeat the connection is given up.
            backoff: Pauses between connections.

        Raises:
            ConfigError: the address is no WebSocket's.
        """
        self._url = stream_url(settings)
        self._products = tuple(products)
        self._stale_seconds = stale_seconds
        self._backoff = backoff or Backoff()
        self.connections = 0
        self.trouble = ""
        """Why the last connection ended or could not be made; empty while one is open."""

    def leave_out(self, product: str) -> None:
        """Ask for ``product`` no more, from the next connection on: one that is not offered has all of them refused."""
        self._products = tuple(other for other in self._products if other != product)

    async def events(self) -> AsyncIterator[Event]:
        """Yield what happens, for ever; a trade of ``BTC-USDC`` comes under the name ``BTC-USD``, as on the wire."""
        while True:
            session = await self._opened()
            try:
                for event in session.heard:
                    yield event
                while True:
                    for event in await session.next_events():
                        yield event
            except (StreamError, WebSocketException, OSError, TimeoutError) as error:
                self._note(error)
            finally:
                await session.close()

    async def _opened(self) -> _Session:
        """Return a session that has been acknowledged and has had its first heartbeat.

        A connection that ends before it is a failed try; so a server that accepts and drops is asked ever more seldom.
        """
        policy = self._backoff
        async for attempt in stamina.retry_context(
            on=self._is_worth_another_try,
            attempts=None,
            timeout=None,
            wait_initial=policy.wait_initial,
            wait_max=policy.wait_max,
            wait_jitter=policy.wait_jitter,
        ):
            with attempt:
                session = await self._connected()
                self.connections += 1
                self.trouble = ""
                return session
        raise AssertionError(self._url)  # the context above goes on for ever

    async def _connected(self) -> _Session:
        is_loopback = urlsplit(self._url).hostname in _LOOPBACK
        socket = await connect(
            self._url,
            proxy=None if is_loopback else True,
            max_size=_MOST_BYTES,
            open_timeout=self._stale_seconds + 5.0,
            close_timeout=1.0,
            ping_interval=None,  # heartbeats do it
            user_agent_header="candledesk",
        )
        session = _Session(socket, self._stale_seconds)
        try:
            await session.subscribe(self._products)
        except BaseException:
            await session.close()
            raise
        return session

    def _is_worth_another_try(self, error: Exception) -> bool:
        is_expected = isinstance(error, StreamError | WebSocketException | OSError | TimeoutError)
        if is_expected:
            self._note(error)
        return is_expected

    def _note(self, error: Exception) -> None:
        said = f"{type(error).__name__}: {error}".strip().removeprefix("StreamError: ").rstrip(": ")
        if said != self.trouble:
            _log.warning("trades: %s; connecting again", said)
        self.trouble = said


@dataclass(slots=True)
class _Session:
    """One connection, from the subscribing on."""

    socket: ClientConnection
    stale_seconds: float
    heard: list[Event] = field(default_factory=list)
    """What came until both channels were acknowledged."""
    _expected: int | None = None
    _beat_at: float = field(default_factory=time.monotonic)
    _acknowledged: set[str] = field(default_factory=set)

    async def subscribe(self, products: Sequence[str]) -> None:
        """Subscribe and wait for both acknowledgements and the first heartbeat.

        Raises:
            StreamError: it was refused, or the answers did not come.
        """
        await self.socket.send(json.dumps({"type": "subscribe", "channel": "heartbeats"}))
        wanted = {"type": "subscribe", "channel": "market_trades", "product_ids": list(products)}
        await self.socket.send(json.dumps(wanted))
        while not (self._acknowledged.issuperset(_CHANNELS) and self._has_beaten()):
            self.heard += await self.next_events()
        response = self.socket.response
        market = response.headers.get("x-desk-market", "") if response is not None else ""
        first = min((event.at for event in self.heard), default=datetime.now(UTC))
        self.heard.insert(0, Opened(first, market))

    def _has_beaten(self) -> bool:
        return any(isinstance(event, Heartbeat) for event in self.heard)

    async def next_events(self) -> list[Event]:
        """Return what the next message says.

        Raises:
            StreamError: an error message, no heartbeat for too long, or a message that cannot be read.
        """
        left = self._beat_at + self.stale_seconds - time.monotonic()
        try:
            async with asyncio.timeout(max(left, 0.0)):
                text = await self.socket.recv()
        except TimeoutError:
            msg = f"no heartbeat for {self.stale_seconds:g} s"
            raise StreamError(msg) from None
        try:
            return self._understood(json.loads(text))
        except (ValueError, KeyError, TypeError, AttributeError, InvalidOperation) as error:
            msg = f"a message that cannot be read ({type(error).__name__})"
            raise StreamError(msg) from error

    def _understood(self, message: dict[str, Any]) -> list[Event]:
        if message.get("type") == "error":
            msg = f"the exchange says {str(message.get('message', 'error'))[:200]!r}"
            raise StreamError(msg)
        at = _moment(message["timestamp"])
        events: list[Event] = []
        sequence = int(message["sequence_num"])
        if self._expected is not None and sequence != self._expected:
            events.append(Lost(at, sequence - self._expected))
        self._expected = sequence + 1
        channel = message["channel"]
        if channel == "subscriptions":
            for event in message["events"]:
                self._acknowledged.update(event["subscriptions"])
        elif channel == "heartbeats":
            self._beat_at = time.monotonic()
            events.append(Heartbeat(at))
        elif channel == "market_trades":
            trades = [_trade(entry) for event in message["events"] for entry in event.get("trades") or ()]
            events.append(Batch(at, tuple(trades)))
        return events

    async def close(self) -> None:
        """Close the connection, however it stands."""
        with suppress(WebSocketException, OSError, TimeoutError):
            await self.socket.close()


def stream_url(settings: Settings) -> str:
    """Return the WebSocket's address: the setting's, or the one that belongs to the address of the candles.

    So trades never come from another market than the candles that replace them.

    Raises:
        ConfigError: the setting COINBASE_STREAM_URL is no ws or wss address.
    """
    if settings.coinbase_stream_url:
        parts = urlsplit(settings.coinbase_stream_url)
        if parts.scheme not in ("ws", "wss") or not parts.hostname:
            msg = (
                f"COINBASE_STREAM_URL {settings.coinbase_stream_url!r} is no WebSocket address; "
                f"write for example {COINBASE_STREAM_URL}, or leave it empty"
            )
            raise ConfigError(msg)
        return settings.coinbase_stream_url
    base = urlsplit(settings.coinbase_base_url)
    if base.hostname == _COINBASE_HOST:
        return COINBASE_STREAM_URL
    return f"{'wss' if base.scheme == 'https' else 'ws'}://{base.netloc}/ws"


def _trade(entry: dict[str, Any]) -> Trade:
    price, size = Decimal(entry["price"]), Decimal(entry["size"])
    if not (price.is_finite() and size.is_finite() and price > 0 and size >= 0):
        msg = "no price, or no size"
        raise ValueError(msg)
    return Trade(str(entry["product_id"]), int(entry["trade_id"]), price, size, _moment(entry["time"]))


def _moment(text: str) -> datetime:
    """Return a time of the wire, which has up to nine decimals; what lies below a microsecond is cut off."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        msg = f"{text!r} has no time zone"
        raise ValueError(msg)
    return moment.astimezone(UTC)
