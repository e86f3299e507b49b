"""The status server against strangers, slow clients and bad requests; a board without a session is enough."""

from __future__ import annotations

import http.client
import json
import socket
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import pytest

from runtime.health import status_server
from runtime.health.board import StatusBoard
from runtime.health.status_client import ask_status, read_address
from runtime.health.status_server import MAX_CONNECTIONS, served

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    file = tmp_path_factory.mktemp("served") / "runtime.json"
    with served(StatusBoard(), 0, file):
        address = read_address(file)
        assert address is not None
        yield address.port


def answer_to(port: int, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(request)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    return answer


def ask(port: int, page: str = "/status", method: str = "GET", **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request(method, page, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, body


@pytest.mark.parametrize("host", ["127.0.0.1:9", "localhost", "LOCALHOST:80", "[::1]:7", "[::1]"])
def test_own_names_are_answered(port: int, host: str) -> None:
    assert ask(port, Host=host)[0] == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "10.0.0.7"])
@pytest.mark.parametrize("page", ["/healthz", "/metrics", "/status", "/nope"])
def test_foreign_host_is_refused(port: int, page: str, host: str) -> None:
    status, body = ask(port, page, Host=host)
    assert status == 403
    assert json.loads(body) == {"error": "this runtime answers to 127.0.0.1 and localhost alone"}


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1"])
def test_web_page_is_refused(port: int, origin: str) -> None:
    assert ask(port, Origin=origin)[0] == 403


def test_request_without_a_host_is_refused(port: int) -> None:
    assert answer_to(port, b"GET /status HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.0 403")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"])
def test_only_get_is_answered(port: int, method: str) -> None:
    assert ask(port, "/healthz", method)[0] == 405


def test_page_that_is_not_there_names_those_that_are(port: int) -> None:
    assert ask(port, "/etc/passwd") == (404, '{"error": "there are /healthz, /metrics and /status"}')


def test_long_request_is_refused_before_it_is_read(port: int) -> None:
    assert ask(port, X=(9000 * "x"))[0] == 431
    assert answer_to(port, b"GET /" + 8000 * b"x" + b" HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.0 403")


@pytest.mark.parametrize(
    "request_", [b"\x16\x03\x01\x02\x00\r\n\r\n", b"GET\r\n\r\n", b"\r\n\r\n", b"GET / HTTP/9\r\n\r\n"]
)
def test_nonsense_is_no_traceback(port: int, request_: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    answer_to(port, request_)
    assert ask(port)[0] == 200
    assert "Traceback" not in capsys.readouterr().err


def test_slow_client_is_cut_off(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_server, "HEAD_SECONDS", 0.1)
    assert answer_to(port, b"GET /status HT") == b""
    assert answer_to(port, b"") == b""
    assert ask(port)[0] == 200


def test_one_connection_too_many_is_closed_at_once(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_server, "HEAD_SECONDS", 60.0)
    with ExitStack() as stack:
        for _ in range(MAX_CONNECTIONS):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
        # connections are accepted in their order, so the eight hold every place
        with pytest.raises(ConnectionError):
            ask(port)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        with suppress(ConnectionError):
            assert ask(port)[0] == 200
            break
    else:
        pytest.fail("the places did not become free again")


def test_taken_port_leaves_the_status_on_a_free_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "runtime.json"
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        with served(StatusBoard(), taken, file):
            assert ask_status(file, 5.0).status is not None
    assert f"RUNTIME_PORT {taken} is taken" in caplog.text


def test_folder_that_cannot_be_written_stops_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    with served(StatusBoard(), 0, tmp_path / "file" / "runtime.json"):
        pass
    assert "desk status will not find this runtime" in caplog.text


def test_before_the_first_tick_every_page_answers(port: int) -> None:
    assert ask(port, "/healthz")[0] == 503
    assert ask(port, "/metrics")[0] == 200
    status, body = ask(port, "/status")
    assert (status, json.loads(body)["snapshot"]) == (200, None)
    assert "candledesk_healthy 0.0" in ask(port, "/metrics")[1]
    assert ask(port, "/metrics", Accept="application/openmetrics-text; version=1.0.0")[1].endswith("# EOF\n")
