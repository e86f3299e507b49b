from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from core.candles import EPOCH
from core.clock import SystemClock
from core.errors import AlertError, ConfigError, NoPromotedModelError, PreflightError
from core.locks import runtime_lease
from desk import run
from market.providers import ExchangeClock
from runtime.alerts.local_receiver import Receiver
from store.database import connect
from store.signal_store import SignalStore

if TYPE_CHECKING:
    from core.settings import Settings

runner = CliRunner()


def test_kill_switch_commands_press_tell_and_let_go(settings: Settings) -> None:
    assert "ON: odd market" in runner.invoke(run.kill_app, ["on", "--reason", "odd market"]).output
    assert "kill switch is ON (file)" in runner.invoke(run.kill_app, ["status"]).output
    refused = runner.invoke(run.kill_app, ["off"])
    assert isinstance(refused.exception, ConfigError)
    assert runner.invoke(run.kill_app, ["off", "--reason", "checked"]).exit_code == 0
    told = runner.invoke(run.kill_app, ["status"]).output
    assert "kill switch is off" in told
    assert told.count("\n") == 3


def test_rearming_the_account_needs_a_reason_and_a_stopped_runtime(settings: Settings) -> None:
    refused = runner.invoke(run.account_app, ["rearm"])
    assert isinstance(refused.exception, ConfigError)
    with runtime_lease(settings.paths.home):
        running = runner.invoke(run.account_app, ["rearm", "--reason", "new challenge"])
        assert isinstance(running.exception, PreflightError)
    assert runner.invoke(run.account_app, ["rearm", "--reason", "new challenge"]).exit_code == 0
    store = SignalStore(settings.paths.signals_db)
    assert [kind for _, kind in store.restore(EPOCH).risk_events] == ["rearmed"]


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


def test_alerts_test_without_a_target_says_how_to_set_one(settings: Settings) -> None:
    with pytest.raises(AlertError, match="ALERT_URLS"):
        run.alerts_test()


def test_run_without_a_promoted_model_is_refused(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROVIDER", "synthetic")
    with pytest.raises(NoPromotedModelError, match="make train"):
        run.run(iterations=1)


def test_clock_follows_the_setting(settings: Settings) -> None:
    assert isinstance(run.open_clock(settings, 1), SystemClock)
    exchange = run.open_clock(settings.model_copy(update={"clock": "exchange"}), 60)
    assert isinstance(exchange, ExchangeClock)
    assert exchange.batch_minutes == 60
    exchange.close()


def test_json_progress_is_one_line_a_step(capsys: pytest.CaptureFixture[str]) -> None:
    run.json_progress(3, 10, "2024")
    assert json.loads(capsys.readouterr().out) == {"done": 3, "total": 10, "note": "2024"}
