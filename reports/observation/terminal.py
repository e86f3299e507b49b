"""Show the verdict as tables in the terminal, the last thing `make demo` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import RenderableType

    from reports.observation.verdict_page import VerdictSummary

_STYLES = {
    "pass": "green",
    "fail": "bold red",
    "not yet": "yellow",
    "GO": "bold green",
    "NO-GO": "bold red",
    "NEED MORE": "bold yellow",
}


def verdict_table(summary: VerdictSummary) -> RenderableType:
    """Return the verdict, every exit criterion, every product, and where the report lies."""
    verdict = summary.verdict
    parts: list[RenderableType] = [_headline(summary), _criteria(summary), _products(summary)]
    if verdict.reasons and verdict.word != "GO":
        parts.append(Text("\n".join(f"- {reason}" for reason in verdict.reasons)))
    parts.append(Text(f"Report: {summary.html}", style="dim"))
    return Group(*parts)


def _headline(summary: VerdictSummary) -> Text:
    verdict = summary.verdict
    return Text.assemble(
        (f"\n{verdict.word}", _STYLES[verdict.word]),
        f": {verdict.headline}   market: {summary.market}, mode: {summary.mode}\n",
    )


def _criteria(summary: VerdictSummary) -> Table:
    table = Table(title="Exit criteria", title_justify="left", title_style="bold")
    for name in ("criterion", "state", "figure", "bound"):
        table.add_column(name, overflow="fold")
    for item in summary.verdict.criteria:
        table.add_row(item.title, Text(item.state, style=_STYLES[item.state]), item.figure, item.bound)
    return table


def _products(summary: VerdictSummary) -> Table:
    table = Table(title="Products", title_justify="left", title_style="bold")
    for name in ("product", "state", "why"):
        table.add_column(name, overflow="fold")
    for item in summary.verdict.standings:
        state = Text("promoted", style="green") if item.is_promoted else Text("refused", style="red")
        table.add_row(item.product, state, ", ".join(item.promoted) if item.is_promoted else item.reason)
    return table
