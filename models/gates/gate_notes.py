"""What people read under a gate table: is it feasible at all, would another profile take it, how used is the test part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def beside_the_gates(passport: Mapping[str, Any], product: str) -> list[str]:
    """Return the lines, from the passport alone; a passport of an older version has fewer."""
    verdict = (passport.get("verdicts") or {}).get(product) or {}
    profile = (passport.get("judged") or {}).get("profile") or {}
    lines = []
    feasible = verdict.get("feasibility") or {}
    if feasible.get("sentence"):
        lines.append(f"feasibility: {feasible['sentence']}")
    others = {name: refused for name, refused in (verdict.get("profiles") or {}).items() if name != profile.get("name")}
    if others:
        told = "; ".join(
            f"{name} would {'accept it' if not refused else 'refuse it by ' + ', '.join(refused)}"
            for name, refused in others.items()
        )
        lines.append(f"other profiles (GATE_PROFILE): {told}")
    looks = profile.get("looks")
    if looks is not None:
        lines.append(_looks(int(looks)))
    return lines


def _looks(looks: int) -> str:
    if looks <= 1:
        return "test part: this is the first look at it"
    return (
        f"test part: {looks} trainings share its minutes (each counted once a coin), each a chance to be lucky: lower bounds are held at "
        f"{100 * (1 - 0.05 / looks):.2f} % instead of 95; a later span would be a fresh one"
    )
