"""Hand messages to Apprise in a child process: `python -m runtime.alerts.apprise_process`.

Apprise and all its plug-ins cost some 30 MB and may hang in a slow target; the runtime has neither the room nor the
time, so they live here. The first line on standard input is a JSON list of Apprise URLs (never on the command line, where others
could read them); each further line is a message; each gets one JSON line back. The process ends with its input.
"""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TextIO

import apprise

from runtime.alerts.notifier import SendResult

if TYPE_CHECKING:
    from collections.abc import Sequence

_RETRY_AFTER = re.compile(r"retry[ _-]?after\D{0,4}(\d+)", re.IGNORECASE)
_URL = re.compile(r"\S+://\S+")
_LONG_WORD = re.compile(r"[A-Za-z0-9_:\-]{24,}")


class _Lines(logging.Handler):
    """Keeps what Apprise warned about during one try."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line."""
        self.lines.append(record.getMessage())


def scrub(text: str) -> str:
    """Return ``text`` without URLs and without anything long enough to be a token."""
    return _LONG_WORD.sub("(hidden)", _URL.sub("(url)", text))[:300]


class TargetSender:
    """Sends to each target by itself, so that a retry does not repeat what one of them took."""

    def __init__(self, urls: Sequence[str]) -> None:
        """Understand the URLs; one that is not understood refuses every message, with its number."""
        self._targets = [self._target(url) for url in urls]
        self._log = _Lines()
        logger = logging.getLogger("apprise")
        logger.setLevel(logging.WARNING)  # below it, Apprise logs URLs and so the bot's token
        logger.propagate = False
        logger.addHandler(self._log)

    @staticmethod
    def _target(url: str) -> apprise.Apprise | None:
        target = apprise.Apprise()
        return target if target.add(url) else None

    def send(self, message: dict[str, Any]) -> SendResult:
        """Try all targets but those in ``message["skip"]``; return which took it and why the others did not."""
        done = set(message.get("skip", ()))
        details: list[str] = []
        retry_after = 0.0
        for number, target in enumerate(self._targets):
            if number in done:
                continue
            self._log.lines.clear()
            if target is not None and self._notify(target, message):
                done.add(number)
                continue
            warnings = " ".join(self._log.lines)
            if wait := _RETRY_AFTER.search(warnings):
                retry_after = max(retry_after, float(wait[1]))
            reason = scrub(warnings) or ("not understood by Apprise" if target is None else "refused")
            details.append(f"target {number + 1}: {reason}")
        is_ok = bool(self._targets) and not details
        return SendResult(is_ok, tuple(sorted(done)), "; ".join(details), retry_after)

    @staticmethod
    def _notify(target: apprise.Apprise, message: dict[str, Any]) -> bool:
        text = {"title": message["title"], "body": message["body"], "notify_type": message["severity"]}
        return bool(target.notify(**text, body_format=apprise.NotifyFormat.TEXT))


def serve(source: TextIO, sink: TextIO) -> None:
    """Answer messages until the input ends."""
    sender = TargetSender(json.loads(source.readline() or "[]"))
    for line in source:
        sink.write(json.dumps(asdict(sender.send(json.loads(line)))) + "\n")
        sink.flush()


if __name__ == "__main__":
    # Ctrl-C goes to the whole group; the runtime ends this process by closing its input, after the last message
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a plug-in prints must not be taken for an answer
    serve(sys.stdin, answers)
