"""What an error of the client carries, what it and the log never show, and what is waited for between tries."""

import gc
import logging
import pickle
import random
import re
import time
import traceback
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest
from cryptography.hazmat.primitives.serialization import PrivateFormat

from core.candles import Span
from core.clock import ManualClock
from core.errors import CredentialsError, DeskError, ProviderError, UnknownProductError
from market.exchange.auth import TokenChecker
from market.exchange.faults import HTML
from market.exchange.server import running
from market.providers import FetchFailed, FetchFailedError, RetryPolicy
from market.providers.base import TryAgainError
from market.providers.coinbase_wire import useful_json

KEY_NAME = "organizations/0a1b/apiKeys/2c3d4e5f"
PATH = "/products/BTC-USD/candles"
TWICE = RetryPolicy(attempts=2, wait_initial=0.0, wait_max=0.0, wait_jitter=0.0)


@pytest.fixture
def hour(present):
    return Span(present - timedelta(hours=1), present)


def time_of(moment):
    return httpx.Response(200, json={"epochMillis": str(int(moment.timestamp() * 1000))})


class Failing(httpx.AsyncBaseTransport):
    """Tells the time; fails every other request as told, and keeps the tokens it saw."""

    def __init__(self, present, fail):
        self._present, self._fail = present, fail
        self.tokens, self.requested = [], 0

    async def handle_async_request(self, request):
        if request.url.path.endswith("/time"):
            return time_of(self._present)
        self.requested += 1
        self.tokens.append(request.headers.get("authorization", ""))
        return self._fail(request)


def answered(status, content=b"", **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda request: httpx.Response(status, content=content, headers=headers, request=request)


def broken(error):
    def fail(request):
        raise error("gone", request=request)

    return fail


REFUSAL = b'{"error":"X","error_details":"no","message":"no"}'
FAILURES = {
    "400": (answered(400, REFUSAL), ProviderError, 1),
    "400 product": (answered(400, b'{"message":"product_id argument is invalid"}'), UnknownProductError, 1),
    "401": (answered(401, b"Unauthorized\n"), CredentialsError, 3),
    "403": (answered(403, REFUSAL), CredentialsError, 1),
    "404": (answered(404, REFUSAL), UnknownProductError, 1),
    "404 html": (answered(404, HTML.encode()), UnknownProductError, 1),
    "302": (answered(302, location="https://elsewhere.test/"), ProviderError, 1),
    "429": (answered(429, HTML.encode(), content_type="text/html"), FetchFailedError, 4),
    "500": (answered(500, b'{"error":"INTERNAL"}'), FetchFailedError, 4),
    "503": (answered(503), FetchFailedError, 4),
    "html": (answered(200, HTML.encode()), FetchFailedError, 4),
    "cut": (answered(200, b'{"candles":[{"start":"17'), FetchFailedError, 4),
    "nested": (answered(200, b"[" * 10**6), FetchFailedError, 4),
    "no candles": (answered(200, b'{"candles":[{"a":1}]}'), FetchFailedError, 4),
    "no gzip": (answered(200, b"{}", content_encoding="gzip"), FetchFailedError, 4),
    **{
        error.__name__: (broken(error), FetchFailedError, 4)
        for error in (
            httpx.ConnectError,
            httpx.ConnectTimeout,
            httpx.LocalProtocolError,
            httpx.PoolTimeout,
            httpx.ProxyError,
            httpx.ReadError,
            httpx.ReadTimeout,
            httpx.RemoteProtocolError,
            httpx.WriteError,
        )
    },
}


@pytest.fixture
def failed(make_provider, collect, present, hour, pem):
    """Return a function: ask for an hour with a key, fail in one way; gives the error, the transport and the secret."""

    def ask(key, fail, form=PrivateFormat.PKCS8):
        secret = pem(key, form)
        transport = Failing(present, fail)
        options = {"coinbase_api_key": KEY_NAME, "coinbase_api_secret": secret.replace("\n", "\\n")}
        provider = make_provider(transport, clock=ManualClock(present), **options)
        with pytest.raises(DeskError) as raised:
            collect(provider, "BTC-USD", [hour])
        return raised.value, transport, secret

    return ask


@pytest.mark.parametrize("which", FAILURES)
def test_error_names_what_was_asked_the_cause_and_the_tries_as_the_tree_says(ec_key, failed, hour, which):
    fail, kind, tries = FAILURES[which]
    error, transport, _ = failed(ec_key, fail)
    assert type(error) is kind
    assert re.search(r"HTTP \d\d\d|Error|Timeout", str(error)) and "<" not in str(error)
    assert transport.requested == tries and len(set(transport.tokens)) == tries
    if kind is FetchFailedError:
        assert [failure.window for failure in error.failed] == [hour] and not error.gave_up
        assert f"in {tries} tries" in error.failed[0].cause and f"the first {hour} (" in str(error)


def chain(error):
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def shown_by(error, log):
    """Return all the ways in which an error reaches a person or a file."""
    frames = [
        frame
        for item in chain(error)
        for frame in traceback.TracebackException.from_exception(item, capture_locals=True).stack
        if "/tests/" not in frame.filename
    ]
    return {
        "str": str(error),
        "repr": repr(error),
        "fields": "".join(f"{vars(item)!r}{item.args!r}" for item in chain(error)),
        "traceback": "".join(traceback.format_exception(error)),
        "pickle": pickle.dumps(error).decode("latin-1"),
        "locals": "".join(f"{frame.locals}" for frame in frames),
        "log": log,
    }


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
@pytest.mark.parametrize("which", FAILURES)
def test_no_error_and_no_log_line_shows_key_or_token(ec_key, failed, which, form, caplog):
    caplog.set_level(logging.DEBUG)
    error, transport, secret = failed(ec_key, FAILURES[which][0], form)
    tokens = [token.removeprefix("Bearer ") for token in transport.tokens]
    lines = [line for line in secret.splitlines() if "-----" not in line]
    shown = shown_by(error, caplog.text)
    assert all(tokens) and len(lines) > 1
    for where, text in shown.items():
        leaks = [word for token in tokens for word in (token, *token.split(".")[1:]) if word in text]
        leaks += [line for line in lines if line in text]
        assert not leaks, f"{where} shows a secret"
        assert KEY_NAME not in text or where == "locals", f"{where} shows the key's whole name"


@pytest.mark.parametrize("which", FAILURES)
def test_no_error_is_chained_to_one_that_holds_the_request(ec_key, failed, which):
    error, _, _ = failed(ec_key, FAILURES[which][0])
    assert not [item for item in chain(error) if type(item).__module__.startswith("http")]
    held = [item for link in chain(error) for item in gc.get_referents(vars(link), link.args)]
    assert not [item for item in held if isinstance(item, httpx.Request | httpx.Response)]


@pytest.mark.parametrize("tls", [False, True])
def test_reset_of_a_real_connection_shows_no_token(  # noqa: PLR0917  # fixtures
    tls, over_tls, authority, ec_key, pem, make_exchange, make_provider, collect, hour, caplog, monkeypatch
):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority[0]))
    checker = TokenChecker({KEY_NAME: ec_key.public_key()})
    tokens = []
    checker.accepts, accepts = (
        lambda *requested, **how: tokens.append(requested[2]) or accepts(*requested, **how),
        checker.accepts,
    )
    exchange = make_exchange(checker=checker)
    exchange.faults.plan([{"kind": "reset", "probability": 1.0}])
    with over_tls(exchange, keep_alive_timeout=0.3) if tls else running(exchange) as served:
        url = served[0] if tls else served
        options = {"coinbase_api_key": KEY_NAME, "coinbase_api_secret": pem(ec_key)}
        with pytest.raises(FetchFailedError) as raised:
            collect(make_provider(None, coinbase_base_url=url, retry=TWICE, **options), "BTC-USD", [hour])
    assert len(tokens) == 2 and raised.value.failed[0].window == hour
    for where, text in shown_by(raised.value, caplog.text).items():
        assert not any(token.removeprefix("Bearer ")[-30:] in text for token in tokens), where


@pytest.mark.parametrize(
    "error",
    [
        TryAgainError("x", wait=3.0, status=429),
        FetchFailedError(
            "BTC-USD",
            [FetchFailed(Span(datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 2, tzinfo=UTC)), "why")],
            gave_up=True,
        ),
    ],
)
def test_error_travels_between_processes_whole(error):
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error) and str(again) == str(error) and vars(again) == vars(error)


def test_retry_is_one_line_with_try_request_cause_and_wait(make_exchange, make_provider, collect, hour, caplog):
    exchange = make_exchange()
    exchange.faults.plan([{"kind": "502", "count": 1}])
    policy = RetryPolicy(attempts=3, wait_initial=0.1, wait_max=0.1, wait_jitter=0.0)
    collect(make_provider(exchange, retry=policy), "BTC-USD", [hour])
    (line,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert line == f"try 1 of GET /market{PATH} for {hour} failed: HTTP 502 (text/html; charset=utf-8); next in 0.1 s"


def waits_after(headers, status=429):
    """Return what is waited after an answer with these headers, None for the growing pauses."""
    with pytest.raises(TryAgainError) as raised:
        useful_json(httpx.Response(status, headers=headers), "BTC-USD")
    return raised.value.wait


NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def date(seconds):
    return format_datetime(NOON + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "-1"}, 0.0),
        ({"retry-after": "999999999"}, 120.0),
        ({"retry-after": "inf"}, 120.0),
        ({"retry-after": "1e400"}, 120.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": date(7), "date": date(0)}, 7.0),
        ({"retry-after": date(-7), "date": date(0)}, 0.0),
        ({"retry-after": date(10**7), "date": date(0)}, 120.0),
        ({"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT"}, 0.0),
        ({"retry-after": "Sun, 22 Nov 2026 12:00:07 -0000", "date": date(0)}, 7.0),
        ({"retry-after": "Sun, 99 Nov 2026 12:00:07 GMT", "date": date(0)}, None),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_wait_that_the_exchange_asks_for_is_read_and_bounded(headers, wait, status):
    assert waits_after(headers, status) == wait


def test_waits_double_up_to_their_most_and_differ_from_caller_to_caller():
    policy = RetryPolicy()
    requested = {policy.wait_after(TryAgainError("x", wait=10.0)) for _ in range(20)}
    assert len(requested) == 20 and all(10.0 <= wait <= 11.0 for wait in requested)
    assert policy.wait_after(TryAgainError("x")) is True and policy.wait_after(ValueError()) is False


def test_pauses_grow_with_jitter(make_exchange, make_provider, collect, hour, caplog, monkeypatch):
    slept = []

    async def nap(seconds):
        slept.append(seconds)

    monkeypatch.setattr("stamina._core._smart_sleep", nap)
    random.seed(1)
    exchange = make_exchange()
    exchange.faults.plan([{"kind": "500", "count": 5}])
    collect(make_provider(exchange, retry=RetryPolicy(wait_max=7.0)), "BTC-USD", [hour])
    assert [round(seconds - jitterless, 3) >= 0 for seconds, jitterless in zip(slept, [1, 2, 4, 7, 7], strict=True)]
    assert 1 < slept[0] < 2 < slept[1] < 3 and 4 < slept[2] < 5 and slept[3:] == [7.0, 7.0]


def test_wait_asked_of_one_holds_all_who_share_the_limit(make_exchange, make_provider, collect, hour):
    exchange = make_exchange()
    exchange.faults.plan([{"kind": "429", "count": 1, "retry_after": 0.4}])
    impatient = RetryPolicy(attempts=1)
    with pytest.raises(FetchFailedError):
        collect(make_provider(exchange, retry=impatient), "BTC-USD", [hour])
    began = time.monotonic()
    collect(make_provider(exchange, retry=impatient), "BTC-USD", [hour])
    assert time.monotonic() - began > 0.3
