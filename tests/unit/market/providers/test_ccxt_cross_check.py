"""A client not written here, ccxt's own Coinbase class, sees the same candles at the local exchange as ours does.

It is used as its users use it, page by page from ``since`` on, floats and all; nothing of Candledesk lies between it and
the socket.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from core.candles import Candle, Span
from core.settings import load_settings
from market.exchange.behaviour import Behaviour
from market.exchange.recorded_market import recorded_markets
from market.exchange.server import running
from market.exchange.simulated_market import simulated_market
from market.exchange.state import Exchange, Present, TokenBucket
from market.providers.coinbase import CoinbaseProvider

ccxt = pytest.importorskip("ccxt.async_support")

DAY = timedelta(days=1)


async def rows_as_ccxt_users_fetch_them(url, symbol, span):
    exchange = ccxt.coinbase({"enableRateLimit": False})
    exchange.urls["api"]["rest"] = url.removesuffix("/api/v3/brokerage")
    exchange.timeout_on_exit = 0  # a pause for encrypted connections
    exchange.has["fetchCurrencies"] = False  # they come from another API, which the local exchange does not have
    since, end = (int(moment.timestamp()) * 1000 for moment in (span.start, span.end))
    rows = []
    try:
        while since < end:
            page = await exchange.fetch_ohlcv(symbol, "1m", since, 300)
            rows += page
            since = page[-1][0] + 60_000 if page else since + 300 * 60_000
    finally:
        await exchange.close()
    return [row for row in rows if row[0] < end]


def candles_as_ours_fetches_them(url, product, span, folder):
    async def work():
        settings = load_settings(desk_home=folder, coinbase_base_url=url, public_requests_per_second=1000)
        provider = CoinbaseProvider(settings)
        try:
            pages = [page async for page in provider.pages(product, list(span.pages(300)))]
        finally:
            await provider.aclose()
        return sorted((candle for page in pages for candle in page.candles), key=lambda candle: candle.open_time)

    return asyncio.run(work())


def candle_of(product, row):
    """Read ccxt's floats as the decimals they stand for: the shortest text that means the same float."""
    open_time = datetime.fromtimestamp(row[0] / 1000, UTC)
    return Candle(product, open_time, *(Decimal(repr(value)) for value in row[1:]))


def compare(market, span, folder, behaviour=None, present=None):
    """Return the candles both clients agree on with each other and with the exchange, and the minutes without one."""
    exchange = Exchange(
        {market.product: market},
        Present(present or span.end, stepped=True),
        public=TokenBucket(0),
        behaviour=behaviour or Behaviour(),
    )
    with running(exchange) as url:
        symbol = market.product.replace("-", "/")
        theirs = asyncio.run(rows_as_ccxt_users_fetch_them(url, symbol, span))
        ours = candles_as_ours_fetches_them(url, market.product, span, folder)
    assert all(type(number) is float for row in theirs for number in row[1:])
    assert [candle_of(market.product, row) for row in theirs] == ours == market.candles(span)
    return ours, span.minutes - len(ours)


@pytest.mark.parametrize("end_inclusive", [True, False])
@pytest.mark.parametrize("share", [1.0, 0.6, 0.02])
def test_planted_market_with_empty_minutes_is_the_same_for_both_clients(thin, tmp_path, present, share, end_inclusive):
    market = thin(simulated_market("planted", "ETH-USD", 5), share)
    actual, empty = compare(market, Span(present - DAY, present), tmp_path, Behaviour(end_inclusive=end_inclusive))
    assert 0.7 * share * 1440 < len(actual) <= 1440 and empty >= (1 - share) * 1000


def test_market_listed_in_the_middle_is_the_same_for_both_clients(tmp_path, present):
    listed = present - 7 * timedelta(hours=1)
    actual, empty = compare(
        simulated_market("null", "BNB-USD", 5, listed_at=listed), Span(present - DAY, present), tmp_path
    )
    assert actual[0].open_time == listed and empty >= 17 * 60


@pytest.mark.real
@pytest.mark.parametrize("day", ["2023-10-18T12:00", "2024-02-09T12:00", "2024-05-31T12:00"])
@pytest.mark.parametrize("product", ["BTC-USD", "ETH-USD"])
def test_recorded_candles_and_their_holes_are_the_same_for_both_clients(recorded_candles, tmp_path, product, day):
    start = datetime.fromisoformat(day).replace(tzinfo=UTC)
    market = recorded_markets(recorded_candles, [product])[product]
    actual, empty = compare(market, Span(start, start + DAY), tmp_path)
    assert empty >= 9 and len(actual) > 1300


def test_open_minute_is_what_the_two_clients_differ_in(tmp_path, present):
    """Ours leaves it out; ccxt's users get it as if it were over."""
    market = simulated_market("planted", "BTC-USD", 5)
    exchange = Exchange({"BTC-USD": market}, Present(present + timedelta(seconds=30), stepped=True))
    span = Span(present - timedelta(hours=1), present + timedelta(minutes=1))
    with running(exchange) as url:
        theirs = asyncio.run(rows_as_ccxt_users_fetch_them(url, "BTC/USD", span))
        ours = candles_as_ours_fetches_them(url, "BTC-USD", span, tmp_path)
    assert [candle_of("BTC-USD", row) for row in theirs[:-1]] == ours
    assert candle_of("BTC-USD", theirs[-1]).open_time == present
    assert candle_of("BTC-USD", theirs[-1]) != market.candles(Span(present, span.end))[0]
