"""A market followed in one process: a stepped exchange asked without a socket."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx
import pytest

from core.candles import MINUTE, Span
from core.settings import load_settings
from desk.exchange import build_markets
from market.exchange.app import build_app
from market.exchange.behaviour import Behaviour
from market.exchange.state import Exchange, Present, TokenBucket
from market.ingest.follower import FollowOptions, Watcher, follow
from market.providers import RetryPolicy
from market.providers.coinbase import CoinbaseProvider
from store.feature_store import FeatureStore

PRESENT = datetime(2024, 3, 1, 12, 0, 20, tzinfo=UTC)
PRODUCTS = ("BTC-USD", "ETH-USD")
ONCE = RetryPolicy(attempts=1, wait_initial=0.0, wait_max=0.0, wait_jitter=0.0)


class Line(httpx.AsyncBaseTransport):
    """The way to the exchange; ``is_cut`` tells by the request whether it is cut just now."""

    def __init__(self, app):
        self._inner = httpx.ASGITransport(app=app)
        self.is_cut = self.is_slow = lambda request: False
        self.requested = []

    async def handle_async_request(self, request):
        if self.is_cut(request):
            raise httpx.ConnectError("no route to the exchange", request=request)
        if self.is_slow(request):
            await asyncio.sleep(60)
        self.requested.append(request)
        return await self._inner.handle_async_request(request)


@dataclass
class SteppedClock:
    """Steps the exchange instead of waiting; ``happens(moment)`` is told before each step."""

    present: Present
    happens: object = None

    async def now(self):
        return self.present.now()

    async def sleep_until(self, moment, stop):
        if self.happens is not None:
            self.happens(max(moment, self.present.now()))
        if moment > self.present.now() and not stop.is_set():
            self.present.advance(moment)
        await asyncio.sleep(0)
        return self.present.now()

    async def check(self):
        return None


@dataclass
class World:
    """An exchange, the way to it, a folder, and what a session of `follow` said."""

    exchange: Exchange
    line: Line
    settings: object
    clock: SteppedClock
    notes: list = field(default_factory=list)
    reports: list = field(default_factory=list)
    stop: asyncio.Event | None = None
    retry: RetryPolicy = ONCE

    @property
    def reached(self):
        """The end of the newest minute that was followed."""
        return self.reports[-1].open_time + MINUTE

    @property
    def store(self):
        return FeatureStore(self.settings.paths.market_db)

    def follow(self, minutes, *, products=PRODUCTS, is_dry=False, publish_every=600.0):
        async def go():
            self.stop = asyncio.Event()
            provider = CoinbaseProvider(self.settings, transport=self.line, retry=self.retry)
            watcher = Watcher(lambda report, _: self.reports.append(report), self.notes.append)
            options = FollowOptions(minutes, is_dry, publish_every)
            try:
                return await follow(
                    self.settings, products, provider, self.clock, stop=self.stop, watcher=watcher, options=options
                )
            finally:
                await provider.aclose()

        return asyncio.run(go())

    def truth(self, start, end, products=PRODUCTS):
        return {
            (candle.product, candle.open_time): candle
            for product in products
            for candle in self.exchange.markets[product].candles(Span(start, end))
        }

    def rows(self, query, **parameters):
        with self.store._reading() as connection:
            cursor = connection.execute(query, parameters or None)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def stored(self):
        rows = self.rows("select product, open_time, open, high, low, close, volume from candles_1m")
        assert len({(row["product"], row["open_time"]) for row in rows}) == len(rows), "a minute is there twice"
        return {(row["product"], row["open_time"].astimezone(UTC)): row for row in rows}

    def assert_equals_truth(self, start, end, products=PRODUCTS):
        stored, truth = self.stored(), self.truth(start, end, products)
        assert stored.keys() == truth.keys()
        for key, candle in truth.items():
            assert all(
                stored[key][name] == getattr(candle, name) for name in ("open", "high", "low", "close", "volume")
            )


@pytest.fixture(scope="session")
def markets():
    return build_markets("planted", PRODUCTS)


@pytest.fixture(autouse=True)
def made(settings, fresh_market):
    """The task apply-schema, or a command, has made the database before anything is fetched."""
    fresh_market(settings.paths.market_db)


@pytest.fixture
def world(tmp_path, markets):
    """Return a function that makes a world; options go to the exchange's behaviour."""

    def make(**behaviour):
        exchange = Exchange(
            markets,
            Present(PRESENT, stepped=True),
            public=TokenBucket(0),
            private=TokenBucket(0),
            behaviour=Behaviour(**behaviour),
        )
        settings = load_settings(
            desk_home=tmp_path / "var",
            coinbase_base_url="https://exchange.test/api/v3/brokerage",
            public_requests_per_second=1000,
        )
        settings.paths.make()
        return World(exchange, Line(build_app(exchange)), settings, SteppedClock(exchange.present))

    return make


@pytest.fixture
def start():
    """The first minute that a session in an empty folder stores."""
    return PRESENT.replace(second=0) - MINUTE
