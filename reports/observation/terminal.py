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
    """Return the verdict, every exit criterion, and of every product which models serve it or which gates refused which."""
    verdict = summary.verdict
    parts: list[RenderableType] = [_headline(summary), _criteria(summary), _products(summary)]
    # the table of products says why each is refused
    refusals = {f"{item.product}: {item.reason}" for item in verdict.standings}
    reasons = [reason for reason in verdict.reasons if reason not in refusals]
    if reasons and verdict.word != "GO":
        parts.append(Text("\n".join(f"- {reason}" for reason in reasons)))
    return Group(*parts)


def _headline(summary: VerdictSummary) -> Text:
    verdict = summary.verdict
    return Text.assemble(
        (f"\n{verdict.word}", _STYLES[verdict.word]),
        f": {verdict.headline}   market: {summary.market}, mode: {summary.mode}\n",
    )


def _table(title: str, *columns: str) -> Table:
    """Return a table without lines, which leave too little of 80 columns: no column breaks a word but the last."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in columns[:-1]:
        table.add_column(name, no_wrap=True)
    table.add_column(columns[-1], overflow="fold")
    return table


def _criteria(summary: VerdictSummary) -> Table:
    table = _table("Exit criteria", "criterion", "state", "figure; bound")
    for item in summary.verdict.criteria:
        text = "; ".join(part for part in (item.figure, item.bound) if part)
        table.add_row(item.title, Text(item.state, style=_STYLES[item.state]), text)
    return table


def _products(summary: VerdictSummary) -> Table:
    table = _table("\nProducts", "product", "state", "model, and the gates that refused it")
    for item in summary.verdict.standings:
        for model in item.promoted:
            table.add_row(item.product, Text("promoted", style="green"), model)
        for model, gates in item.refused.items():
            table.add_row(item.product, Text("refused", style="red"), f"{model}\n{', '.join(gates)}")
        if not item.promoted and not item.refused:
            table.add_row(item.product, Text("refused", style="red"), item.reason)
    return table
