"""The tables of `desk null-check`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from models.gates import PROFILES
from validation.null_market.claims import LEAST_PROMOTED, Count, claims, refusals
from validation.null_market.universe import ALWAYS_ON, AUDITS

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Sequence

    from rich.console import Console

    from validation.null_market.universe import Outcome


def show(console: Console, outcomes: Sequence[Outcome], profile: str, seconds: float) -> None:
    """Print every universe, the counts by kind, which gates refused, and the two claims."""
    console.print(universe_table(outcomes))
    console.print(kind_table(outcomes, profile))
    console.print(gate_table(outcomes))
    for one in (one for one in outcomes if one.failure):
        console.print(f"universe {one.universe.number} failed: {one.failure}", style="bold red", soft_wrap=True)
    counted = claims(outcomes, profile)
    lines = [
        (f"{counted.false} promoted where there is no edge; none may be", counted.no_luck),
        (f"{counted.true} promoted where an edge is planted; {LEAST_PROMOTED:.0%} must be", counted.finds_edges),
    ]
    for line, is_good in lines:
        console.print(line, style="bold green" if is_good else "bold red", soft_wrap=True, highlight=False)
    console.print(
        f"by the figures of the forecast alone, without the gates that audit the judging, {counted.false_by_figures} would be "
        "promoted where there is no edge",
        soft_wrap=True,
        highlight=False,
    )
    spent = sum(one.seconds for one in outcomes)
    console.print(
        f"{len(outcomes)} universes, {spent:.0f} s of training and judging, {seconds:.0f} s now",
        style="dim",
        highlight=False,
    )


def universe_table(outcomes: Sequence[Outcome]) -> Table:
    """Return one row per universe."""
    table = Table(box=None, header_style="bold", pad_edge=False, title="universes", title_justify="left")
    for name in ("", "universe", "set", "days"):
        table.add_column(name)
    for name in ("accuracy", "base rate", "Brier skill", "log loss", "best baseline", "ECE", "seconds"):
        table.add_column(name, justify="right")
    table.add_column("refused by", overflow="fold")
    for one in outcomes:
        wrong = one.promoted == one.universe.is_null
        mark = Text("promoted" if one.promoted else "refused", style="bold red" if wrong else "green")
        figures = (
            "accuracy_above_base_rate",
            "accuracy_above_base_rate bound",
            "brier_skill",
            "beats_baselines",
            "beats_baselines bound",
            "calibration_error",
        )
        table.add_row(
            mark,
            one.universe.kind,
            one.universe.features,
            str(one.universe.days),
            *(_number(one.figures.get(name)) for name in figures),
            f"{one.seconds:.1f}",
            one.failure or ", ".join(one.refused_by),
        )
    return table


def kind_table(outcomes: Sequence[Outcome], profile: str) -> Table:
    """Return, by kind of universe, how many were promoted, and how many each profile would have accepted."""
    table = Table(box=None, header_style="bold", pad_edge=False, title="\nby kind", title_justify="left")
    table.add_column("universe")
    for name in ("tried", "promoted", *PROFILES, ALWAYS_ON, f"{profile}, audits left out"):
        table.add_column(name, justify="right")
    for kind in dict.fromkeys(one.universe.kind for one in sorted(outcomes, key=lambda one: not one.universe.is_null)):
        own = [one for one in outcomes if one.universe.kind == kind]
        accepted = [sum(one.passes(name) for one in own) for name in (*PROFILES, ALWAYS_ON)]
        by_figures = sum(one.passes(profile, without=AUDITS) for one in own)
        promoted = Count(sum(one.promoted for one in own), len(own))
        table.add_row(kind, str(len(own)), str(promoted), *(str(count) for count in (*accepted, by_figures)))
    return table


def gate_table(outcomes: Sequence[Outcome]) -> Table:
    """Return how often each gate refused, and how often it was the only one."""
    groups = {
        "no edge": [one for one in outcomes if one.universe.is_null],
        "edge": [one for one in outcomes if not one.universe.is_null],
    }
    counts: dict[str, tuple[Counter[str], Counter[str]]] = {name: refusals(own) for name, own in groups.items()}
    names = dict.fromkeys(name for every, _ in counts.values() for name, _ in every.most_common())
    table = Table(box=None, header_style="bold", pad_edge=False, title="\nwhat refused", title_justify="left")
    table.add_column("gate")
    for group, own in groups.items():
        table.add_column(f"{group}: of {len(own)}", justify="right")
        table.add_column("alone", justify="right")
    for name in names:
        cells = [str(count[name]) for pair in counts.values() for count in pair]
        table.add_row(name, *cells)
    return table


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
