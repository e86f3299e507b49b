"""What every provider promises, asked of all that are installed.

Coinbase's own client and ccxt's talk to one local exchange over a socket; yfinance reads what a Yahoo of the same
candles answers; the synthetic market is this process's own.
"""

import asyncio
import gc
import random
import warnings
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from importlib.util import find_spec

import httpx
import pytest

from core.candles import Candle, Span
from core.clock import ManualClock
from core.errors import ExchangeUnavailableError, ListingUnknownError, SpanError, UnknownProductError
from core.settings import load_settings
from desk.exchange import build_markets
from market.exchange.faults import Faults
from market.exchange.server import listen, running
from market.exchange.simulated_market import simulated_market
from market.exchange.state import Exchange, Present, TokenBucket
from market.providers import RetryPolicy, open_provider

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
HALF_A_MINUTE = timedelta(seconds=30)
AT_ONCE = RetryPolicy(attempts=3, wait_initial=0.0, wait_max=0.0, wait_jitter=0.0)
PRESENT = datetime(2024, 3, 1, 12, 0, tzinfo=UTC)
EXTRA = {
    name: pytest.param(name, marks=pytest.mark.skipif(find_spec(name) is None, reason=f"the extra {name} is missing"))
    for name in ("ccxt", "yfinance")
}
ALL = ["coinbase", "synthetic", *EXTRA.values()]
LOCAL = ["coinbase", EXTRA["ccxt"]]
"""Those that talk to the local exchange."""
REMOTE = [*LOCAL, EXTRA["yfinance"]]
"""Those that can fail, and do not know every product."""


def asked_of(names):
    """Run a test with these providers instead of all."""
    return pytest.mark.parametrize("bench", names, indirect=True)


@dataclass
class Bench:
    """One provider with its market, and what may be expected of the two."""

    provider: object
    present: object
    truth: object
    """Returns the candles of a span that the provider should know."""
    fail: object = None
    """Makes every request for one span fail."""
    spoil: object = None
    """Makes the next answer untidy: ``duplicates``, ``disorder`` or ``outside``."""
    source: str = ""
    proves_nothing_traded: bool = True
    notes: dict = field(default_factory=dict)


@pytest.fixture(scope="module")
def served(thin):
    """One exchange for the whole file, and its address: BTC-USD is seldom traded, BNB-USD was listed a day ago."""
    markets = build_markets("planted", listed_at={"BNB-USD": PRESENT - DAY}, seed=11)
    markets["BTC-USD"] = thin(markets["BTC-USD"], 0.8)
    moment = Present(PRESENT + HALF_A_MINUTE, stepped=True)
    exchange = Exchange(markets, moment, public=TokenBucket(0), private=TokenBucket(0))
    with running(exchange) as url:
        yield exchange, url


@pytest.fixture
def exchange(served):
    served[0].faults = Faults()
    return served[0]


@pytest.fixture
def base_url(served):
    return served[1]


@pytest.fixture(params=ALL)
def bench(request, tmp_path, present):
    settings = {"desk_home": tmp_path / "var", "provider": request.param, "public_requests_per_second": 1000}
    return globals()[f"_{request.param}"](request, settings, present)


def _coinbase(request, settings, present):
    from market.providers.coinbase import CoinbaseProvider

    exchange = request.getfixturevalue("exchange")
    settings = load_settings(**settings, coinbase_base_url=request.getfixturevalue("base_url"))
    broken = []

    class Line(httpx.AsyncHTTPTransport):
        async def handle_async_request(self, requested):
            if requested.url.params.get("start") in broken:
                raise httpx.ReadError("gone", request=requested)
            return await super().handle_async_request(requested)

    provider = CoinbaseProvider(settings, transport=Line(), retry=AT_ONCE)
    return _of_the_local_exchange(provider, exchange, present, broken)


def _ccxt(request, settings, present):
    from ccxt.base.errors import NetworkError

    from market.providers.ccxt_provider import CcxtProvider

    exchange = request.getfixturevalue("exchange")
    settings = load_settings(**settings, coinbase_base_url=request.getfixturevalue("base_url"))
    provider = CcxtProvider(settings, retry=AT_ONCE)
    library, broken = provider._exchange._ccxt, []
    # its own limit is that of the real exchange and would only make these tests slow
    library.enableRateLimit = False
    fetch = library.fetch

    async def breaking(url, *rest):
        if any(f"start={start}" in url for start in broken):
            raise NetworkError("gone")
        return await fetch(url, *rest)

    library.fetch = breaking
    return _of_the_local_exchange(provider, exchange, present, broken)


def _of_the_local_exchange(provider, exchange, present, broken):
    return Bench(
        provider,
        present,
        exchange.markets["BTC-USD"].candles,
        fail=lambda span: broken.append(str(int(span.start.timestamp()))),
        spoil=lambda kind: exchange.faults.plan([{"kind": kind, "count": 1}]),
        source="local:planted",
        notes={"listed": ("BNB-USD", exchange.markets["BNB-USD"]), "exchange": exchange},
    )


def _synthetic(request, settings, present):
    from market.providers.synthetic import SyntheticProvider

    settings = load_settings(**settings)
    market = simulated_market("planted", "BTC-USD", settings.synthetic_seed)
    provider = SyntheticProvider(settings, clock=ManualClock(present + HALF_A_MINUTE))
    return Bench(provider, present, market.candles, source="synthetic")


def _yfinance(request, settings, present):
    from market.providers.yfinance_provider import YahooProvider

    market = request.getfixturevalue("exchange").markets["BTC-USD"]
    candles = [
        # Yahoo's volumes are whole
        replace(candle, volume=Decimal(int(candle.volume * candle.close)))
        for candle in market.candles(Span(present - 15 * HOUR, present + HOUR))
    ]
    now = present + HALF_A_MINUTE
    yahoo = request.getfixturevalue("make_yahoo")(candles, now)
    provider = YahooProvider(load_settings(**settings), clock=ManualClock(now), retry=AT_ONCE)
    return Bench(
        provider,
        present,
        lambda span: [candle for candle in candles if span.start <= candle.open_time < span.end],
        fail=lambda span: yahoo.broken.append((span.start, span.end, ConnectionResetError("gone"))),
        source="yfinance",
        proves_nothing_traded=False,
    )


@pytest.fixture
def outcome(bench, fetch):
    """Return a function that gives the bench's pages of some windows, and the windows that failed."""
    return partial(fetch, bench.provider)


def test_pages_hold_the_markets_candles_digit_for_digit(bench, outcome, present):
    span = Span(present - 12 * HOUR, present)
    windows = list(span.pages(300))
    random.Random(1).shuffle(windows)
    pages, failed = outcome(windows)
    actual = sorted((candle for page in pages for candle in page.candles), key=lambda candle: candle.open_time)
    assert actual == bench.truth(span) and len(actual) > 500 and failed == ()
    assert all(type(candle) is Candle and type(candle.close) is Decimal for candle in actual)
    assert {page.window for page in pages} == set(windows)


def test_page_is_sorted_unique_inside_its_window_and_closed(bench, outcome, present):
    pages, failed = outcome([Span(present - 3 * HOUR, present + HOUR)])
    (page,) = pages
    moments = [candle.open_time for candle in page.candles]
    assert moments == sorted(set(moments)) and moments
    assert page.window.start <= moments[0] and moments[-1] < page.window.end <= present
    assert page.window.end >= present - 10 * MINUTE and failed == ()
    assert page.known_at.utcoffset() == timedelta(0) and page.known_at >= page.window.end


@asked_of(LOCAL)
@pytest.mark.parametrize("kind", ["duplicates", "disorder", "outside"])
def test_untidy_answer_is_tidied(bench, outcome, present, kind):
    bench.spoil(kind)
    window = Span(present - 3 * HOUR, present - HOUR)
    pages, _ = outcome([window])
    assert list(pages[0].candles) == bench.truth(window)
    assert bench.notes["exchange"].faults.happened == {kind: 1}


def test_source_is_named_and_a_made_up_market_never_passes_for_a_real_one(bench, outcome, present):
    pages, _ = outcome([Span(present - 2 * HOUR, present - HOUR)])
    assert {page.source for page in pages} == {bench.source}


@asked_of(REMOTE)
def test_window_without_a_candle_is_an_empty_page_only_where_that_is_a_proof(bench, outcome, present):
    product = bench.notes["listed"][0] if bench.proves_nothing_traded else "BTC-USD"
    window = Span(present - 3 * DAY, present - 3 * DAY + 300 * MINUTE)
    pages, failed = outcome([window], product)
    if bench.proves_nothing_traded:
        assert [(page.window, len(page.candles)) for page in pages] == [(window, 0)] and failed == ()
    else:
        assert pages == [] and [item.window for item in failed] == [window]


def test_window_still_to_come_gives_no_page_and_no_failure(outcome, present):
    assert outcome([Span(present, present + HOUR), Span(present + DAY, present + DAY + MINUTE)]) == ([], ())


def test_window_wider_than_a_page_is_refused(outcome, present):
    with pytest.raises(SpanError, match=r"301 minutes.*span\.pages\(300\)"):
        outcome([Span(present - 301 * MINUTE, present)])


@pytest.mark.parametrize("product", ["bitcoin", "btc-usd"])
def test_malformed_product_is_refused_by_name(outcome, present, product):
    with pytest.raises(UnknownProductError, match=product):
        outcome([Span(present - HOUR, present)], product)


@asked_of(REMOTE)
def test_unknown_product_is_refused_by_name(bench, outcome, present):
    with pytest.raises(UnknownProductError, match="NOPE-USD"):
        outcome([Span(present - HOUR, present)], "NOPE-USD")


@asked_of(REMOTE)
def test_failing_window_is_told_after_all_the_others_were_given(bench, outcome, present):
    # Yahoo is asked for a week at once
    bad, others = Span(present - 9 * DAY, present - 9 * DAY + HOUR), list(Span(present - 12 * HOUR, present).pages(240))
    bench.fail(bad)
    pages, failed = outcome([others[0], bad, *others[1:]])
    assert {page.window for page in pages} == set(others)
    assert [item.window for item in failed] == [bad] and "in 3 tries" in failed[0].cause


def test_pages_left_in_the_middle_leave_nothing_running(bench, run, present):
    async def work(provider):
        pages = provider.pages("BTC-USD", list(Span(present - 14 * HOUR, present).pages(60)))
        first = await anext(pages)
        await pages.aclose()
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        await provider.aclose()
        return first, left

    first, left = run(bench.provider, work)
    assert first.candles and left == []
    gc.collect()  # a connection left open would warn now


def test_task_cancelled_in_the_middle_leaves_nothing_running(bench, run, present):
    async def work(provider):
        async def all_pages():
            return [page async for page in provider.pages("BTC-USD", list(Span(present - DAY, present).pages(60)))]

        task = asyncio.create_task(all_pages())
        await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await provider.aclose()
        return [item for item in asyncio.all_tasks() if item is not asyncio.current_task()]

    assert run(bench.provider, work) == []


def test_provider_answers_again_after_pages_were_left_in_the_middle(bench, run, present):
    window = Span(present - 2 * HOUR, present - HOUR)

    async def work(provider):
        left = provider.pages("BTC-USD", list(Span(present - 14 * HOUR, present).pages(60)))
        await anext(left)
        await left.aclose()
        return [page async for page in provider.pages("BTC-USD", [window])]

    assert list(run(bench.provider, work)[0].candles) == bench.truth(window)


def test_server_time_is_aware_utc_and_the_markets_own(bench, run, present):
    moment = run(bench.provider, lambda provider: provider.server_time())
    assert moment.utcoffset() == timedelta(0) and present <= moment <= present + MINUTE


def test_check_is_one_line_that_names_the_source(bench, run):
    line = run(bench.provider, lambda provider: provider.check())
    assert bench.provider.name in line and "\n" not in line


def test_close_twice_is_harmless_also_when_nothing_was_asked(bench):
    async def work():
        await bench.provider.aclose()
        await bench.provider.aclose()

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        asyncio.run(work())
        gc.collect()
    assert not [warning for warning in caught if "unclosed" in str(warning.message)]


@asked_of(REMOTE)
def test_first_candle_is_the_markets_or_honestly_not_known(bench, run, present):
    span = Span(present - 20 * DAY, present)
    if not bench.proves_nothing_traded:
        with pytest.raises(ListingUnknownError):
            run(bench.provider, lambda provider: provider.first_candle("BTC-USD", span))
        return
    product, market = bench.notes["listed"]
    expected = market.candles(Span(present - DAY, present))[0].open_time
    assert run(bench.provider, lambda provider: provider.first_candle(product, span)) == expected


@pytest.mark.parametrize("name", LOCAL)
def test_exchange_that_is_not_there_is_an_error_and_nothing_takes_its_place(name, tmp_path, run, present):
    with listen() as nobody_answers:
        port = nobody_answers.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api/v3/brokerage"
    settings = load_settings(desk_home=tmp_path, provider=name, coinbase_base_url=url)
    provider = open_provider(settings, retry=AT_ONCE)

    async def work(opened):
        return [page async for page in opened.pages("BTC-USD", [Span(present - HOUR, present)])]

    with pytest.raises(ExchangeUnavailableError, match=r"127\.0\.0\.1"):
        run(provider, work)
