from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from core.clock import SystemClock
from core.errors import AlertError, ConfigError, NoPromotedModelError
from desk import run
from market.providers import ExchangeClock
from runtime.alerts.announcer import message
from runtime.alerts.local_receiver import Receiver
from runtime.alerts.notifier import target_name
from runtime.health.status_client import ask_status
from runtime.loop import SessionResult
from store.database import connect
from store.signal_rows import ReceiptRow, RiskEventRow, TickRows
from store.signal_store import SignalStore

if TYPE_CHECKING:
    from core.settings import Settings
    from runtime.health.status_client import StatusAnswer
    from runtime.session import LoopOptions

runner = CliRunner()


def test_kill_switch_commands_press_tell_and_let_go(settings: Settings) -> None:
    assert "halted: odd market" in runner.invoke(run.kill_app, ["on", "--reason", "odd market"]).output
    assert "kill switch is halted: odd market (file)" in runner.invoke(run.kill_app, ["status"]).output
    refused = runner.invoke(run.kill_app, ["off"])
    assert isinstance(refused.exception, ConfigError)
    assert runner.invoke(run.kill_app, ["off", "--reason", "checked"]).exit_code == 0
    told = runner.invoke(run.kill_app, ["status"]).output
    assert "kill switch is off" in told
    assert told.count("\n") == 3


def test_degrees_of_stopping_by_command(settings: Settings) -> None:
    def said(*words: str) -> str:
        return runner.invoke(run.kill_app, list(words)).output

    assert "kill switch is off: paused: BTC-USD; thin book (file)" in said("pause", "BTC", "--reason", "thin book")
    assert "kill switch is reducing: paused: BTC-USD" in said("reduce", "--reason", "the week ends")
    assert isinstance(runner.invoke(run.kill_app, ["resume", "ETH", "--reason", "x"]).exception, ConfigError)
    assert isinstance(runner.invoke(run.kill_app, ["resume", "BTC"]).exception, ConfigError)
    assert "kill switch is reducing: the book is back (file)" in said("resume", "BTC", "--reason", "the book is back")
    assert "halted" in said("on")
    assert "halted" in said("reduce")
    assert "kill switch is off" in said("off", "--reason", "all is well")


@pytest.mark.parametrize("kind", ["kill_switch_on", "kill_switch_reducing", "kill_switch_paused", "kill_switch_off"])
def test_status_reads_a_vanished_switch_as_the_runtime_does(settings: Settings, kind: str) -> None:
    store = SignalStore(settings.paths.signals_db)
    store.migrate()
    store.commit_tick(TickRows(risk_events=[RiskEventRow(datetime(2025, 1, 15, tzinfo=UTC), "s", kind, 2, "halt")]))
    wanted = "(none)" if kind == "kill_switch_off" else "is halted: something was stopped"
    assert wanted in runner.invoke(run.kill_app, ["status"]).output


def test_simulate_loss_prints_every_limit(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    run.simulate_loss()
    told = capsys.readouterr().out
    assert told.count("blocked") >= 7
    assert "LET THROUGH" not in told


def test_alerts_test_delivers_one_message_and_records_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Receiver() as receiver:
        monkeypatch.setenv("ALERT_URLS", receiver.url)
        run.alerts_test()
        assert len(receiver.messages) == 1
    assert "delivered to 1 target" in capsys.readouterr().out
    connection = connect(settings.paths.signals_db)
    assert connection.execute("select is_ok from deliveries").fetchall() == [(True,)]
    connection.close()


def test_dead_letters_are_listed_and_sent_again_to_who_gave_them_up(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = SignalStore(settings.paths.signals_db)
    store.migrate()
    now = datetime(2025, 1, 15, tzinfo=UTC)
    owed = [message("risk", f"k{number}", now, "info", f"title {number}", []) for number in range(3)]
    with Receiver() as receiver, Receiver() as other:
        monkeypatch.setenv("ALERT_URLS", f"{receiver.url},{other.url}")
        gave_up = target_name(receiver.url)
        store.commit_tick(TickRows(outbox=owed))
        receipts = [
            *(ReceiptRow("k0", gave_up, now, is_delivered=False, detail="refused"), ReceiptRow("k1", "*", now, False)),
            ReceiptRow("k0", target_name(other.url), now, is_delivered=True),
        ]
        store.record_deliveries([], receipts)
        run.alerts_list()
        listed = capsys.readouterr().out
        assert f"({gave_up}: refused)" in listed
        assert [line.split()[0] for line in listed.splitlines()] == ["waiting", "dead", "dead", "2"]
        run.alerts_retry()
        assert (receiver.keys, other.keys) == ({"k0", "k1"}, {"k1"})
    assert store.dead_letters() == []
    assert [row.message_key for row in store.pending_messages()] == ["k2"]


def test_alerts_test_without_a_target_says_how_to_set_one(settings: Settings) -> None:
    with pytest.raises(AlertError, match="ALERT_URLS"):
        run.alerts_test()


def test_run_without_a_promoted_model_is_refused(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROVIDER", "synthetic")
    with pytest.raises(NoPromotedModelError, match="make train"):
        run.run(iterations=1)


def test_run_serves_its_status_for_as_long_as_it_serves_the_folder(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[StatusAnswer] = []

    def one_session(settings: Settings, *, options: LoopOptions, **_: object) -> SessionResult:
        with options.board.watched():
            answers.append(ask_status(settings.paths.runtime_address, 5.0))
        return SessionResult("abc", "iterations", 0, 0, 0, 0)

    monkeypatch.setenv("PROVIDER", "synthetic")
    monkeypatch.setattr(run, "run_loop", one_session)
    run.run(mode="shadow", iterations=1)
    assert answers[0].status is not None
    assert answers[0].status.health.reason == "no minute was decided yet: the runtime is starting"
    assert not ask_status(settings.paths.runtime_address).is_running


def test_clock_follows_the_setting(settings: Settings) -> None:
    assert isinstance(run.open_clock(settings, 1), SystemClock)
    exchange = run.open_clock(settings.model_copy(update={"clock": "exchange"}), 60)
    assert isinstance(exchange, ExchangeClock)
    assert exchange.batch_minutes == 60
    exchange.close()


def test_json_progress_is_one_line_a_step(capsys: pytest.CaptureFixture[str]) -> None:
    run.json_progress(3, 10, "2024")
    assert json.loads(capsys.readouterr().out) == {"done": 3, "total": 10, "note": "2024"}


def test_json_progress_into_a_closed_pipe_is_said_once_and_ends_well() -> None:
    script = (
        "import sys\nfrom desk.run import json_progress\nsys.stdin.read()\n"
        "try:\n    json_progress(1, 2, 'x')\nexcept BrokenPipeError:\n    pass\n"
        "json_progress(2, 2, 'x')\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert child.stdout is not None
    child.stdout.close()
    child.stdout = None
    _, errors = child.communicate()
    assert (child.returncode, errors) == (0, b"")
