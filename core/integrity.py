"""Hash files, seal JSON content, chain records, so that an edit of any shows, and refuse ids that are no file name.

In a chain each link is a hash over its record and the link before. The registry's file (`models.registry.events`), its
tables (`store.registry_mirror`) and the checks in `sql/checks` compute the same links, the last in SQL; a test holds them
against each other.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

SEAL = "seal"
"""Key of a passport that holds the hash over everything else in it."""
_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")
"""An id names a file or a folder: with a slash, or dots in a row, it would lead out of the folder it is looked up in."""
_LINK = re.compile(r"[0-9a-f]{64}")


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


def link(previous: str, *fields: str) -> str:
    """Return the sha256 of the link before and of every field's own sha256, in hex.

    Hashing each field by itself says where one ends and the next begins, whatever they hold.
    """
    return hashlib.sha256(
        (previous + "".join(hashlib.sha256(field.encode()).hexdigest() for field in fields)).encode()
    ).hexdigest()


def is_link(text: str) -> bool:
    """Return whether ``text`` has the form of a link."""
    return _LINK.fullmatch(text) is not None


def microseconds(moment: datetime) -> str:
    """Return a moment as whole microseconds since 1970, the same text in Python and in SQL."""
    seconds = int(moment.replace(microsecond=0).timestamp())
    return str(seconds * 1_000_000 + moment.microsecond)


def event_link(previous: str, event_id: str, happened_at: datetime, *rest: str) -> str:
    """Return the link of a registry event; ``rest`` is kind, slot, model_id, who and why.

    An event's id is its link, so it cannot be part of it. Versions before had random ids; theirs are hashed with the rest.
    """
    old_id = () if is_link(event_id) else (event_id,)
    return link(previous, *old_id, microseconds(happened_at), *rest)
