"""Receive Apprise `json://` messages on this machine, for tests and the demo.

`python -m runtime.alerts.local_receiver --port 0 --file out.jsonl` prints its Apprise URL, then writes one JSON line per message:
when, title, message, type and the key at the end of the text. It answers only on 127.0.0.1.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.alerts.announcer import key_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType


class Receiver:
    """Takes messages on a free port of 127.0.0.1 and keeps them; use it in a with block."""

    def __init__(self, port: int = 0, file: Path | None = None) -> None:
        """Bind the port (0: any free one); messages also go to ``file``, one JSON line each."""
        self.messages: list[dict[str, Any]] = []
        self.refuse_next = 0
        """Answer this many further messages with 503, to rehearse an outage."""
        self._file = file
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler_for(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """The Apprise URL to set in `ALERT_URLS`."""
        return f"json://127.0.0.1:{self._server.server_port}/"

    @property
    def keys(self) -> set[str]:
        """Keys of the distinct messages received."""
        with self._lock:
            return {str(message["key"]) for message in self.messages}

    def take(self, content: dict[str, Any]) -> bool:
        """Keep one message; return False if it is to be refused."""
        body = str(content.get("message", ""))
        line = {
            "received_at": datetime.now(UTC).isoformat(),
            "key": key_of(body),
            "title": content.get("title", ""),
            "message": body,
            "type": content.get("type", ""),
        }
        with self._lock:
            if self.refuse_next > 0:
                self.refuse_next -= 1
                return False
            self.messages.append(line)
            if self._file is not None:
                with self._file.open("a", encoding="utf-8") as sink:
                    sink.write(json.dumps(line) + "\n")
        return True

    def serve_forever(self) -> None:
        """Serve in this thread until interrupted."""
        self._server.serve_forever(0.2)

    def __enter__(self) -> Receiver:
        """Serve in a thread."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop serving and give the port back."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


def _handler_for(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # the name http.server asks for
            length = int(self.headers.get("Content-Length", "0"))
            try:
                content = json.loads(self.rfile.read(length))
            except ValueError:
                content = None
            is_taken = isinstance(content, dict) and receiver.take(content)
            self.send_response(200 if is_taken else 503)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # http.server's own name
            """Say nothing: what was received is in the file."""

    return Handler


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the receiver until interrupted."""
    parser = argparse.ArgumentParser(description="Receive Apprise json:// messages on 127.0.0.1.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--file", type=Path, default=None)
    chosen = parser.parse_args(arguments)
    receiver = Receiver(chosen.port, chosen.file)
    sys.stdout.write(receiver.url + "\n")
    sys.stdout.flush()
    try:
        receiver.serve_forever()
    except KeyboardInterrupt:
        sys.stdout.write(f"{len(receiver.messages)} messages, {len(receiver.keys)} distinct keys\n")


if __name__ == "__main__":
    main()
