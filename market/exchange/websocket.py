"""The exchange's WebSocket: the channels ``market_trades`` and ``heartbeats``, and what goes wrong with them.

As on the real one: whoever has not subscribed five seconds after connecting is dropped; one channel a message; a
snapshot comes before the acknowledgement; ``sequence_num`` counts every message of a connection, whatever its channel;
trades come in batches of a quarter of a second, heartbeats once a second; an error has no channel; products in
``-USDC`` are named back as ``-USD``; a connection without heartbeats ends when nothing happens for a while. A faster
present gets faster batches and heartbeats. Other channels are not offered: subscribing to one fails.

Faults are planned with POST ``/_control/stream``, body ``{"faults": [{"kind": "gap", "count": 1}]}``; GET says what happened.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocketDisconnect

from market.exchange.responses import trade_page
from market.exchange.trade_tape import newest_trades, tape

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute
    from starlette.websockets import WebSocket

    from market.exchange.state import Exchange
    from market.exchange.trade_tape import TapeTrade

STREAM_PATH = "/ws"
SUBSCRIBE_WITHIN_SECONDS = 5.0
BATCH_SECONDS = 0.25
HEARTBEAT_SECONDS = 1.0
IDLE_SECONDS = 75.0
SNAPSHOT_TRADES = 50
_SHORTEST_BATCH_SECONDS, _SHORTEST_BEAT_SECONDS = 0.02, 0.1
_MOST_IN_MESSAGE = 500
_CHANNELS = ("market_trades", "heartbeats")
_OF_A_USER = ("user", "futures_balance_summary")

StreamFaultKind = Literal[
    "gap", "lose_trade", "duplicate", "shuffle", "late", "disconnect", "error", "silence", "refuse"
]
_ON_BATCH = frozenset({"gap", "lose_trade", "duplicate", "shuffle", "late"})
_ON_TICK = frozenset({"disconnect", "error", "silence"})


class StreamFault(BaseModel):
    """One kind of fault, and how often it strikes: the next ``count`` times, or each time with ``probability``.

    ``gap`` loses a message but counts it, ``lose_trade`` one trade of a batch, ``duplicate`` sends a batch twice,
    ``shuffle`` in disorder, ``late`` holds its last trade back for ``seconds`` of the exchange's time; ``disconnect`` ends the
    connection, ``error`` says ``message``, ``silence`` sends nothing for ``seconds``; ``refuse`` turns a new connection away.
    """

    model_config = ConfigDict(extra="forbid")

    kind: StreamFaultKind
    count: int = Field(0, ge=0)
    probability: float = Field(0.0, ge=0, le=1)
    seconds: float = Field(5.0, ge=0)
    message: str = "failure to subscribe"

    @model_validator(mode="after")
    def _count_or_probability(self) -> StreamFault:
        if (self.count > 0) == (self.probability > 0):
            msg = "give either a count or a probability above 0"
            raise ValueError(msg)
        return self


class StreamFaults:
    """The faults now planned, and how many of each have happened."""

    def __init__(self, seed: int = 0) -> None:
        """Plan nothing."""
        self._random = random.Random(seed)  # noqa: S311  # which messages fail must be reproducible
        self.planned: list[StreamFault] = []
        self.happened: Counter[str] = Counter()

    def pick(self, kinds: frozenset[str]) -> StreamFault | None:
        """Return the fault of one of ``kinds`` that strikes now, if any, and count it."""
        for plan in self.planned:
            if plan.kind in kinds and (plan.count > 0 or self._random.random() < plan.probability):
                if plan.count:
                    plan.count -= 1
                    self.planned = [left for left in self.planned if left.count or left.probability]
                self.happened[plan.kind] += 1
                return plan
        return None

    def shuffled(self, trades: Sequence[TapeTrade]) -> list[TapeTrade]:
        """Return ``trades`` in disorder."""
        return self._random.sample(list(trades), len(trades))

    def without_one(self, trades: Sequence[TapeTrade]) -> list[TapeTrade]:
        """Return ``trades`` less one of them."""
        lost = self._random.randrange(len(trades))
        return [trade for number, trade in enumerate(trades) if number != lost]


def stream_routes(exchange: Exchange) -> list[BaseRoute]:
    """Return the WebSocket and the path that steers its faults."""
    faults = StreamFaults()

    async def stream(socket: WebSocket) -> None:
        exchange.counts["stream_connections"] += 1
        if faults.pick(frozenset({"refuse"})) is not None:
            await socket.close()
            return
        await socket.accept(headers=[(b"x-desk-market", exchange.kinds.encode())])
        try:
            await _Connection(exchange, faults, socket).serve()
        except WebSocketDisconnect:
            return

    async def control(request: Request) -> Response:
        if request.method == "POST":
            body = await request.json()
            try:
                plans = [StreamFault.model_validate(entry) for entry in body.get("faults", [])]
            except (ValidationError, TypeError, AttributeError) as fault:
                said = fault.errors()[0]["msg"] if isinstance(fault, ValidationError) else "send a list of faults"
                return JSONResponse({"error": f"{said}; the kinds are {', '.join(get_args(StreamFaultKind))}"}, 400)
            faults.planned = plans if body.get("clear") else faults.planned + plans
        return JSONResponse(
            {"planned": [plan.kind for plan in faults.planned], "happened": dict(faults.happened), "path": STREAM_PATH}
        )

    return [
        WebSocketRoute(STREAM_PATH, stream),
        Route("/_control/stream", control, methods=["GET", "POST"]),
    ]


@dataclass(slots=True)
class _Connection:
    """One client from its connecting to its end."""

    exchange: Exchange
    faults: StreamFaults
    socket: WebSocket
    sequence: int = 0
    channels: dict[str, list[str]] = field(default_factory=dict)
    """What is subscribed, products as they are named back."""
    told_until: dict[str, datetime] = field(default_factory=dict)
    """Per product, up to when its trades were sent."""
    held_back: list[tuple[datetime, TapeTrade]] = field(default_factory=list)
    beats: int = 0
    connected_at: float = field(default_factory=time.monotonic)
    sent_at: float = field(default_factory=time.monotonic)
    beat_at: float = field(default_factory=time.monotonic)
    silent_until: float = 0.0

    async def serve(self) -> None:
        """Answer commands and send batches until either side ends it."""
        speed = self.exchange.present.speed
        batch_seconds = max(BATCH_SECONDS / speed, _SHORTEST_BATCH_SECONDS)
        due = time.monotonic() + batch_seconds
        while True:
            try:
                async with asyncio.timeout(max(due - time.monotonic(), 0.0)):
                    text = await self.socket.receive_text()
            except TimeoutError:
                due = time.monotonic() + batch_seconds
                if not await self._tick(max(HEARTBEAT_SECONDS / speed, _SHORTEST_BEAT_SECONDS)):
                    return
            else:
                await self._obey(text)

    async def _tick(self, beat_seconds: float) -> bool:
        """Send what is due; return whether the connection goes on."""
        now = time.monotonic()
        if not self.channels and now - self.connected_at > SUBSCRIBE_WITHIN_SECONDS:
            await self.socket.close(1008, "no subscription")
            return False
        if "heartbeats" not in self.channels and now - self.sent_at > IDLE_SECONDS:
            await self.socket.close(1000, "idle")
            return False
        if now < self.silent_until:
            return True
        plan = self.faults.pick(_ON_TICK) if self.channels else None
        if plan is not None and plan.kind == "disconnect":
            await self.socket.close(1011, "going away")
            return False
        if plan is not None and plan.kind == "error":
            await self._error(plan.message)
        if plan is not None and plan.kind == "silence":
            self.silent_until = now + plan.seconds
            return True
        await self._send_due(now, beat_seconds)
        return True

    async def _send_due(self, now: float, beat_seconds: float) -> None:
        # trades first: whoever has seen a heartbeat has seen every trade before its time
        moment = self.exchange.present.now()
        for product in list(self.told_until):
            await self._send_trades(product, moment)
        if "heartbeats" in self.channels and now - self.beat_at >= beat_seconds:
            self.beat_at = now
            self.beats += 1
            text = f"{moment:%Y-%m-%d %H:%M:%S.%f}000 +0000 UTC m=+{now:.9f}"
            await self._send("heartbeats", [{"current_time": text, "heartbeat_counter": self.beats}], moment)

    async def _send_trades(self, product: str, moment: datetime) -> None:
        fresh = tape(self.exchange.markets[product], self.told_until[product], moment)
        self.told_until[product] = moment
        late = [trade for due, trade in self.held_back if due <= moment and trade.product == product]
        if late:
            self.held_back = [(due, trade) for due, trade in self.held_back if trade not in late]
        trades = late + fresh
        for start in range(0, len(trades), _MOST_IN_MESSAGE):
            await self._send_batch(trades[start : start + _MOST_IN_MESSAGE], moment)

    async def _send_batch(self, trades: list[TapeTrade], moment: datetime) -> None:
        plan = self.faults.pick(_ON_BATCH)
        kind = plan.kind if plan else ""
        if plan is not None and kind == "late":
            self.held_back.append((moment + timedelta(seconds=plan.seconds), trades.pop()))
        elif kind == "lose_trade":
            trades = self.faults.without_one(trades)
        elif kind == "shuffle":
            trades = self.faults.shuffled(trades)
        if kind == "gap":
            self.sequence += 1
            return
        for _ in range(2 if kind == "duplicate" else 1):
            if trades:
                await self._send("market_trades", [_trades_event("update", trades)], moment)

    async def _obey(self, text: str) -> None:
        """Subscribe or unsubscribe."""
        try:
            order = json.loads(text)
            kind, channel, names = order["type"], order["channel"], order.get("product_ids") or []
        except (ValueError, KeyError, TypeError, AttributeError):
            await self._error("failure to subscribe")
            return
        if channel in _OF_A_USER:
            await self._error("authentication failure")
        elif kind == "unsubscribe" and channel in _CHANNELS:
            await self._unsubscribe(channel, names)
        elif kind == "subscribe" and channel == "heartbeats":
            self.channels["heartbeats"] = ["heartbeats"]
            self.beat_at = time.monotonic()
            await self._acknowledge()
        elif kind == "subscribe" and channel == "market_trades" and self._are_offered(names):
            await self._subscribe(names)
        else:
            await self._error("failure to subscribe")

    def _are_offered(self, names: object) -> bool:
        return (
            isinstance(names, list)
            and bool(names)
            and all(isinstance(name, str) and named_back(name) in self.exchange.markets for name in names)
        )

    async def _subscribe(self, names: list[str]) -> None:
        moment = self.exchange.present.now()
        known = self.channels.setdefault("market_trades", [])
        new = [name for name in dict.fromkeys(map(named_back, names)) if name not in known]
        known.extend(new)
        trades: list[TapeTrade] = []
        for name in new:
            self.told_until[name] = moment
            trades += reversed(newest_trades(self.exchange.markets[name], moment, SNAPSHOT_TRADES))
        await self._send("market_trades", [_trades_event("snapshot", trades)], moment)
        await self._acknowledge()

    async def _unsubscribe(self, channel: str, names: list[str]) -> None:
        gone = set(map(named_back, names)) or set(self.channels.get(channel, ()))
        left = [name for name in self.channels.pop(channel, []) if name not in gone]
        if left:
            self.channels[channel] = left
        if channel == "market_trades":
            self.told_until = {name: moment for name, moment in self.told_until.items() if name in left}
        await self._acknowledge()

    async def _acknowledge(self) -> None:
        await self._send("subscriptions", [{"subscriptions": self.channels}], self.exchange.present.now())

    async def _send(self, channel: str, events: list[dict[str, Any]], moment: datetime) -> None:
        envelope = {
            "channel": channel,
            "client_id": "",
            "timestamp": f"{moment:%Y-%m-%dT%H:%M:%S.%f}000Z",
            "sequence_num": self.sequence,
            "events": events,
        }
        self.sequence += 1
        self.sent_at = time.monotonic()
        self.exchange.counts["stream_messages"] += 1
        await self.socket.send_text(json.dumps(envelope, separators=(",", ":")))

    async def _error(self, message: str) -> None:
        """Say what is wrong; such a message has neither channel nor sequence number."""
        await self.socket.send_text(json.dumps({"type": "error", "message": message}))


def named_back(product: str) -> str:
    """Return the name under which a product's trades come: ``BTC-USDC`` is another name of the book ``BTC-USD``."""
    return product.removesuffix("C") if product.endswith("-USDC") else product


def _trades_event(kind: str, trades: Sequence[TapeTrade]) -> dict[str, Any]:
    return {"type": kind, "trades": [trade_page(trade) for trade in trades]}
