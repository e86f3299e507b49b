"""`desk follow` as its user runs it, against a local exchange two hundred times as fast: killed, cut off, stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from core.candles import MINUTE, Span
from core.settings import Paths
from desk.exchange import build_markets
from market.exchange.behaviour import Behaviour
from market.exchange.responses import last_day
from market.exchange.server import running
from market.exchange.state import Exchange, Present, TokenBucket
from store.feature_store import FeatureStore

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
PRESENT = datetime(2024, 3, 1, 12, 0, tzinfo=UTC)
PRODUCTS = ("BTC-USD", "ETH-USD")
VALUES = ("open", "high", "low", "close", "volume")


class Street:
    """An exchange that runs, a folder, and followers in processes of their own."""

    def __init__(self, exchange: Exchange, base_url: str, home: Path) -> None:
        self.exchange, self.base_url, self.home = exchange, base_url, home

    def start(self, *options: str) -> subprocess.Popen[str]:
        environ = os.environ | {
            "DESK_HOME": str(self.home),
            "COINBASE_BASE_URL": self.base_url,
            "CLOCK": "exchange",
            "PRODUCTS": ",".join(PRODUCTS),
            "PUBLIC_REQUESTS_PER_SECOND": "1000",
        }
        command = [sys.executable, "-m", "desk", "follow", *options]
        return subprocess.Popen(
            command, env=environ, cwd=self.home, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def finish(self, *options: str) -> str:
        process = self.start(*options)
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 0, said
        return said

    def follow_for(self, process: subprocess.Popen[str], minutes: int) -> None:
        """Read what a follower says until it has told so many minutes."""
        assert process.stdout is not None
        while minutes:
            line = process.stdout.readline()
            assert line, "the follower ended"
            minutes -= "stored" in line and "close" in line

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with FeatureStore(Paths(self.home).market_db)._reading() as connection:
            return connection.execute(query).fetchall()

    def assert_equals_truth(self) -> int:
        """Hold every stored minute that has settled against the exchange's; return how many there are."""
        checked = 0
        for product in PRODUCTS:
            rows = self.rows(f"select open_time, {', '.join(VALUES)} from candles_1m where product = '{product}'")
            stored = {row[0].astimezone(UTC): row[1:] for row in rows}
            assert len(stored) == len(rows), "a minute is there twice"
            span = Span(min(stored), max(stored) - 2 * MINUTE)
            truth = {
                candle.open_time: tuple(getattr(candle, name) for name in VALUES)
                for candle in self.exchange.markets[product].candles(span)
            }
            settled = {minute: values for minute, values in stored.items() if minute < span.end}
            assert settled.keys() == truth.keys(), "a minute is missing, or was invented"
            assert settled == truth
            checked += len(truth)
        return checked


@pytest.fixture
def street(tmp_path: Path) -> Iterator[Street]:
    markets = build_markets("planted", PRODUCTS)
    for market in markets.values():
        last_day(market, PRESENT)
    exchange = Exchange(
        markets,
        Present(PRESENT, speed=200.0),
        public=TokenBucket(0),
        behaviour=Behaviour(settles_after_seconds=70.0),
    )
    with running(exchange) as base_url:
        yield Street(exchange, base_url, tmp_path)


def test_follow_by_rest_killed_cut_off_and_stopped_ends_equal_to_the_exchange(street: Street) -> None:
    first = street.start()
    street.follow_for(first, 4)
    refused = street.start()
    said, _ = refused.communicate(timeout=60)
    assert refused.returncode == 2
    assert f"another follower (process {first.pid}) already serves" in said
    first.send_signal(signal.SIGKILL)
    first.communicate()

    second = street.start()
    street.follow_for(second, 2)
    street.exchange.faults.plan([{"kind": "502", "probability": 1.0, "path": "candles"}])
    time.sleep(1.2)
    street.exchange.faults.clear()
    street.follow_for(second, 3)
    second.send_signal(signal.SIGTERM)
    said, _ = second.communicate(timeout=60)
    assert second.returncode == 143, said
    assert "ending after the commit in hand" in said
    assert "minutes followed" in said.splitlines()[-1]

    assert street.assert_equals_truth() > 2 * 12
    assert Paths(street.home).market_copy.exists()
    ((revisions,),) = street.rows("select count(*) from candle_revisions")
    assert revisions > 5, "late settling is kept as revisions"
