"""Hash files, seal JSON content, so that an edit of either shows, and refuse ids that are no file name."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SEAL = "seal"
"""Key of a passport that holds the hash over everything else in it."""
_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")
"""An id names a file or a folder: with a slash, or dots in a row, it would lead out of the folder it is looked up in."""


def require_id(text: str, what: str) -> None:
    """Refuse an id of a model, candidate or data set that is no plain file name.

    Raises:
        ValueError: the text says which and why; readers of files turn it into their own error, with its repair.
    """
    if not _ID.fullmatch(text) or ".." in text:
        msg = f"{what} {text[:80]!r} is no id: letters, digits, dots, - and _ alone, and no two dots together"
        raise ValueError(msg)


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file's bytes, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def seal_of(content: Mapping[str, Any]) -> str:
    """Return the sha256 over everything in ``content`` but its seal, whatever the order of its keys."""
    unsealed = {key: value for key, value in content.items() if key != SEAL}
    return hashlib.sha256(
        json.dumps(unsealed, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    ).hexdigest()


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``content`` with its seal, as the last key."""
    unsealed = {key: value for key, value in content.items() if key != SEAL}
    return unsealed | {SEAL: seal_of(unsealed)}


def broken_seal(content: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the seal of ``content``; None where it holds, and where there is none."""
    if SEAL not in content:
        return None
    try:
        computed = seal_of(content)
    except ValueError:
        return "it holds figures that are no numbers"
    stored = content[SEAL]
    return None if stored == computed else f"its seal says {str(stored)[:12]}, its content gives {computed[:12]}"
