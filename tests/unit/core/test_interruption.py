"""Ctrl-C while a command is imported: a library that it imports presses it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PRESS = "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(30)\n"
COMMANDS = {
    "flow by its file": ([sys.executable, "flows/backfill.py"], "prefect"),
    "flow by its name": ([sys.executable, "-m", "flows.backfill"], "prefect"),
    "desk": ([str(Path(sys.executable).with_name("desk")), "sql", "from help"], "typer"),
    "desk by its name": ([sys.executable, "-m", "desk", "sql", "from help"], "typer"),
    "a command of desk": ([sys.executable, "-m", "desk", "sql", "from help"], "duckdb"),
}


def run(command: list[str], library: str, folder: Path, text: str = PRESS) -> subprocess.CompletedProcess[str]:
    (folder / f"{library}.py").write_text(text)
    environ = os.environ | {"PYTHONPATH": f"{folder}:{ROOT}", "DESK_HOME": str(folder / "var")}
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("name", COMMANDS)
def test_ctrl_c_while_importing_is_one_line_and_130(name: str, tmp_path: Path) -> None:
    ended = run(*COMMANDS[name], tmp_path)
    assert (ended.returncode, ended.stdout) == (130, "")
    assert ended.stderr in {"interrupted\n", "desk: interrupted\n"}


def test_where_a_shell_ignores_ctrl_c_it_stays_ignored(tmp_path: Path) -> None:
    command = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", sys.executable, "-m", "flows.backfill"]
    ended = run(command, "prefect", tmp_path, "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nos._exit(7)\n")
    assert ended.returncode == 7


def test_who_only_imports_the_packages_keeps_its_own_ctrl_c() -> None:
    import desk  # noqa: F401
    import flows  # noqa: F401

    assert signal.getsignal(signal.SIGINT) is not None
    assert "interruption" not in repr(signal.getsignal(signal.SIGINT))
