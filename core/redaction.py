"""Take secrets out of text and URIs by their structure, never by how long a word is.

In a URI of a store of files the bucket and the path are names, and what may be a secret is the user and the query. In any
other, such as an alert address or a web folder, all but the scheme and the host is secret.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterable

HIDDEN = "(hidden)"
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]*")
_PARTS = re.compile(r"(?P<scheme>[^:]*)://(?P<authority>[^/?#;]*)(?P<path>[^?#;]*)(?P<more>.*)", re.DOTALL)
_BORDERS = re.compile(r"[/?&=;#@:,]+")
_STORES = frozenset({"file", "s3", "gs", "abfs", "abfss", "hdfs"})
_AZURE = frozenset({"abfs", "abfss"})
_WEB = frozenset({"http", "https"})
_SETTINGS = frozenset({"allow_bucket_creation", "allow_bucket_deletion", "endpoint_override", "region", "scheme"})
"""What a query may name that is no secret."""
_LAST_PORT = 65_535
_WHOLE = 6
"""A part shorter than this is hidden only as a word of its own: a topic `a` must not black out every a."""


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Return ``text`` with every URL in it redacted, and without any secret part of the URLs in ``secrets``."""
    text = _URL.sub(lambda match: redact_uri(match[0]), text)
    for part in sorted({part for url in secrets for part in _secret_parts(url)}, key=lambda part: (-len(part), part)):
        pattern = re.escape(part)
        text = re.sub(pattern if len(part) >= _WHOLE else rf"(?<![A-Za-z0-9]){pattern}(?![A-Za-z0-9])", HIDDEN, text)
    return text


def redact_uri(uri: str) -> str:
    """Return one URI as it may be printed and stored; what is no URI is returned as it is."""
    if (parts := _PARTS.fullmatch(uri)) is None:
        return uri
    scheme, path, more = parts["scheme"].lower(), parts["path"], parts["more"]
    user, at, _ = parts["authority"].rpartition("@")
    host = _host(scheme, parts["authority"])
    if scheme in _STORES:
        who = f"{user}@" if _is_container(scheme, user) else f"{HIDDEN}@" if at else ""
        return f"{parts['scheme']}://{who}{host}{path}{f'?{HIDDEN}' if more else ''}"
    if host == HIDDEN:
        return f"{parts['scheme']}://{HIDDEN}"
    return (
        f"{parts['scheme']}://{host}/{HIDDEN}" if path.strip("/") or more or at else f"{parts['scheme']}://{host}{path}"
    )


def credential_in(uri: str) -> str:
    """Return which part of a folder's URI may hold a credential, in words; empty where none does."""
    if (parts := _PARTS.fullmatch(uri)) is None:
        return ""
    scheme, more = parts["scheme"].lower(), parts["more"]
    user, at, named = parts["authority"].rpartition("@")
    if at and not _is_container(scheme, user):
        return "a user before the @"
    if ":" in named and HIDDEN in _host(scheme, named):
        return "a port that is no number"
    names = {unquote(pair.partition("=")[0]) for pair in re.split(r"[?&;#]", more) if pair}
    if more[:1] in {";", "#"} or not names <= _SETTINGS:
        return "a query other than " + ", ".join(sorted(_SETTINGS)) if more[0] == "?" else f"parts after {more[0]}"
    return ""


def _secret_parts(url: str) -> set[str]:
    """Return the parts of a URL that nobody may read, as they stand and decoded."""
    if (parts := _PARTS.fullmatch(url)) is None:
        return {url} - {""}
    scheme, authority, path, more = parts["scheme"].lower(), parts["authority"], parts["path"], parts["more"]
    user, _, _ = authority.rpartition("@")
    host = _host(scheme, authority)
    if scheme in _STORES:
        secret = ["" if _is_container(scheme, user) else user, more]
    else:
        secret = [authority if HIDDEN in host else user, path + more]
    whole = {part for text in secret for part in (text.strip("/?#;"), *_BORDERS.split(text)) if part}
    return whole | {unquote(part) for part in whole}


def _is_container(scheme: str, user: str) -> bool:
    """`abfs://container@account` is how Azure writes a folder; with a colon it is an account and its key."""
    return scheme in _AZURE and bool(user) and ":" not in user


def _host(scheme: str, authority: str) -> str:
    """Return host and port as they may be shown; HIDDEN for a port that is no number, and where the host is a token or a topic."""
    name, colon, port = authority.rpartition("@")[2].partition(":")
    if not (scheme in _STORES | _WEB or name == "localhost" or "." in name):
        return HIDDEN
    is_port = port.isascii() and port.isdigit() and int(port[:6]) <= _LAST_PORT
    return f"{name}{colon}{port if is_port or not port else HIDDEN}"
