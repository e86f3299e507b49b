"""The first step of the README, `cp .env.example .env`, followed by the commands people run next."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.conftest import Server

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def started(tmp_path: Path, server: Server) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command in a folder whose `.env` is the example, unchanged; the market alone is another one."""
    shutil.copy(ROOT / ".env.example", tmp_path / ".env")
    environ = {name: value for name, value in server.environ.items() if name != "DESK_HOME"}
    # from another folder than the project's, the profile of `desk up` is named by hand, as docs/operations.md says
    profiles = Path(server.environ["DESK_HOME"]) / "prefect" / "profiles.toml"
    environ |= {"PROVIDER": "synthetic", "PREFECT_PROFILES_PATH": str(profiles)}

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *command], env=environ, cwd=tmp_path, capture_output=True, text=True, check=False
        )

    return run


def test_example_copied_unchanged_runs_doctor_backfill_and_runtime(
    started: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    backfill = started(str(ROOT / "flows" / "backfill.py"), "-p", "days=1", "-p", "products=BTC-USD")
    assert backfill.returncode == 0, backfill.stderr
    assert (tmp_path / "var" / "market_read.duckdb").exists()
    doctor = started("-m", "desk", "doctor")
    assert doctor.returncode == 0, doctor.stderr
    assert "with a key" not in doctor.stdout
    assert "BTC-USD" in doctor.stdout
    run = started("-m", "desk", "run", "--iterations", "1")
    # no model was trained: the runtime says so, and nothing about a setting
    assert run.returncode == 2, run.stdout
    assert "Traceback" not in run.stderr
    assert "make train" in run.stderr
