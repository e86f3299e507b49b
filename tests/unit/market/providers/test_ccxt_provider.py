"""ccxt's classes behind our provider: what they hide, what they refuse, and what an answer of theirs proves."""

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from urllib.parse import parse_qs, urlsplit

import pytest

from core.candles import Span
from core.clock import ManualClock
from core.errors import (
    ClockSkewError,
    ConfigError,
    CredentialsError,
    ExchangeUnavailableError,
    ListingUnknownError,
    ProviderError,
    UnknownProductError,
)
from core.settings import load_settings
from desk.exchange import build_markets
from market.exchange.faults import Faults
from market.exchange.server import running
from market.exchange.simulated_market import simulated_market
from market.exchange.state import Exchange, Present, TokenBucket
from market.providers import FetchFailedError, RetryPolicy, ccxt_client
from market.providers.base import TryAgainError
from market.providers.ccxt_client import candles_in
from market.providers.ccxt_provider import CcxtProvider, ReceivedRows
from market.providers.coinbase import CoinbaseProvider

ccxt = pytest.importorskip("ccxt.async_support")

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
AT_ONCE = RetryPolicy(attempts=3, wait_initial=0.0, wait_max=0.0, wait_jitter=0.0)
PLANTED = simulated_market("planted", "BTC-USD", 7)


# -- Coinbase's class in front of the local exchange


@pytest.fixture(scope="module")
def served():
    moment = Present(datetime(2024, 3, 1, 12, 0, tzinfo=UTC), stepped=True)
    exchange = Exchange(build_markets("planted"), moment, public=TokenBucket(0), private=TokenBucket(0))
    with running(exchange) as url:
        yield exchange, url


@pytest.fixture
def exchange(served):
    served[0].faults = Faults()
    served[0].counts.clear()
    return served[0]


@pytest.fixture
def make_coinbase(exchange, served, tmp_path):
    def make(**options):
        chosen = {"coinbase_base_url": served[1], "public_requests_per_second": 1000, **options}
        provider = CcxtProvider(load_settings(desk_home=tmp_path / "var", **chosen), retry=AT_ONCE)
        # its own limit is that of the real exchange and would only make these tests slow
        provider._exchange._ccxt.enableRateLimit = False
        return provider

    return make


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "429", "body": "html"},
        {"kind": "429", "body": "json", "retry_after": 0.01},
        {"kind": "429", "body": "empty"},
        {"kind": "500"},
        {"kind": "502"},
        {"kind": "401"},
        {"kind": "reset"},
        {"kind": "slow", "seconds": 0.01},
        {"kind": "html"},
        {"kind": "truncated"},
    ],
    ids=lambda fault: "-".join(map(str, fault.values())),
)
def test_bad_answer_is_survived_and_never_taken_for_an_empty_one(make_coinbase, exchange, fetch, present, fault):
    exchange.faults.plan([{**fault, "count": 1}])
    window = Span(present - HOUR, present)
    pages, failed = fetch(make_coinbase(), [window])
    assert list(pages[0].candles) == exchange.markets["BTC-USD"].candles(window) and failed == ()
    assert exchange.faults.happened == {fault["kind"]: 1}


@pytest.mark.parametrize("kind", ["429", "500", "502", "reset", "html", "truncated"])
def test_answers_that_stay_bad_fail_the_window(make_coinbase, exchange, fetch, present, kind):
    exchange.faults.plan([{"kind": kind, "probability": 1.0}])
    window = Span(present - HOUR, present)
    pages, failed = fetch(make_coinbase(), [window])
    assert pages == [] and [item.window for item in failed] == [window]
    assert "in 3 tries" in failed[0].cause and len(failed[0].cause) < 300  # no page of HTML
    assert exchange.faults.happened[kind] == 3


def test_public_data_refused_again_and_again_is_no_outage(make_coinbase, exchange, fetch, present):
    exchange.faults.plan([{"kind": "401", "probability": 1.0}])
    with pytest.raises(CredentialsError, match="refused public data 3 times"):
        fetch(make_coinbase(), [Span(present - HOUR, present)])


def test_answer_of_more_rows_than_any_exchange_gives_is_refused(make_coinbase, fetch, present, monkeypatch):
    monkeypatch.setattr(ccxt_client, "MAX_ROWS", 100)
    _, failed = fetch(make_coinbase(), [Span(present - 5 * HOUR, present)])
    assert "rows, more than 100" in failed[0].cause


def test_rows_told_twice_do_not_push_others_out_of_the_answer(make_coinbase, exchange, fetch, present):
    """ccxt keeps as many rows as were asked for and drops the rest, here the second half of the window."""
    exchange.faults.plan([{"kind": "duplicates", "count": 1}])
    window = Span(present - 300 * MINUTE, present)
    pages, _ = fetch(make_coinbase(), [window])
    assert list(pages[0].candles) == exchange.markets["BTC-USD"].candles(window)


def test_rows_told_twice_again_and_again_are_no_proof_of_anything(make_coinbase, exchange, fetch, present):
    exchange.faults.plan([{"kind": "duplicates", "probability": 1.0}])
    window = Span(present - 300 * MINUTE, present)
    pages, failed = fetch(make_coinbase(), [window])
    assert pages == [] and [item.window for item in failed] == [window]
    assert "the same minutes again and again" in failed[0].cause


def test_outage_is_given_up_after_a_few_windows(make_coinbase, exchange, run, present):
    exchange.faults.plan([{"kind": "502", "probability": 1.0}])

    async def work(provider):
        return [page async for page in provider.pages("BTC-USD", list(Span(present - 5 * DAY, present).pages(60)))]

    with pytest.raises(FetchFailedError, match="gave up"):
        run(make_coinbase(), work)
    assert exchange.faults.happened["502"] <= 3 * (5 + 8)


def test_key_is_never_handed_to_ccxt(make_coinbase, fetch, ec_key, pem, present, monkeypatch):
    sent = []
    provider = make_coinbase(coinbase_api_key="organizations/a/apiKeys/b", coinbase_api_secret=pem(ec_key))
    library = provider._exchange._ccxt
    original = library.fetch

    async def noting(url, method="GET", headers=None, body=None):
        sent.append((url, headers))
        return await original(url, method, headers, body)

    monkeypatch.setattr(library, "fetch", noting)
    fetch(provider, [Span(present - HOUR, present)])
    assert len(sent) >= 4 and all(not headers for _, headers in sent)
    assert not library.apiKey and not library.secret
    assert all("/market/" in url or "/time" in url for url, _ in sent)


def test_both_clients_of_coinbase_share_one_rate_limit(make_coinbase, served, run, tmp_path):
    ours = CoinbaseProvider(load_settings(desk_home=tmp_path / "var", coinbase_base_url=served[1]))
    for provider in (ours, make_coinbase()):
        run(provider, lambda opened: opened.server_time())
    assert len(list((tmp_path / "var").glob("rate_limit.*"))) == 1


def test_check_says_which_exchange_and_that_its_market_is_made_up(make_coinbase, served, run):
    line = run(make_coinbase(products="BTC-USD,NOPE-USD"), lambda provider: provider.check())
    assert line == (
        f"ccxt {ccxt.__version__}, coinbase at {urlsplit(served[1]).netloc} (planted market): public data, 1 of 2 "
        "products offered, clock within 0.0 s, its present 2024-03-01 12:00 UTC simulated"
    )


@pytest.mark.parametrize(("seconds", "text"), [(-60, "seconds behind"), (60, "seconds ahead of")])
def test_clock_a_minute_wrong_is_refused(exchange, served, run, tmp_path, seconds, text):
    settings = load_settings(desk_home=tmp_path, coinbase_base_url=served[1])
    wrong = ManualClock(datetime.now(UTC) + timedelta(seconds=seconds))
    with pytest.raises(ClockSkewError, match=rf"{text}.*timedatectl"):
        run(CcxtProvider(settings, clock=wrong, retry=AT_ONCE), lambda provider: provider.check())


# -- classes of ccxt in front of canned answers


def canned(library, answer):
    """Let an exchange object of ccxt hear ``answer(url) -> (status, headers, text)`` instead of the network."""

    async def fetch(url, method="GET", headers=None, body=None):
        status, stated, text = answer(url)
        text = library.on_rest_response(status, "", url, method, stated, text, headers, body)
        library.last_response_headers = stated
        content = library.parse_json(text)
        library.handle_errors(status, "", url, method, stated, text, content, headers, body)
        library.handle_http_status_code(status, "", url, method, text)
        return text if content is None else content

    library.fetch = fetch
    library.enableRateLimit = False
    return library


PRODUCT_PAGE = {
    "product_id": "BTC-USD",
    "base_currency_id": "BTC",
    "quote_currency_id": "USD",
    "product_type": "SPOT",
    "base_increment": "0.00000001",
    "price_increment": "0.01",
}


@pytest.fixture
def coinbase_saying(tmp_path, present):
    """Return a function that makes a provider of a real Coinbase whose candle answers are a given text."""

    def make(text, status=200):
        requested = []

        def answer(url):
            if url.endswith("/time"):
                return 200, {}, json.dumps({"epochSeconds": str(int(present.timestamp()))})
            if "/candles" in url:
                requested.append(url)
                return status, {"Content-Type": "application/json"}, text
            return 200, {}, json.dumps({"products": [PRODUCT_PAGE] if "product_type" not in url else []})

        library = ccxt.coinbase()
        library.has["fetchCurrencies"] = False
        library.options["fetchTime"] = "v3PublicGetBrokerageTime"
        settings = load_settings(desk_home=tmp_path)
        provider = CcxtProvider(settings, clock=ManualClock(present), retry=AT_ONCE, exchange=canned(library, answer))
        provider.requested = requested
        return provider

    return make


ROW = {"start": "1709290800", "low": "1", "high": "2", "open": "1.5", "close": "1.60", "volume": "1234567890.12345678"}


def test_source_of_the_real_exchange_names_ccxt_and_the_exchange(coinbase_saying, fetch, present):
    pages, _ = fetch(coinbase_saying(json.dumps({"candles": [ROW]})), [Span(present - HOUR, present)])
    assert pages[0].source == "ccxt:coinbase"
    # as a float it would end in .1234567
    assert str(pages[0].candles[0].volume) == "1234567890.12345678"


def test_real_clock_never_asks_past_the_last_closed_minute(coinbase_saying, fetch, present):
    provider = coinbase_saying('{"candles":[]}')
    pages, _ = fetch(provider, [Span(present - HOUR, present + HOUR), Span(present, present + HOUR)])
    assert [page.window for page in pages] == [Span(present - HOUR, present)] and len(provider.requested) == 1
    assert int(parse_qs(urlsplit(provider.requested[0]).query)["end"][0]) == present.timestamp()


def test_empty_list_of_coinbase_is_its_word_that_nothing_was_traded(coinbase_saying, fetch, present):
    pages, failed = fetch(coinbase_saying('{"candles":[]}'), [Span(present - HOUR, present)])
    assert [len(page.candles) for page in pages] == [0] and failed == ()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        '"candles"',
        '{"other":1}',
        '{"candles":null}',
        '{"candles":[1]}',
        '{"candles":[{}]}',
        json.dumps({"candles": [{**ROW, "start": "soon"}]}),
        json.dumps({"candles": [{**ROW, "close": None}]}),
        json.dumps({"candles": [{**ROW, "close": "NaN"}]}),
        json.dumps({"candles": [{**ROW, "volume": ""}]}),
        json.dumps({"candles": [ROW]})[:-9],
        "<html>200</html>",
        "[" * 10**5,
    ],
)
def test_answer_that_ccxt_would_take_for_empty_or_for_less_is_never_a_proof(coinbase_saying, fetch, present, text):
    provider = coinbase_saying(text)
    window = Span(present - 2 * HOUR, present)
    pages, failed = fetch(provider, [window])
    assert pages == [] and [item.window for item in failed] == [window] and len(provider.requested) == 3


@pytest.mark.parametrize(
    ("status", "text", "error"),
    [
        (400, '{"error":"INVALID_ARGUMENT","message":"product_id argument is invalid"}', UnknownProductError),
        (400, '{"error":"INVALID_ARGUMENT","message":"start and end argument is invalid"}', ProviderError),
        (403, '{"error":"PERMISSION_DENIED","message":"Missing required scopes"}', ProviderError),
        (403, "<html>blocked</html>", ProviderError),
        (404, "not here", ProviderError),
        (451, "<html>not in your country</html>", ProviderError),
    ],
)
def test_refusal_is_never_tried_again(coinbase_saying, fetch, present, status, text, error):
    provider = coinbase_saying(text, status)
    with pytest.raises(error) as raised:
        fetch(provider, [Span(present - HOUR, present)])
    assert not isinstance(raised.value, ExchangeUnavailableError) and len(provider.requested) == 1


class Kraken:
    """Kraken's public answers: the newest 720 minutes whatever is asked for, or a few rows from ``since`` on."""

    def __init__(self, candles, clock, *, rows_from_since=0):
        self.candles = {candle.open_time: candle for candle in candles}
        self.clock = clock
        self.requested = []
        self._rows_from_since = rows_from_since

    def answer(self, url):
        path, query = urlsplit(url).path, parse_qs(urlsplit(url).query)
        now = self.clock.now()
        if path.endswith("/Time"):
            return 200, {}, json.dumps({"error": [], "result": {"unixtime": int(now.timestamp())}})
        if path.endswith("/OHLC"):
            self.requested.append(datetime.fromtimestamp(int(query["since"][0]), UTC))
            rows = [self._row(moment, now) for moment in sorted(self.candles) if moment <= now]
            if self._rows_from_since:
                rows = [row for row in rows if row[0] > int(query["since"][0])][: self._rows_from_since]
            return 200, {}, json.dumps({"error": [], "result": {"XXBTZUSD": rows[-720:], "last": 1}})
        pair = {"altname": "XBTUSD", "wsname": "XBT/USD", "base": "XXBT", "quote": "ZUSD", "status": "online"}
        pair |= {"pair_decimals": 1, "lot_decimals": 8, "fees": [], "fees_maker": [], "leverage_buy": []}
        pair |= {"leverage_sell": [], "aclass_base": "currency", "aclass_quote": "currency", "lot": "unit"}
        assets = {name: {"altname": name[1:], "aclass": "currency", "decimals": 8} for name in ("XXBT", "ZUSD")}
        return 200, {}, json.dumps({"error": [], "result": assets if path.endswith("Assets") else {"XXBTZUSD": pair}})

    def _row(self, moment, now):
        candle = self.candles[moment]
        # the minute that is not over yet shows as one that has hardly begun
        close, volume = (
            (candle.close, candle.volume) if moment + MINUTE <= now else (candle.open, Decimal("0.00000001"))
        )
        numbers = (candle.open, candle.high, candle.low, close)
        return [int(moment.timestamp()), *map(str, numbers), str(candle.close), str(volume), 7]


@pytest.fixture
def make_kraken(tmp_path, present):
    """Return a function that makes a provider of a Kraken with given candles."""

    def make(candles, now=present, **options):
        clock = ManualClock(now)
        market = Kraken(candles, clock, **options)
        settings = load_settings(desk_home=tmp_path, ccxt_exchange="kraken", products="BTC-USD")
        library = canned(ccxt.kraken(), market.answer)
        # one request a second would only make these tests slow
        library.rateLimit = 1
        provider = CcxtProvider(settings, clock=clock, retry=AT_ONCE, exchange=library)
        provider.market = market
        return provider

    return make


@pytest.fixture
def day(present):
    return PLANTED.candles(Span(present - DAY, present + HOUR))


def test_exchange_that_answers_with_its_newest_rows_proves_nothing_about_older_ones(make_kraken, fetch, day, present):
    provider = make_kraken(day)
    pages, failed = fetch(provider, list(Span(present - 20 * HOUR, present).pages(300)))
    reach = present - 719 * MINUTE  # the newest of the 720 is the open one
    assert all(page.candles for page in pages) and min(page.window.start for page in pages) == reach
    actual = sorted((candle for page in pages for candle in page.candles), key=lambda candle: candle.open_time)
    assert actual == [candle for candle in day if reach <= candle.open_time < present]
    assert {page.source for page in pages} == {"ccxt:kraken"}
    assert {item.window.end for item in failed} <= {reach, reach - 60 * MINUTE} | {
        item.window.start for item in failed[1:]
    }
    assert failed[0].window.start == present - 20 * HOUR and "proves nothing" in failed[0].cause


def test_years_out_of_reach_cost_a_few_requests_and_are_one_line(make_kraken, fetch, day, present):
    provider = make_kraken(day)
    _, failed = fetch(provider, list(Span(present - 30 * DAY, present - 2 * DAY).pages(300)))
    assert [item.window for item in failed] == [Span(present - 30 * DAY, present - 2 * DAY)]
    assert "begins at 2024-03-01 00:01" in failed[0].cause and len(provider.market.requested) <= 8


@pytest.mark.parametrize(("hole", "is_proved"), [(30, True), (59, True), (200, False)])
def test_hole_across_a_border_is_proved_by_the_rows_beside_it(make_kraken, fetch, day, present, hole, is_proved):
    border = present - 5 * HOUR
    kept = [c for c in day if not border - hole / 2 * MINUTE <= c.open_time < border + hole / 2 * MINUTE]
    pages, failed = fetch(make_kraken(kept), [Span(border - 4 * HOUR, border), Span(border, border + 3 * HOUR)])
    actual = sorted((candle for page in pages for candle in page.candles), key=lambda candle: candle.open_time)
    assert actual == [c for c in kept if border - 4 * HOUR <= c.open_time < border + 3 * HOUR]
    whole = sum(page.window.minutes for page in pages) == 7 * 60
    assert whole is is_proved and (failed == ()) is is_proved


def test_answers_cut_to_a_few_rows_are_asked_on(make_kraken, fetch, day, present):
    provider = make_kraken(day, rows_from_since=100)
    window = Span(present - 10 * HOUR, present - 5 * HOUR)
    pages, failed = fetch(provider, [window])
    assert [page.window for page in pages] == [window] and failed == () and len(provider.market.requested) == 5
    assert list(pages[0].candles) == [c for c in day if window.start <= c.open_time < window.end]


def test_minute_that_closes_between_two_answers_is_not_taken_from_the_first(day, present):
    candle = next(item for item in day if item.open_time >= present)
    unfinished = replace(candle, close=candle.open)
    assert candle.open_time == present
    rows = ReceivedRows("BTC-USD", present + timedelta(seconds=30))
    rows.add([unfinished])
    rows.present = present + timedelta(seconds=70)
    assert rows.page(Span(present - HOUR, present + MINUTE)).candles == ()
    rows.add([candle])
    assert rows.page(Span(present - HOUR, present + MINUTE)).candles == (candle,)


def test_of_two_rows_for_a_minute_the_later_look_stays(day, present):
    early, late = day[0], replace(day[0], close=day[0].high, volume=day[0].volume + 1)
    for stated in ([early, late], [late, early]):
        rows = ReceivedRows("BTC-USD", present)
        rows.add(stated)
        assert rows.page(Span(late.open_time, late.open_time + MINUTE)).candles == (late,)


def test_newest_minutes_without_a_row_are_neither_proved_nor_failed(make_kraken, fetch, day, present):
    quiet = [candle for candle in day if candle.open_time < present - 20 * MINUTE]
    pages, failed = fetch(make_kraken(quiet), [Span(present - HOUR, present)])
    assert [page.window for page in pages] == [Span(present - HOUR, present - 20 * MINUTE)] and failed == ()
    assert fetch(make_kraken(quiet), [Span(present - 10 * MINUTE, present)]) == ([], ())


def test_listing_is_told_only_by_an_exchange_that_answers_for_every_minute(make_kraken, run, day, present):
    with pytest.raises(ListingUnknownError, match="kraken"):
        run(make_kraken(day), lambda opened: opened.first_candle("BTC-USD", Span(present - DAY, present)))


def test_product_it_does_not_trade_is_refused_with_those_it_does(make_kraken, fetch, day, present):
    with pytest.raises(
        UnknownProductError, match=r"BTC-EUR is not offered by kraken; of BTC it offers BTC-USD\. Correct"
    ):
        fetch(make_kraken(day), [Span(present - HOUR, present)], "BTC-EUR")
    with pytest.raises(UnknownProductError, match="it offers nothing in PEPE"):
        fetch(make_kraken(day), [Span(present - HOUR, present)], "PEPE-USD")


def test_contract_is_not_taken_for_the_spot_pair(make_kraken, fetch, day, present):
    provider = make_kraken(day)
    provider._exchange._ccxt.markets = {"BTC/USD": {"spot": False}, "BTC/EUR": {"spot": True}}
    with pytest.raises(UnknownProductError, match=r"of BTC it offers BTC-EUR\. Correct"):
        fetch(provider, [Span(present - HOUR, present)])


def test_exchange_without_a_clock_is_read_by_the_date_of_its_answers(make_kraken, run, day, present):
    provider = make_kraken(day)
    library = provider._exchange._ccxt
    library.has["fetchTime"] = False
    with pytest.raises(ProviderError, match="gives no time"):
        run(provider, lambda opened: opened.server_time())
    answer, date = provider.market.answer, "Fri, 01 Mar 2024 11:59:58 GMT"
    canned(library, lambda url: (200, {"Date": date}, answer(url)[2]))
    assert run(provider, lambda opened: opened.server_time()) == present - timedelta(seconds=2)


# -- numbers and names


def test_numbers_are_the_text_told_or_the_shortest_text_of_the_float():
    (text,) = candles_in(
        "X-Y", [[60_000, "66312.40", "66312.4", "1E-8", "0.00000001", "12345678901234567890.12345678"]]
    )
    assert str(text.open) == "66312.40" and str(text.volume) == "12345678901234567890.12345678"
    (number,) = candles_in("X-Y", [[60_000, 0.1, 1e-07, 66312.4, 3, 0]])
    assert [number.open, number.high, number.low] == [Decimal("0.1"), Decimal("1e-7"), Decimal("66312.4")]


@pytest.mark.parametrize(
    "rows",
    [None, {}, "rows", [None], [[]], [[60_000]], [[60_000, 1, 1, 1, 1]], [[None, 1, 1, 1, 1, 1]], [[60_000, 1, 1, 1, 1, None]],
     [[60_000, 1, 1, 1, float("inf"), 1]], [[10**30, 1, 1, 1, 1, 1]]],
)  # fmt: skip
def test_rows_that_are_no_candles_are_asked_for_again(rows):
    with pytest.raises(TryAgainError):
        candles_in("X-Y", rows)


@pytest.mark.parametrize(
    "odd", [[60_000, 1, 1, 1, 1, None], [60_000, 1, 1], [60_000, "n/a", 1, 1, 1, 1], [60_000, 1, 1, 1, float("inf"), 1]]
)
def test_one_odd_row_is_a_candle_of_nan_and_the_others_stay(odd):
    candles = candles_in("X-Y", [[0, 1, 1, 1, 1, 1], odd, [120_000, 1, 1, 1, 1, 1]])
    assert [candle.close.is_finite() for candle in candles] == [True, False, True]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"ccxt_exchange": "coinbse"}, "CCXT_EXCHANGE=coinbse is no exchange of ccxt .*coinbase"),
        ({"ccxt_exchange": "__class__"}, "is no exchange of ccxt"),
        ({"ccxt_exchange": "bitflyer"}, "CCXT_EXCHANGE=bitflyer serves no one-minute candles"),
        ({"coinbase_base_url": "http://127.0.0.1:1/other"}, "must end in /api/v3/brokerage"),
        ({"coinbase_base_url": "api.coinbase.com/api/v3/brokerage"}, "must end in /api/v3/brokerage"),
    ],
)
def test_setting_that_ccxt_cannot_use_is_refused_by_name(tmp_path, options, text):
    with pytest.raises(ConfigError, match=text):
        CcxtProvider(load_settings(desk_home=tmp_path, **options))


@pytest.mark.parametrize("name", ["kraken", "binance", "bitstamp", "okx", "gemini", "coinbaseexchange"])
def test_exchange_is_chosen_by_its_id(tmp_path, name):
    provider = CcxtProvider(load_settings(desk_home=tmp_path, ccxt_exchange=name))
    assert provider.name == "ccxt" and provider._exchange.id == name and not provider._exchange.is_coinbase
    asyncio.run(provider.aclose())
