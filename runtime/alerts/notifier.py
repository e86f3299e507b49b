"""Send what the outbox owes: in order per product, at least once, without ever stopping the loop.

Messages wait in memory in the order they were committed; a thread takes the first of each product (those that concern all
products form a queue of their own), tries it, and records every try. A message that fails is tried again with growing
pauses, or after as long as the target asked for, and the later ones of its product wait behind it. What is not
delivered when the process ends is still in the outbox, and is offered again at the next start.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any, Protocol

from core.errors import DeskError
from store.signal_rows import DeliveryRow

if TYPE_CHECKING:
    from store.signal_rows import OutboxRow

_log = logging.getLogger(__name__)

RecordTries = Callable[[Sequence[DeliveryRow]], None]
FIRST_PAUSE_SECONDS = 1.0
MAX_PAUSE_SECONDS = 60.0
_RECORD_EVERY_SECONDS = 2.0
"""Tries are written in batches: each write takes the store's lock, which the loop's commit needs as well."""


@dataclass(frozen=True, slots=True)
class SendResult:
    """What came of one try: which targets, by number, have taken the message by now."""

    ok: bool
    done: tuple[int, ...] = ()
    detail: str = ""
    retry_after: float = 0.0


class Transport(Protocol):
    """Something that sends one message; `AppriseChild`, or a double in a test."""

    def send(self, message: OutboxRow, skip: Sequence[int]) -> SendResult:
        """Try all targets but ``skip``; never raises for a target's failure."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class AppriseChild:
    """Apprise in a child process, started at the first message and again if it dies."""

    def __init__(self, urls: Sequence[str]) -> None:
        """Keep the Apprise URLs; each holds a secret."""
        self._urls = tuple(urls)
        self._child: subprocess.Popen[str] | None = None

    def _pipes(self) -> tuple[IO[str], IO[str]]:
        if self._child is not None and self._child.poll() is not None:
            self.close()  # it died; its pipes go with it
        if self._child is None:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "runtime.alerts.apprise_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            if self._child.stdin is not None:
                self._child.stdin.write(json.dumps(self._urls) + "\n")
        stdin, stdout = self._child.stdin, self._child.stdout
        if stdin is None or stdout is None:
            raise BrokenPipeError
        return stdin, stdout

    def send(self, message: OutboxRow, skip: Sequence[int]) -> SendResult:
        """Hand one message to the child and wait for its word."""
        line = {"title": message.title, "body": message.body, "severity": message.severity, "skip": list(skip)}
        try:
            stdin, stdout = self._pipes()
            stdin.write(json.dumps(line) + "\n")
            stdin.flush()
            answer: dict[str, Any] = json.loads(stdout.readline())
        except (OSError, ValueError):
            self.close()
            return SendResult(ok=False, done=tuple(skip), detail="the sending process ended; it is started again")
        return SendResult(**answer | {"done": tuple(answer["done"])})

    def close(self) -> None:
        """End the child by closing its input; kill it if it hangs in a target."""
        child, self._child = self._child, None
        if child is None:
            return
        with suppress(OSError):
            if child.stdin is not None:
                child.stdin.close()
        try:
            child.wait(timeout=2)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        if child.stdout is not None:
            child.stdout.close()


@dataclass(slots=True)
class _Lane:
    """The messages of one product, in order."""

    waiting: deque[OutboxRow] = field(default_factory=deque)
    done: tuple[int, ...] = ()
    failures: int = 0
    not_before: float = 0.0


class Notifier:
    """The thread that sends; the loop only ever calls `offer`, which returns at once."""

    def __init__(
        self, transport: Transport | None, record: RecordTries, *, pause: Callable[[int], float] | None = None
    ) -> None:
        """Take a transport (None: no target is configured, nothing is sent) and where tries are recorded."""
        self._transport = transport
        self._record = record
        self._pause = pause or pause_seconds
        self._lanes: dict[str, _Lane] = {}
        self._offered: set[str] = set()
        self._tries: list[DeliveryRow] = []
        self._recorded_at = time.monotonic()
        self._condition = threading.Condition()
        self._is_over = False
        self._thread = threading.Thread(target=self._work, name="notifier", daemon=True)
        if transport is not None:
            self._thread.start()

    def offer(self, messages: Sequence[OutboxRow]) -> None:
        """Queue committed messages; one whose key was offered before is left out."""
        with self._condition:
            for message in messages:
                if message.message_key not in self._offered:
                    self._offered.add(message.message_key)
                    self._lanes.setdefault(message.product, _Lane()).waiting.append(message)
            self._condition.notify_all()

    @property
    def backlog(self) -> int:
        """Number of messages that wait."""
        with self._condition:
            return sum(len(lane.waiting) for lane in self._lanes.values())

    def close(self, timeout_seconds: float = 10.0) -> int:
        """Try what is left for at most ``timeout_seconds``, then stop; return how many messages still wait."""
        if self._transport is None:
            return self.backlog
        deadline = time.monotonic() + timeout_seconds
        with self._condition:
            while any(lane.waiting for lane in self._lanes.values()) and (left := deadline - time.monotonic()) > 0:
                self._condition.wait(min(left, 0.2))
            self._is_over = True
            self._condition.notify_all()
        self._thread.join(max(0.0, deadline - time.monotonic()) + 0.5)
        if self._thread.is_alive():
            # it hangs in a target: ending the child ends the wait
            self._transport.close()
            self._thread.join(5.0)
        self._transport.close()
        self._flush()
        return self.backlog

    def _work(self) -> None:
        while (lane := self._next_lane()) is not None:
            self._try_first(lane)
            if time.monotonic() - self._recorded_at > _RECORD_EVERY_SECONDS or not self._has_ready():
                self._flush()

    def _next_lane(self) -> _Lane | None:
        """Wait for a lane whose first message may be tried now; None when it is over."""
        with self._condition:
            while not self._is_over:
                ready = self._ready_lanes()
                if ready:
                    return min(ready, key=lambda lane: lane.waiting[0].sequence)
                self._condition.wait(self._nap_seconds())
        return None

    def _ready_lanes(self) -> list[_Lane]:
        now = time.monotonic()
        return [lane for lane in self._lanes.values() if lane.waiting and lane.not_before <= now]

    def _has_ready(self) -> bool:
        with self._condition:
            return bool(self._ready_lanes())

    def _nap_seconds(self) -> float:
        waits = [lane.not_before - time.monotonic() for lane in self._lanes.values() if lane.waiting]
        return max(0.01, min(waits, default=5.0))

    def _try_first(self, lane: _Lane) -> None:
        message = lane.waiting[0]
        if self._transport is None:
            return
        result = self._transport.send(message, lane.done)
        with self._condition:
            self._tries.append(DeliveryRow(message.message_key, datetime.now(UTC), result.ok, result.detail))
            if result.ok:
                lane.waiting.popleft()
                lane.done, lane.failures, lane.not_before = (), 0, 0.0
            else:
                lane.done, lane.failures = result.done, lane.failures + 1
                lane.not_before = time.monotonic() + max(self._pause(lane.failures), result.retry_after)
            self._condition.notify_all()

    def _flush(self) -> None:
        with self._condition:
            tries, self._tries = self._tries, []
            self._recorded_at = time.monotonic()
        if not tries:
            return
        try:
            self._record(tries)
        except DeskError as error:
            # the tries stay in memory and are written with the next ones
            _log.warning("tries to send could not be recorded yet: %s", error)
            with self._condition:
                self._tries = tries + self._tries


def pause_seconds(failures: int) -> float:
    """Return how long to wait after the n-th failure in a row: 1, 2, 4 .. 60 seconds."""
    return min(MAX_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(failures - 1, 10))
