"""Take secrets out of text by the structure of URLs, not by how long a word is: all but scheme and host is secret."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterable

HIDDEN = "(hidden)"
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>[^\s'\"<>]*)")
_BORDERS = re.compile(r"[/?&=;#@:,]+")
_WHOLE = 6
"""A part shorter than this is hidden only as a word of its own: a topic `a` must not black out every a."""


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Return ``text`` with every URL cut to scheme and host, and without any part of the URLs in ``secrets``."""
    text = _URL.sub(_shown, text)
    for part in sorted({part for url in secrets for part in secret_parts(url)}, key=lambda part: (-len(part), part)):
        pattern = re.escape(part)
        text = re.sub(pattern if len(part) >= _WHOLE else rf"(?<![A-Za-z0-9]){pattern}(?![A-Za-z0-9])", HIDDEN, text)
    return text


def secret_parts(url: str) -> set[str]:
    """Return the parts of a URL that nobody may read, as they stand and decoded; a host without a dot is a token or a topic."""
    _, _, rest = url.partition("://")
    authority, path = re.match(r"([^/?#;]*)(.*)", rest, re.DOTALL).groups()  # type: ignore[union-attr]  # it matches any text
    user, _, host = authority.rpartition("@")
    named, _, port = host.partition(":")
    secret = [user, path] if _is_host(named) and (port.isdigit() or not port) else [authority, path]
    parts = {part for text in secret for part in (text.strip("/?#;"), *_BORDERS.split(text)) if part}
    return parts | {unquote(part) for part in parts}


def _shown(match: re.Match[str]) -> str:
    rest = match["rest"]
    host = re.split(r"[/?#;]", rest, maxsplit=1)[0].rpartition("@")[2].partition(":")[0]
    return f"{match['scheme']}://{host}/{HIDDEN}" if _is_host(host) else f"{match['scheme']}://{HIDDEN}"


def _is_host(name: str) -> bool:
    return name == "localhost" or "." in name
