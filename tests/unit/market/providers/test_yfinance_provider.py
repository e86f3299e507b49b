"""Yahoo behind the installed yfinance: what is proved and what is not, and what the library makes of a bad day."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from core.candles import Span
from core.clock import ManualClock
from core.errors import ExchangeUnavailableError, ListingUnknownError, ProviderError, UnknownProductError
from core.settings import load_settings
from market.exchange.simulated_market import simulated_market
from market.providers import RetryPolicy, yfinance_provider
from market.providers.yfinance_provider import YahooProvider

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
AT_ONCE = RetryPolicy(attempts=3, wait_initial=0.0, wait_max=0.0, wait_jitter=0.0)
PLANTED = simulated_market("planted", "BTC-USD", 7)


@pytest.fixture
def truth(present):
    """A day of minutes as Yahoo has them: whole volumes, in the quote currency."""
    candles = PLANTED.candles(Span(present - DAY, present))
    return [replace(candle, volume=Decimal(int(candle.volume * candle.close))) for candle in candles]


@pytest.fixture
def yahoo(make_yahoo, truth, present):
    return make_yahoo(truth, present)


@pytest.fixture
def provider(yahoo, present, tmp_path):
    return YahooProvider(load_settings(desk_home=tmp_path / "var"), clock=ManualClock(present), retry=AT_ONCE)


def test_table_of_the_installed_library_becomes_exact_candles(provider, fetch, truth, present):
    pages, failed = fetch(provider, list(Span(present - 6 * HOUR, present).pages(300)))
    candles = [candle for page in pages for candle in page.candles]
    assert candles == [candle for candle in truth if candle.open_time >= present - 6 * HOUR]
    assert failed == () and {page.source for page in pages} == {"yfinance"}


def test_many_windows_are_one_request_and_none_is_wider_than_yahoo_allows(provider, fetch, yahoo, present):
    windows = list(Span(present - 20 * DAY, present).pages(300))
    pages, _ = fetch(provider, windows)
    assert len(pages) == 5
    widths = [end - start for start, end in yahoo.requested]
    # three weeks in three requests; two of them are empty, tried again and given up on
    assert len({end for _, end in yahoo.requested}) == 3 and max(widths) <= timedelta(days=8)


def test_minute_before_midnight_is_not_lost(provider, make_yahoo, fetch, present):
    midnight = present.replace(hour=0)
    make_yahoo(PLANTED.candles(Span(midnight - HOUR, midnight + HOUR)), present)
    pages, _ = fetch(provider, [Span(midnight - 5 * MINUTE, midnight + 5 * MINUTE)])
    assert midnight - MINUTE in {candle.open_time for candle in pages[0].candles}


def test_answer_of_more_rows_than_yahoo_gives_is_refused(provider, fetch, present, monkeypatch):
    monkeypatch.setattr(yfinance_provider, "MAX_ROWS", 100)
    _, failed = fetch(provider, [Span(present - 5 * HOUR, present)])
    assert "rows, more than 100" in failed[0].cause


def test_empty_table_is_no_page_and_a_failure_that_says_it_proves_nothing(provider, make_yahoo, fetch, present):
    make_yahoo([], present)
    window = Span(present - 6 * HOUR, present - 2 * HOUR)
    pages, failed = fetch(provider, [window])
    assert pages == [] and [item.window for item in failed] == [window]


def test_hole_between_two_rows_is_answered_and_one_at_the_edge_is_not(provider, make_yahoo, truth, fetch, present):
    start = present - 10 * HOUR
    hole = {start + count * MINUTE for count in range(30, 90)}
    after = present - 5 * HOUR
    yahoo = make_yahoo([c for c in truth if c.open_time not in hole and start <= c.open_time < after], present)
    pages, failed = fetch(provider, [Span(start, start + 5 * HOUR), Span(after, after + HOUR)])
    assert [page.window for page in pages] == [Span(start, max(yahoo.candles) + MINUTE)]
    assert not hole & {candle.open_time for candle in pages[0].candles}
    assert failed[-1].window.end == after + HOUR and failed[-1].window.start <= after
    assert "no candle on both sides" in failed[0].cause


def test_window_beyond_the_thirty_days_is_never_asked_for_nor_proved(provider, fetch, yahoo, present):
    old = list(Span(present - 40 * DAY, present - 35 * DAY).pages(300))
    new = Span(present - 2 * HOUR, present)
    pages, failed = fetch(provider, [*old, new])
    assert [page.window for page in pages] == [new]
    # 24 windows, one line
    assert [item.window for item in failed] == [Span(present - 40 * DAY, present - 35 * DAY)]
    assert "last 30 days only" in failed[0].cause and "proves nothing" in failed[0].cause
    assert all(start >= present - 30 * DAY for start, _ in yahoo.requested)


def test_window_at_the_edge_of_the_thirty_days_is_answered(provider, make_yahoo, fetch, present):
    edge = Span(present - 30 * DAY + 10 * MINUTE, present - 30 * DAY + 3 * HOUR)
    # the simulated markets begin later than that
    shifted = [replace(c, open_time=c.open_time - 30 * DAY) for c in PLANTED.candles(Span(present, present + 5 * HOUR))]
    make_yahoo(shifted, present)
    pages, failed = fetch(provider, [edge])
    assert [page.window for page in pages] == [edge] and failed == ()


def test_span_beyond_the_reach_is_refused_before_anything_is_asked(provider, run, yahoo, present):
    with pytest.raises(ProviderError, match=r"Run with -p days=29") as raised:
        run(provider, lambda opened: opened.first_candle("BTC-USD", Span(present - 31 * DAY, present)))
    assert not isinstance(raised.value, ExchangeUnavailableError | ListingUnknownError) and yahoo.requested == []


def test_listing_is_never_told(provider, run, present):
    with pytest.raises(ListingUnknownError):
        run(provider, lambda opened: opened.first_candle("BTC-USD", Span(present - DAY, present)))


def test_open_minute_and_the_row_of_the_last_trade_are_left_out(make_yahoo, truth, fetch, present, tmp_path):
    yahoo = make_yahoo(truth, present + 30 * timedelta(seconds=1))
    numbers = (1.0, 2.0, 0.5, 1.5, 3)
    yahoo.extra_rows = [(present, *numbers), (present + timedelta(seconds=17), *numbers)]
    clock = ManualClock(present + timedelta(seconds=30))
    provider = YahooProvider(load_settings(desk_home=tmp_path), clock=clock, retry=AT_ONCE)
    pages, failed = fetch(provider, [Span(present - HOUR, present + HOUR)])
    assert failed == () and pages[0].window.end <= present and pages[0].candles[-1].open_time < present


@pytest.mark.parametrize(
    ("seconds", "numbers"),
    [(0, (None,) * 5), (0, (None, 2.0, 0.5, 1.5, 3)), (0, (1.0, 2.0, 0.5, None, 3)), (17, (1.0, 2.0, 0.5, 1.5, 3))],
    ids=["nothing", "no open", "no close", "stamped with its second"],
)
def test_row_that_is_no_candle_is_none(provider, make_yahoo, truth, fetch, present, seconds, numbers):
    empty = present - 90 * MINUTE
    yahoo = make_yahoo([candle for candle in truth if candle.open_time != empty], present)
    yahoo.extra_rows = [(empty + timedelta(seconds=seconds), *numbers)]
    pages, failed = fetch(provider, [Span(present - 2 * HOUR, present - HOUR)])
    assert failed == () and pages[0].window == Span(present - 2 * HOUR, present - HOUR)
    assert empty not in {candle.open_time for candle in pages[0].candles}


def test_numbers_are_the_shortest_text_of_the_float_in_eight_places(provider, make_yahoo, truth, fetch, present):
    noisy = replace(truth[-90], close=Decimal("0.06789012253284454"), low=Decimal("0.06"))
    make_yahoo([noisy if candle.open_time == noisy.open_time else candle for candle in truth], present)
    pages, _ = fetch(provider, [Span(noisy.open_time, noisy.open_time + MINUTE)])
    assert [str(candle.close) for candle in pages[0].candles] == ["0.06789012"]


def test_unknown_symbol_is_not_offered(provider, fetch, present):
    with pytest.raises(UnknownProductError, match="NOPE-USD is not offered by Yahoo"):
        fetch(provider, [Span(present - HOUR, present)], "NOPE-USD")


def test_symbol_that_was_known_once_and_is_gone_is_not_offered(provider, fetch, yahoo, present):
    gone = {"code": "Not Found", "description": "No data found, symbol may be delisted"}
    yahoo.broken = [(present - DAY, present, {"chart": {"result": None, "error": gone}})]
    with pytest.raises(UnknownProductError, match=r"BTC-USD is not offered by Yahoo \(.*delisted"):
        fetch(provider, [Span(present - HOUR, present)])


@pytest.mark.parametrize("what", ["rate limit", "reset", "html", "no result", "odd"])
def test_bad_day_fails_the_window_after_the_others_were_given(provider, fetch, yahoo, present, what):
    from yfinance.exceptions import YFRateLimitError

    bad, good = Span(present - 20 * DAY, present - 20 * DAY + HOUR), Span(present - 3 * HOUR, present - HOUR)
    faults = {
        "rate limit": YFRateLimitError(),
        "reset": ConnectionResetError("gone"),
        "html": "<html>Will be right back</html>",
        "no result": {"chart": {"result": None, "error": None}},
        "odd": {"chart": {"result": [{"meta": {}}], "error": None}},
    }
    yahoo.broken = [(bad.start, bad.end, faults[what])]
    pages, failed = fetch(provider, [bad, good])
    assert [page.window for page in pages] == [good] and [item.window for item in failed] == [bad]
    assert "in 3 tries" in failed[0].cause
    # each try is another question, which the library's cache of failed answers does not know
    assert len({start for start, end in yahoo.requested if start < bad.end}) == 3


def test_refusal_with_a_reason_is_not_tried_again(provider, fetch, yahoo, present):
    window = Span(present - 3 * HOUR, present - HOUR)
    error = {"code": "Unprocessable Entity", "description": "1m data not available today"}
    yahoo.broken = [(window.start, window.end, {"chart": {"result": None, "error": error}})]
    pages, failed = fetch(provider, [window])
    assert pages == [] and "1m data not available today" in failed[0].cause and len(yahoo.requested) == 1


def test_check_says_what_yahoo_is(provider, run):
    line = run(provider, lambda opened: opened.check())
    assert "not an exchange" in line and "volume in USD" in line and "newest BTC-USD 2024-03-01 11:5" in line


def test_nothing_is_written_outside_the_desks_own_folder(provider, tmp_path):
    import yfinance.cache

    assert str(yfinance.cache._TzDBManager.get_location()).startswith(str(tmp_path / "var"))
