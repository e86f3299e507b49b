"""The real Prefect server, started once: a set of versions can be consistent and its server still die at start."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
BIN = Path(sys.executable).parent
DEPLOYMENTS = ["backfill", "build-features", "daily-report", "observe", "promote", "restart", "train-all", "train-one"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def ask(port, path):
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/{path}", data=b"{}", headers={"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return list(json.load(answer))


def test_up_deploys_every_flow(server):
    assert sorted(str(row["name"]) for row in ask(server.port, "deployments/filter")) == DEPLOYMENTS


def test_up_serves_the_ui(server):
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/", timeout=10) as answer:
        assert b"<html" in answer.read().lower()


def test_up_twice_says_so(server):
    command = [BIN / "desk", "up", "--port", str(server.port)]
    done = subprocess.run(command, env=server.environ, capture_output=True, text=True, check=False)
    assert (done.returncode, "already up" in done.stdout) == (0, True)


def test_deploy_all_by_hand_asks_nothing(server):
    command = [BIN / "prefect", "deploy", "--all"]
    done = subprocess.run(
        command, cwd=ROOT, env=server.environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_deployment_run_without_data_fails_with_the_repair(server):
    command = [BIN / "prefect", "deployment", "run", "train-all/train-all", "--watch"]
    done = subprocess.run(command, cwd=ROOT, env=server.environ, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "make features" in done.stdout + done.stderr + json.dumps(ask(server.port, "flow_runs/filter"))
