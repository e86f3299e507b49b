"""Switches of the local exchange for what nobody knows of the real one."""

from datetime import UTC, datetime, timedelta

import pytest

from market.exchange.behaviour import Behaviour, buckets, parse_behaviour, too_wide

PRESENT = datetime(2024, 3, 1, 12, 0, tzinfo=UTC)
CANDLES = "/market/products/BTC-USD/candles"
MINUTE = timedelta(minutes=1)


@pytest.fixture
def hour(window):
    return window(PRESENT - 60 * MINUTE, PRESENT - MINUTE)


@pytest.mark.parametrize("keeps", ["newest", "oldest"])
def test_limit_keeps_one_end_of_the_window(make_exchange, ask, hour, keeps):
    exchange = make_exchange(behaviour=Behaviour(limit_keeps=keeps))
    whole = ask(exchange, CANDLES, hour).json()["candles"]
    kept = ask(exchange, CANDLES, {**hour, "limit": "3"}).json()["candles"]
    assert kept == (whole[:3] if keeps == "newest" else whole[-3:])
    assert ask(exchange, CANDLES, {**hour, "limit": "0"}).json()["candles"] == []


def test_window_left_out_is_refused_or_the_newest_candles(make_exchange, ask):
    query = {"granularity": "ONE_MINUTE"}
    assert ask(make_exchange(), CANDLES, query).status_code == 400
    rows = ask(make_exchange(behaviour=Behaviour(window_required=False)), CANDLES, query).json()["candles"]
    assert int(rows[0]["start"]) == int((PRESENT - MINUTE).timestamp()) and 300 < len(rows) <= 350


def test_usdc_product_shows_the_usd_book_under_its_own_name(make_exchange, ask, hour):
    exchange = make_exchange()
    path = CANDLES.replace("USD", "USDC")
    assert ask(exchange, path, hour).json() == ask(exchange, CANDLES, hour).json()
    page, own = (ask(exchange, f"/market/products/{name}").json() for name in ("BTC-USDC", "BTC-USD"))
    assert (page["product_id"], page["alias"]) == ("BTC-USDC", "BTC-USD") and own["alias_to"] == ["BTC-USDC"]
    assert page["price"] == own["price"]


def test_usdc_product_without_aliases_is_unknown(make_exchange, ask, hour):
    exchange = make_exchange(behaviour=Behaviour(usdc_aliases=False))
    assert ask(exchange, CANDLES.replace("USD", "USDC"), hour).status_code == 400
    assert ask(exchange, "/market/products/BTC-USDC").status_code == 404
    assert ask(exchange, "/market/products/BTC-USD").json()["alias_to"] == []


@pytest.mark.parametrize("status", [200, 400, 404])
def test_delisted_product_says_so_and_is_served_or_not(make_exchange, ask, hour, status):
    exchange = make_exchange(behaviour=Behaviour(delisted=("SOL-USD",), delisted_candles_status=status))
    assert ask(exchange, CANDLES.replace("BTC", "SOL"), hour).status_code == status
    pages = ask(exchange, "/market/products").json()["products"]
    assert [page["product_id"] for page in pages if page["status"] == "delisted"] == ["SOL-USD"]
    assert ask(exchange, CANDLES, hour).status_code == 200


@pytest.mark.parametrize("status", [200, 400, 404])
def test_window_that_ends_before_the_listing_is_empty_or_refused(make_exchange, ask, hour, window, status):
    listed = PRESENT - timedelta(days=1)
    exchange = make_exchange(listed_at={"BNB-USD": listed}, behaviour=Behaviour(before_listing_status=status))
    path = CANDLES.replace("BTC", "BNB")
    assert ask(exchange, path, window(listed - 60 * MINUTE, listed - 2 * MINUTE)).status_code == status
    assert ask(exchange, path, window(listed - 60 * MINUTE, listed)).status_code == 200
    assert ask(exchange, path, hour).status_code == 200


@pytest.mark.parametrize(("checks", "status"), [(False, 200), (True, 401)])
def test_bad_token_on_a_public_path_is_ignored_or_refused(make_exchange, ask, hour, checks, status):
    exchange = make_exchange(behaviour=Behaviour(public_checks_tokens=checks))
    assert ask(exchange, CANDLES, hour, headers={"authorization": "Bearer nonsense"}).status_code == status
    assert ask(exchange, CANDLES, hour).status_code == 200


@pytest.mark.parametrize(
    ("shape", "most"),
    [
        ({}, 349),
        ({"end_inclusive": False}, 350),
        ({"cap_rule": "span"}, 349),
        ({"cap_rule": "span", "end_inclusive": False}, 349),
    ],
)
def test_widest_aligned_window_follows_from_the_rule(shape, most):
    widest = max(minutes for minutes in range(340, 360) if not too_wide(Behaviour(**shape), 0, minutes * 60, 60))
    assert widest == most


def test_bucket_at_an_aligned_end_counts_when_the_end_does():
    assert buckets(Behaviour(), 20, 600, 60) == (1, 11)
    assert buckets(Behaviour(end_inclusive=False), 20, 600, 60) == (1, 10)


def test_switches_are_read_as_they_are_printed():
    words = ["end_inclusive=false", "cap=300", "limit_body=json", "limit_retry_after=null", "delisted=A-USD,B-USD"]
    assert parse_behaviour(words) == Behaviour(
        end_inclusive=False, cap=300, limit_body="json", limit_retry_after=None, delisted=("A-USD", "B-USD")
    )
