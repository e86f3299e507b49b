"""Print the blocks of a report in the terminal: the same tables and sentences that its page shows, without the pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import rich.table
from rich.console import Console
from rich.text import Text as Words

from reports.page.document import Cell, Table, Text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from reports.page.document import Block

_STYLES = {"good": "green", "bad": "bold red", "wait": "yellow"}


def screen() -> Console:
    """Return the terminal, or a page so wide that a pipe cuts no row in two."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(width=250, highlight=False)


def print_blocks(console: Console, blocks: Iterable[Block]) -> None:
    """Print tables and texts; anything else is for a page."""
    for block in blocks:
        if isinstance(block, Table):
            console.print(rich_table(block) if block.rows else block.empty)
        elif isinstance(block, Text):
            console.print(block.text, soft_wrap=True, markup=False)


def rich_table(table: Table) -> rich.table.Table:
    """Return a table as the terminal draws it: numbers to the right, long words broken rather than cut."""
    drawn = rich.table.Table(box=None, header_style="bold", pad_edge=False)
    first = table.rows[0] if table.rows else table.columns
    for name, cell in zip(table.columns, first, strict=True):
        is_number = isinstance(cell, Cell) and cell.tone == "number"
        drawn.add_column(name, justify="right" if is_number else "left", overflow="fold")
    for row in table.rows:
        cells = (cell if isinstance(cell, Cell) else Cell(cell) for cell in row)
        drawn.add_row(*(Words(cell.text, style=_STYLES.get(cell.tone, "")) for cell in cells))
    return drawn
