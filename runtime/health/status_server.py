"""Answer on loopback what a runtime does: `/healthz`, `/metrics` for Prometheus, `/status` as JSON.

It runs in daemon threads of the runtime's process and reads frozen snapshots. It can neither end nor delay the loop: a
fault ends one answer, and a client that is slow, or one of too many, has its connection closed. It listens on 127.0.0.1
alone, answers GET alone, and neither a foreign Host nor a web page. Its port is left in `runtime.json`, mode 0600, for
other processes of this user (`runtime.health.status_client`).
"""

from __future__ import annotations

import io
import json
import logging
import os
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import asdict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import TYPE_CHECKING

from prometheus_client.exposition import choose_encoder
from pydantic import TypeAdapter

from core.errors import DeskError
from core.files import whole_file
from core.loopback import LOOPBACK, is_loopback_host
from runtime.health.prometheus_text import registry_of
from runtime.health.snapshot import VERSION, RuntimeAddress, RuntimeStatus

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from pathlib import Path

    from runtime.health.board import StatusBoard

MAX_HEAD_BYTES, HEAD_SECONDS = 8192, 3.0
"""Of a request's line and headers; Prometheus sends 300 bytes at once."""
MAX_CONNECTIONS = 8
_JSON = "application/json"
_STATUS: TypeAdapter[RuntimeStatus] = TypeAdapter(RuntimeStatus)
_ADDRESS: TypeAdapter[RuntimeAddress] = TypeAdapter(RuntimeAddress)
_log = logging.getLogger(__name__)


class StatusServer(ThreadingHTTPServer):
    """Serves one board, a few connections at a time."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, board: StatusBoard, port: int) -> None:
        """Bind to loopback.

        Raises:
            OSError: the port is taken.
        """
        self.board, self.registry = board, registry_of(board.status)
        self._free = threading.BoundedSemaphore(MAX_CONNECTIONS)
        super().__init__((LOOPBACK, port), StatusHandler)

    def server_bind(self) -> None:
        """Bind without asking the name service for this machine's name, which may take seconds."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = LOOPBACK, self.server_address[1]

    def process_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        """Answer in a thread of its own, or close the connection where too many are open."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(
        self, request: socket.socket | tuple[bytes, socket.socket], client_address: object
    ) -> None:
        """Answer, then let the next one in."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002  # socketserver's own names
        """Log a fault of one answer in place of a traceback on the screen; who asked may just have gone."""
        _log.debug("a request could not be answered", exc_info=True)


class StatusHandler(BaseHTTPRequestHandler):
    """Answers one request and closes the connection."""

    server: StatusServer
    server_version, sys_version = "candledesk", ""
    timeout = HEAD_SECONDS

    def setup(self) -> None:
        """Read the head of the request, bounded in bytes and in time, and nothing behind it."""
        super().setup()
        head = _head(self.connection)
        self.is_too_long = len(head) > MAX_HEAD_BYTES
        self.rfile = io.BufferedReader(io.BytesIO(head[:MAX_HEAD_BYTES]))

    def do_GET(self) -> None:  # the name http.server asks for
        """Answer one of the three pages, or say why not."""
        if self.is_too_long:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the request is too long")
        elif not is_loopback_host(self.headers.get("Host", "")):
            self._refuse(HTTPStatus.FORBIDDEN, "this runtime answers to 127.0.0.1 and localhost alone")
        elif "Origin" in self.headers:
            self._refuse(HTTPStatus.FORBIDDEN, "this runtime answers to no web page")
        else:
            self._answer_page()

    def _answer_page(self) -> None:
        board, page = self.server.board, self.path.partition("?")[0]
        if page == "/healthz":
            health = board.health()
            status = HTTPStatus.OK if health.is_healthy else HTTPStatus.SERVICE_UNAVAILABLE
            self._send(status, json.dumps(asdict(health)).encode(), _JSON)
        elif page == "/status":
            self._send(HTTPStatus.OK, _STATUS.dump_json(board.status(), indent=1), _JSON)
        elif page == "/metrics":
            encode, content_type = choose_encoder(self.headers.get("Accept", ""))
            self._send(HTTPStatus.OK, encode(self.server.registry), content_type)
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "there are /healthz, /metrics and /status")

    def _only_get(self) -> None:
        self._refuse(HTTPStatus.METHOD_NOT_ALLOWED, "this runtime is only looked at: GET alone is answered")

    do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = _only_get  # noqa: N815  # the names http.server asks for

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        self._send(status, json.dumps({"error": why}).encode(), _JSON)

    def _send(self, status: HTTPStatus, body: bytes, content_type: str) -> None:
        self.send_response(status)
        for name, value in (
            ("Content-Type", content_type),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
        ):
            self.send_header(name, value)
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # http.server's own name
        """Write nothing: a scrape every 15 seconds is no news."""


def _head(connection: socket.socket) -> bytes:
    """Return a request up to its empty line, nothing where it does not come in time; longer than allowed means too long."""
    deadline, head = time.monotonic() + HEAD_SECONDS, b""
    while b"\r\n\r\n" not in head and len(head) <= MAX_HEAD_BYTES:
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            received = connection.recv(MAX_HEAD_BYTES + 1)
        except OSError:
            return b""
        if not received:
            return b""
        head += received
    connection.settimeout(HEAD_SECONDS)
    return head


@contextmanager
def served(board: StatusBoard, port: int, address_file: Path) -> Iterator[None]:
    """Serve ``board`` for the length of the block, on a free port where ``port`` is 0 or taken; its address lies in the file."""
    try:
        server = _open_server(board, port)
    except OSError as error:
        _log.warning("the runtime shows no status: no port of %s can be opened (%s)", LOOPBACK, error)
        yield
        return
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.2}, name="status", daemon=True)
    thread.start()
    try:
        _leave_address(board, server.server_port, address_file)
        yield
    finally:
        with suppress(OSError):
            address_file.unlink(missing_ok=True)
        server.shutdown()
        server.server_close()


def _open_server(board: StatusBoard, port: int) -> StatusServer:
    try:
        return StatusServer(board, port)
    except OSError as error:
        if port == 0:
            raise
        text = "RUNTIME_PORT %d is taken (%s): the status is on a free port instead, which desk status finds; Prometheus would not"
        _log.warning(text, port, error.strerror)
        return StatusServer(board, 0)


def _leave_address(board: StatusBoard, port: int, file: Path) -> None:
    address = RuntimeAddress(VERSION, os.getpid(), board.started_at, port)
    try:
        with whole_file(file) as draft:
            # its mode is right from the start: nobody else reads it at any moment
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "wb") as opened:  # noqa: PTH123  # a descriptor
                opened.write(_ADDRESS.dump_json(address, indent=1))
    except (DeskError, OSError) as error:
        _log.warning("desk status will not find this runtime: %s", error)
