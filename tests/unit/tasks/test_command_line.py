"""A flow run from the shell: how long it waits for Prefect's temporary server, and what it says when that never comes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import pytest
from prefect import Flow, flow
from prefect.context import refresh_global_settings_context
from prefect.settings import get_current_settings

from tasks.command_line import end_orphaned_servers, run_from_shell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

VARIABLE = "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"
OWNER = "CANDLEDESK_FLOW_PROCESS"
LOGIN = "PREFECT_API_AUTH_STRING"
CHANGED = (VARIABLE, OWNER, LOGIN, "PREFECT_SERVER_API_AUTH_STRING", "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS")


@flow
def nothing() -> None:
    """Do nothing."""


@pytest.fixture
def status(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Callable[[Callable[[], None]], int | str | None]]:
    """Run the flow from the shell with ``work`` in place of Prefect's own; return the exit status."""
    for name in CHANGED:
        monkeypatch.setenv(name, "to be restored")
        monkeypatch.delenv(name)
    # a server that another test has up leaves its profile in the project's folder, and the flow would log in there
    monkeypatch.chdir(tmp_path)
    refresh_global_settings_context()
    monkeypatch.setattr("tasks.command_line.signal.signal", lambda *_: None)

    def run(work: Callable[[], None]) -> int | str | None:
        monkeypatch.setattr(Flow, "__call__", lambda _self: work())
        with pytest.raises(SystemExit) as ended:
            run_from_shell(nothing, [])
        return ended.value.code

    yield run
    monkeypatch.undo()
    refresh_global_settings_context()


def test_prefect_waits_180_seconds_though_it_was_imported_before(
    status: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[int] = []
    ephemeral = get_current_settings().server.ephemeral
    assert ephemeral.startup_timeout_seconds != 180
    assert status(lambda: waits.append(get_current_settings().server.ephemeral.startup_timeout_seconds)) == 0
    monkeypatch.setenv(VARIABLE, "33")
    status(lambda: waits.append(get_current_settings().server.ephemeral.startup_timeout_seconds))
    assert waits == [180, 33]


def test_server_that_never_comes_up_is_one_line_with_the_repair(
    status: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    def never() -> None:
        msg = "Timed out while attempting to connect to ephemeral Prefect API server. stdout: pages of it"
        raise RuntimeError(msg)

    assert status(never) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_temporary_server_gets_a_random_log_in_each_time(status: Callable[..., int]) -> None:
    strings: list[str] = []
    for _ in range(2):
        status(lambda: strings.append(get_current_settings().api.auth_string.get_secret_value()))
    assert len(set(strings)) == 2
    assert min(map(len, strings)) > 30


def test_server_of_a_flow_that_was_killed_is_ended_and_no_other() -> None:
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    server = [*command, "prefect.server.api.server:create_app"]
    own = psutil.Process()
    gone, alive = f"{own.pid} {own.create_time() - 60:.2f}", f"{own.pid} {own.create_time():.2f}"
    started = {}
    try:
        for name, (words, owner) in {
            "of a dead flow": (server, gone),
            "of a flow at work": (server, alive),
            "of a person": (server, None),
            "no server": (command, gone),
        }.items():
            environ = os.environ | ({OWNER: owner} if owner else {})
            started[name] = subprocess.Popen(words, env=environ)
        end_orphaned_servers()
        assert started["of a dead flow"].wait(timeout=10) == -signal.SIGTERM
        assert [process.poll() for name, process in started.items() if name != "of a dead flow"] == [None] * 3
    finally:
        for process in started.values():
            process.kill()
            process.wait()
