"""The tables of the registry's history: which models were judged, what serves, what happened to one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.registry.trials import judged_part, uses_of
from reports.page.document import Cell, Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from models.registry.events import RegistryEvent


def judged_models(events: Sequence[RegistryEvent], serving: Mapping[str, str], *, everything: bool) -> Table:
    """Return one row per slot and model: what it serves or which gates refused it.

    Args:
        events: The registry's history.
        serving: Slot -> the model it serves now.
        everything: Every model ever judged; else of each slot the one it serves and the one judged last.
    """
    last: dict[tuple[str, str], RegistryEvent] = {}
    newest: dict[str, str] = {}
    served = {(event.slot, event.model_id) for event in events if event.kind == "promotion"}
    for event in events:
        if event.kind in {"candidate", "refusal"}:
            last[event.slot, event.model_id] = event
            newest[event.slot] = event.model_id
    rows = []
    for (slot, model_id), event in sorted(last.items(), key=lambda item: (item[0][0], item[1].happened_at)):
        if everything or model_id in {serving.get(slot), newest[slot]}:
            state = Cell("passed") if event.kind == "candidate" else Cell("refused", "bad")
            if serving.get(slot) == model_id:
                state = Cell("promoted", "good")
            elif (slot, model_id) in served:
                state = Cell("served before")
            rows.append((slot, model_id, state, f"{event.happened_at:%Y-%m-%d %H:%M}", event.why))
    empty = "no model was ever judged; run: make train COIN=BTC, then make evaluate"
    return Table(("slot", "model", "state", "judged (UTC)", "why"), tuple(rows), empty)


def judged_part_lines(events: Sequence[RegistryEvent]) -> list[str]:
    """Return of the test part each slot was judged on last how often it was looked at."""
    parts = {event.slot: part for event in events if event.kind == "trial" and (part := judged_part(event)) is not None}
    lines = []
    for part in parts.values():
        count = uses_of(part, events)
        times, products = "once" if count == 1 else f"{count} times", ", ".join(sorted(part.products))
        lines.append(f"the test part {part.start:%Y-%m-%d} to {part.end:%Y-%m-%d} of {products} was looked at {times}")
    return list(dict.fromkeys(lines))


def history_table(events: Iterable[RegistryEvent]) -> Table:
    """Return events, oldest first: when, what, who, why."""
    rows = [
        (f"{event.happened_at:%Y-%m-%d %H:%M:%S}", event.kind, event.slot, event.who, event.why) for event in events
    ]
    return Table(
        ("when (UTC)", "what", "slot", "who", "why"), tuple(rows), "the registry of this folder knows nothing of it"
    )
