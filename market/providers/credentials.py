"""Read Coinbase keys in all the forms people have them, and make the token for one request.

No text here ever contains key material: a malformed key is described by the setting that holds it.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import secrets
from typing import TYPE_CHECKING

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from core.errors import CredentialsError

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from core.settings import Settings

LIFETIME_SECONDS = 120
BACK_DATED_SECONDS = 5
"""Coinbase gives ``nbf`` no leeway, and a clock one second fast is common."""
_PEM = re.compile(r"-----BEGIN ([A-Z ]+)-----(.*?)-----END \1-----", re.DOTALL)
_URL_SAFE = str.maketrans("-_", "+/")
_FORMS = "a PEM private key (EC P-256 or Ed25519) or base64 of 32 or 64 bytes, as downloaded from Coinbase"


class Signer:
    """Makes one token for each request; its text form names the key and nothing else."""

    def __init__(self, name: str, key: EllipticCurvePrivateKey | Ed25519PrivateKey) -> None:
        """Sign with ``key``, known to the exchange as ``name``."""
        self.name = name
        self._key = key
        self.algorithm = "EdDSA" if isinstance(key, Ed25519PrivateKey) else "ES256"

    def __repr__(self) -> str:
        return f"Signer({self.label}, {self.algorithm})"

    @property
    def label(self) -> str:
        """The end of the key's name, enough to tell two keys apart."""
        return f"...{self.name[-6:]}"

    def token(self, method: str, host: str, path: str, now: datetime, validity: tuple[int, int] | None = None) -> str:
        """Return a fresh token for one method and path, good for two minutes.

        Args:
            method: ``GET``.
            host: The host the exchange expects in the token, whatever address it is reached at.
            path: Path without query.
            now: The exchange's idea of the present.
            validity: ``nbf`` and ``exp``, unix seconds, in place of the usual; to learn what is tolerated.
        """
        start = int(now.timestamp()) - BACK_DATED_SECONDS
        not_before, expires = validity or (start, start + LIFETIME_SECONDS)
        claims = {
            "sub": self.name,
            "iss": "cdp",
            "nbf": not_before,
            "exp": expires,
            "uri": f"{method} {host}{path}",
        }
        headers = {"kid": self.name, "nonce": secrets.token_hex(32)}
        return jwt.encode(claims, self._key, algorithm=self.algorithm, headers=headers)


def load_signer(settings: Settings) -> Signer | None:
    """Return the signer of the configured key, or None where no key is set.

    Raises:
        CredentialsError: half a key, or one in no form that can be read; names the setting, never shows it.
    """
    if settings.coinbase_key_file is not None:
        name, secret = _from_file(settings.coinbase_key_file)
        return Signer(name, parse_private_key(secret, "privateKey in COINBASE_KEY_FILE"))
    name, secret = _unwrapped(settings.coinbase_api_key), settings.coinbase_api_secret.get_secret_value().strip()
    if not name and not secret:
        return None
    if not name or not secret:
        given, missing = ("COINBASE_API_KEY", "COINBASE_API_SECRET")[:: 1 if name else -1]
        msg = f"{given} is set but {missing} is not; set both for the private API, or neither for the public one"
        raise CredentialsError(msg)
    return Signer(name, parse_private_key(secret, "COINBASE_API_SECRET"))


def parse_private_key(text: str, setting: str) -> EllipticCurvePrivateKey | Ed25519PrivateKey:
    r"""Read a private key as people paste it: literal or doubled ``\n``, lost line ends, quotes, a comma, stray blanks.

    Args:
        text: The secret.
        setting: Where it came from, for the message.

    Raises:
        CredentialsError: it is in no form that can be read.
    """
    plain = _unwrapped(text)
    key = _from_pem(plain, setting) if "-----BEGIN" in plain else _from_base64(plain, setting)
    if isinstance(key, EllipticCurvePrivateKey) and not isinstance(key.curve, SECP256R1):
        msg = f"{setting} holds an EC key on the curve {key.curve.name}; Coinbase takes P-256 only, make a new API key"
        raise CredentialsError(msg)
    return key


def _unwrapped(text: str) -> str:
    """Return a pasted value with its line ends real, without what surrounds it: blanks, quotes, a comma, a byte-order mark."""
    return re.sub(r"\\+[nr]", "\n", text).strip("\"', \t\r\n\ufeff")


def _from_pem(plain: str, setting: str) -> EllipticCurvePrivateKey | Ed25519PrivateKey:
    blocks = list(_PEM.finditer(plain))
    if not blocks:
        raise _malformed(setting, "its PEM has no matching END line")
    # openssl writes EC PARAMETERS before the key
    block = next((part for part in blocks if part.group(1).endswith("PRIVATE KEY")), blocks[0])
    kind, body = block.group(1), "".join(block.group(2).split())
    lines = [body[at : at + 64] for at in range(0, len(body), 64)]
    whole = "\n".join([f"-----BEGIN {kind}-----", *lines, f"-----END {kind}-----", ""])
    try:
        key = load_pem_private_key(whole.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise _malformed(setting, "its PEM cannot be decoded") from None
    if isinstance(key, EllipticCurvePrivateKey | Ed25519PrivateKey):
        return key
    raise _malformed(setting, "its key is neither EC nor Ed25519")


def _from_base64(plain: str, setting: str) -> Ed25519PrivateKey:
    try:
        digits = "".join(plain.split()).rstrip("=").translate(_URL_SAFE)
        raw = base64.b64decode(digits + "=" * (-len(digits) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise _malformed(setting, "it is neither PEM nor base64") from None
    if len(raw) not in (32, 64):
        raise _malformed(setting, f"it is base64 of {len(raw)} bytes")
    key = Ed25519PrivateKey.from_private_bytes(raw[:32])
    if len(raw) == 64 and key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw) != raw[32:]:
        raise _malformed(setting, "its two halves do not belong together")
    return key


def _from_file(file: Path) -> tuple[str, str]:
    """Read a key file of either age: ``name`` or ``id``, and ``privateKey``."""
    try:
        # of bytes it finds UTF-8 and UTF-16, each with or without its mark
        content = json.loads(file.read_bytes())
        name = content.get("name") or content.get("id")
        secret = content.get("privateKey")
    except OSError as error:
        msg = f"COINBASE_KEY_FILE {file} cannot be read ({error.strerror}); correct the path or its permissions"
        raise CredentialsError(msg) from None
    except (ValueError, AttributeError, RecursionError):
        name = secret = None
    if not isinstance(name, str) or not isinstance(secret, str):
        msg = f"COINBASE_KEY_FILE {file} is not a Coinbase key file (JSON with name or id, and privateKey); download it again"
        raise CredentialsError(msg)
    return _unwrapped(name), secret


def _malformed(setting: str, problem: str) -> CredentialsError:
    return CredentialsError(f"{setting} cannot be used: {problem}; paste {_FORMS}")
