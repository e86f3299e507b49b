"""The exchange's WebSocket against the fact sheet: order, sequence numbers, deadline, shapes, faults."""

import json
import time
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from core.candles import MINUTE
from desk.exchange import build_markets
from market.exchange import websocket
from market.exchange.clock import Present
from market.exchange.responses import last_bar
from market.exchange.server import running
from market.exchange.state import Exchange
from market.exchange.trade_tape import tape

PRESENT = datetime(2024, 3, 1, 12, 0, tzinfo=UTC)
TRADES = {"type": "subscribe", "channel": "market_trades", "product_ids": ["BTC-USD"]}
BEATS = {"type": "subscribe", "channel": "heartbeats"}


class Client:
    """A connection that reads messages as objects."""

    def __init__(self, socket):
        self._socket = socket

    def say(self, *orders):
        for order in orders:
            self._socket.send(order if isinstance(order, str) else json.dumps(order))

    def hear(self, timeout=5.0):
        return json.loads(self._socket.recv(timeout))

    def hear_until(self, is_it, timeout=5.0):
        heard = [self.hear(timeout)]
        while not is_it(heard[-1]):
            heard.append(self.hear(timeout))
        return heard


@pytest.fixture(scope="module")
def served():
    """Two exchanges over the same markets, both running: present -> (exchange, address of its stream)."""
    markets = build_markets("planted", ["BTC-USD", "ETH-USD"])
    for market in markets.values():
        last_bar(market, PRESENT)
    exchanges = {
        "fast": Exchange(markets, Present(PRESENT, speed=240.0)),
        "stepped": Exchange(markets, Present(PRESENT, stepped=True)),
    }
    with ExitStack() as stack:
        bases = {name: stack.enter_context(running(exchange)) for name, exchange in exchanges.items()}
        yield {
            name: (exchanges[name], base.replace("http:", "ws:").partition("/api")[0] + websocket.STREAM_PATH)
            for name, base in bases.items()
        }


@pytest.fixture
def serve(served):
    """Return a context manager that connects to an exchange: serve("stepped") as (exchange, client, url)."""

    @contextmanager
    def go(present="fast"):
        exchange, url = served[present]
        with connect(url, proxy=None) as socket:
            yield exchange, Client(socket), url
        plan(url, clear=True)

    return go


def plan(url, *faults, clear=False):
    control = url.replace("ws:", "http:").replace(websocket.STREAM_PATH, "/_control/stream")
    return httpx.post(control, json={"faults": list(faults), "clear": clear}, trust_env=False)


def is_update(message):
    return message.get("channel") == "market_trades" and message["events"][0]["type"] == "update"


def trades_in(messages):
    return [trade for message in messages for event in message["events"] for trade in event.get("trades", ())]


def test_snapshot_comes_before_the_acknowledgement_then_updates(serve):
    with serve() as (_, client, _):
        client.say(TRADES)
        snapshot, acknowledgement = client.hear(), client.hear()
        update = client.hear()
    assert snapshot["channel"] == "market_trades" and snapshot["events"][0]["type"] == "snapshot"
    assert acknowledgement["channel"] == "subscriptions"
    assert acknowledgement["events"] == [{"subscriptions": {"market_trades": ["BTC-USD"]}}]
    assert is_update(update)
    ids = [int(trade["trade_id"]) for trade in trades_in([snapshot])]
    assert ids == sorted(ids, reverse=True) and len(ids) == websocket.SNAPSHOT_TRADES
    assert int(trades_in([update])[0]["trade_id"]) == ids[0] + 1


def test_envelope_and_trade_have_the_shapes_of_the_sheet(serve):
    with serve() as (_, client, _):
        client.say(TRADES)
        message = client.hear()
    assert list(message) == ["channel", "client_id", "timestamp", "sequence_num", "events"]
    trade = trades_in([message])[0]
    assert set(trade) == {"product_id", "trade_id", "price", "size", "time", "side"}
    assert all(isinstance(value, str) for value in trade.values()) and trade["side"] in {"BUY", "SELL"}


def test_sequence_counts_every_message_of_a_connection(serve):
    with serve() as (_, client, url):
        client.say(BEATS, TRADES)
        heard = [client.hear() for _ in range(12)]
        assert [message["sequence_num"] for message in heard] == list(range(12))
        assert {message["channel"] for message in heard} == {"subscriptions", "heartbeats", "market_trades"}
        with connect(url, proxy=None) as other:
            other.send(json.dumps(BEATS))
            assert json.loads(other.recv(5))["sequence_num"] == 0, "another connection counts for itself"


def test_heartbeats_count_up_and_come_after_the_trades_before_them(serve):
    with serve() as (exchange, client, _):
        client.say(TRADES, BEATS)
        heard = client.hear_until(lambda message: message["channel"] == "heartbeats")
        heard += client.hear_until(lambda message: message["channel"] == "heartbeats")
    beats = [message["events"][0] for message in heard if message["channel"] == "heartbeats"]
    assert [beat["heartbeat_counter"] for beat in beats] == [1, 2]
    assert datetime.fromisoformat(heard[-1]["timestamp"]) > PRESENT
    until = datetime.fromisoformat(heard[-1]["timestamp"])
    start = datetime.fromisoformat(heard[0]["timestamp"])
    truth = tape(exchange.markets["BTC-USD"], start, until)
    assert [int(trade["trade_id"]) for trade in trades_in(filter(is_update, heard))] == [t.trade_id for t in truth]


def test_connection_that_does_not_subscribe_is_dropped(serve, monkeypatch):
    monkeypatch.setattr(websocket, "SUBSCRIBE_WITHIN_SECONDS", 0.3)
    with serve() as (_, client, _):
        began = time.monotonic()
        with pytest.raises(ConnectionClosed):
            client.hear()
        assert 0.25 < time.monotonic() - began < 3


def test_connection_without_heartbeats_ends_when_nothing_happens(serve, monkeypatch):
    monkeypatch.setattr(websocket, "IDLE_SECONDS", 0.3)
    with serve("stepped") as (_, client, _):
        client.say(TRADES)
        client.hear(), client.hear()
        with pytest.raises(ConnectionClosed):
            client.hear()


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ({"type": "subscribe", "channel": "market_trades", "product_ids": ["NOPE-USD"]}, "failure to subscribe"),
        ({"type": "subscribe", "channel": "market_trades"}, "failure to subscribe"),
        ({"type": "subscribe", "channel": "market_trades", "product_ids": "BTC-USD"}, "failure to subscribe"),
        ({"type": "subscribe", "channel": "level3", "product_ids": ["BTC-USD"]}, "failure to subscribe"),
        ({"type": "subscribe", "channel": "user"}, "authentication failure"),
        ({"channel": "heartbeats"}, "failure to subscribe"),
        ("no json", "failure to subscribe"),
        ("[1]", "failure to subscribe"),
    ],
)
def test_error_has_no_channel(serve, order, message):
    with serve("stepped") as (_, client, _):
        client.say(order)
        assert client.hear() == {"type": "error", "message": message}


def test_usdc_product_is_named_back_as_usd(serve):
    with serve() as (_, client, _):
        client.say({**TRADES, "product_ids": ["BTC-USDC"]})
        snapshot, acknowledgement = client.hear(), client.hear()
    assert {trade["product_id"] for trade in trades_in([snapshot])} == {"BTC-USD"}
    assert acknowledgement["events"] == [{"subscriptions": {"market_trades": ["BTC-USD"]}}]


def test_unsubscribing_leaves_the_products_named_or_the_whole_channel(serve):
    both = ["BTC-USD", "ETH-USD"]
    with serve("stepped") as (_, client, _):
        client.say({**TRADES, "product_ids": both}, {**TRADES, "type": "unsubscribe"})
        client.say({"type": "unsubscribe", "channel": "market_trades"})
        heard = [client.hear() for _ in range(4)]
    subscribed = [message["events"][0]["subscriptions"] for message in heard[1:]]
    assert subscribed == [{"market_trades": both}, {"market_trades": ["ETH-USD"]}, {}]


def test_stepped_present_sends_all_that_was_traded_meanwhile(serve):
    with serve("stepped") as (exchange, client, _):
        client.say(TRADES, BEATS)
        client.hear(), client.hear()
        before = exchange.present.now()
        after = exchange.present.advance(before + 30 * MINUTE)
        heard = client.hear_until(lambda message: message["channel"] == "heartbeats")
        truth = tape(exchange.markets["BTC-USD"], before, after)
    assert [int(trade["trade_id"]) for trade in trades_in(filter(is_update, heard))] == [t.trade_id for t in truth]


def test_gap_loses_a_message_and_counts_it(serve):
    with serve() as (_, client, url):
        client.say(TRADES, BEATS)
        plan(url, {"kind": "gap", "count": 1})
        numbers = [client.hear()["sequence_num"] for _ in range(12)]
        assert sorted(set(range(numbers[-1] + 1)) - set(numbers)) != []
        assert plan(url).json()["happened"]["gap"] == 1


def test_lost_trade_leaves_a_hole_in_the_ids_only(serve):
    with serve() as (_, client, url):
        client.say(TRADES)
        client.hear(), client.hear()
        plan(url, {"kind": "lose_trade", "count": 1})
        heard = [client.hear() for _ in range(12)]
    assert [message["sequence_num"] for message in heard] == list(range(2, 14))
    ids = [int(trade["trade_id"]) for trade in trades_in(heard)]
    assert len(set(range(ids[0], ids[-1] + 1)) - set(ids)) <= 1 and len(ids) == len(set(ids))


def test_late_trade_comes_after_its_time_and_duplicates_twice(serve):
    with serve() as (_, client, url):
        client.say(TRADES)
        client.hear(), client.hear()
        plan(url, {"kind": "late", "count": 1, "seconds": 60})
        heard = client.hear_until(lambda message: _is_late(message, 50))
        plan(url, {"kind": "duplicate", "count": 1})
        heard += [client.hear() for _ in range(8)]
    ids = [int(trade["trade_id"]) for trade in trades_in(heard)]
    assert set(ids) == set(range(min(ids), max(ids) + 1)), "late, but there"
    assert len(ids) > len(set(ids)), "told twice"


def _is_late(message, seconds):
    sent = datetime.fromisoformat(message["timestamp"])
    times = [datetime.fromisoformat(trade["time"]) for trade in trades_in([message])]
    return any(sent - moment > timedelta(seconds=seconds) for moment in times)


def test_disconnect_error_silence_and_refusal(serve):
    with serve() as (_, client, url):
        client.say(TRADES, BEATS)
        plan(url, {"kind": "error", "count": 1, "message": "too many L2 streams requested in a single session"})
        assert client.hear_until(lambda message: message.get("type") == "error")[-1]["message"].startswith("too many")
        plan(url, {"kind": "silence", "count": 1, "seconds": 30})
        with pytest.raises(TimeoutError):
            client.hear_until(lambda _: False, 0.3)
    with serve() as (_, client, url):
        client.say(TRADES)
        plan(url, {"kind": "disconnect", "count": 1}, {"kind": "refuse", "count": 1})
        with pytest.raises(ConnectionClosed):
            client.hear_until(lambda _: False)
        with pytest.raises(InvalidStatus), connect(url, proxy=None):
            pass


def test_wrong_fault_is_refused_and_names_the_kinds(serve):
    with serve() as (_, _, url):
        assert "gap, lose_trade" in plan(url, {"kind": "earthquake", "count": 1}).json()["error"]
        assert plan(url, {"kind": "gap"}).status_code == 400
        assert plan(url, {"kind": "gap", "probability": 0.5}).json()["planned"] == ["gap"]
        assert plan(url, clear=True).json()["planned"] == []
