"""What the benchmarks share: a local exchange, a folder that goes away, a table of figures."""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from rich.console import Console
from rich.table import Table

from desk.child_servers import child, free_port, listens, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PRESENT = datetime(2025, 11, 10, tzinfo=UTC)
console = Console()


@contextmanager
def folder() -> Iterator[Path]:
    """A temporary DESK_HOME."""
    with tempfile.TemporaryDirectory(prefix="candledesk-bench-") as name:
        yield Path(name)


@dataclass(frozen=True)
class ExchangeProcess:
    """A local exchange in a process of its own."""

    port: int
    process: psutil.Process

    @property
    def environ(self) -> dict[str, str]:
        """The settings that point at it."""
        return {"COINBASE_BASE_URL": f"http://127.0.0.1:{self.port}/api/v3/brokerage", "CLOCK": "exchange"}

    def stats(self) -> dict[str, Any]:
        """What it has answered so far."""
        return self._ask("stats", None)

    def requests(self) -> int:
        """Requests for market data so far, answered well or badly; those for the time are not counted."""
        counts = self.stats()["counts"]
        return int(counts.get("public_requests", 0)) + int(counts.get("private_requests", 0))

    def plan_faults(self, faults: Sequence[dict[str, object]]) -> None:
        """Replace the planned faults."""
        self._ask("faults", {"clear": True, "faults": list(faults)})

    def step_to(self, moment: datetime) -> None:
        """Move its present."""
        self._ask("clock", {"advance_to": moment.isoformat()})

    def cpu_seconds(self) -> float:
        """CPU time it has used, generating its markets included."""
        used = self.process.cpu_times()
        return float(used.user + used.system)

    def _ask(self, what: str, body: dict[str, object] | None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/_control/{what}", data)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return dict(json.load(answer))


@contextmanager
def exchange_process(home: Path, *options: str, present: datetime = PRESENT) -> Iterator[ExchangeProcess]:
    """A local exchange whose clock is stepped, ready: its markets are generated up to ``present``."""
    port, log = free_port(), home / "exchange.log"
    command = [sys.executable, "-m", "desk", "exchange", "--stepped", "--port", str(port)]
    with child([*command, "--start", present.isoformat(), *options], log, os.environ) as process:
        wait_for(process, lambda: listens(port), "the local exchange", log)
        yield ExchangeProcess(port, psutil.Process(process.pid))


@contextmanager
def local_exchange(home: Path, *options: str) -> Iterator[dict[str, str]]:
    """A local exchange in a process of its own; yields the environment that points at it."""
    with exchange_process(home, *options) as exchange:
        yield {**os.environ, "DESK_HOME": str(home / "var"), **exchange.environ}


def new_key(home: Path) -> tuple[dict[str, str], tuple[str, ...]]:
    """Make an ES256 key for one run; return the client's settings and the options that register it with the exchange."""
    key, name = ec.generate_private_key(ec.SECP256R1()), "organizations/bench/apiKeys/bench"
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
    public = home / "public.pem"
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    client = {"COINBASE_API_KEY": name, "COINBASE_API_SECRET": secret.replace("\n", "\\n")}
    return client, ("--public-key", str(public), "--key-name", name)


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
