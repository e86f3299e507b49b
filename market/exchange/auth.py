"""Check a request's JWT as Coinbase does: signature, names, times without leeway, method and path."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PublicKey = EllipticCurvePublicKey | Ed25519PublicKey
ISSUERS = ("cdp", "coinbase-cloud")
LIFETIME_SECONDS = 120
_REMEMBERED_NONCES = 20_000
"""Five times what 30 a second bring in the two minutes a token lives; older ones are refused as expired."""
_REPLAYED = "nonce used before"


def load_public_key(file: Path) -> PublicKey:
    """Read a PEM public key, P-256 or Ed25519.

    Raises:
        ConfigError: there is none in ``file``.
    """
    try:
        key = load_pem_public_key(file.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        msg = f"{file} holds no public key in PEM form; make one with openssl ec -pubout, and pass it as --public-key"
        raise ConfigError(msg) from error
    if isinstance(key, Ed25519PublicKey) or (
        isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1)
    ):
        return key
    msg = f"the key in {file} is neither P-256 nor Ed25519; make a key of one of these kinds"
    raise ConfigError(msg)


class TokenChecker:
    """Knows the registered keys and the host that tokens must be made for."""

    def __init__(
        self,
        keys: dict[str, PublicKey],
        host: str = "api.coinbase.com",
        *,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Register ``keys`` by name; ``wall`` is the machine's clock, whatever the exchange's own present is."""
        self._keys = keys
        self._host = host
        self._wall = wall
        self._nonces: dict[str, None] = {}
        self.refusals: Counter[str] = Counter()

    def accepts(
        self, method: str, path: str, authorization: str, *, leeway: float = 0.0, nonce_once: bool = True
    ) -> bool:
        """Return whether the header is good for this request; the reason against it is counted, never sent.

        Args:
            method: ``GET``.
            path: Path without query.
            authorization: The header.
            leeway: Seconds before ``nbf`` and after ``exp`` in which a token is still taken.
            nonce_once: Whether a nonce is good for one request only.
        """
        reason = self._fault(method, path, authorization, leeway)
        if reason == _REPLAYED and not nonce_once:
            reason = ""
        if reason:
            self.refusals[reason] += 1
        return not reason

    def _fault(self, method: str, path: str, authorization: str, leeway: float) -> str:
        scheme, _, token = authorization.partition(" ")
        if scheme != "Bearer" or not token:
            return "no bearer token"
        try:
            header = jwt.get_unverified_header(token)
            key = self._keys.get(str(header.get("kid")))
            if key is None:
                return "unknown key"
            algorithm = "EdDSA" if isinstance(key, Ed25519PublicKey) else "ES256"
            unchecked = dict.fromkeys(("verify_exp", "verify_nbf", "verify_iat", "verify_aud", "verify_iss"), False)
            claims = jwt.decode(token, key, algorithms=[algorithm], options=unchecked)  # type: ignore[arg-type]
        except jwt.PyJWTError:
            return "bad signature or form"
        return self._claim_fault(header, claims, f"{method} {self._host}{path}", leeway)

    def _claim_fault(self, header: dict[str, Any], claims: dict[str, Any], uri: str, leeway: float) -> str:
        not_before, expires = claims.get("nbf"), claims.get("exp")
        uris = claims.get("uris") or [claims.get("uri")]
        if not isinstance(not_before, int) or not isinstance(expires, int):
            return "times missing"
        faults = {
            "kid is not sub": header["kid"] != claims.get("sub"),
            "issuer": claims.get("iss") not in ISSUERS,
            "not yet valid": self._wall() < not_before - leeway,
            "expired": self._wall() >= expires + leeway,
            "lives too long": expires - not_before > LIFETIME_SECONDS,
            "uri": uri not in uris,
            "nonce missing": not header.get("nonce"),
        }
        first = next((name for name, is_fault in faults.items() if is_fault), "")
        return first or self._nonce_fault(str(header["nonce"]))

    def _nonce_fault(self, nonce: str) -> str:
        if nonce in self._nonces:
            return _REPLAYED
        self._nonces[nonce] = None
        if len(self._nonces) > _REMEMBERED_NONCES:
            self._nonces.pop(next(iter(self._nonces)))
        return ""
