"""What `desk models` and `desk evaluate` print: judged models, figures with intervals, gates, history."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from core.integrity import SEAL
from models.registry.trials import judged_part, uses_of

if TYPE_CHECKING:
    from models.registry.events import RegistryEvent


def screen() -> Console:
    """Return the terminal, or a page so wide that a pipe cuts no row in two."""
    console = Console()
    return console if console.is_terminal else Console(width=250)


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
    table = _table("slot", "model", "state", "judged (UTC)", "why")
    for (slot, model_id), event in sorted(last.items(), key=lambda item: (item[0][0], item[1].happened_at)):
        if everything or model_id in {serving.get(slot), newest[slot]}:
            state = _state(event, is_serving=serving.get(slot) == model_id, was_served=(slot, model_id) in served)
            table.add_row(slot, model_id, state, f"{event.happened_at:%Y-%m-%d %H:%M}", event.why)
    return table


def _state(event: RegistryEvent, *, is_serving: bool, was_served: bool) -> str:
    if is_serving:
        return "[green]promoted[/green]"
    if was_served:
        return "served before"
    return "passed" if event.kind == "candidate" else "[red]refused[/red]"


def judged_part_lines(events: Sequence[RegistryEvent]) -> list[str]:
    """Say of the test part each slot was judged on last how often it was looked at."""
    newest = {event.slot: event for event in events if event.kind == "trial" and judged_part(event) is not None}
    lines = []
    for event in newest.values():
        part = judged_part(event)
        if part is not None:
            count = uses_of(part, events)
            times = "once" if count == 1 else f"{count} times"
            of = ", ".join(sorted(part.products))
            lines.append(f"the test part {part.start:%Y-%m-%d} to {part.end:%Y-%m-%d} of {of} was looked at {times}")
    return list(dict.fromkeys(lines))


def history(events: Iterable[RegistryEvent]) -> Table:
    """Return events, oldest first: when, what, who, why."""
    table = _table("when (UTC)", "what", "slot", "who", "why")
    for event in events:
        table.add_row(f"{event.happened_at:%Y-%m-%d %H:%M:%S}", event.kind, event.slot, event.who, event.why)
    return table


def facts(passport: Mapping[str, Any]) -> Table:
    """Return where a model comes from and under which terms it was judged."""
    judged, training = passport.get("judged") or {}, passport.get("training") or {}
    table = Table(box=None, show_header=False, pad_edge=False)
    rows = {
        "architecture": passport.get("architecture"),
        "products": ", ".join(passport.get("products", ())),
        "data set": str(passport.get("dataset_digest", ""))[:16],
        "feature set": f"{passport.get('feature_set')}@{str(passport.get('feature_hash'))[:8]}",
        "graph": f"sha256 {str(passport.get('sha256'))[:16]}, opset {passport.get('opset')}",
        "trained": f"{training.get('windows', '?'):,} windows in {training.get('seconds', 0):.0f} s, by commit {str(training.get('commit'))[:12]}"
        if training.get("windows")
        else None,
        "judged": f"{judged.get('at')} by commit {str(judged.get('commit'))[:12]}" if judged else "not judged",
        "terms": f"gates {(judged.get('profile') or {}).get('name')}, costs {judged.get('cost_bps')} bps a round trip, {judged.get('trials')} trials"
        if judged
        else None,
        "seal": str(passport[SEAL])[:16] if SEAL in passport else "none: judged by an older version",
    }
    for name, text in rows.items():
        if text:
            table.add_row(name, str(text))
    return table


def figures(verdict: Mapping[str, Any]) -> Table:
    """Return every figure with its interval, and the baselines' beside it."""
    baselines: Mapping[str, Mapping[str, Any]] = verdict.get("baselines") or {}
    names = list(baselines)
    table = _table("figure", "value", "95 %", *names, right={"value", *names})
    for metric, found in (verdict.get("metrics") or {}).items():
        low, high = found.get("low_95"), found.get("high_95")
        interval = f"{number(low)} to {number(high)}" if low is not None else ""
        table.add_row(
            metric, number(found.get("value")), interval, *(number(baselines[name].get(metric)) for name in names)
        )
    return table


def calibration_lines(verdict: Mapping[str, Any]) -> list[str]:
    """Say which calibration was chosen and what it changed on the test part."""
    chosen = verdict.get("calibration") or {}
    if not chosen:
        return []
    # older passports name slope and shift beside the kind
    inner = chosen.get("parameters", {name: chosen[name] for name in ("slope", "shift") if name in chosen})
    told = ", ".join(f"{name} {value:.4f}" for name, value in inner.items() if isinstance(value, float))
    lines = [f"calibration {chosen.get('kind')} on {chosen.get('rows', '?')} rows{': ' + told if told else ''}"]
    change = verdict.get("calibrated") or {}
    if change.get("before") and change.get("after"):
        changes = (
            f"{name} {number(change['before'][name])} to {number(change['after'][name])}"
            for name in change["after"]
            if name in change["before"]
        )
        lines.append(f"on the test part: {', '.join(changes)}")
    return lines


def gates(found: Sequence[Mapping[str, Any]]) -> Table:
    """Return every gate: figure, bound, interval, pass or fail, and what would change it."""
    table = _table("gate", "", "figure", "bound", "95 %", "what would change it", right={"figure", "bound"})
    for gate in found:
        interval = f"{number(gate['low'])} to {number(gate['high'])}" if gate.get("low") is not None else ""
        state = "[green]pass[/green]" if gate["passed"] else "[red]FAIL[/red]"
        table.add_row(
            str(gate["name"]),
            state,
            number(gate.get("figure")),
            number(gate.get("bound")),
            interval,
            str(gate.get("sentence", "")),
        )
    return table


def number(value: object) -> str:
    """Return a figure with four digits, nothing for what is none."""
    return f"{value:.4f}" if isinstance(value, float | int) else ""


def _table(*names: str, right: Iterable[str] = ()) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in names:
        table.add_column(name, justify="right" if name in right else "left", overflow="fold")
    return table
