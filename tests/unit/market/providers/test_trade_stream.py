"""The stream of trades against the local exchange, and against servers that misbehave."""

import asyncio
import itertools
import json
import logging
import time
from datetime import UTC, datetime
from itertools import pairwise

import httpx
import pytest
from websockets.asyncio.server import serve

from core.errors import ConfigError
from core.settings import load_settings
from desk.exchange import build_markets
from market.exchange.clock import Present
from market.exchange.responses import last_bar
from market.exchange.server import running
from market.exchange.state import Exchange
from market.providers.minute_builder import Trade
from market.providers.trade_stream import Backoff, Batch, Heartbeat, Lost, Opened, TradeStream, stream_url

PRESENT = datetime(2024, 3, 1, 12, 0, tzinfo=UTC)
AT_ONCE = Backoff(wait_initial=0.01, wait_max=0.05, wait_jitter=0.0)


@pytest.fixture(scope="module")
def base_url():
    """The address of a local exchange two hundred times as fast as real time."""
    markets = build_markets("planted", ["BTC-USD", "ETH-USD"])
    for market in markets.values():
        last_bar(market, PRESENT)
    with running(Exchange(markets, Present(PRESENT, speed=200.0))) as url:
        yield url


@pytest.fixture
def heard(base_url):
    """Return a function that collects events until ``is_enough(events)``; it plans ``faults`` once connected."""
    control = base_url.partition("/api")[0] + "/_control/stream"

    def collect(is_enough, *, products=("BTC-USD",), faults=(), first=(), url=None, stale_seconds=2.0):
        settings = load_settings(coinbase_base_url=url or base_url, coinbase_stream_url="")
        stream = TradeStream(settings, products, stale_seconds=stale_seconds, backoff=AT_ONCE)

        async def go():
            events = []
            async with asyncio.timeout(15), httpx.AsyncClient(trust_env=False) as client:
                await client.post(control, json={"clear": True, "faults": list(first)})
                source = stream.events()
                async for event in source:
                    events.append(event)
                    if len(events) == 1 and faults:
                        await client.post(control, json={"faults": list(faults)})
                    if is_enough(events):
                        break
                await source.aclose()
            return events

        return asyncio.run(go()), stream

    return collect


def count(kind, number):
    return lambda events: sum(isinstance(event, kind) for event in events) >= number


def trade_ids(events):
    return [trade.trade_id for event in events if isinstance(event, Batch) for trade in event.trades]


def test_stream_opens_then_tells_trades_and_heartbeats(heard):
    events, stream = heard(count(Heartbeat, 3))
    assert isinstance(events[0], Opened) and events[0].market == "planted"
    assert all(late.at >= early.at for early, late in pairwise(events))
    ids = sorted(trade_ids(events))
    assert ids == list(range(ids[0], ids[-1] + 1)) and len(ids) > 50
    trade = next(event for event in events if isinstance(event, Batch)).trades[0]
    assert isinstance(trade, Trade) and trade.time.tzinfo is UTC and trade.product == "BTC-USD"
    assert (stream.connections, stream.trouble) == (1, "")


def test_stream_lost_message_is_told_where_it_was_lost(heard):
    events, _ = heard(count(Lost, 1), faults=[{"kind": "gap", "count": 1}])
    assert events[-1].messages == 1
    assert events[-1].at > events[0].at


def test_stream_connects_again_after_the_server_ends_it(heard, caplog):
    events, stream = heard(
        lambda events: count(Opened, 2)(events) and isinstance(events[-1], Batch),
        faults=[{"kind": "disconnect", "count": 1}],
    )
    assert stream.connections == 2
    assert "connecting again" in caplog.text
    ids = trade_ids(events)
    assert len(set(ids)) < len(ids), "a snapshot tells again what was told"


def test_stream_silence_is_a_dead_connection(heard, caplog):
    began = time.monotonic()
    _, stream = heard(count(Opened, 2), faults=[{"kind": "silence", "count": 1, "seconds": 60}], stale_seconds=0.4)
    assert time.monotonic() - began < 5
    assert stream.connections == 2
    assert "no heartbeat for 0.4 s" in caplog.text


def test_stream_error_message_ends_the_connection(heard, caplog):
    fault = {"kind": "error", "count": 1, "message": "authentication failure"}
    _, stream = heard(count(Opened, 2), faults=[fault])
    assert stream.connections == 2
    assert "'authentication failure'" in caplog.text


def test_stream_refused_connections_are_tried_again(heard):
    events, stream = heard(count(Opened, 1), first=[{"kind": "refuse", "count": 3}])
    assert isinstance(events[0], Opened) and stream.connections == 1


def test_stream_unknown_product_goes_on_trying_and_says_why(base_url, caplog):
    stream = TradeStream(load_settings(coinbase_base_url=base_url), ["NOPE-USD"], backoff=AT_ONCE)

    async def go():
        async with asyncio.timeout(0.7):
            async for _ in stream.events():
                pytest.fail("nothing can come")

    with pytest.raises(TimeoutError):
        asyncio.run(go())
    assert "'failure to subscribe'" in stream.trouble
    assert len([one for one in caplog.records if "connecting again" in one.message]) == 1, (
        "the same trouble is told once"
    )


def test_stream_without_the_product_that_is_not_offered_gets_the_others(base_url):
    stream = TradeStream(load_settings(coinbase_base_url=base_url), ["NOPE-USD", "ETH-USD"], backoff=AT_ONCE)

    async def go():
        asyncio.get_running_loop().call_later(0.2, stream.leave_out, "NOPE-USD")
        async with asyncio.timeout(5):
            return [await anext(events) for events in [stream.events()] for _ in range(4)]

    trades = [trade for event in asyncio.run(go()) if isinstance(event, Batch) for trade in event.trades]
    assert {trade.product for trade in trades} == {"ETH-USD"}


def test_stream_usdc_comes_under_the_name_of_the_wire(heard):
    events, _ = heard(count(Batch, 2), products=["BTC-USDC"])
    assert {trade.product for event in events if isinstance(event, Batch) for trade in event.trades} == {"BTC-USD"}


def test_stream_trades_without_heartbeats_are_a_dead_connection(caplog):
    numbers = itertools.count()

    def message(channel, event):
        envelope = {"channel": channel, "client_id": "", "timestamp": "2024-03-01T12:00:00Z", "events": [event]}
        return json.dumps({**envelope, "sequence_num": next(numbers)})

    async def handler(socket):
        for channel in ("heartbeats", "market_trades"):
            await socket.send(message("subscriptions", {"subscriptions": {channel: []}}))
        await socket.send(message("heartbeats", {"heartbeat_counter": 1}))
        while True:
            await socket.send(message("market_trades", {"type": "update", "trades": []}))
            await asyncio.sleep(0.02)

    async def go():
        async with serve(handler, "127.0.0.1", 0) as server:
            settings = load_settings(coinbase_stream_url=f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}")
            stream = TradeStream(settings, ["BTC-USD"], stale_seconds=0.3, backoff=AT_ONCE)
            async with asyncio.timeout(5):
                async for _ in stream.events():
                    if stream.connections == 2:
                        return

    asyncio.run(go())
    assert "no heartbeat for 0.3 s" in caplog.text


GOOD = {"channel": "subscriptions", "client_id": "", "timestamp": "2024-03-01T12:00:00.123456789Z", "events": []}
BAD_MESSAGES = {
    "no json": "<html>",
    "no object": "[]",
    "no timestamp": json.dumps({**GOOD, "timestamp": "now", "sequence_num": 0}),
    "no zone": json.dumps({**GOOD, "timestamp": "2024-03-01T12:00:00", "sequence_num": 0}),
    "no sequence": json.dumps(GOOD),
    "no number": json.dumps(
        {
            **GOOD,
            "channel": "market_trades",
            "sequence_num": 0,
            "events": [
                {"trades": [{"product_id": "BTC-USD", "trade_id": "1", "price": "NaN", "size": "1", "time": ""}]}
            ],
        }
    ),
}


@pytest.mark.parametrize("message", BAD_MESSAGES.values(), ids=BAD_MESSAGES.keys())
def test_stream_message_that_cannot_be_read_is_trouble_not_a_crash(message, caplog):
    caplog.set_level(logging.WARNING)

    async def handler(socket):
        await socket.send(message)
        await socket.wait_closed()

    async def go():
        async with serve(handler, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            stream = TradeStream(
                load_settings(coinbase_stream_url=f"ws://127.0.0.1:{port}"), ["BTC-USD"], backoff=AT_ONCE
            )
            task = asyncio.create_task(anext(stream.events()))
            async with asyncio.timeout(5):
                while not stream.trouble:
                    await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            return stream.trouble

    assert "cannot be read" in asyncio.run(go())


@pytest.mark.parametrize(
    ("base", "own", "url"),
    [
        ("https://api.coinbase.com/api/v3/brokerage", "", "wss://advanced-trade-ws.coinbase.com"),
        ("http://127.0.0.1:8123/api/v3/brokerage", "", "ws://127.0.0.1:8123/ws"),
        ("https://desk.test/api/v3/brokerage", "", "wss://desk.test/ws"),
        ("https://api.coinbase.com/api/v3/brokerage", "wss://proxy.test/coinbase", "wss://proxy.test/coinbase"),
    ],
)
def test_stream_address_belongs_to_that_of_the_candles(base, own, url):
    assert stream_url(load_settings(coinbase_base_url=base, coinbase_stream_url=own)) == url


def test_stream_address_of_another_kind_is_refused():
    with pytest.raises(ConfigError, match="COINBASE_STREAM_URL"):
        stream_url(load_settings(coinbase_stream_url="https://api.coinbase.com"))
