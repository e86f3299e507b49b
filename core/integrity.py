"""Hash files and seal JSON content, so that an edit of either shows."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SEAL = "seal"
"""Key of a passport that holds the hash over everything else in it."""


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
