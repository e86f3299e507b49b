"""The Coinbase provider in front of a local exchange in the same process: no socket, no waiting."""

import asyncio
import contextlib
import ipaddress
import json
import os
import random
import socket
import threading
from datetime import UTC, datetime, timedelta

import httpx
import hypercorn.asyncio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypercorn.config import Config

from core.candles import epoch_minute
from core.clock import ManualClock
from core.settings import load_settings
from market.exchange.app import BASE_PATH, build_app
from market.exchange.state import Exchange
from market.providers import FetchFailedError, RetryPolicy
from market.providers.coinbase import CoinbaseProvider

BASE_URL = "https://exchange.test/api/v3/brokerage"
KEY_NAME = "organizations/0a1b/apiKeys/2c3d4e5f"
AT_ONCE = RetryPolicy(attempts=4, wait_initial=0.0, wait_max=0.0, wait_jitter=0.0)


class Recorder(httpx.AsyncBaseTransport):
    """Passes requests on and remembers them."""

    def __init__(self, app):
        self._inner = httpx.ASGITransport(app=app)
        self.requests = []

    async def handle_async_request(self, request):
        self.requests.append(request)
        return await self._inner.handle_async_request(request)


@pytest.fixture
def make_provider(tmp_path):
    """Return a function that makes a provider; ``exchange`` is one, or any httpx transport."""

    def make(exchange, *, clock=None, retry=AT_ONCE, **options):
        chosen = {
            "coinbase_base_url": BASE_URL,
            "public_requests_per_second": 1000,
            "private_requests_per_second": 1000,
        }
        settings = load_settings(desk_home=tmp_path / "var", **{**chosen, **options})
        transport = Recorder(build_app(exchange)) if isinstance(exchange, Exchange) else exchange
        provider = CoinbaseProvider(settings, transport=transport, clock=clock, retry=retry)
        provider.transport = transport
        return provider

    return make


@pytest.fixture
def make_saying(make_provider, present):
    """Return a function that makes a provider of a real Coinbase which tells the time and answers all else with one thing.

    ``provider.requested`` are the requests for anything but the time; ``answer`` is text, bytes or JSON.
    """

    def make(answer, status=200, **options):
        requested = []

        def respond(request):
            if request.url.path.endswith("/time"):
                return httpx.Response(200, json={"epochMillis": str(int(present.timestamp() * 1000))})
            requested.append(request)
            how = "content" if isinstance(answer, str | bytes) else "json"
            return httpx.Response(status, **{how: answer})

        provider = make_provider(httpx.MockTransport(respond), clock=ManualClock(present), **options)
        provider.requested = requested
        return provider

    return make


@pytest.fixture
def run():
    """Return a function that runs ``work(provider)`` and closes the provider."""

    def go(provider, work):
        async def whole():
            try:
                return await work(provider)
            finally:
                await provider.aclose()

        return asyncio.run(whole())

    return go


@pytest.fixture
def collect(run):
    """Return a function that gives all pages of one product's windows."""

    def go(provider, product, windows):
        async def work(opened):
            return [page async for page in opened.pages(product, windows)]

        return run(provider, work)

    return go


@pytest.fixture
def fetch(run):
    """Return a function that gives the pages of some windows, and the windows that failed."""

    def go(provider, windows, product="BTC-USD"):
        async def work(opened):
            pages, failed = [], ()
            try:
                async for page in opened.pages(product, windows):
                    pages.append(page)  # noqa: PERF401  # a comprehension would lose them when the error comes
            except FetchFailedError as error:
                failed = error.failed
            return pages, failed

        return run(provider, work)

    return go


@pytest.fixture
def ec_key():
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def ed_key():
    return ed25519.Ed25519PrivateKey.generate()


@pytest.fixture
def pem():
    """Return a function that writes a private key as PEM, SEC1 or PKCS#8."""

    def write(key, form=PrivateFormat.PKCS8):
        return key.private_bytes(Encoding.PEM, form, NoEncryption()).decode()

    return write


def _certificate(subject, key, issuer, issuer_key, *, is_authority):
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(hours=1))
        .not_valid_after(datetime.now(UTC) + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
    )
    if not is_authority:
        names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """A certificate authority that nobody trusts, and a certificate of it for 127.0.0.1: (ca, certificate, key)."""
    folder = tmp_path_factory.mktemp("tls")
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca_name, name = (
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)]) for text in ("throw-away authority", "exchange")
    )
    files = folder / "ca.pem", folder / "certificate.pem", folder / "key.pem"
    ca = _certificate(ca_name, ca_key, ca_name, ca_key, is_authority=True)
    files[0].write_bytes(ca.public_bytes(Encoding.PEM))
    files[1].write_bytes(_certificate(name, key, ca_name, ca_key, is_authority=False).public_bytes(Encoding.PEM))
    files[2].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files


class Seen:
    """What a TLS server noticed of the requests it answered."""

    def __init__(self):
        self.versions = []
        self.connections = []


@pytest.fixture
def over_tls(authority):
    """Return a context manager that serves an exchange over TLS, HTTP/2 included: yields its base URL and what it saw."""

    @contextlib.contextmanager
    def serve(exchange, **options):
        seen, app = Seen(), build_app(exchange)

        async def watched(scope, receive, send):
            seen.versions.append(scope["http_version"])
            seen.connections.append(tuple(scope["client"]))
            await app(scope, receive, send)

        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.bind(("127.0.0.1", 0))
        listener.listen(50)
        config = Config()
        config.bind, config.errorlog = [f"fd://{os.dup(listener.fileno())}"], None
        _, config.certfile, config.keyfile = (str(file) for file in authority)
        config.graceful_timeout = config.shutdown_timeout = 0.5
        for name, value in options.items():
            setattr(config, name, value)
        stop = threading.Event()

        async def stopped():
            while not stop.is_set():
                await asyncio.sleep(0.02)

        thread = threading.Thread(
            target=lambda: asyncio.run(hypercorn.asyncio.serve(watched, config, shutdown_trigger=stopped, mode="asgi"))
        )
        thread.start()
        try:
            yield f"https://127.0.0.1:{listener.getsockname()[1]}{BASE_PATH}", seen
        finally:
            stop.set()
            thread.join(20)
            listener.close()

    return serve


class YahooAnswer:
    """A response as yfinance reads it."""

    def __init__(self, url, content, status=200):
        self.url, self.status_code, self.text = url, status, json.dumps(content)

    def json(self):
        return json.loads(self.text)

    def raise_for_status(self):
        if self.status_code >= 400:
            raise OSError(f"HTTP Error {self.status_code}")


class Yahoo:
    """Yahoo's chart API as yfinance meets it, below the library's own reading of it."""

    def __init__(self, candles, now):
        self.candles = {candle.open_time: candle for candle in candles}
        self.now = now
        self.requested = []
        self.broken = []
        """Spans whose requests fail, and with what: an exception, or an answer's content."""
        self.extra_rows = []

    def get(self, _, url, params=None, timeout=30):
        if "/v8/finance/chart/BTC-USD" not in url:
            gone = {"code": "Not Found", "description": "No data found, symbol may be delisted"}
            return YahooAnswer(url, {"chart": {"result": None, "error": gone}, "quoteSummary": None}, 404)
        meta = {
            "currency": "USD",
            "symbol": "BTC-USD",
            "exchangeName": "CCC",
            "instrumentType": "CRYPTOCURRENCY",
            "exchangeTimezoneName": "UTC",
            "timezone": "UTC",
            "gmtoffset": 0,
            "priceHint": 2,
            "dataGranularity": "1m",
            "validRanges": ["1d", "5d", "1mo", "max"],
            "tradingPeriods": self._days(),
        }
        if params["interval"] != "1m":
            return YahooAnswer(url, {"chart": {"result": [{"meta": meta}], "error": None}})
        start, end = (datetime.fromtimestamp(params[name], UTC) for name in ("period1", "period2"))
        self.requested.append((start, end))
        for begins, ends, what in self.broken:
            if start < ends and begins < end:
                if isinstance(what, Exception):
                    raise what
                return YahooAnswer(url, what)
        if (reason := self._refusal(start, end)) is not None:
            error = {"code": "Unprocessable Entity", "description": reason}
            return YahooAnswer(url, {"chart": {"result": None, "error": error}}, 422)
        return YahooAnswer(url, {"chart": {"result": [{"meta": meta, **self._quotes(start, end)}], "error": None}})

    def _days(self):
        """Yahoo's trading days of a coin, each of which it ends at 23:59."""
        first = int((self.now - timedelta(days=31)).replace(hour=0, minute=0, second=0).timestamp())
        starts = range(first, first + 33 * 86400, 86400)
        return [[{"timezone": "UTC", "start": start, "end": start + 86340, "gmtoffset": 0}] for start in starts]

    def _refusal(self, start, end):
        if end - start > timedelta(days=8):
            return (
                "1m data not available. Only 8 days worth of 1m granularity data are allowed to be fetched per request."
            )
        if start < self.now - timedelta(days=30):
            return "1m data not available. The requested range must be within the last 30 days."
        return None

    def _quotes(self, start, end):
        rows = [
            (moment, *(float(getattr(candle, name)) for name in ("open", "high", "low", "close", "volume")))
            for moment, candle in sorted(self.candles.items())
            if start <= moment < min(end, self.now)
        ]
        rows += [row for row in self.extra_rows if start <= row[0] < end]
        if not rows:
            return {"indicators": {"quote": [{}], "adjclose": [{}]}}
        times, open_, high, low, close, volume = zip(*rows, strict=True)
        quote = {"open": open_, "high": high, "low": low, "close": close, "volume": volume}
        return {"timestamp": [int(moment.timestamp()) for moment in times], "indicators": {"quote": [quote]}}


@pytest.fixture
def make_yahoo(monkeypatch, tmp_path):
    """Return a function that puts a Yahoo of given candles behind the installed yfinance."""
    pytest.importorskip("yfinance")
    import yfinance.base
    import yfinance.cache
    import yfinance.data

    from market.providers import yfinance_provider

    monkeypatch.setattr(yfinance_provider, "REQUESTS_PER_SECOND", 1000)
    # the library keeps time zones in a file and looks for missing ones elsewhere, twice in a process's life
    monkeypatch.setattr(yfinance.cache._TzCacheManager, "_tz_cache", yfinance.cache._TzCacheDummy())
    monkeypatch.setattr(yfinance.base, "_tz_info_fetch_ctr", 2)
    monkeypatch.setitem(yfinance.config.debug.data, "hide_exceptions", True)

    def make(candles, now):
        yahoo = Yahoo(candles, now)
        yfinance.data.YfData.cache_get.cache_clear()
        monkeypatch.setattr(
            yfinance.data.YfData,
            "get",
            lambda self, url, params=None, timeout=30: yahoo.get(self, url, params, timeout),
        )
        return yahoo

    return make


class Thin:
    """A market with only a share of another's minutes: those of a coin that is seldom traded."""

    def __init__(self, market, share, seed=3):
        self._market, self._share, self._seed = market, share, seed
        self.kind, self.product, self.first_minute = market.kind, market.product, market.first_minute

    def rows(self, first_minute, end_minute):
        rows = self._market.rows(first_minute, end_minute)
        kept = [random.Random(f"{self._seed} {minute}").random() < self._share for minute in rows.minute_N.tolist()]
        return rows.over(lambda column: column[kept])

    def candles(self, span):
        return self.rows(epoch_minute(span.start), epoch_minute(span.end)).candles()


@pytest.fixture(scope="session")
def thin():
    """Return a function that leaves minutes out of a market: thin(market, share kept)."""
    return Thin
