"""The real Prefect server, started once: a set of versions can be consistent and its server still die at start."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from core.settings import Paths
from desk.child_servers import listens
from desk.services import login_file

ROOT = Path(__file__).resolve().parent.parent.parent
BIN = Path(sys.executable).parent
DEPLOYMENTS = ["backfill", "build-features", "daily-report", "observe", "promote", "restart", "train-all", "train-one"]
FOREIGN = {"origin": "http://pages.example", "host": "pages.example"}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def request(port, path, method="POST", login=None, body=b"{}", headers=None):
    """Return status, headers and text of an answer, also of a refusal."""
    headers = {"content-type": "application/json"} | (headers or {})
    if login:
        headers["authorization"] = "Basic " + base64.b64encode(login.encode()).decode()
    wanted = urllib.request.Request(f"http://127.0.0.1:{port}/{path}", body, headers, method=method)
    try:
        with urllib.request.urlopen(wanted, timeout=30) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.headers, refusal.read().decode()


@pytest.fixture
def login(server):
    return login_file(Paths(Path(server.environ["DESK_HOME"]))).read_text().strip()


@pytest.fixture
def ask(server, login):
    return lambda path: list(json.loads(request(server.port, f"api/{path}", login=login)[2]))


def test_up_deploys_every_flow(ask):
    assert sorted(row["name"] for row in ask("deployments/filter")) == DEPLOYMENTS


def test_up_serves_the_ui(server):
    assert "<html" in request(server.port, "", "GET", body=None)[2].lower()


def test_up_twice_says_so_and_on_another_port_is_refused(server):
    command = [BIN / "desk", "up"]
    done = subprocess.run(command, env=server.environ, capture_output=True, text=True, check=False)
    assert (done.returncode, "already up" in done.stdout, f":{server.port}" in done.stdout) == (0, True, True)
    done = subprocess.run([*command, "--port", "4299"], env=server.environ, capture_output=True, text=True, check=False)
    assert (done.returncode, f"up already, on port {server.port}" in done.stderr) == (2, True)


def test_deploy_all_by_hand_asks_nothing(server):
    command = [BIN / "prefect", "deploy", "--all"]
    done = subprocess.run(
        command, cwd=ROOT, env=server.environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_deployment_run_without_data_fails_with_the_repair(server, ask):
    command = [BIN / "prefect", "deployment", "run", "train-all/train-all", "--watch"]
    done = subprocess.run(command, cwd=ROOT, env=server.environ, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "make backfill" in done.stdout + done.stderr + json.dumps(ask("flow_runs/filter"))


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("OPTIONS", "api/deployments/filter", 400),
        ("POST", "api/deployments/filter", 401),
        ("POST", "api/flow_runs/", 401),
        ("POST", "api/admin/settings", 401),
        ("GET", "api/metrics", 401),
        ("GET", "api/health", 200),
    ],
)
def test_stranger_and_foreign_page_learn_only_that_the_server_is_up(server, method, path, status):
    preflight = {"access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    answer, headers, _ = request(server.port, path, method, headers=FOREIGN | preflight)
    assert (answer, headers.get("access-control-allow-origin")) == (status, None)


def test_wrong_login_is_refused(server, login):
    assert request(server.port, "api/deployments/filter", login=login + "x")[0] == 401


def test_login_is_kept_where_only_its_user_reads_it(server, login):
    folder = Path(server.environ["DESK_HOME"]) / "prefect"
    assert [(folder / name).stat().st_mode & 0o777 for name in (".", "login", "profiles.toml")] == [0o700, 0o600, 0o600]
    assert len(login) > 30
    assert login not in (ROOT / "prefect.toml").read_text()


@pytest.mark.parametrize("name", ["command", "env", "env.PATH", "working_dir"])
def test_run_cannot_choose_what_the_worker_starts(server, login, ask, name, tmp_path):
    deployment = next(row for row in ask("deployments/filter") if row["name"] == "train-all")
    value = {"A": "b"} if name == "env" else f"touch {tmp_path / 'ran'}"
    body = json.dumps({"job_variables": {name: value}, "state": {"type": "SCHEDULED"}}).encode()
    status, _, text = request(
        server.port, f"api/deployments/{deployment['id']}/create_flow_run", login=login, body=body
    )
    assert (status, f"'{name}' was unexpected" in text) == (422, True)


def test_pool_has_no_variable_for_runs_that_evade_the_check(ask):
    pool = next(row for row in ask("work_pools/filter") if row["name"] == "local-process")
    assert "{{" not in json.dumps(pool["base_job_template"])


SLOW_FLOW = """
import time
from prefect import flow
from tasks.command_line import run_from_shell

@flow(name="slow", log_prints=True)
def slow():
    print("now it runs")
    time.sleep(300)

run_from_shell(slow)
"""


def test_temporary_server_of_a_shell_run_is_locked_and_ends_with_it(server, tmp_path):
    (tmp_path / "slow.py").write_text(SLOW_FLOW)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environ |= {"PREFECT_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(tmp_path / "slow.py")]
    with subprocess.Popen(
        command, env=environ, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as run:
        lines = []
        for line in run.stdout:
            lines.append(line)
            if "now it runs" in line:
                break
        port = int(re.search(r"temporary server on http://127.0.0.1:(\d+)", "".join(lines))[1])
        answers = [
            request(port, path, method, headers=FOREIGN)
            for path, method in (("api/health", "GET"), ("api/flow_runs/filter", "POST"))
        ]
        run.send_signal(signal.SIGTERM)
        run.stdout.read()
    assert [status for status, _, _ in answers] == [200, 401]
    assert all("access-control-allow-origin" not in headers for _, headers, _ in answers)
    assert run.returncode == 128 + signal.SIGTERM
    assert not listens(port)
