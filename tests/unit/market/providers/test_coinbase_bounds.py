"""Answers without measure, and keys that would travel in the clear: refused before they cost memory or the secret."""

from __future__ import annotations

import gzip
import json
import resource
import threading
import time
import zlib
from contextlib import contextmanager, suppress
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from core.candles import Span
from core.errors import ConfigError, ExchangeUnavailableError
from market.providers import RetryPolicy
from market.providers.bounded_body import MAX_BYTES, MAX_ROWS, BoundedBody, json_object
from market.providers.exchange_time import ExchangeClock

ONCE = RetryPolicy(attempts=1)
KEY = "organizations/0a1b/apiKeys/2c3d4e5f"


@contextmanager
def serving(body, headers):
    """A server on loopback that answers everything but the time with ``body``."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            is_time = self.path.endswith("/time")
            self.send_response(200)
            for name, value in {"content-type": "application/json", **({} if is_time else headers)}.items():
                self.send_header(name, value)
            self.end_headers()
            with suppress(OSError):  # hung up on, as it should be
                self.wfile.write(b'{"epochMillis": "%d"}' % (time.time() * 1000) if is_time else body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/api"
    server.shutdown()
    server.server_close()
    thread.join()


def bomb() -> bytes:
    """Three hundred million blanks, packed without ever being there as a whole."""
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    parts = [packer.compress(b" " * 1_000_000) for _ in range(300)]
    return b"".join([*parts, packer.flush()])


BOMB = bomb()
WORSE = {
    "a gzip bomb": (BOMB, {"content-encoding": "gzip"}, "longer than 4,194,304 bytes"),
    "a long body": (b" " * (MAX_BYTES + 1), {}, "longer than 4,194,304 bytes"),
    "packed twice": (gzip.compress(BOMB), {"content-encoding": "gzip, gzip"}, "was not accepted"),
    "packed otherwise": (b"x", {"content-encoding": "br"}, "was not accepted"),
    "packed badly": (b"no gzip at all", {"content-encoding": "gzip"}, "cannot be unpacked"),
    "cut off": (gzip.compress(b'{"candles":[]}')[:-9], {"content-encoding": "gzip"}, "cut off"),
    "too many rows": (json.dumps({"candles": [{}] * (MAX_ROWS + 1)}).encode(), {}, "5,001 rows"),
    "brackets": (b"[" * 1_000_000, {}, "not a JSON object"),
    "more brackets": (b'{"candles":' * 300_000, {}, "not a JSON object"),
}


@pytest.fixture
def hour(present):
    return Span(present - timedelta(hours=2), present - timedelta(hours=1))


@pytest.mark.parametrize("kind", WORSE)
def test_answer_without_measure_is_refused_with_its_reason_in_little_memory(kind, make_provider, fetch, hour):
    body, headers, reason = WORSE[kind]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with serving(body, headers) as url:
        pages, failed = fetch(make_provider(None, coinbase_base_url=url, retry=ONCE), [hour])
    assert not pages and reason in failed[0].cause
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000, "kB"


def test_packed_answer_is_unpacked(make_provider, fetch, hour):
    body = gzip.compress(json.dumps({"candles": []}).encode())
    with serving(body, {"content-encoding": "gzip"}) as url:
        pages, failed = fetch(make_provider(None, coinbase_base_url=url, retry=ONCE), [hour])
    assert (pages[0].candles, failed) == ((), ())


def test_clock_reads_no_endless_answer():
    with (
        serving(BOMB, {"content-encoding": "gzip"}) as url,
        pytest.raises(ExchangeUnavailableError, match="cannot be read"),
    ):
        ExchangeClock(url).now()


@pytest.mark.parametrize("chunk", [1, 7, 1 << 16])
def test_body_is_bounded_whatever_its_chunks_are(chunk):
    packed = gzip.compress(b"x" * 5000)
    for most, fits in ((5000, True), (4999, False)):
        body = BoundedBody("gzip", most)
        try:
            for start in range(0, len(packed), chunk):
                body.add(packed[start : start + chunk])
            assert fits and body.whole() == b"x" * 5000
        except ValueError:
            assert not fits


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"[" * 200_000, b'{"a":' * 200_000, b"\xff", b"1"])
def test_what_is_no_object_is_none(content):
    assert json_object(content) is None


@pytest.mark.parametrize("host", ["exchange.test", "10.0.0.1", "127.0.0.1.evil.test", "0.0.0.0", "localhost.evil.test"])
def test_key_is_never_sent_to_another_machine_in_the_clear(make_provider, ec_key, pem, host):
    secret = pem(ec_key)
    with pytest.raises(ConfigError, match=r"plain http to another machine.*https://.*COINBASE_API_KEY") as refused:
        make_provider(None, coinbase_base_url=f"http://{host}/x", coinbase_api_key=KEY, coinbase_api_secret=secret)
    assert secret[40:80] not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/x", "http://localhost/x", "http://[::1]:1/x", "https://exchange.test/x"]
)
def test_key_is_taken_for_loopback_and_over_tls(make_provider, run, ec_key, pem, url):
    provider = make_provider(None, coinbase_base_url=url, coinbase_api_key=KEY, coinbase_api_secret=pem(ec_key))

    async def surface(opened):
        return opened.connection.surface

    assert run(provider, surface) == "private"


def test_plain_http_without_a_key_is_taken(make_provider, run):
    async def surface(opened):
        return opened.connection.surface

    assert run(make_provider(None, coinbase_base_url="http://exchange.test/x"), surface) == "public"
