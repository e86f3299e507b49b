"""Pages of candles from an exchange that behaves, misbehaves, or is not there."""

import asyncio
from datetime import UTC, timedelta

import httpx
import pytest
from hypothesis import HealthCheck, given, strategies
from hypothesis import settings as examples

from core.candles import Page, Span
from core.errors import CredentialsError, ExchangeUnavailableError, ProviderError, SpanError, UnknownProductError
from market.exchange.behaviour import Behaviour
from market.exchange.state import Present
from market.providers import FetchFailedError, RetryPolicy
from market.providers.coinbase_connection import MAX_CONCURRENT
from market.providers.coinbase_wire import TryAgainError, candles_in
from market.providers.fetch_windows import GIVE_UP_AFTER
from store.feature_store import FeatureStore

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)


@pytest.fixture
def hour(present):
    return Span(present - 60 * MINUTE, present)


def as_row(candle):
    numbers = {name: str(getattr(candle, name)) for name in ("open", "high", "low", "close", "volume")}
    return {"start": str(int(candle.open_time.timestamp())), **numbers}


def plan(exchange, **entry):
    exchange.faults.plan([entry])


def test_pages_give_every_candle_of_a_day_once(make_exchange, make_provider, collect, present):
    exchange = make_exchange()
    span = Span(present - DAY, present)
    pages = collect(make_provider(exchange), "BTC-USD", list(span.pages(300)))
    actual = sorted((candle for page in pages for candle in page.candles), key=lambda candle: candle.open_time)
    expected = exchange.markets["BTC-USD"].candles(span)
    assert actual == expected
    assert sorted(page.window.start for page in pages) == [window.start for window in span.pages(300)]
    assert {page.source for page in pages} == {"local:planted"}
    assert {page.known_at for page in pages} == {present}


def test_pages_are_asked_on_the_public_twin_without_a_key(make_exchange, make_provider, collect, hour):
    provider = make_provider(make_exchange())
    collect(provider, "BTC-USD", [hour])
    request = provider.transport.requests[-1]
    assert request.url.path == "/api/v3/brokerage/market/products/BTC-USD/candles"
    assert dict(request.url.params) == {
        "start": str(int(hour.start.timestamp())),
        "end": str(int(hour.end.timestamp())),
        "granularity": "ONE_MINUTE",
    }
    assert "authorization" not in request.headers


def test_source_names_the_null_market(make_exchange, make_provider, collect, hour):
    exchange = make_exchange(null_products=["SOL-USD"])
    assert collect(make_provider(exchange), "SOL-USD", [hour])[0].source == "local:null"


def test_source_of_the_real_exchange_is_coinbase(make_saying, collect, hour):
    start = str(int(hour.start.timestamp()))
    row = {"start": start, "low": "1", "high": "2", "open": "1.5", "close": "1.6", "volume": "3"}
    page = collect(make_saying({"candles": [row]}), "BTC-USD", [hour])[0]
    assert page.source == "coinbase" and len(page.candles) == 1


@pytest.mark.parametrize("kind", ["429", "500", "502", "401", "html", "truncated", "slow"])
def test_answer_fault_is_survived_and_nothing_is_lost(make_exchange, make_provider, collect, hour, kind):
    exchange = make_exchange()
    plan(exchange, kind=kind, count=1, seconds=0.01)
    page = collect(make_provider(exchange), "BTC-USD", [hour])[0]
    assert list(page.candles) == exchange.markets["BTC-USD"].candles(hour)
    assert exchange.faults.happened == {kind: 1}


@pytest.mark.parametrize("body", ["html", "json", "empty"])
def test_429_with_any_body_is_waited_out_as_asked(make_exchange, make_provider, collect, hour, body):
    exchange = make_exchange()
    plan(exchange, kind="429", count=1, body=body, retry_after=0.2)
    started = asyncio.new_event_loop()
    before = started.time()
    patient = RetryPolicy(attempts=3, wait_initial=0.0, wait_max=5.0, wait_jitter=0.0)
    assert len(collect(make_provider(exchange, retry=patient), "BTC-USD", [hour])[0].candles) > 55
    assert started.time() - before >= 0.2
    started.close()


@pytest.mark.parametrize("kind", ["duplicates", "disorder", "outside"])
def test_untidy_rows_are_tidied(make_exchange, make_provider, collect, hour, kind):
    exchange = make_exchange()
    plan(exchange, kind=kind, count=1)
    page = collect(make_provider(exchange), "BTC-USD", [hour])[0]
    assert list(page.candles) == exchange.markets["BTC-USD"].candles(hour)


@pytest.mark.parametrize(("kind", "missing", "changed"), [("late_hole", 1, 0), ("revised", 0, 1)])
def test_data_that_changes_later_is_given_as_it_was_said(
    make_exchange, make_provider, collect, hour, kind, missing, changed
):
    exchange = make_exchange()
    plan(exchange, kind=kind, count=1)
    actual = collect(make_provider(exchange), "BTC-USD", [hour])[0].candles
    truth = {candle.open_time: candle for candle in exchange.markets["BTC-USD"].candles(hour)}
    assert len(truth) - len(actual) == missing
    assert sum(truth[candle.open_time] != candle for candle in actual) == changed


def test_of_two_rows_for_a_minute_the_later_look_stays(make_saying, collect, hour):
    start = str(int(hour.start.timestamp()))
    early = {"start": start, "low": "1", "high": "2", "open": "1", "close": "1", "volume": "3"}
    late = {**early, "close": "2", "volume": "4"}
    page = collect(make_saying({"candles": [late, early]}), "BTC-USD", [hour])[0]
    assert [str(candle.close) for candle in page.candles] == ["2"]


@pytest.mark.parametrize(
    "error", [httpx.ReadTimeout, httpx.ConnectTimeout, httpx.ConnectError, httpx.ReadError, httpx.RemoteProtocolError]
)
def test_broken_connection_is_tried_again(make_exchange, make_provider, collect, hour, error):
    class Breaking(httpx.AsyncBaseTransport):
        broken = 0

        async def handle_async_request(self, request):
            if "candles" in request.url.path and self.broken < 2:
                self.broken += 1
                raise error("gone", request=request)
            return await whole.handle_async_request(request)

    exchange = make_exchange()
    whole = make_provider(exchange).transport
    page = collect(make_provider(Breaking()), "BTC-USD", [hour])[0]
    assert len(page.candles) > 55


def test_open_minute_is_never_given_and_the_page_says_how_far_it_goes(make_exchange, make_provider, collect, present):
    exchange = make_exchange(Present(present + timedelta(seconds=30), stepped=True))
    page = collect(make_provider(exchange), "BTC-USD", [Span(present - 10 * MINUTE, present + 50 * MINUTE)])[0]
    assert page.window == Span(present - 10 * MINUTE, present)
    assert page.candles[-1].open_time < present


def test_window_with_no_closed_minute_gives_no_page(make_exchange, make_provider, collect, present):
    windows = [Span(present, present + 10 * MINUTE), Span(present + DAY, present + DAY + MINUTE)]
    assert collect(make_provider(make_exchange()), "BTC-USD", windows) == []


def test_real_clock_never_asks_past_the_last_closed_minute(make_exchange, make_provider, collect):
    clock = Present()
    start = clock.now().replace(second=0, microsecond=0) - 10 * MINUTE
    provider = make_provider(make_exchange(clock))
    pages = collect(
        provider, "BTC-USD", [Span(start, start + 60 * MINUTE), Span(start + 30 * MINUTE, start + 90 * MINUTE)]
    )
    requested = [request for request in provider.transport.requests if "candles" in request.url.path]
    assert len(requested) == len(pages) == 1
    assert int(requested[0].url.params["end"]) <= clock.now().timestamp()


def test_empty_window_is_an_empty_page(make_exchange, make_provider, collect, present):
    exchange = make_exchange(listed_at={"BNB-USD": present - DAY})
    page = collect(make_provider(exchange), "BNB-USD", [Span(present - 3 * DAY, present - 3 * DAY + 300 * MINUTE)])[0]
    assert page.candles == () and page.window.minutes == 300


def test_window_wider_than_a_page_is_refused(make_exchange, make_provider, collect, present):
    with pytest.raises(SpanError, match=r"301 minutes.*span\.pages\(300\)"):
        collect(make_provider(make_exchange()), "BTC-USD", [Span(present - 301 * MINUTE, present)])


@pytest.mark.parametrize("status", [400, 404])
def test_unknown_product_is_said_at_once(make_exchange, make_provider, collect, hour, status):
    provider = make_provider(make_exchange(behaviour=Behaviour(unknown_candles_status=status)))
    with pytest.raises(UnknownProductError, match="NOPE-USD is not offered"):
        collect(provider, "NOPE-USD", [hour])
    assert sum("candles" in request.url.path for request in provider.transport.requests) == 1


@pytest.mark.parametrize("product", ["btc-usd", "BTCUSD", ""])
def test_malformed_product_is_refused_without_asking(make_exchange, make_provider, collect, hour, product):
    provider = make_provider(make_exchange())
    with pytest.raises(UnknownProductError, match="BASE-QUOTE"):
        collect(provider, product, [hour])
    assert provider.transport.requests == []


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, ProviderError), (403, CredentialsError), (404, UnknownProductError), (418, ProviderError)],
)
def test_refusal_is_never_tried_again(make_saying, collect, hour, status, error):
    provider = make_saying({"error": "X", "message": "no"}, status)
    with pytest.raises(error, match=f"HTTP {status}: no"):
        collect(provider, "BTC-USD", [hour])
    assert len(provider.requested) == 1


@pytest.mark.parametrize(
    "content",
    [
        b"[]",
        b"null",
        b'{"candles":null}',
        b'{"candles":[{}]}',
        b'{"candles":[1]}',
        b'{"other":1}',
        b"",
        b'{"candles":[{"start":"x","low":"1","high":"1","open":"1","close":"1","volume":"1"}]}',
        b'{"candles":[{"start":"60","low":"NaN","high":"1","open":"1","close":"1","volume":"1"}]}',
        b'{"candles":[{"start":"99999999999999999","low":"1","high":"1","open":"1","close":"1","volume":"1"}]}',
    ],
)
def test_answer_of_the_wrong_shape_is_tried_again_then_failed(make_saying, collect, hour, content):
    provider = make_saying(content)
    with pytest.raises(FetchFailedError, match="in 4 tries"):
        collect(provider, "BTC-USD", [hour])
    assert len(provider.requested) == 4


def test_one_failing_window_leaves_the_others_standing(make_exchange, make_provider, run, present):
    exchange = make_exchange()
    windows = list(Span(present - DAY, present).pages(300))
    bad = str(int(windows[2].start.timestamp()))

    class Partly(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request):
            if request.url.params.get("start") == bad:
                return httpx.Response(500)
            return await whole.handle_async_request(request)

    whole = make_provider(exchange).transport
    pages = []

    async def gather(provider):
        async for page in provider.pages("BTC-USD", windows):
            pages.append(page.window)  # noqa: PERF401  # a comprehension would lose them when the error comes

    with pytest.raises(FetchFailedError, match="1 windows without a useful answer") as raised:
        run(make_provider(Partly()), gather)
    assert sorted(pages) == [window for window in windows if window != windows[2]]
    assert [failed.window for failed in raised.value.failed] == [windows[2]]
    assert "HTTP 500" in raised.value.failed[0].cause and not raised.value.gave_up


def test_outage_is_given_up_after_a_few_windows(make_exchange, make_provider, collect, present):
    exchange = make_exchange()
    plan(exchange, kind="502", probability=1.0)
    with pytest.raises(FetchFailedError, match="gave up") as raised:
        collect(make_provider(exchange), "BTC-USD", list(Span(present - 30 * DAY, present).pages(300)))
    assert GIVE_UP_AFTER <= len(raised.value.failed) <= GIVE_UP_AFTER + MAX_CONCURRENT
    assert isinstance(raised.value, ExchangeUnavailableError)


def test_pages_closed_early_leave_nothing_running(make_exchange, make_provider, run, present):
    async def work(provider):
        pages = provider.pages("BTC-USD", list(Span(present - 10 * DAY, present).pages(300)))
        await anext(pages)
        await pages.aclose()
        return len(asyncio.all_tasks())

    assert run(make_provider(make_exchange()), work) == 1


@pytest.mark.parametrize("days", [0.4, 1, 29.9, 30, 45, 59.7])
def test_first_candle_is_found_wherever_the_listing_lies(make_exchange, make_provider, run, present, days):
    listed = (present - timedelta(days=days)).replace(second=0)
    exchange = make_exchange(listed_at={"BNB-USD": listed})
    provider = make_provider(exchange)
    span = Span(present - 59 * DAY, present)
    expected = exchange.markets["BNB-USD"].candles(Span(max(listed, span.start), present))[0].open_time
    assert run(provider, lambda opened: opened.first_candle("BNB-USD", span)) == expected
    assert len(provider.transport.requests) < 45


def test_first_candle_of_a_product_listed_later_is_none(make_exchange, make_provider, run, present):
    exchange = make_exchange(listed_at={"BNB-USD": present + DAY})
    span = Span(present - 20 * DAY, present)
    assert run(make_provider(exchange), lambda opened: opened.first_candle("BNB-USD", span)) is None


def test_first_candle_of_an_unknown_product_is_an_error(make_exchange, make_provider, run, hour):
    with pytest.raises(UnknownProductError):
        run(make_provider(make_exchange()), lambda opened: opened.first_candle("NOPE-USD", hour))


def test_first_candle_of_a_thin_recorded_coin_is_its_first(
    recorded_candles, make_exchange, make_provider, run, present
):
    exchange = make_exchange(kind="recorded", data=recorded_candles, products=["DASH-USD"])
    exchange.present = Present(present.replace(month=1, day=3), stepped=True)
    span = Span(present.replace(year=2023, month=1), present.replace(month=1, day=3))
    first = run(make_provider(exchange), lambda opened: opened.first_candle("DASH-USD", span))
    assert f"{first:%Y-%m-%d %H:%M}" == "2023-07-04 12:05"


@pytest.mark.parametrize("quote", ['"', ""])
@pytest.mark.parametrize("text", ["0.1", "66312.4", "355.82896243", "0.00000823", "123456789.12345678", "1E-8"])
def test_number_is_read_digit_for_digit_as_text_or_as_json_number(make_saying, collect, hour, text, quote):
    row = ",".join(f'"{name}":{quote}{text}{quote}' for name in ("low", "high", "open", "close", "volume"))
    body = f'{{"candles":[{{"start":"{int(hour.start.timestamp())}",{row}}}]}}'
    (candle,) = collect(make_saying(body), "BTC-USD", [hour])[0].candles
    assert [str(value) for value in (candle.open, candle.high, candle.low, candle.close, candle.volume)] == [text] * 5


ODD = {
    "volume_null": ({"volume": None}, "not_finite"),
    "close_empty": ({"close": ""}, "not_finite"),
    "open_word": ({"open": "n/a"}, "not_finite"),
    "high_nan": ({"high": "NaN"}, "not_finite"),
    "low_signalling_nan": ({"low": "sNaN"}, "not_finite"),
    "low_missing": ({"low": ...}, "not_finite"),
    "close_list": ({"close": [1]}, "not_finite"),
    "volume_beyond_decimal": ({"volume": "1e9999999999999999999"}, "not_finite"),
    "volume_huge": ({"volume": "1e999"}, "out_of_range"),
    "close_negative": ({"close": "-1"}, "non_positive_price"),
    "volume_negative": ({"volume": "-1"}, "negative_volume"),
    "start_null": ({"start": None}, "not_finite"),
    "start_word": ({"start": "yesterday"}, "not_finite"),
    "start_true": ({"start": True}, "not_finite"),
    "start_negative": ({"start": "-1"}, "not_finite"),
    "start_milliseconds": ({"start": "1709294400000"}, "not_finite"),
    "low_true": ({"low": True}, "not_finite"),
    "start_missing": ({"start": ...}, "not_finite"),
}


@pytest.mark.parametrize("case", ODD)
def test_one_odd_row_is_set_aside_and_the_other_299_are_stored(present, walk, case):
    window = Span(present - 300 * MINUTE, present)
    rows = [as_row(candle) for candle in walk("BTC-USD", 300, start=window.start)]
    change, reason = ODD[case]
    rows[17] = {name: value for name, value in (rows[17] | change).items() if value is not ...}
    odd_minute = window.start + 17 * MINUTE
    candles = candles_in({"candles": rows[::-1]}, "BTC-USD", window, present)
    with FeatureStore.in_memory() as store:
        count = store.record_pages([Page("BTC-USD", window, candles, present, "coinbase")])
        assert (count.stored, count.quarantined, count.empty_minutes) == (299, 1, 0)
        (bad,) = store._connection().execute("select open_time, reason from candle_quarantine").fetchall()
        states = store.ledger_summary("BTC-USD", window)
    assert (bad[0].astimezone(UTC), bad[1]) == (odd_minute, reason)
    assert (states["quarantined"], states["not_asked"], states["failed"]) == (1, 0, 0)


def test_row_without_a_minute_proves_no_lacking_minute_empty(present, walk):
    window = Span(present - 10 * MINUTE, present)
    good = walk("BTC-USD", 1, start=window.start)[0]
    row = as_row(good)
    candles = candles_in({"candles": [row, {"start": "?"}]}, "BTC-USD", window, present)
    assert [one.close.is_finite() for one in candles] == [True] + [False] * 9


@pytest.mark.parametrize("content", [{}, {"candles": None}, {"candles": [{"a": 1}]}, {"candles": ["x", None]}])
def test_answer_without_any_minute_is_tried_again(present, content):
    with pytest.raises(TryAgainError):
        candles_in(content, "BTC-USD", Span(present - 10 * MINUTE, present), present)


@given(
    content=strategies.recursive(
        strategies.none() | strategies.booleans() | strategies.integers() | strategies.text(max_size=6),
        lambda inner: (
            strategies.lists(inner, max_size=4)
            | strategies.dictionaries(
                strategies.sampled_from(["start", "open", "high", "low", "close", "volume"]), inner
            )
        ),
    )
)
@examples(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_json_around_a_good_row_loses_it_not(present, walk, content):
    window = Span(present - 10 * MINUTE, present)
    good = walk("BTC-USD", 1, start=window.start)[0]
    row = as_row(good)
    candles = candles_in({"candles": [content, row, content]}, "BTC-USD", window, present)
    assert good in candles
