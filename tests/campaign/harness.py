"""What tests that kill processes share: a local exchange in a process of its own, forked children, waiting, killing."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing import forkserver
from typing import TYPE_CHECKING, Any

import psutil
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from desk.child_servers import child, free_port, listens, wait_for
from market.exchange.control_guard import TOKEN_HEADER, read_token

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.context import ForkServerContext
    from pathlib import Path

PRESENT = datetime(2025, 11, 10, tzinfo=UTC)


@dataclass(frozen=True)
class ExchangeProcess:
    """A local exchange in a process of its own, whose clock is stepped."""

    port: int
    process: psutil.Process
    present: datetime = PRESENT

    @property
    def environ(self) -> dict[str, str]:
        """The settings that point at it."""
        return {"COINBASE_BASE_URL": f"http://127.0.0.1:{self.port}/api/v3/brokerage", "CLOCK": "exchange"}

    def stats(self) -> dict[str, Any]:
        """What it has answered so far."""
        return self._control("stats", None)

    def requests(self) -> int:
        """Requests for market data so far, answered well or badly; those for the time are not counted."""
        counts = self.stats()["counts"]
        return int(counts.get("public_requests", 0)) + int(counts.get("private_requests", 0))

    def plan_faults(self, faults: Sequence[dict[str, object]]) -> None:
        """Replace the planned faults."""
        self._control("faults", {"clear": True, "faults": list(faults)})

    def step_to(self, moment: datetime) -> None:
        """Move its present."""
        self._control("clock", {"advance_to": moment.isoformat()})

    def cpu_seconds(self) -> float:
        """CPU time it has used, generating its markets included."""
        used = self.process.cpu_times()
        return float(used.user + used.system)

    def _control(self, what: str, body: dict[str, object] | None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        headers = {TOKEN_HEADER: read_token(self.port)}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/_control/{what}", data, headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return dict(json.load(answer))


@contextmanager
def exchange_process(home: Path, *options: str, present: datetime = PRESENT) -> Iterator[ExchangeProcess]:
    """Start a local exchange; yield it when its markets are generated up to ``present``."""
    port, log = free_port(), home / "exchange.log"
    command = [sys.executable, "-m", "desk", "exchange", "--stepped", "--port", str(port)]
    with child([*command, "--start", present.isoformat(), *options], log, os.environ) as process:
        wait_for(process, lambda: listens(port), "the local exchange", log)
        yield ExchangeProcess(port, psutil.Process(process.pid), present)


def new_key(home: Path) -> tuple[dict[str, str], tuple[str, ...]]:
    """Make an ES256 key for one run; return the client's settings and the options that register it with the exchange."""
    key, name = ec.generate_private_key(ec.SECP256R1()), "organizations/bench/apiKeys/bench"
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
    public = home / "public.pem"
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    client = {"COINBASE_API_KEY": name, "COINBASE_API_SECRET": secret.replace("\n", "\\n")}
    return client, ("--public-key", str(public), "--key-name", name)


_preloaded: tuple[str, ...] = ()


def forks(*preloaded: str) -> ForkServerContext:
    """Return a way to start processes that have imported ``preloaded`` already: 10 ms a start instead of a second.

    There is one fork server in a process. One that was started with other imports is ended, for its children would have to import
    everything anew; nobody may be using it then.
    """
    global _preloaded  # noqa: PLW0603  # it says what the one fork server of this process holds
    context = multiprocessing.get_context("forkserver")
    if preloaded != _preloaded:
        forkserver._forkserver._stop()  # type: ignore[attr-defined]  # what multiprocessing's own tests do
        context.set_forkserver_preload(list(preloaded))
        _preloaded = preloaded
    return context


def until(ready: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait for something to become true.

    Raises:
        AssertionError: it did not in time.
    """
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that leads a session of its own, and all that it started."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
