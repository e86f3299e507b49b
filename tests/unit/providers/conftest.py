"""The Coinbase provider in front of a local exchange in the same process: no socket, no waiting."""

import asyncio
from datetime import UTC, datetime

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from desk.config import load_settings
from desk.exchange.app import Behaviour, Exchange, build_app
from desk.exchange.auth import TokenChecker
from desk.exchange.command import build_markets
from desk.exchange.limits import TokenBucket
from desk.exchange.present import Present
from desk.providers.coinbase import CoinbaseProvider, RetryPolicy

PRESENT = datetime(2024, 3, 1, 12, 0, tzinfo=UTC)
BASE_URL = "http://exchange.test/api/v3/brokerage"
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
def present():
    return PRESENT


@pytest.fixture
def make_exchange():
    def make(present=None, behaviour=None, private_rate=0, public_rate=0, checker=None, **market_options):
        return Exchange(
            build_markets(market_options.pop("kind", "planted"), **market_options),
            present or Present(PRESENT, stepped=True),
            checker or TokenChecker({}),
            TokenBucket(public_rate),
            TokenBucket(private_rate),
            behaviour=behaviour or Behaviour(),
        )

    return make


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
