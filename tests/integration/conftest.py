"""One real Prefect server for all tests that run flows as their users do, and a local exchange beside it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock

from desk.child_servers import free_port, listens
from tests.campaign.harness import exchange_process

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.campaign.harness import ExchangeProcess

ROOT = Path(__file__).resolve().parent.parent.parent
BIN = Path(sys.executable).parent
PRESENT = datetime(2025, 3, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Server:
    """A supervised Prefect server with every deployment."""

    port: int
    environ: dict[str, str]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[Server]:
    """The one server of a test run: the first worker that needs it starts it, the last one that used it stops it."""
    own = tmp_path_factory.getbasetemp()
    shared = own if worker_id == "master" else own.parent
    lock, users = FileLock(shared / "server.lock", timeout=300), shared / "server.json"
    with lock:
        known = json.loads(users.read_text()) if users.exists() else {"port": 0, "users": 0}
        environ = {**os.environ, "DESK_HOME": str(shared / "server")}
        if not known["users"]:
            known["port"] = _start(environ)
        users.write_text(json.dumps({**known, "users": known["users"] + 1}))
    yield Server(known["port"], {**environ, "PREFECT_API_URL": f"http://127.0.0.1:{known['port']}/api"})
    with lock:
        left = json.loads(users.read_text())["users"] - 1
        users.write_text(json.dumps({**known, "users": left}))
        if not left:
            _stop(environ, known["port"])


def _start(environ: dict[str, str]) -> int:
    if (ROOT / "prefect.toml").exists():
        pytest.skip("a server of yours is up in this folder; `make down` first")
    port = free_port()
    done = subprocess.run(
        [BIN / "desk", "up", "--port", str(port)], env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return port


def _stop(environ: dict[str, str], port: int) -> None:
    done = subprocess.run([BIN / "desk", "down"], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not listens(port)
    assert not (ROOT / "prefect.toml").exists()


@pytest.fixture(scope="session")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExchangeProcess]:
    with exchange_process(tmp_path_factory.mktemp("exchange"), present=PRESENT) as running:
        yield running


@dataclass(frozen=True)
class FlowRunner:
    """Run `python flows/NAME.py` in a folder of its own, as a user would."""

    environ: dict[str, str]

    def command(self, flow: str, **parameters: object) -> list[str]:
        pairs = [part for name, value in parameters.items() for part in ("-p", f"{name}={value}")]
        return [sys.executable, str(ROOT / "flows" / f"{flow}.py"), *pairs]

    def run(self, flow: str, **parameters: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(flow, **parameters), env=self.environ, cwd=ROOT, capture_output=True, text=True, check=False
        )

    def start(self, flow: str, **parameters: object) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.command(flow, **parameters),
            env=self.environ,
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )


@pytest.fixture
def flows(server: Server, tmp_path: Path) -> FlowRunner:
    return FlowRunner({**server.environ, "DESK_HOME": str(tmp_path / "var")})
