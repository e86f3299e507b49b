"""Every long command ends soon after Ctrl-C or SIGTERM, with the status a shell expects, in silence and without a child left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
DESK = (sys.executable, "-m", "desk")
PHASES = (0.6, 5.0)
"""Seconds after the start: while a command is imported, and while it works."""
PATIENCE = 15.0
"""Seconds; two and five are asked for and seen on a quiet machine, a busy one may take longer and be no worse."""
COMMANDS = {
    "exchange": (*DESK, "exchange", "--market", "planted", "--port", "0"),
    "import": (*DESK, "import", "BTC-USD_1m.csv"),
    "null-check": (*DESK, "null-check"),
    "leak-check": (*DESK, "leak-check"),
    "follow": (*DESK, "follow"),
    "run": (*DESK, "run", "--mode", "shadow"),
    "backfill": (sys.executable, str(ROOT / "flows" / "backfill.py")),
}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def candles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A year of minutes, which takes longer to import than the test waits."""
    path = tmp_path_factory.mktemp("files") / "BTC-USD_1m.csv"
    start = 1_700_000_040
    rows = (f"{start + 60 * number},100,101,99,100.5,3\n" for number in range(525_600))
    path.write_text("timestamp,open,high,low,close,volume\n" + "".join(rows))
    return path


@pytest.fixture(params=[signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def number(request: pytest.FixtureRequest) -> signal.Signals:
    return request.param


@pytest.fixture(params=PHASES, ids=["while importing", "at work"])
def started(
    request: pytest.FixtureRequest, candles: Path, tmp_path: Path
) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """All commands at once, each in a folder of its own, for as long as the phase says."""
    processes = {}
    for name, command in COMMANDS.items():
        home = tmp_path / name
        home.mkdir()
        environ = os.environ | {"DESK_HOME": str(home / "var"), "PROVIDER": "synthetic", "PYTHONPATH": str(ROOT)}
        environ["PREFECT_HOME"] = str(home / "prefect")
        processes[name] = subprocess.Popen(
            command, cwd=candles.parent, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    time.sleep(request.param)
    yield processes
    for process in processes.values():
        process.kill()
        process.communicate()


def test_commands_end_soon_with_the_status_of_the_signal(
    started: dict[str, subprocess.Popen[str]], number: signal.Signals
) -> None:
    running = {name: process for name, process in started.items() if process.poll() is None}
    children = {name: psutil.Process(process.pid).children(recursive=True) for name, process in running.items()}
    assert len(running) >= len(COMMANDS) - 1, {name: own.communicate()[0] for name, own in started.items()}
    for process in running.values():
        process.send_signal(number)
    deadline = time.monotonic() + PATIENCE
    for name, process in running.items():
        said, _ = process.communicate(timeout=max(deadline - time.monotonic(), 0.1))
        # a signal that nobody handles ends a process with minus its number, which a shell calls 128 and the number
        assert process.returncode in {128 + number, -number}, (name, process.returncode, said)
        assert "Traceback" not in said, (name, said)
    left = [child for own in children.values() for child in own if child.is_running()]
    psutil.wait_procs(left, timeout=5)
    assert not [child for child in left if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
