"""A real session between doubles, looked at from outside while it works: server, snapshot, metrics, heartbeat."""

from __future__ import annotations

import http.client
import json
import stat
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from core.clock import ManualClock
from core.errors import PreflightError
from core.files import parse_json
from runtime.health import board as board_module
from runtime.health.board import StatusBoard
from runtime.health.snapshot import RuntimeAddress, RuntimeStatus
from runtime.health.status_client import ask_status
from runtime.health.status_server import served
from runtime.loop import SessionResult, run_loop
from runtime.risk.kill_switch import KillSwitch
from runtime.session import LoopOptions
from store.signal_rows import ReceiptRow, SessionRow
from store.signal_store import SignalStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import SimpleNamespace

    from core.settings import Settings

PRODUCTS = ("BTC-USD", "ETH-USD")


class Watched:
    """Runs sessions with a served board, and calls ``look`` after each tick."""

    def __init__(self, settings: Settings, desk_play: SimpleNamespace) -> None:
        self.settings, self.doubles = settings, desk_play
        self.board = self.new_board()

    def new_board(self) -> StatusBoard:
        @contextmanager
        def watchers(board: StatusBoard) -> Iterator[None]:
            with served(board, 0, self.settings.paths.runtime_address):
                yield

        return StatusBoard(self.settings, None, watchers)

    def play(self, minutes: int, look: Callable[[int], None], **options: Any) -> SessionResult:
        return run_loop(
            self.settings,
            provider=options.pop("provider", None) or self.doubles.FakeProvider(),
            clock=ManualClock(options.pop("start", self.doubles.START), options.pop("batch", 1)),
            models=self.doubles.models(PRODUCTS, options.pop("probability", 0.9)),
            notifier=self.doubles.FakeNotifier(),
            options=LoopOptions(
                iterations=minutes,
                drain_seconds=0.0,
                board=self.board,
                on_progress=lambda done, _total, _note: look(done),
                **options,
            ),
        )

    def address(self) -> RuntimeAddress:
        return parse_json(RuntimeAddress, self.settings.paths.runtime_address.read_bytes())

    def get(self, page: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.address().port, timeout=5)
        connection.request("GET", page)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, body

    def status(self) -> RuntimeStatus:
        answer = ask_status(self.settings.paths.runtime_address, 5.0)
        assert answer.status is not None, answer.why
        return answer.status


@pytest.fixture
def watched(settings: Settings, desk_play: SimpleNamespace) -> Watched:
    return Watched(settings, desk_play)


def test_status_says_what_was_decided_of_each_product(watched: Watched, desk_play: SimpleNamespace) -> None:
    seen: list[RuntimeStatus] = []
    watched.play(4, lambda _done: seen.append(watched.status()))
    first, last = seen[0], seen[-1]
    assert (last.health.is_healthy, last.state) == (True, "ACTIVE")
    assert first.snapshot is not None
    assert last.snapshot is not None
    assert last.snapshot.decisions == {"emitted": 2, "position_open": 6}
    assert last.snapshot.mode == "dryrun"
    own = last.snapshot.products[0]
    assert (own.product, own.last_decided_minute, own.last_reason) == ("BTC-USD", desk_play.minute(3), "position_open")
    assert own.models == {"lstm": "lstm-BTC-USD", "transformer": "transformer-BTC-USD"}
    # decided at its close and 5 seconds
    assert 4.9 <= last.decided_age_seconds["BTC-USD"] < 60
    assert {held.direction for held in last.snapshot.account.positions} == {"long"}
    assert [limit.rule for limit in last.snapshot.account.limits] == ["daily", "total"]
    assert isinstance(last.snapshot.account.limits[0].left_usd, Decimal)
    stages = {times.stage: times.count for times in last.snapshot.stages}
    assert stages == {"fetch": 4, "score": 4, "decide": 4, "commit": 4, "decision_latency": 8}


def test_healthz_holds_while_minutes_are_decided_and_not_before_or_after(watched: Watched) -> None:
    assert watched.board.health().reason == "no minute was decided yet: the runtime is starting"
    answers: list[tuple[int, bytes]] = []
    watched.play(2, lambda _done: answers.append(watched.get("/healthz")))
    assert [status for status, _ in answers] == [200, 200]
    assert json.loads(answers[0][1])["reason"] == "minutes are being decided"
    assert watched.board.health().reason == "the session has ended (iterations)"


def test_healthz_is_503_once_no_tick_comes_for_three_minutes(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[tuple[int, bytes]] = []

    def look(_done: int) -> None:
        later = board_module.time.monotonic() + 181
        with monkeypatch.context() as patch:
            patch.setattr(board_module.time, "monotonic", lambda: later)
            answers.append(watched.get("/healthz"))

    watched.play(1, look)
    status, body = answers[0]
    assert status == 503
    assert "no minute was decided for 181 s, at most 180 s may pass" in json.loads(body)["reason"]


def test_a_replay_in_batches_and_a_pause_may_take_longer(watched: Watched) -> None:
    ages: list[float] = []
    watched.play(14, lambda _done: ages.append(watched.board.health().max_tick_age_seconds), batch=7)
    assert ages == [180 + 6 * 60] * 2


def test_metrics_tell_minutes_limits_and_latency(watched: Watched, desk_play: SimpleNamespace) -> None:
    texts: list[str] = []
    watched.play(3, lambda _done: texts.append(watched.get("/metrics")[1].decode()))
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(texts[-1])
        for sample in family.samples
    }
    minute = ("candledesk_last_decided_minute_timestamp_seconds", "ETH-USD")
    assert samples[minute] == desk_play.minute(2).timestamp()
    assert samples["candledesk_decisions_total", "position_open"] == 4
    assert samples[("candledesk_healthy",)] == 1
    assert samples["candledesk_state", "ACTIVE"] == 1
    assert samples["candledesk_state", "HALTED"] == 0
    assert samples["candledesk_stage_duration_seconds_count", "commit"] == 3
    assert samples["candledesk_decision_latency_seconds_bucket", "+Inf"] == 6
    assert 0 <= samples["candledesk_limit_used_ratio", "daily"] < 0.2
    assert samples[("candledesk_starts_total",)] == 1
    assert samples[("process_resident_memory_bytes",)] > 10_000_000
    assert ("candledesk_last_crash_timestamp_seconds",) not in samples


def test_kill_switch_is_seen_before_the_tick_that_obeys_it(watched: Watched, settings: Settings) -> None:
    states: list[tuple[str, str]] = []

    def look(done: int) -> None:
        if done == 1:
            KillSwitch(settings.paths.kill_switch).press("a drill")
        status = watched.status()
        assert status.snapshot is not None
        states.append((status.state, status.snapshot.products[0].last_reason))

    watched.play(2, look, probability=0.95)
    assert states[0] == ("HALTED", "emitted")
    assert states[1] == ("HALTED", "halted")


def test_reducing_and_a_paused_product_are_told_apart(watched: Watched, settings: Settings) -> None:
    switch = KillSwitch(settings.paths.kill_switch)
    switch.reduce("a drill")
    switch.pause("ETH-USD", "thin book")
    texts: list[str] = []
    seen: list[RuntimeStatus] = []

    def look(_done: int) -> None:
        seen.append(watched.status())
        texts.append(watched.get("/metrics")[1].decode())

    watched.play(1, look)
    assert (seen[0].state, seen[0].switch.stopping.paused) == ("REDUCING", {"ETH-USD"})
    assert seen[0].snapshot is not None
    assert seen[0].snapshot.stopping == seen[0].switch.stopping
    assert 'candledesk_state{state="REDUCING"} 1.0' in texts[0]
    assert 'candledesk_paused{product="ETH-USD"} 1.0' in texts[0]
    assert 'candledesk_paused{product="BTC-USD"} 0.0' in texts[0]


def test_what_earlier_sessions_left_is_shown(watched: Watched, settings: Settings, desk_play: SimpleNamespace) -> None:
    desk_play.play(settings, 1)
    store = SignalStore(settings.paths.signals_db)
    lost_at = desk_play.START + timedelta(minutes=2)
    store.open_session(SessionRow("lost", lost_at, "dryrun", "BTC-USD", "", "flow", "system"))
    key = desk_play.rows(settings, "select message_key from outbox limit 1")[0][0]
    store.record_deliveries([], [ReceiptRow(key, "json:1", lost_at, is_delivered=False, detail="refused")])
    seen: list[RuntimeStatus] = []
    watched.play(1, lambda _done: seen.append(watched.status()), start=desk_play.START + timedelta(minutes=5))
    snapshot = seen[0].snapshot
    assert snapshot is not None
    assert (snapshot.starts, snapshot.dead_letters) == (3, 1)
    assert snapshot.last_crash is not None
    assert (snapshot.last_crash.session_id, snapshot.last_crash.ended_at) == ("lost", None)


def test_address_is_for_this_user_alone_and_goes_with_the_session(watched: Watched, settings: Settings) -> None:
    modes: list[int] = []
    watched.play(1, lambda _done: modes.append(settings.paths.runtime_address.stat().st_mode))
    assert stat.S_IMODE(modes[0]) == 0o600
    assert not settings.paths.runtime_address.exists()


def test_second_runtime_of_a_folder_leaves_the_address_of_the_first(
    watched: Watched, desk_play: SimpleNamespace
) -> None:
    second = Watched(watched.settings, desk_play)

    def look(_done: int) -> None:
        before = watched.address()
        with pytest.raises(PreflightError, match="another runtime"):
            second.play(1, lambda _done: None)
        assert watched.address() == before
        assert watched.status().health.is_healthy

    assert watched.play(1, look).minutes == 1


def test_last_crash_tells_the_error_a_session_ended_by(
    watched: Watched, settings: Settings, desk_play: SimpleNamespace
) -> None:
    def broken(_done: int) -> None:
        raise ZeroDivisionError("a drill")

    with pytest.raises(ZeroDivisionError):
        watched.play(2, broken)
    crash = SignalStore(settings.paths.signals_db).last_crash("another")
    assert crash is not None
    assert (crash.detail, crash.ended_at) == ("ZeroDivisionError: a drill", desk_play.START + timedelta(minutes=1))
    assert not settings.paths.runtime_address.exists()


def test_no_page_shows_a_secret(settings: Settings, desk_play: SimpleNamespace) -> None:
    secrets = {
        "alert_urls": SecretStr("tgram://111:topsecret/5"),
        "heartbeat_url": SecretStr("https://hc.example/topsecret"),
        "coinbase_api_secret": SecretStr("topsecret"),
        "coinbase_api_key": "topsecret",
    }
    watched = Watched(settings.model_copy(update=secrets), desk_play)
    texts: list[bytes] = []
    watched.play(1, lambda _done: texts.extend(watched.get(page)[1] for page in ("/healthz", "/metrics", "/status")))
    assert [len(text) > 100 for text in texts] == [True] * 3
    assert not [text for text in texts if b"topsecret" in text]


def test_fault_of_the_status_never_ends_the_loop(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    def broken(*_args: object, **_options: object) -> None:
        raise ZeroDivisionError

    watched.board._taken = broken  # type: ignore[method-assign]
    answers: list[tuple[int, bytes]] = []
    result = watched.play(3, lambda _done: answers.append(watched.get("/healthz")))
    assert (result.minutes, result.reason) == (3, "iterations")
    assert {status for status, _ in answers} == {503}
    assert "the status of this tick could not be shown; deciding goes on" in caplog.text


def test_fault_of_an_answer_never_ends_the_loop(watched: Watched, capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> RuntimeStatus:
        raise ZeroDivisionError

    watched.board.status = broken  # type: ignore[method-assign]
    whys: list[str] = []

    def look(_done: int) -> None:
        answer = ask_status(watched.settings.paths.runtime_address, 5.0)
        whys.append(answer.why)
        assert (answer.is_running, answer.status) == (True, None)

    assert watched.play(2, look).minutes == 2
    assert "RemoteDisconnected" in whys[0]
    assert "Traceback" not in capsys.readouterr().err


def test_session_without_watchers_keeps_nothing(settings: Settings, desk_play: SimpleNamespace) -> None:
    board = StatusBoard()
    run_loop(
        settings,
        provider=desk_play.FakeProvider(),
        clock=ManualClock(desk_play.START),
        models=desk_play.models(PRODUCTS),
        notifier=desk_play.FakeNotifier(),
        options=LoopOptions(iterations=1, drain_seconds=0.0, board=board),
    )
    assert board.snapshot is None
    assert not settings.paths.runtime_address.exists()
