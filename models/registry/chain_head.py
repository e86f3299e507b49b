"""Keep the head of the registry's chain apart from the registry: whoever writes events into the file alone is seen.

How the links are made is public, so a file whose links hold proves only that it was not changed by accident. Every writer
first says here, in the folder above, what the file is about to hold; the state before is kept too, because a writer may die
between the two files. A home of an older version has no such file; the first writer leaves one.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from core.errors import ModelError
from core.files import parse_json, write_json
from models.registry.events import links

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from models.registry.events import RegistryEvent


@dataclass(frozen=True, slots=True)
class ChainHead:
    """How many events there are, and the link of the last."""

    count: int
    link: str


@dataclass(frozen=True, slots=True)
class KeptHeads:
    """The file's content: what the registry may hold."""

    before: ChainHead
    """What it held when the last writer began."""
    after: ChainHead
    """What it holds when that writer is done."""
    version: int = 1


def head_file(registry: Path) -> Path:
    """Return where the head of a registry's chain is kept: ``var/.models-registry-head.json``."""
    return registry.parent.parent / f".{registry.parent.name}-registry-head.json"


def head_of(events: Sequence[RegistryEvent]) -> ChainHead:
    """Return the head of a chain."""
    return ChainHead(len(events), [*links(events)][-1] if events else "")


def announce(registry: Path, before: Sequence[RegistryEvent], after: Sequence[RegistryEvent]) -> None:
    """Say what the registry is about to hold; see `core.files.whole_file` for what it raises."""
    write_json(head_file(registry), asdict(KeptHeads(head_of(before), head_of(after))))


def head_fault(registry: Path, events: Sequence[RegistryEvent]) -> str | None:
    """Return why ``events`` are not what a writer left, None if they are, and where no writer left a head.

    Raises:
        ModelError: the file with the head cannot be read.
    """
    path = head_file(registry)
    try:
        kept = parse_json(KeptHeads, path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        msg = f"{path}, which keeps the head of the registry's chain, cannot be read ({error}); see desk models restore, or look at desk models list and remove it"
        raise ModelError(msg) from error
    if head_of(events) in (kept.before, kept.after):
        return None
    strange = events[kept.after.count :]
    what = ", ".join(f"{event.kind} of {event.model_id or 'nothing'} for {event.slot}" for event in strange[:3])
    more = f"; nobody here wrote the {what}" if what else ""
    return f"{path} tells of {kept.after.count} events, {len(events)} are there{more}"
