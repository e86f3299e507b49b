"""The heartbeat against a local receiver: what is sent when, and that nobody learns the URL."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from core.errors import ConfigError
from core.settings import load_settings
from runtime.health import heartbeat as heartbeat_module
from runtime.health.heartbeat import Heartbeat, beating
from runtime.health.snapshot import Health
from runtime.health.watchers import open_board

if TYPE_CHECKING:
    from collections.abc import Iterator

    from core.settings import Settings

SECRET = "5f0c7127-c7d2-4b5e-8c4a-secret"


class Receiver:
    """Keeps the paths it was asked for; answers with ``status``, or not at all while it hangs."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.status = 200
        self.hangs = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                receiver.paths.append(self.path)
                while receiver.hangs.is_set():
                    time.sleep(0.01)
                self.send_response(receiver.status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/{SECRET}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def wait_for(self, count: int) -> list[str]:
        deadline = time.monotonic() + 5
        while len(self.paths) < count and time.monotonic() < deadline:
            time.sleep(0.005)
        return self.paths


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.hangs.clear()
    made.server.shutdown()
    made.server.server_close()


class Patient:
    """Health that a test sets."""

    def __init__(self) -> None:
        self.is_healthy = True

    def __call__(self) -> Health:
        return Health(self.is_healthy, "", 1.0, 180.0)


def test_start_success_fail_and_silence(receiver: Receiver) -> None:
    patient = Patient()
    patient.is_healthy = False
    heart = Heartbeat(receiver.url, patient)
    heart.start()
    heart.beat()  # still starting: nothing is said
    for is_healthy in (True, True, False, False, True):
        patient.is_healthy = is_healthy
        heart.beat()
    own = f"/{SECRET}"
    assert receiver.paths == [f"{own}/start", own, own, f"{own}/fail", own]


def test_query_and_slash_of_the_url_stay_in_place(receiver: Receiver) -> None:
    heart = Heartbeat(f"{receiver.url}/?create=1", Patient())
    heart.start()
    heart.beat()
    assert receiver.paths == [f"/{SECRET}/start?create=1", f"/{SECRET}?create=1"]


def fail_after(receiver: Receiver, count: int) -> None:
    with beating(Heartbeat(receiver.url, Patient()), 0.01):
        receiver.wait_for(count)
        raise ZeroDivisionError


def test_thread_beats_while_the_block_runs_and_fails_with_it(receiver: Receiver) -> None:
    with pytest.raises(ZeroDivisionError):
        fail_after(receiver, 3)
    assert receiver.paths[:3] == [f"/{SECRET}/start", f"/{SECRET}", f"/{SECRET}"]
    assert f"/{SECRET}/fail" in receiver.wait_for(len(receiver.paths))


def test_end_on_purpose_sends_no_fail(receiver: Receiver) -> None:
    with beating(Heartbeat(receiver.url, Patient()), 60):
        receiver.wait_for(1)
    assert receiver.paths == [f"/{SECRET}/start"]


def test_receiver_that_hangs_delays_nobody(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat_module, "LAST_WORD_SECONDS", 0.1)
    receiver.hangs.set()
    began = time.monotonic()
    with pytest.raises(ZeroDivisionError):
        fail_after(receiver, 1)
    assert time.monotonic() - began < 2


def test_request_ends_by_its_time_limit(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(heartbeat_module, "TIMEOUT_SECONDS", 0.1)
    receiver.hangs.set()
    Heartbeat(receiver.url, Patient()).beat()
    assert "the heartbeat does not arrive (TimeoutError)" in caplog.text


@pytest.mark.parametrize("end", ["refused", "closed", "nobody"])
def test_no_log_shows_the_url(end: str, receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    receiver.status = {"refused": 404, "closed": 500, "nobody": 200}[end]
    url = f"http://{SECRET}.invalid:1/{SECRET}" if end == "nobody" else receiver.url
    heart = Heartbeat(url, Patient())
    heart.beat()
    heart.beat()
    assert caplog.text.count("the heartbeat does not arrive") == 1
    assert SECRET not in caplog.text
    if end != "nobody":
        receiver.status = 200
        heart.beat()
        assert "the heartbeat arrives again" in caplog.text


def test_board_of_a_runtime_beats_beside_its_server(receiver: Receiver, settings: Settings) -> None:
    own = settings.model_copy(update={"heartbeat_url": SecretStr(receiver.url)})
    board = open_board(own, None)  # type: ignore[arg-type]

    def session() -> None:
        with board.watched():
            assert settings.paths.runtime_address.exists()
            receiver.wait_for(1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        session()
    assert receiver.wait_for(2) == [f"/{SECRET}/start", f"/{SECRET}/fail"]


@pytest.mark.parametrize(
    "url",
    [
        f"hc-ping.com/{SECRET}",
        f"ftp://host/{SECRET}",
        f"http:///{SECRET}",
        f"https://a b/{SECRET}",
        f"file:///{SECRET}",
    ],
)
def test_url_that_is_none_is_refused_without_showing_it(url: str, tmp_path: object) -> None:
    settings = load_settings(desk_home=tmp_path, heartbeat_url=url)
    with pytest.raises(ConfigError, match="HEARTBEAT_URL is no address of the web") as error:
        open_board(settings, None)  # type: ignore[arg-type]
    assert SECRET not in str(error.value)
    assert SECRET not in repr(settings)
