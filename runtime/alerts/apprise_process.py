"""Hand messages to one Apprise target in a child process: `python -m runtime.alerts.apprise_process`.

Apprise and all its plug-ins cost some 30 MB and may hang in a slow target; the runtime has neither the room nor the
time, so they live here, one process for each target: one that hangs delays no other. The first line on standard input is
the Apprise URL as JSON (never on the command line, where others could read it); each further line is a message; each gets
one JSON line back. The process ends with its input.
"""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import sys
from dataclasses import asdict
from typing import Any, TextIO

import apprise

from core.redaction import redact
from runtime.alerts.notifier import MAX_RETRY_AFTER_SECONDS, SendResult

_RETRY_AFTER = re.compile(r"retry[ _-]?after\D{0,4}(\d+)", re.IGNORECASE)


class _Lines(logging.Handler):
    """Keeps what Apprise warned about during one try."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line."""
        self.lines.append(record.getMessage())


class TargetSender:
    """Sends to one target and puts its refusals into words without secrets."""

    def __init__(self, url: str) -> None:
        """Understand the URL; one that is not understood refuses every message for good."""
        self._url = url
        target = apprise.Apprise()
        self._target = target if url and target.add(url) else None
        self._log = _Lines()
        logger = logging.getLogger("apprise")
        logger.setLevel(logging.WARNING)  # below it, Apprise logs URLs and so the bot's token
        logger.propagate = False
        logger.addHandler(self._log)

    def send(self, message: dict[str, Any]) -> SendResult:
        """Try the target once."""
        if self._target is None:
            return SendResult(ok=False, detail="not understood by Apprise", is_final=True)
        self._log.lines.clear()
        text = {"title": message["title"], "body": message["body"], "notify_type": message["severity"]}
        if self._target.notify(**text, body_format=apprise.NotifyFormat.TEXT):
            return SendResult(ok=True)
        warnings = " ".join(self._log.lines)
        wait = _RETRY_AFTER.search(warnings)
        # digits beyond an hour's are nonsense or an attack: "retry after 99999999999" must not silence a target for ever
        retry_after = min(float(wait[1][:9]), MAX_RETRY_AFTER_SECONDS) if wait else 0.0
        return SendResult(ok=False, detail=redact(warnings, [self._url])[:300] or "refused", retry_after=retry_after)


def serve(source: TextIO, sink: TextIO) -> None:
    """Answer messages until the input ends."""
    sender = TargetSender(json.loads(source.readline() or '""'))
    for line in source:
        sink.write(json.dumps(asdict(sender.send(json.loads(line)))) + "\n")
        sink.flush()


if __name__ == "__main__":
    # Ctrl-C goes to the whole group; the runtime ends this process by closing its input, after the last message
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a plug-in prints must not be taken for an answer
    serve(sys.stdin, answers)
