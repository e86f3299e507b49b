"""Link records so that an edit of any of them shows: each link is a hash over its record and the link before.

The registry's file (`models.registry.events`), its tables (`store.registry_mirror`) and the checks in `sql/checks` compute
the same links, the last in SQL; a test holds them against each other.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

_LINK = re.compile(r"[0-9a-f]{64}")


def link(previous: str, *fields: str) -> str:
    """Return the sha256 of the link before and of every field's own sha256, in hex.

    Hashing each field by itself says where one ends and the next begins, whatever they hold.
    """
    return sha256((previous + "".join(sha256(field.encode()).hexdigest() for field in fields)).encode()).hexdigest()


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
