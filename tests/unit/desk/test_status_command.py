"""`desk status`: what a person and a script read of a healthy runtime, of one that is not, and of none."""

from __future__ import annotations

import json
import os
import socket
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
import typer

from core.files import write_json
from desk.status import _age, as_json_text, console, exit_status, page, status
from runtime.health.board import StatusBoard
from runtime.health.snapshot import Health
from runtime.health.status_client import StatusAnswer, ask_status
from runtime.health.status_server import served
from tests.sample_status import STATUS

if TYPE_CHECKING:
    from pathlib import Path

ANSWER = StatusAnswer(None, STATUS, is_running=True, why="")


def shown(answer: StatusAnswer) -> str:
    with console.capture() as capture:
        console.print(page(answer))
    # whatever the width of the terminal broke
    return " ".join(capture.get().split())


@pytest.mark.parametrize(
    "words",
    [
        "healthy: minutes are being decided",
        "4711, since 2025-06-02 09:00 UTC",
        "HALTED by the kill switch: paused: ETH-USD; a drill (file); no signal: daily_loss; no signal until 2025-06-02 13:00 UTC",
        "4 waiting, the oldest for 3 min, 2 dead letter(s); show them: desk alerts list",
        "o1, since 2025-05-31 12:00 UTC, code 0123456789ab",
        "balance 99,000.00, equity 98,500.00 USD",
        "below_threshold 41, emitted 1",
        "session lost, started 2025-06-01 12:00 UTC: it ended without a word (3 start(s) in all)",
        "lstm m1",
        "65 s",
        "7,500.00",
        "67000.5",
        "0.350",
    ],
)
def test_page_shows_what_is_asked_for(words: str) -> None:
    assert words in shown(ANSWER)


def test_brackets_in_a_reason_are_no_markup() -> None:
    odd = replace(STATUS, switch=replace(STATUS.switch, reason="[/red] :warning: [b]why[/b]"))
    assert "[/red] :warning: [b]why[/b] (file)" in shown(replace(ANSWER, status=odd))


def test_exit_status_is_for_scripts() -> None:
    ill = replace(STATUS, health=Health(False, "no minute was decided for 200 s", 200.0, 180.0))
    assert exit_status(ANSWER) == 0
    assert exit_status(replace(ANSWER, status=ill)) == 1
    assert exit_status(StatusAnswer(None, None, is_running=True, why="no answer")) == 1
    assert exit_status(StatusAnswer(None, None, is_running=False, why="none")) == 3


def test_json_holds_all_of_it_with_exact_money() -> None:
    told = json.loads(as_json_text(ANSWER))
    assert told["is_running"] is True
    assert told["status"]["snapshot"]["account"]["balance_usd"] == "99000.00"
    assert told["status"]["snapshot"]["account"]["positions"][0]["product"] == "BTC-USD"


def run(capsys: pytest.CaptureFixture[str], *, as_json: bool = False) -> tuple[int, str]:
    with pytest.raises(typer.Exit) as end:
        status(as_json=as_json)
    return end.value.exit_code, capsys.readouterr().out


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DESK_HOME", str(tmp_path))
    return tmp_path / "runtime.json"


def test_no_runtime_is_said_with_status_3(address: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys) == (3, "no runtime serves this folder; start one: make run-dry\n")
    code, text = run(capsys, as_json=True)
    assert (code, json.loads(text)["is_running"]) == (3, False)


def test_starting_runtime_is_not_healthy_yet(address: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with served(StatusBoard(), 0, address):
        code, text = run(capsys)
    assert code == 1
    assert "NOT HEALTHY: no minute was decided yet: the runtime is starting" in text
    assert str(os.getpid()) in text


@pytest.mark.parametrize("as_json", [True, False])
def test_watch_asks_again_until_ctrl_c(
    address: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, as_json: bool
) -> None:
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("desk.status.time.sleep", nap)
    with pytest.raises(KeyboardInterrupt):
        status(as_json=as_json, watch=True)
    assert naps == [2.0] * 3
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["is_running"] for line in lines] == [False] * 3 if as_json else lines


def leave(address: Path, port: int) -> None:
    write_json(address, {"version": 1, "pid": 4711, "started_at": "2025-06-02T12:00:00Z", "port": port})


def test_killed_runtime_counts_as_none(address: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    leave(address, port)
    code, text = run(capsys)
    assert code == 3
    assert "process 4711 did, and ended without a word" in text.replace("\n", " ")


def test_another_runtime_on_the_port_counts_as_none(address: Path, tmp_path: Path) -> None:
    with served(StatusBoard(), 0, tmp_path / "other.json"):
        other = ask_status(tmp_path / "other.json", 5.0).address
        assert other is not None
        leave(address, other.port)
        answer = ask_status(address, 5.0)
    assert (answer.is_running, answer.status) == (False, None)
    assert "now belongs to another program" in answer.why


def test_other_program_on_the_port_counts_as_none(address: Path) -> None:
    class Quiet(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        leave(address, server.server_address[1])
        assert not ask_status(address, 5.0).is_running
    finally:
        server.shutdown()
        server.server_close()


def test_runtime_that_hangs_is_given_up_within_a_second(address: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        leave(address, mute.getsockname()[1])
        answer = ask_status(address, 0.1)
    assert (exit_status(answer), answer.is_running) == (1, True)
    assert "process 4711 gave no status within 0.1 s (TimeoutError: timed out)" in answer.why
    assert "look into its log" in shown(answer)


@pytest.mark.parametrize(("seconds", "text"), [(None, ""), (119.4, "119 s"), (120, "2 min"), (7200, "2.0 h")])
def test_age_is_worded(seconds: float | None, text: str) -> None:
    assert _age(seconds) == text
