"""The other paths: time, products, books, tickers, controls."""

from datetime import UTC, datetime, timedelta

import pytest

from core.errors import ConfigError
from market.exchange.state import Present, TokenBucket

PRESENT = datetime(2024, 3, 1, 12, 0, tzinfo=UTC)


def test_time_is_the_exchanges_own(make_exchange, ask):
    answer = ask(make_exchange(), "/time")
    assert answer.json() == {
        "iso": "2024-03-01T12:00:00Z",
        "epochSeconds": str(int(PRESENT.timestamp())),
        "epochMillis": str(int(PRESENT.timestamp()) * 1000),
    }
    assert answer.headers["x-desk-clock"] == "simulated"
    assert answer.headers["x-desk-market"] == "planted"


def test_time_of_a_real_clock_is_not_called_simulated(make_exchange, ask):
    answer = ask(make_exchange(Present()), "/time")
    assert answer.headers["x-desk-clock"] == "machine"
    assert abs(int(answer.json()["epochSeconds"]) - datetime.now(UTC).timestamp()) < 5


def test_products_are_listed_and_filtered(make_exchange, ask):
    exchange = make_exchange()
    assert ask(exchange, "/market/products").json()["num_products"] == 3
    filtered = ask(exchange, "/market/products", {"product_ids": ["ETH-USD"]}).json()
    assert [page["product_id"] for page in filtered["products"]] == ["ETH-USD"]


def test_product_page_knows_price_and_increment(make_exchange, ask):
    page = ask(make_exchange(), "/market/products/BTC-USD").json()
    assert page["quote_increment"] == "0.01" and page["status"] == "online" and float(page["price"]) > 0


def test_unknown_product_page_is_404(make_exchange, ask):
    answer = ask(make_exchange(), "/market/products/NOPE-USD")
    assert answer.status_code == 404 and answer.json()["message"] == "Product NOPE-USD not supported"


def test_book_has_a_spread(make_exchange, ask):
    page = ask(make_exchange(), "/market/product_book", {"product_id": "BTC-USD", "limit": 5}).json()
    book = page["pricebook"]
    assert len(book["bids"]) == len(book["asks"]) == 5
    assert float(book["bids"][0]["price"]) < float(page["mid_market"]) < float(book["asks"][0]["price"])


def test_book_of_an_unknown_product_is_404(make_exchange, ask):
    answer = ask(make_exchange(), "/market/product_book", {"product_id": "NOPE-USD"})
    assert answer.status_code == 404 and "valid product_id is required" in answer.text


def test_book_before_the_listing_is_404(make_exchange, ask):
    exchange = make_exchange(listed_at={"BNB-USD": PRESENT + timedelta(days=9)})
    answer = ask(exchange, "/market/product_book", {"product_id": "BNB-USD"})
    assert answer.status_code == 404 and "no pricebook found" in answer.text


def test_ticker_gives_newest_trades_first(make_exchange, ask):
    page = ask(make_exchange(), "/market/products/BTC-USD/ticker", {"limit": 3}).json()
    times = [trade["time"] for trade in page["trades"]]
    assert len(times) == 3 and times == sorted(times, reverse=True)
    assert times[0] == "2024-03-01T11:59:59.000000Z"
    assert float(page["best_bid"]) < float(page["best_ask"])


def test_ticker_of_more_than_a_thousand_is_an_internal_error(make_exchange, ask):
    assert ask(make_exchange(), "/market/products/BTC-USD/ticker", {"limit": 1001}).status_code == 500


@pytest.mark.parametrize("path", ["/best_bid_ask", "/key_permissions", "/products", "/product_book"])
def test_private_path_without_a_token_is_unauthorized(make_exchange, ask, path):
    answer = ask(make_exchange(), path)
    assert (answer.status_code, answer.text) == (401, "Unauthorized\n")
    assert answer.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize("path", ["/market/best_bid_ask", "/orders", "/market/time"])
def test_anything_else_is_404(make_exchange, ask, path):
    assert ask(make_exchange(), path).status_code == 404


def test_request_body_of_a_get_is_tolerated(make_exchange, ask):
    assert ask(make_exchange(), "/market/products", json={}).status_code == 200


def test_clock_steps_and_never_goes_back(make_exchange, ask):
    exchange = make_exchange()
    later = (PRESENT + timedelta(minutes=5)).isoformat()
    assert ask(exchange, "/_control/clock", method="POST", json={"advance_to": later}).json()["now"] == later
    earlier = PRESENT.isoformat()
    assert ask(exchange, "/_control/clock", method="POST", json={"advance_to": earlier}).json()["now"] == later
    assert ask(exchange, "/_control/clock").json() == {"now": later, "stepped": True, "speed": 1.0}


@pytest.mark.parametrize("text", ["soon", ""])
def test_clock_asked_to_step_to_no_time_refuses(make_exchange, ask, text):
    answer = ask(make_exchange(), "/_control/clock", method="POST", json={"advance_to": text})
    assert answer.status_code == 409 and "no ISO time" in answer.json()["error"]


def test_clock_that_runs_by_itself_cannot_be_stepped(make_exchange, ask):
    exchange = make_exchange(Present(PRESENT, speed=60))
    answer = ask(exchange, "/_control/clock", method="POST", json={"advance_to": PRESENT.isoformat()})
    assert answer.status_code == 409 and "--stepped" in answer.json()["error"]


def test_fast_clock_runs_at_its_speed():
    ticks = iter([100.0, 110.0])
    assert Present(PRESENT, speed=60, monotonic=lambda: next(ticks)).now() == PRESENT + timedelta(minutes=10)


@pytest.mark.parametrize("options", [{"speed": 0}, {"speed": 5, "stepped": True}])
def test_contradicting_clock_options_are_refused(options):
    with pytest.raises(ConfigError, match="speed above 0"):
        Present(PRESENT, **options)


def test_behaviour_is_switched_while_running(make_exchange, ask):
    exchange = make_exchange()
    switched = ask(exchange, "/_control/behaviour", method="POST", json={"unknown_candles_status": 404, "cap": 300})
    assert switched.json()["cap"] == 300 and exchange.behaviour.unknown_candles_status == 404


@pytest.mark.parametrize("change", [{"cap_rule": "luck"}, {"speed": 3}, []])
def test_wrong_behaviour_is_refused(make_exchange, ask, change):
    exchange = make_exchange()
    assert ask(exchange, "/_control/behaviour", method="POST", json=change).status_code == 400
    assert exchange.behaviour.cap == 350


def test_stats_count_requests_and_refusals(make_exchange, ask):
    exchange = make_exchange()
    ask(exchange, "/time")
    ask(exchange, "/key_permissions")
    stats = ask(exchange, "/_control/stats").json()
    assert stats["counts"] == {"open_requests": 1, "status_200": 1, "private_requests": 1, "status_401": 1}
    assert stats["refused_tokens"] == {"no bearer token": 1}
    assert stats["markets"]["BTC-USD"] == "planted"


def test_token_bucket_admits_its_rate():
    now = [0.0]
    bucket = TokenBucket(10, lambda: now[0])
    assert [bucket.take() for _ in range(12)].count(True) == 10
    now[0] = 0.5
    assert [bucket.take() for _ in range(12)].count(True) == 5
    now[0] = 100.0
    assert [bucket.take() for _ in range(12)].count(True) == 10


@pytest.mark.parametrize(
    ("body", "kind"), [("html", "text/html"), ("json", "application/json"), ("empty", "text/plain")]
)
def test_too_many_requests_earn_a_429_of_the_chosen_kind(make_exchange, ask, body, kind):
    from market.exchange.behaviour import Behaviour

    behaviour = Behaviour(limit_body=body, limit_retry_after=2.0, limit_headers=True)
    exchange = make_exchange(public_rate=1, behaviour=behaviour)
    ask(exchange, "/market/products/BTC-USD")
    answer = ask(exchange, "/market/products/BTC-USD")
    assert answer.status_code == 429 and answer.headers["content-type"].startswith(kind)
    assert answer.headers["retry-after"] == "2" and answer.headers["x-ratelimit-limit"] == "1"
    assert ask(exchange, "/time").status_code == 200
