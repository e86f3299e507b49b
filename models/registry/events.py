"""The registry's file: events that only grow, each with an id that is a hash over itself and all before it.

An id that is such a link (64 hex digits) cannot survive an edit of its event or of any earlier one; events of the first
versions have random ids and are covered by the first link after them. `head` says how many events there are, so
that a file that was cut at its end is told from a shorter history. Older versions of this code read the file and can extend it
(what they add counts once `desk models restore` took it from the tables, see `chain_head`): they know its version, its ``current`` and the seven fields of an event, and pass over the rest.
"""

from __future__ import annotations

import getpass
import os
import socket
from collections import deque
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from core.errors import ModelError
from core.files import as_json_bytes, read_json
from core.integrity import event_link, is_link, require_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

KINDS = ("training", "trial", "candidate", "refusal", "promotion", "rollback")
SWITCHES = ("promotion", "rollback")
_VERSION = 1
_REPAIR = "its events are also in the table registry_events, put them back with: desk models restore; or use a copy of the file"


@dataclass(frozen=True, slots=True)
class RegistryEvent:
    """One thing that happened; never changed afterwards."""

    event_id: str
    happened_at: datetime
    kind: str
    slot: str
    model_id: str
    who: str
    why: str

    def __post_init__(self) -> None:
        """Refuse a model that is no folder of the promoted ones; a rollback to nothing names none."""
        if self.model_id:
            require_id(self.model_id, "model")

    def link(self, previous: str) -> str:
        """Return the hash over this event and, by way of ``previous``, all before it."""
        return event_link(
            previous, self.event_id, self.happened_at, self.kind, self.slot, self.model_id, self.who, self.why
        )

    @property
    def details(self) -> dict[str, str]:
        """Return the ``name=value`` words of ``why``: how a judging tells its terms, test part and passport."""
        return dict(word.split("=", 1) for word in self.why.split() if "=" in word)


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event that is not yet linked."""

    kind: str
    slot: str
    model_id: str
    why: str
    who: str | None = None


def links(events: Sequence[RegistryEvent]) -> Iterator[str]:
    """Yield the link of each event in turn."""
    previous = ""
    for event in events:
        previous = event.link(previous)
        yield previous


def appended(events: Sequence[RegistryEvent], fresh: Sequence[NewEvent]) -> tuple[RegistryEvent, ...]:
    """Return ``fresh`` as events, linked to each other and to ``events``."""
    previous = _last(links(events))
    linked = []
    for new in fresh:
        texts = map(_storable, (new.kind, new.slot, new.model_id, new.who or _who(), new.why))
        try:
            unnamed = RegistryEvent("0" * 64, datetime.now(UTC), *texts)
        except ValueError as error:
            msg = f"the registry records nothing of it: {error}; see the ids there are: desk models list --all"
            raise ModelError(msg) from None
        previous = unnamed.link(previous)
        linked.append(replace(unnamed, event_id=previous))
    return tuple(linked)


def read_events(path: Path) -> tuple[RegistryEvent, ...]:
    """Return every event of the file, oldest first; none if there is no file.

    Raises:
        ModelError: the file is damaged, was edited or cut, or is newer than this code; the text names the repair.
    """
    if not path.exists():
        return ()
    try:
        content = read_json(path)
    except ModelError as error:
        msg = f"{str(error).rpartition('; ')[0]}; {_REPAIR}"
        raise ModelError(msg) from error
    if content.get("version") != _VERSION:
        msg = f"{path} has version {content.get('version')}, this code reads {_VERSION}; update Candledesk"
        raise ModelError(msg)
    try:
        events = tuple(_event(entry) for entry in content["events"])
        fault = _fault(content, events)
    except (KeyError, TypeError, ValueError) as error:
        msg = f"{path} is damaged ({error!r}); {_REPAIR}"
        raise ModelError(msg) from error
    if fault is not None:
        msg = f"{path} is not as it was written: {fault}; {_REPAIR}"
        raise ModelError(msg)
    return events


def as_file(events: Sequence[RegistryEvent]) -> bytes:
    """Return the file's bytes."""
    return as_json_bytes(
        {
            "version": _VERSION,
            "current": current_names(events),
            "head": {"count": len(events), "link": _last(links(events))},
            "events": [asdict(event) | {"happened_at": event.happened_at.isoformat()} for event in events],
        }
    )


def current_names(events: Sequence[RegistryEvent]) -> dict[str, str]:
    """Return slot to model, as the last switch of each slot says; a slot rolled back to nothing is absent."""
    names = {event.slot: event.model_id for event in events if event.kind in SWITCHES}
    return {slot: name for slot, name in sorted(names.items()) if name}


def _fault(content: dict[str, Any], events: Sequence[RegistryEvent]) -> str | None:
    """Return how the file contradicts itself, None if it does not."""
    previous = ""
    for position, event in enumerate(events, 1):
        previous = event.link(previous)
        if is_link(event.event_id) and event.event_id != previous:
            which = f"{event.kind} of {event.model_id or 'nothing'} for {event.slot}, {event.happened_at:%Y-%m-%d %H:%M} UTC"
            return f"event {position} ({which}) or one before it was changed, removed or put in"
    head = content.get("head")
    if head is None:
        # an older version wrote last: it knows no head, and what it appended has an id of its own kind
        return "its head is missing" if events and is_link(events[-1].event_id) else None
    if head != {"count": len(events), "link": previous}:
        count = head.get("count") if isinstance(head, dict) else None
        return f"its head tells of {count} events, {len(events)} are there"
    if content.get("current") != current_names(events):
        return "current is not what its events say"
    return None


def _event(entry: dict[str, Any]) -> RegistryEvent:
    event = RegistryEvent(**entry | {"happened_at": datetime.fromisoformat(entry["happened_at"])})
    wrong = [
        name for name in RegistryEvent.__slots__ if name != "happened_at" and type(getattr(event, name)) is not str
    ]
    if wrong or event.happened_at.tzinfo is None:
        msg = f"{', '.join(wrong) or 'happened_at'} of an event is not what it should be"
        raise ValueError(msg)
    return event


def _storable(text: str) -> str:
    """Replace what is no text in UTF-8, such as half a character typed on a command line."""
    return text.encode("utf-8", "replace").decode()


def _last(chain: Iterator[str]) -> str:
    last = deque(chain, maxlen=1)
    return last[0] if last else ""


def _who() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()}"
