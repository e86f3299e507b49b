"""Keys, tokens and clocks, as the exchange sees them; and that no message ever shows a key."""

import traceback
from datetime import UTC, datetime, timedelta

import httpx
import jwt
import pytest

from core.candles import Span
from core.clock import ManualClock
from core.errors import ClockSkewError, ConfigError, CredentialsError, ProviderError
from market.exchange.auth import TokenChecker
from market.exchange.state import Present
from market.providers.credentials import load_signer

KEY_NAME = "organizations/0a1b/apiKeys/2c3d4e5f"


@pytest.fixture(params=["ec", "ed"])
def registered(request, ec_key, ed_key):
    """Return a key of each kind and a checker that knows it."""
    key = ec_key if request.param == "ec" else ed_key
    return key, TokenChecker({KEY_NAME: key.public_key()})


@pytest.fixture
def hour(present):
    return Span(present - timedelta(minutes=60), present)


def test_key_opens_the_private_twin_with_a_fresh_token_each_time(
    registered, make_exchange, make_provider, collect, pem, present
):
    key, checker = registered
    provider = make_provider(make_exchange(checker=checker), coinbase_api_key=KEY_NAME, coinbase_api_secret=pem(key))
    pages = collect(provider, "BTC-USD", list(Span(present - timedelta(days=1), present).pages(300)))
    requested = [request for request in provider.transport.requests if "candles" in request.url.path]
    assert len(pages) == 5 and {request.url.path for request in requested} == {
        "/api/v3/brokerage/products/BTC-USD/candles"
    }
    tokens = [request.headers["authorization"].removeprefix("Bearer ") for request in requested]
    assert len({jwt.get_unverified_header(token)["nonce"] for token in tokens}) == 5
    claims = jwt.decode(tokens[0], options={"verify_signature": False})
    assert claims["exp"] - claims["nbf"] == 120 and claims["iss"] == "cdp" and claims["sub"] == KEY_NAME
    assert claims["uri"] == "GET api.coinbase.com/api/v3/brokerage/products/BTC-USD/candles"
    assert not checker.refusals


def test_base_url_without_its_path_is_named_as_the_repair(make_provider, run):
    provider = make_provider(httpx.MockTransport(lambda _: httpx.Response(404, json={"message": "Not Found"})))
    with pytest.raises(ProviderError, match=r"/time.*COINBASE_BASE_URL has to end in /api/v3/brokerage"):
        run(provider, lambda item: item.check())


def test_host_of_the_token_is_a_setting_of_its_own(ec_key, make_exchange, make_provider, run, pem):
    checker = TokenChecker({KEY_NAME: ec_key.public_key()}, "other.test")
    options = {"coinbase_api_key": KEY_NAME, "coinbase_api_secret": pem(ec_key)}
    good = make_provider(make_exchange(checker=checker), coinbase_jwt_host="other.test", **options)
    assert "accepted" in run(good, lambda provider: provider.check())


def test_retried_request_carries_a_new_token(ec_key, make_exchange, make_provider, collect, pem, hour):
    exchange = make_exchange(checker=TokenChecker({KEY_NAME: ec_key.public_key()}))
    exchange.faults.plan([{"kind": "500", "count": 2}])
    provider = make_provider(exchange, coinbase_api_key=KEY_NAME, coinbase_api_secret=pem(ec_key))
    collect(provider, "BTC-USD", [hour])
    requested = [request for request in provider.transport.requests if "candles" in request.url.path]
    assert len({request.headers["authorization"] for request in requested}) == 3


@pytest.mark.parametrize("count", [1, 2])
def test_sporadic_401_is_tried_again(ec_key, make_exchange, make_provider, collect, pem, hour, count):
    exchange = make_exchange(checker=TokenChecker({KEY_NAME: ec_key.public_key()}))
    exchange.faults.plan([{"kind": "401", "count": count}])
    provider = make_provider(exchange, coinbase_api_key=KEY_NAME, coinbase_api_secret=pem(ec_key))
    assert len(collect(provider, "BTC-USD", [hour])[0].candles) > 55


def test_key_refused_three_times_is_an_error_that_does_not_show_it(
    ec_key, make_exchange, make_provider, collect, pem, hour
):
    secret = pem(ec_key)
    provider = make_provider(make_exchange(), coinbase_api_key=KEY_NAME, coinbase_api_secret=secret)
    with pytest.raises(CredentialsError, match=r"refused the API key \.\.\.3d4e5f 3 times") as raised:
        collect(provider, "BTC-USD", [hour])
    assert sum("candles" in request.url.path for request in provider.transport.requests) == 3
    shown = "".join(traceback.format_exception(raised.value))
    assert not any(line in shown for line in secret.splitlines() if len(line) > 20 and "-----" not in line)


def test_public_request_refused_with_401_again_and_again_is_no_outage(make_exchange, make_provider, collect, hour):
    exchange = make_exchange()
    exchange.faults.plan([{"kind": "401", "probability": 1.0}])
    with pytest.raises(CredentialsError, match="HTTP 401"):
        collect(make_provider(exchange), "BTC-USD", [hour])


def test_check_without_a_key_says_what_it_found(make_exchange, make_provider, run):
    line = run(make_provider(make_exchange()), lambda provider: provider.check())
    assert (
        line
        == "coinbase, local exchange at exchange.test (planted market): public data, 1000 requests a second, clock within 0.0 s, its present 2024-03-01 12:00 UTC simulated"
    )


def test_check_with_a_key_says_which(registered, make_exchange, make_provider, run, pem):
    key, checker = registered
    provider = make_provider(make_exchange(checker=checker), coinbase_api_key=KEY_NAME, coinbase_api_secret=pem(key))
    assert "key ...3d4e5f accepted" in run(provider, lambda opened: opened.check())


def test_check_with_a_key_that_may_not_read_is_refused(ec_key, make_saying, run, pem):
    provider = make_saying({"can_view": False}, coinbase_api_key=KEY_NAME, coinbase_api_secret=pem(ec_key))
    with pytest.raises(CredentialsError, match="View permission"):
        run(provider, lambda opened: opened.check())


@pytest.mark.parametrize(("seconds", "text"), [(-60, "60 seconds behind"), (60, "60 seconds ahead of")])
def test_clock_a_minute_wrong_is_refused_with_the_offset_and_the_repair(
    make_exchange, make_provider, run, seconds, text
):
    clock = ManualClock(datetime.now(UTC) + timedelta(seconds=seconds))
    provider = make_provider(make_exchange(Present()), clock=clock)
    with pytest.raises(ClockSkewError, match=rf"{text}.*timedatectl"):
        run(provider, lambda opened: opened.check())


@pytest.mark.parametrize("seconds", [-20, 20])
def test_clock_a_little_wrong_still_makes_good_tokens(ec_key, make_exchange, make_provider, run, pem, seconds):
    exchange = make_exchange(Present(), checker=TokenChecker({KEY_NAME: ec_key.public_key()}))
    clock = ManualClock(datetime.now(UTC) + timedelta(seconds=seconds))
    provider = make_provider(exchange, clock=clock, coinbase_api_key=KEY_NAME, coinbase_api_secret=pem(ec_key))
    assert "accepted" in run(provider, lambda opened: opened.check())
    assert not exchange.checker.refusals


def test_simulated_present_is_not_compared_with_this_machines_clock(make_exchange, make_provider, run, present):
    provider = make_provider(make_exchange())

    async def work(opened):
        await opened.check()
        return await opened.server_time()

    assert run(provider, work) == present


@pytest.mark.parametrize("address", ["api.coinbase.com", "ftp://x/y", "http://", "http://x:port/y"])
def test_base_url_that_is_no_address_is_refused(make_provider, address):
    with pytest.raises(ConfigError, match="COINBASE_BASE_URL"):
        make_provider(None, coinbase_base_url=address)


@pytest.mark.parametrize(
    ("options", "missing"),
    [
        ({"coinbase_api_key": "k"}, "COINBASE_API_SECRET is not"),
        ({"coinbase_api_secret": "s"}, "COINBASE_API_KEY is not"),
    ],
)
def test_half_a_key_is_refused_not_taken_for_none(make_provider, options, missing):
    with pytest.raises(CredentialsError, match=missing):
        make_provider(None, **options)


def test_no_key_is_no_signer(settings):
    assert load_signer(settings) is None
