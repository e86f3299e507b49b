"""Set up what benchmarks share: a local exchange, a temporary folder, a printed table of figures."""

from __future__ import annotations

import os
import platform
import tempfile
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from tests.campaign.harness import exchange_process

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from models.statistics.bootstrap import Interval

console = Console()


@contextmanager
def folder() -> Iterator[Path]:
    """A temporary DESK_HOME."""
    with tempfile.TemporaryDirectory(prefix="candledesk-bench-") as name:
        yield Path(name)


@contextmanager
def local_exchange(home: Path, *options: str) -> Iterator[dict[str, str]]:
    """A local exchange in a process of its own; yields the environment that points at it."""
    with exchange_process(home, *options) as exchange:
        yield {**os.environ, "DESK_HOME": str(home / "var"), **exchange.environ}


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print one table of figures with the machine it was made on."""
    table = Table(
        title=f"{title}\n{platform.machine()}, {os.cpu_count()} cores, {datetime.now(UTC):%Y-%m-%d}",
        title_justify="left",
        min_width=72,
    )
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*(f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row))
    console.print(table)


def shown(interval: Interval, scale: float = 1.0, digits: int = 1) -> str:
    """Write a figure with its interval."""
    text = f"{interval.value * scale:.{digits}f}"
    if interval.low is None or interval.high is None:
        return text
    return f"{text} ({interval.low * scale:.{digits}f} to {interval.high * scale:.{digits}f})"
