"""What the benchmarks share: a local exchange, a folder that goes away, a table of figures."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from desk.commands.children import child, free_port, listens, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PRESENT = datetime(2025, 11, 10, tzinfo=UTC)
console = Console()


@contextmanager
def folder() -> Iterator[Path]:
    """A temporary DESK_HOME."""
    with tempfile.TemporaryDirectory(prefix="candledesk-bench-") as name:
        yield Path(name)


@contextmanager
def local_exchange(home: Path, *options: str) -> Iterator[dict[str, str]]:
    """A local exchange in a process of its own; yields the environment that points at it."""
    port, log = free_port(), home / "exchange.log"
    command = [
        sys.executable,
        "-m",
        "desk",
        "exchange",
        "--port",
        str(port),
        "--stepped",
        "--start",
        PRESENT.isoformat(),
    ]
    with child([*command, *options], log, os.environ) as process:
        wait_for(process, lambda: listens(port), "the local exchange", log)
        yield {
            **os.environ,
            "DESK_HOME": str(home / "var"),
            "COINBASE_BASE_URL": f"http://127.0.0.1:{port}/api/v3/brokerage",
            "CLOCK": "exchange",
        }


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print one table of figures with the machine it was made on."""
    table = Table(
        title=f"{title}\n{platform.machine()}, {os.cpu_count()} cores, {datetime.now(UTC):%Y-%m-%d}",
        title_justify="left",
    )
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*(f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row))
    console.print(table)
