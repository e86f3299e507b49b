"""The candle answer: format, order, cap, the open minute, refusals."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from core.candles import MINUTE, Span
from market.exchange.behaviour import Behaviour
from market.exchange.responses import trimmed
from market.exchange.state import Present

PRESENT = datetime(2024, 3, 1, 12, 0, tzinfo=UTC)
CANDLES = "/market/products/BTC-USD/candles"


def test_candles_are_trimmed_strings_newest_first(make_exchange, ask, window):
    exchange = make_exchange()
    answer = ask(exchange, CANDLES, window(PRESENT - 30 * MINUTE, PRESENT - 11 * MINUTE))
    rows = answer.json()["candles"]
    assert list(rows[0]) == ["start", "low", "high", "open", "close", "volume"]
    assert all(isinstance(value, str) and not value.endswith(".") for row in rows for value in row.values())
    starts = [int(row["start"]) for row in rows]
    assert starts == sorted(starts, reverse=True) and len(rows) == 20
    assert answer.headers["x-desk-market"] == "planted"
    assert answer.headers["cache-control"] == "public, max-age=14400"


def test_candles_are_the_markets_own(make_exchange, ask, window):
    exchange = make_exchange()
    rows = ask(exchange, CANDLES, window(PRESENT - 300 * MINUTE, PRESENT - MINUTE)).json()["candles"]
    expected = exchange.markets["BTC-USD"].candles(Span(PRESENT - 300 * MINUTE, PRESENT))
    actual = [(int(row["start"]), Decimal(row["close"]), Decimal(row["volume"])) for row in reversed(rows)]
    assert actual == [(int(candle.open_time.timestamp()), candle.close, candle.volume) for candle in expected]


@pytest.mark.parametrize(
    ("value", "places", "text"),
    [
        (6631240, 2, "66312.4"),
        (100, 2, "1"),
        (5, 2, "0.05"),
        (1, 8, "0.00000001"),
        (12345, 2, "123.45"),
        (1000, 2, "10"),
    ],
)
def test_trimmed_drops_only_trailing_zeros(value, places, text):
    assert trimmed(value, places) == text


@pytest.mark.parametrize(("minutes", "status"), [(348, 200), (349, 200), (350, 400), (351, 400)])
def test_cap_counts_bucket_starts(make_exchange, ask, window, minutes, status):
    start = PRESENT - timedelta(days=1)
    answer = ask(make_exchange(), CANDLES, window(start, start + minutes * MINUTE))
    assert answer.status_code == status
    if status == 400:
        assert answer.json()["error"] == "INVALID_ARGUMENT"
        assert "number of candles requested should be less than 350" in answer.json()["message"]


def test_cap_lets_350_unaligned_minutes_pass(make_exchange, ask, window):
    start = PRESENT - timedelta(days=1) + timedelta(seconds=20)
    assert ask(make_exchange(), CANDLES, window(start, start + 350 * MINUTE)).status_code == 200


@pytest.mark.parametrize(("minutes", "status"), [(349, 200), (350, 400)])
def test_cap_rule_of_the_span_refuses_at_350(make_exchange, ask, window, minutes, status):
    exchange = make_exchange(behaviour=Behaviour(cap_rule="span"))
    start = PRESENT - timedelta(days=1)
    assert ask(exchange, CANDLES, window(start, start + minutes * MINUTE)).status_code == status


def test_cap_of_2023_was_300(make_exchange, ask, window):
    start = PRESENT - timedelta(days=1)
    answer = ask(make_exchange(behaviour=Behaviour(cap=300)), CANDLES, window(start, start + 301 * MINUTE))
    assert answer.status_code == 400 and "less than 300" in answer.text


@pytest.mark.parametrize(("inclusive", "rows"), [(True, 11), (False, 10)])
def test_end_is_inclusive_or_not(make_exchange, ask, window, inclusive, rows):
    exchange = make_exchange(behaviour=Behaviour(end_inclusive=inclusive))
    answer = ask(exchange, CANDLES, window(PRESENT - 60 * MINUTE, PRESENT - 50 * MINUTE))
    assert len(answer.json()["candles"]) == rows


def test_open_minute_is_there_and_grows(make_exchange, ask, window):
    def newest(seconds):
        exchange = make_exchange(Present(PRESENT + timedelta(seconds=seconds), stepped=True))
        return ask(exchange, CANDLES, window(PRESENT - MINUTE, PRESENT + 10 * MINUTE)).json()["candles"][0]

    early, late = newest(10), newest(50)
    assert int(early["start"]) == int(late["start"]) == int(PRESENT.timestamp())
    assert Decimal(early["volume"]) < Decimal(late["volume"])


def test_open_minute_never_shows_what_its_candle_will_not_hold(make_exchange, ask, window):
    whole = make_exchange(Present(PRESENT + MINUTE, stepped=True)).markets["BTC-USD"]
    (candle,) = whole.candles(Span(PRESENT, PRESENT + MINUTE))
    lows, highs, volumes = [], [], []
    for seconds in (0.001, 10, 37, 59.999):
        exchange = make_exchange(Present(PRESENT + timedelta(seconds=seconds), stepped=True))
        (row,) = ask(exchange, CANDLES, window(PRESENT, PRESENT + MINUTE)).json()["candles"]
        low, high, close, volume = (Decimal(row[name]) for name in ("low", "high", "close", "volume"))
        assert candle.low <= low <= min(candle.open, close) <= max(candle.open, close) <= high <= candle.high
        assert Decimal(row["open"]) == candle.open and 0 < volume <= candle.volume
        lows.append(low), highs.append(high), volumes.append(volume)
    assert (lows, highs, volumes) == (sorted(lows, reverse=True), sorted(highs), sorted(volumes))


def test_unsettled_minute_lacks_its_last_trades_until_it_settles(make_exchange, ask, window):
    span = window(PRESENT - 5 * MINUTE, PRESENT - MINUTE)
    settled = {row["start"]: row for row in ask(make_exchange(), CANDLES, span).json()["candles"]}
    early = make_exchange(behaviour=Behaviour(settles_after_seconds=90.0))
    rows = {row["start"]: row for row in ask(early, CANDLES, span).json()["candles"]}
    changed = sorted(int(start) for start in rows if rows[start] != settled[start])
    # minutes that closed 0 and 60 seconds ago are not settled, the one of 120 seconds ago is
    assert changed == [int((PRESENT - 2 * MINUTE).timestamp()), int((PRESENT - MINUTE).timestamp())]
    assert all(Decimal(rows[str(start)]["volume"]) < Decimal(settled[str(start)]["volume"]) for start in changed)


def test_minute_is_published_late_when_asked_to(make_exchange, ask, window):
    exchange = make_exchange(behaviour=Behaviour(published_after_seconds=30.0))
    span = window(PRESENT - 2 * MINUTE, PRESENT)
    starts = [int(row["start"]) for row in ask(exchange, CANDLES, span).json()["candles"]]
    assert starts == [int((PRESENT - 2 * MINUTE).timestamp())]
    exchange.present.advance(PRESENT + timedelta(seconds=30))
    assert len(ask(exchange, CANDLES, span).json()["candles"]) == 2


def test_minutes_to_come_are_not_there(make_exchange, ask, window):
    answer = ask(make_exchange(), CANDLES, window(PRESENT, PRESENT + 100 * MINUTE))
    assert answer.json() == {"candles": []}


def test_window_before_the_listing_is_empty(make_exchange, ask, window):
    exchange = make_exchange(listed_at={"BNB-USD": PRESENT - timedelta(days=1)})
    path = "/market/products/BNB-USD/candles"
    assert ask(
        exchange, path, window(PRESENT - timedelta(days=2), PRESENT - timedelta(days=2) + 300 * MINUTE)
    ).json() == {"candles": []}
    assert len(ask(exchange, path, window(PRESENT - 60 * MINUTE, PRESENT - MINUTE)).json()["candles"]) > 55


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"granularity": ""}, "granularity argument is invalid "),
        ({"granularity": "UNKNOWN_GRANULARITY"}, "granularity argument is invalid "),
        ({"granularity": "TEN_MINUTE"}, 'parsing field "granularity": "TEN_MINUTE" is not a valid value'),
        ({"start": "2024-01-01T00:00:00Z"}, "invalid start timestamp"),
        ({"end": ""}, "invalid start timestamp"),
        ({"limit": "many"}, 'parsing field "limit"'),
    ],
)
def test_wrong_arguments_are_refused(make_exchange, ask, window, change, text):
    answer = ask(make_exchange(), CANDLES, {**window(PRESENT - 60 * MINUTE, PRESENT), **change})
    assert answer.status_code == 400
    assert text in answer.json()["message"] and answer.json()["error_details"] == answer.json()["message"]


def test_reversed_window_is_refused(make_exchange, ask, window):
    assert ask(make_exchange(), CANDLES, window(PRESENT, PRESENT - 60 * MINUTE)).status_code == 400


@pytest.mark.parametrize(("switch", "text"), [(400, "product_id argument is invalid"), (404, "not supported")])
def test_unknown_product_is_refused(make_exchange, ask, window, switch, text):
    exchange = make_exchange(behaviour=Behaviour(unknown_candles_status=switch))
    answer = ask(exchange, "/market/products/NOPE-USD/candles", window(PRESENT - 60 * MINUTE, PRESENT))
    assert answer.status_code == switch and text in answer.text


def test_five_minute_candles_join_five_minutes(make_exchange, ask, window):
    exchange = make_exchange()
    start = PRESENT - 60 * MINUTE
    fine = ask(exchange, CANDLES, window(start, start + 4 * MINUTE)).json()["candles"]
    coarse = ask(exchange, CANDLES, window(start, start + 4 * MINUTE, "FIVE_MINUTE")).json()["candles"]
    assert len(coarse) == 1
    assert Decimal(coarse[0]["high"]) == max(Decimal(row["high"]) for row in fine)
    assert Decimal(coarse[0]["volume"]) == sum(Decimal(row["volume"]) for row in fine)
    assert (coarse[0]["open"], coarse[0]["close"]) == (fine[-1]["open"], fine[0]["close"])


def test_null_product_in_a_planted_exchange_is_named(make_exchange, ask, window):
    exchange = make_exchange(null_products=["SOL-USD"])
    answer = ask(exchange, "/market/products/SOL-USD/candles", window(PRESENT - 60 * MINUTE, PRESENT))
    assert answer.headers["x-desk-market"] == "null"


def test_limit_keeps_the_newest(make_exchange, ask, window):
    answer = ask(make_exchange(), CANDLES, {**window(PRESENT - 60 * MINUTE, PRESENT - MINUTE), "limit": "3"})
    starts = [int(row["start"]) for row in answer.json()["candles"]]
    assert starts[0] == int((PRESENT - MINUTE).timestamp()) and len(starts) == 3
