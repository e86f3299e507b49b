"""Send single requests to one exchange over HTTP: addresses, tokens, the shared rate limit.

Over TLS it is HTTP/2, one connection for all requests; over plain HTTP (the local exchange) HTTP/1.1 with as many kept
connections as there are requests at once.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from functools import partial
from typing import TYPE_CHECKING, Literal

import httpx

from core.errors import ConfigError
from market.providers.base import IN_FLIGHT, LOOPBACK, TryAgainError
from market.providers.bounded_body import BoundedBody
from market.providers.credentials import load_signer
from market.providers.exchange_time import ClockReading
from market.providers.rate_limiter import SharedLimiter

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from core.clock import Clock
    from core.settings import Settings

Surface = Literal["open", "public", "private"]
"""``private`` carries a token; ``open`` is what needs none anywhere, such as the time."""

TIMEOUT = httpx.Timeout(15.0, connect=5.0)
"""Seconds without a byte; without the line below a server that drips one now and then would hold a request for ever."""
WHOLE_ANSWER_SECONDS = 45.0
MAX_CONCURRENT = 16
"""Requests of one caller that wait for an answer at the same time."""

# at DEBUG it writes each header it packs, tokens included
logging.getLogger("hpack").setLevel(logging.INFO)


class Connection:
    """Sends single requests; any number may be on the way."""

    def __init__(self, settings: Settings, machine: Clock, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """Read the key and prepare a client; nothing is asked yet.

        Raises:
            CredentialsError: the key cannot be read.
            ConfigError: the base URL is no http(s) address, or one to which a key would go in the clear, or SSL_CERT_FILE
                holds no certificates.
        """
        self.base = base_url(settings.coinbase_base_url)
        self.signer = load_signer(settings)
        _require_privacy(self.base, has_key=self.signer is not None)
        self.clock = ClockReading()
        self.rate = settings.private_requests_per_second if self.signer else settings.public_requests_per_second
        self._settings = settings
        self._machine = machine
        self._limiters: dict[Surface, SharedLimiter] = {}
        is_https = self.base.scheme == "https"
        self._client = httpx.AsyncClient(
            transport=transport,
            timeout=TIMEOUT,
            http2=is_https,
            limits=httpx.Limits(
                max_connections=MAX_CONCURRENT, max_keepalive_connections=MAX_CONCURRENT, keepalive_expiry=30.0
            ),
            headers={
                "user-agent": "candledesk",
                "cache-control": "no-cache",
                "accept-encoding": BoundedBody.ENCODINGS,
            },
            trust_env=self.base.host not in LOOPBACK,
            verify=_authorities(is_https=is_https and transport is None),
        )

    async def aclose(self) -> None:
        """Close connections and the shared rate limits' files."""
        await self._client.aclose()
        for limiter in self._limiters.values():
            limiter.close()

    @property
    def surface(self) -> Surface:
        """Which twin to ask: the private one with a key, which is throttled more gently."""
        return "private" if self.signer is not None else "public"

    @property
    def concurrency(self) -> int:
        """How many requests one caller keeps on the way: enough for the rate at half a second an answer."""
        return min(max(IN_FLIGHT, self.rate // 2), MAX_CONCURRENT)

    @property
    def now(self) -> datetime:
        """The exchange's wall clock, as far as it is known."""
        return self._machine.now() + self.clock.offset

    async def send(
        self,
        path: str,
        query: Mapping[str, str],
        surface: Surface,
        *,
        authorization: str | None = None,
        is_limited: bool = True,
    ) -> httpx.Response:
        """Ask once, when the shared rate limit allows it, with a token made for this try alone.

        Args:
            path: Under the base URL.
            query: Parameters.
            surface: Whose rate limit counts, and whether a token is sent.
            authorization: Sent in place of the token that would be made; for probing.
            is_limited: Whether to wait for the shared rate limit; only a probe for that limit does not.

        Raises:
            TryAgainError: no answer, or half of one.
        """
        if is_limited:
            await self._limiter(surface).acquire()
        url = self.base.copy_with(path=self.path(path))
        failure = ""
        try:
            async with asyncio.timeout(WHOLE_ANSWER_SECONDS):
                sign = partial(self._sign, surface, authorization)
                async with self._client.stream("GET", url, params=dict(query), auth=sign) as response:
                    return await _whole(response)
        except TimeoutError:
            failure = f"no whole answer within {WHOLE_ANSWER_SECONDS:g} s"
        except (httpx.TransportError, httpx.DecodingError) as error:
            failure = f"{type(error).__name__} {error}".strip()
        except ValueError as error:
            failure = f"an answer that cannot be taken: {error}"
        # raised out here, where the error that holds the request and so the token is no longer chained to it
        raise TryAgainError(failure)

    def hold(self, surface: Surface, seconds: float) -> None:
        """Let nobody on this machine ask for ``seconds``: the exchange said so to one process, it means all."""
        self._limiter(surface).hold(seconds)

    def _sign(self, surface: Surface, authorization: str | None, request: httpx.Request) -> httpx.Request:
        """Put the header in at the last moment, so that no variable of ours ever holds a token."""
        if authorization is not None:
            request.headers["authorization"] = authorization
        elif surface == "private" and self.signer is not None:
            request.headers["authorization"] = self.bearer(request.method, request.url.path)
        return request

    def bearer(self, method: str, path: str, validity: tuple[int, int] | None = None) -> str:
        """Return the value of the Authorization header for one request, its token made now.

        Args:
            method: ``GET``.
            path: The whole path, that of the base URL included.
            validity: ``nbf`` and ``exp``, unix seconds, in place of the usual; for probing.

        Raises:
            ConfigError: there is no key.
        """
        if self.signer is None:
            msg = "a signed request needs a key: set COINBASE_API_KEY and COINBASE_API_SECRET"
            raise ConfigError(msg)
        return f"Bearer {self.signer.token(method, self._settings.coinbase_jwt_host, path, self.now, validity)}"

    def path(self, path: str) -> str:
        """Return ``path`` with that of the base URL before it."""
        return self.base.path.rstrip("/") + path

    def _limiter(self, surface: Surface) -> SharedLimiter:
        """Return the limit of a surface; what is open counts on the surface that is asked otherwise."""
        kind = self.surface if surface == "open" else surface
        if kind not in self._limiters:
            settings = self._settings
            is_private = kind == "private"
            rate = settings.private_requests_per_second if is_private else settings.public_requests_per_second
            group = f"{self.base.netloc.decode()} {kind}"
            self._limiters[kind] = SharedLimiter(settings.paths.rate_limit, group, rate)
        return self._limiters[kind]


async def _whole(response: httpx.Response) -> httpx.Response:
    """Return the answer with its body, read as far as its bounds; what it was packed in is no longer said of it.

    Raises:
        ValueError: it is too long or cannot be unpacked.
    """
    if response.is_stream_consumed:
        # a transport that holds its answers in memory, as tests have: there is nothing left to bound
        return response
    body = BoundedBody(response.headers.get("content-encoding", ""))
    async for chunk in response.aiter_raw():
        body.add(chunk)
    framing = ("content-encoding", "content-length", "transfer-encoding")
    headers = [(name, value) for name, value in response.headers.multi_items() if name not in framing]
    return httpx.Response(response.status_code, headers=headers, content=body.whole(), request=response.request)


def _require_privacy(base: httpx.URL, *, has_key: bool) -> None:
    if has_key and base.scheme == "http" and base.host not in LOOPBACK:
        msg = (
            f"COINBASE_BASE_URL {base} is plain http to another machine: who is on the way could read the API key's tokens; "
            "write https://, or unset COINBASE_API_KEY and COINBASE_KEY_FILE"
        )
        raise ConfigError(msg)


def _authorities(*, is_https: bool) -> ssl.SSLContext:
    """Return whom to trust: SSL_CERT_FILE or SSL_CERT_DIR where set, on loopback too, else the usual authorities.

    Raises:
        ConfigError: what they name holds no certificates.
    """
    if not is_https:
        # a context without authorities trusts nobody; loading them for plain http costs memory and a tenth of a second
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        return httpx.create_ssl_context()
    except (OSError, ssl.SSLError) as error:
        msg = f"the certificates to trust cannot be read ({error}); correct or unset SSL_CERT_FILE and SSL_CERT_DIR"
        raise ConfigError(msg) from error


def base_url(text: str) -> httpx.URL:
    """Return the address of an API.

    Raises:
        ConfigError: it is none.
    """
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, ValueError):
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host:
        msg = f"COINBASE_BASE_URL {text!r} is no address; write for example https://api.coinbase.com/api/v3/brokerage"
        raise ConfigError(msg)
    return url
