"""A local exchange asked in process: no socket, no waiting."""

import asyncio
import secrets
import time

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from market.exchange.app import BASE_PATH, build_app


@pytest.fixture
def ask():
    """Return a function that asks an exchange once; paths are under the API's base unless they are controls."""

    def once(exchange, path, params=None, *, method="GET", json=None, headers=None):
        async def go():
            transport = httpx.ASGITransport(app=build_app(exchange))
            async with httpx.AsyncClient(transport=transport, base_url="http://desk") as client:
                url = path if path.startswith("/_") else BASE_PATH + path
                return await client.request(method, url, params=params, json=json, headers=headers)

        return asyncio.run(go())

    return once


@pytest.fixture
def window():
    """Return the query of a candle request."""

    def query(start, end, granularity="ONE_MINUTE"):
        return {"start": int(start.timestamp()), "end": int(end.timestamp()), "granularity": granularity}

    return query


@pytest.fixture(params=["ES256", "EdDSA"])
def key_pair(request):
    """Return an algorithm, a private key and its public half."""
    private = (
        ec.generate_private_key(ec.SECP256R1()) if request.param == "ES256" else ed25519.Ed25519PrivateKey.generate()
    )
    return request.param, private, private.public_key()


@pytest.fixture
def make_token():
    """Return a function that makes a token; options overrule claims, headers by ``header_<name>``."""

    def make(private, algorithm, path, **changes):
        now = int(time.time())
        claims = {"sub": "key/1", "iss": "cdp", "nbf": now, "exp": now + 120, "uri": f"GET api.coinbase.com{path}"}
        headers = {"kid": "key/1", "nonce": secrets.token_hex(16)}
        for name, value in changes.items():
            target, key = (headers, name.removeprefix("header_")) if name.startswith("header_") else (claims, name)
            target[key] = value
            if value is None:
                del target[key]
        return jwt.encode(claims, private, algorithm=algorithm, headers=headers)

    return make
