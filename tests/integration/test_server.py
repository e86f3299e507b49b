"""The real Prefect server, started once: a set of versions can be consistent and its server still die at start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from desk.commands.children import free_port, listens

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent.parent
BIN = Path(sys.executable).parent
DEPLOYMENTS = ["backfill", "build-features", "daily-report", "observe", "promote", "restart", "train-all"]

pytestmark = [pytest.mark.prefect, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, dict[str, str]]]:
    if (ROOT / "prefect.toml").exists():
        pytest.skip("a server of yours is up in this folder; `make down` first")
    port = free_port()
    environ = {**os.environ, "DESK_HOME": str(tmp_path_factory.mktemp("server"))}
    done = subprocess.run([BIN / "desk", "up", "--port", str(port)], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    yield port, environ
    done = subprocess.run([BIN / "desk", "down"], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not listens(port)
    assert not (ROOT / "prefect.toml").exists()


def ask(port: int, path: str) -> list[dict[str, object]]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/api/{path}", data=b"{}", headers={"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return list(json.load(answer))


def test_up_deploys_every_flow(server: tuple[int, dict[str, str]]) -> None:
    found = sorted(str(row["name"]) for row in ask(server[0], "deployments/filter"))
    assert found == DEPLOYMENTS


def test_up_serves_the_ui(server: tuple[int, dict[str, str]]) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{server[0]}/", timeout=10) as answer:
        assert b"<html" in answer.read().lower()


def test_up_twice_says_so(server: tuple[int, dict[str, str]]) -> None:
    done = subprocess.run([BIN / "desk", "up", "--port", str(server[0])], env=server[1], capture_output=True, text=True, check=False)
    assert (done.returncode, "already up" in done.stdout) == (0, True)


def test_deploy_all_by_hand_asks_nothing(server: tuple[int, dict[str, str]]) -> None:
    command = [BIN / "prefect", "deploy", "--all"]
    done = subprocess.run(command, cwd=ROOT, env=server[1], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_deployment_run_without_data_fails_with_the_repair(server: tuple[int, dict[str, str]]) -> None:
    command = [BIN / "prefect", "deployment", "run", "train-all/train-all", "--watch"]
    done = subprocess.run(command, cwd=ROOT, env=server[1], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "make features" in done.stdout + done.stderr + str(ask(server[0], "flow_runs/filter"))
