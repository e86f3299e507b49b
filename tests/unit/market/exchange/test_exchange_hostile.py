"""What strangers send to the local exchange: refused at once, nothing moved, no core kept busy."""

from __future__ import annotations

import json
import time

import httpx
import pytest

from core.errors import ConfigError
from market.exchange import control_guard
from market.exchange.control_guard import TOKEN_HEADER, read_token
from market.exchange.server import running
from market.providers.exchange_time import ExchangeClock

CANDLES = "/market/products/BTC-USD/candles"


@pytest.fixture
def served(make_exchange):
    """A running exchange: itself, its origin and its token."""
    exchange = make_exchange()
    with running(exchange) as url:
        yield exchange, url.partition("/api")[0], read_token(httpx.URL(url).port)


def test_candles_of_the_year_9999_are_none_and_take_no_time(make_exchange, ask):
    began = time.monotonic()
    answer = ask(make_exchange(), CANDLES, {"start": 253402300000, "end": 253402300060, "granularity": "ONE_MINUTE"})
    assert (answer.status_code, time.monotonic() - began < 2) == (400, True)
    near = ask(make_exchange(), CANDLES, {"start": 9_999_999_000, "end": 9_999_999_060, "granularity": "ONE_MINUTE"})
    assert (near.status_code, near.json()) == (200, {"candles": []})
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("text", ["²", "٣", "-1", "1e9", "9" * 5000, "0x10", " 1"])
def test_numbers_that_are_none_are_refused(make_exchange, ask, text):
    query = {"start": text, "end": "1709290800", "granularity": "ONE_MINUTE"}
    assert ask(make_exchange(), CANDLES, query).status_code == 400
    query = {"start": "1709290740", "end": "1709290800", "granularity": "ONE_MINUTE", "limit": text}
    assert ask(make_exchange(), CANDLES, query).status_code == 400


@pytest.mark.parametrize("path", ["clock", "faults", "behaviour"])
@pytest.mark.parametrize("body", [b"{", b"[]", b"", b"1", b"[" * 60_000, b'{"a":' * 10_000, b"\xff", b" " * 70_000])
def test_bodies_that_are_no_object_are_refused(served, path, body):
    _, origin, token = served
    answer = httpx.post(f"{origin}/_control/{path}", content=body, headers={TOKEN_HEADER: token})
    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("moment", "status"),
    [("9999-12-31T00:00:00+00:00", 400), ("9999-12-31T23:59:59-23:00", 409), (None, 409), ([], 409), (5, 409)],
)
def test_clock_goes_to_no_year_that_would_keep_a_core_busy(served, present, moment, status):
    exchange, origin, token = served
    body = json.dumps({"advance_to": moment}).encode()
    answer = httpx.post(f"{origin}/_control/clock", content=body, headers={TOKEN_HEADER: token})
    assert (answer.status_code, exchange.present.now()) == (status, present)


@pytest.mark.parametrize("headers", [{"host": "evil.test"}, {"host": "evil.test:80"}, {"origin": "http://evil.test"}])
def test_web_pages_and_other_names_are_refused_whatever_they_ask_for(served, headers):
    """A page that makes the browser ask loopback sends its Origin, one that bends its own name to loopback its Host."""
    exchange, origin, token = served
    for path in ("/_control/stats", "/api/v3/brokerage/time"):
        assert httpx.get(origin + path, headers={TOKEN_HEADER: token, **headers}).status_code == 403
    assert not exchange.counts


@pytest.mark.parametrize("token", ["", "wrong", "²"])
def test_controls_need_the_token(served, present, token):
    exchange, origin, right = served
    headers = {TOKEN_HEADER: token.encode()}
    body = {"advance_to": "2024-03-01T13:00:00+00:00"}
    assert httpx.post(f"{origin}/_control/clock", json=body, headers=headers).status_code == 401
    assert exchange.present.now() == present
    assert httpx.get(f"{origin}/_control/stats", headers=headers).status_code == 401
    assert httpx.get(f"{origin}/_control/stats", headers={TOKEN_HEADER: right}).status_code == 200


def test_clock_of_ours_passes_the_token_by_itself(served, present):
    exchange, origin, _ = served
    clock = ExchangeClock(f"{origin}/api/v3/brokerage")
    later = present.replace(hour=13)
    clock.wait_until(later)
    assert clock.now() == exchange.present.now() == later
    clock.close()


def test_token_lies_where_this_user_alone_reads_it_and_goes_with_the_exchange(make_exchange, monkeypatch, tmp_path):
    monkeypatch.setattr(control_guard.tempfile, "gettempdir", lambda: str(tmp_path))
    with running(make_exchange()) as url:
        file = control_guard.token_file(httpx.URL(url).port)
        assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert not file.exists()
    file.parent.chmod(0o777)
    with pytest.raises(ConfigError, match="not this user's alone"), running(make_exchange()):
        pass
