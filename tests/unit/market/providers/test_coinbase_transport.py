"""What lies under a request: HTTP/2 over TLS, connections kept, time-outs, and whom the client trusts."""

import asyncio
import contextlib
import logging
import ssl
from datetime import timedelta

import httpx
import pytest

from core.candles import Span
from core.errors import ConfigError, ExchangeUnavailableError
from market.exchange import server
from market.exchange.app import build_app
from market.exchange.auth import TokenChecker
from market.providers import coinbase_connection
from market.providers.coinbase_connection import MAX_CONCURRENT

KEY_NAME = "organizations/0a1b/apiKeys/2c3d4e5f"


@pytest.fixture
def trusted(authority, monkeypatch):
    """Trust the throw-away authority, the way a person would: by SSL_CERT_FILE."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority[0]))


@pytest.fixture
def days(present):
    return list(Span(present - timedelta(days=3), present).pages(300))


def test_https_speaks_http_2_over_one_connection(trusted, over_tls, make_exchange, make_provider, collect, days):
    exchange = make_exchange()
    with over_tls(exchange) as (url, seen):
        pages = collect(make_provider(None, coinbase_base_url=url), "BTC-USD", days)
    assert sorted(candle.open_time for page in pages for candle in page.candles) == [
        candle.open_time for candle in exchange.markets["BTC-USD"].candles(Span(days[0].start, days[-1].end))
    ]
    assert len(seen.versions) == len(days) + 1 and set(seen.versions) == {"2"}
    assert len(set(seen.connections)) == 1


def test_https_to_a_server_without_http_2_keeps_its_connections(
    trusted, over_tls, make_exchange, make_provider, collect, days
):
    with over_tls(make_exchange(), alpn_protocols=["http/1.1"]) as (url, seen):
        pages = collect(make_provider(None, coinbase_base_url=url), "BTC-USD", days * 3)
    assert len(pages) == 3 * len(days) and set(seen.versions) == {"1.1"}
    assert len(set(seen.connections)) <= MAX_CONCURRENT < len(pages)


def test_http_2_connection_that_the_server_ends_now_and_then_loses_nothing(
    trusted, over_tls, make_exchange, make_provider, collect, days
):
    exchange = make_exchange()
    with over_tls(exchange, keep_alive_max_requests=4) as (url, seen):
        pages = collect(make_provider(None, coinbase_base_url=url), "BTC-USD", days)
    assert sorted(page.window.start for page in pages) == [window.start for window in days]
    assert len(set(seen.connections)) > 1 and set(seen.versions) == {"2"}


def test_http_2_server_that_takes_two_streams_at_a_time_is_obeyed(
    trusted, over_tls, make_exchange, make_provider, collect, days
):
    with over_tls(make_exchange(), h2_max_concurrent_streams=2) as (url, seen):
        assert len(collect(make_provider(None, coinbase_base_url=url), "BTC-USD", days)) == len(days)
    assert set(seen.versions) == {"2"}


def test_stranger_is_not_trusted(over_tls, make_exchange, make_provider, run):
    with (
        over_tls(make_exchange()) as (url, seen),
        pytest.raises(ExchangeUnavailableError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        run(make_provider(None, coinbase_base_url=url), lambda provider: provider.server_time())
    assert seen.versions == []


def test_certificate_file_that_is_not_there_is_named(make_provider, monkeypatch, tmp_path):
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    with pytest.raises(ConfigError, match="SSL_CERT_FILE"):
        make_provider(None, coinbase_base_url="https://127.0.0.1:1/api")


def test_plain_http_needs_no_authorities(make_provider, monkeypatch, run):
    loaded = []
    monkeypatch.setattr(httpx, "create_ssl_context", lambda: loaded.append(1) or ssl.create_default_context())
    run(make_provider(None, coinbase_base_url="http://127.0.0.1:1/api"), lambda _: asyncio.sleep(0))
    assert loaded == []
    run(make_provider(None, coinbase_base_url="https://127.0.0.1:1/api"), lambda _: asyncio.sleep(0))
    assert loaded == [1]


def test_tokens_are_taken_over_http_2_and_never_logged(  # noqa: PLR0917  # fixtures
    trusted, over_tls, make_exchange, make_provider, collect, days, ec_key, pem, caplog
):
    caplog.set_level(logging.DEBUG)
    checker = TokenChecker({KEY_NAME: ec_key.public_key()})
    tokens = []
    checker.accepts, accepts = (
        lambda *requested, **how: tokens.append(requested[2]) or accepts(*requested, **how),
        checker.accepts,
    )
    with over_tls(make_exchange(checker=checker)) as (url, seen):
        provider = make_provider(
            None, coinbase_base_url=url, coinbase_api_key=KEY_NAME, coinbase_api_secret=pem(ec_key)
        )
        collect(provider, "BTC-USD", days)
    assert len(set(tokens)) == len(days) and set(seen.versions) == {"2"} and not checker.refusals
    assert len(caplog.records) > len(days)
    assert not any(token.removeprefix("Bearer ")[-20:] in caplog.text for token in tokens)


def test_plain_http_keeps_its_connections(make_exchange, make_provider, collect, days, monkeypatch):
    clients = set()

    def watched(exchange):
        app = build_app(exchange)

        async def call(scope, receive, send):
            clients.add(tuple(scope["client"]))
            await app(scope, receive, send)

        return call

    monkeypatch.setattr(server, "build_app", watched)
    with server.running(make_exchange()) as url:
        pages = collect(make_provider(None, coinbase_base_url=url), "BTC-USD", days * 3)
    assert len(pages) == 3 * len(days) and len(clients) <= MAX_CONCURRENT < len(pages)


def test_time_is_asked_for_once_however_many_windows_follow(make_exchange, make_provider, collect, days):
    provider = make_provider(make_exchange())
    collect(provider, "BTC-USD", days)
    assert [request.url.path.endswith("/time") for request in provider.transport.requests].count(True) == 1


def test_time_outs_are_explicit_and_finite(make_provider, run):
    async def work(provider):
        return provider.connection._client.timeout

    assert run(make_provider(None), work) == httpx.Timeout(connect=5.0, read=15.0, write=15.0, pool=15.0)


@contextlib.asynccontextmanager
async def never_finishing(*, drips):
    """Serve answers that come byte by byte without end, or not at all; yields the address."""
    handlers = set()

    async def answer(reader, writer):
        handlers.add(asyncio.current_task())
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n" if drips else b"")
            while not reader.at_eof():
                writer.write(b" " if drips else b"")
                await asyncio.sleep(0.05)
        finally:
            writer.close()

    opened = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with opened:
        yield f"http://127.0.0.1:{opened.sockets[0].getsockname()[1]}/api"
    await asyncio.gather(*handlers, return_exceptions=True)


@pytest.mark.parametrize(("drips", "reason"), [(False, "ReadTimeout"), (True, "no whole answer within 0.3 s")])
def test_server_that_never_finishes_is_left(make_provider, monkeypatch, drips, reason):
    monkeypatch.setattr(coinbase_connection, "TIMEOUT", httpx.Timeout(0.2))
    monkeypatch.setattr(coinbase_connection, "WHOLE_ANSWER_SECONDS", 0.3)

    async def whole():
        async with never_finishing(drips=drips) as url:
            provider = make_provider(None, coinbase_base_url=url)
            try:
                await provider.server_time()
            finally:
                await provider.aclose()

    with pytest.raises(ExchangeUnavailableError, match=reason):
        asyncio.run(whole())


@pytest.mark.parametrize(("rate", "most"), [(1, 8), (10, 8), (30, 15), (1000, MAX_CONCURRENT)])
def test_requests_on_the_way_are_enough_for_the_rate(make_provider, rate, most):
    provider = make_provider(httpx.MockTransport(lambda _: httpx.Response(500)), public_requests_per_second=rate)
    assert provider.connection.concurrency == most
