"""Send what the outbox owes: to each target by itself, in order per product, at least once, without ever stopping the loop.

Each target has its own cursor, thread and child process: one that is dead or slow delays no other. Its messages wait in
memory in the order they were committed; the first of each product is tried (those that concern all products form a queue
of their own), and every try is recorded. A message that fails is tried again with growing pauses, or after as long as the
target asked for (an hour at most), and the later ones of its product wait behind it. After `MAX_TRIES` it becomes a dead
letter, which `desk alerts list` shows and `desk alerts retry` sends again, and the next one's turn comes. What is not
settled when the process ends is still in the outbox, and is offered again at the next start.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Protocol

from store.signal_rows import DeliveryRow, OwedMessage, ReceiptRow

if TYPE_CHECKING:
    from store.signal_rows import OutboxRow

_log = logging.getLogger(__name__)

RecordTries = Callable[[Sequence[DeliveryRow], Sequence[ReceiptRow]], None]
FIRST_PAUSE_SECONDS = 1.0
MAX_PAUSE_SECONDS = 60.0
MAX_RETRY_AFTER_SECONDS = 3600.0
MAX_TRIES = 300
"""At a minute each they outlast an outage of five hours; a target that always refuses holds a message no longer."""
ANSWER_SECONDS = 60.0
"""Apprise gives up a connection after some seconds; a child without an answer for so long hangs."""
ALL_TARGETS = "*"
_RECORD_EVERY_SECONDS = 2.0
"""Tries are written in batches: each write takes the store's lock, which the loop's commit needs as well."""
_CHILD_ENVIRONMENT = re.compile(
    r"PATH|HOME|LANG|LC_[A-Z]+|TZ|TMPDIR|PYTHON[A-Z0-9]*|VIRTUAL_ENV|SSL_CERT_(FILE|DIR)|REQUESTS_CA_BUNDLE"
    r"|(https?|no|all)_proxy",
    re.IGNORECASE,
)
"""What Python, its certificates and a proxy need; the API secret and the cloud's keys are no business of Apprise."""


@dataclass(frozen=True, slots=True)
class SendResult:
    """What came of one try."""

    ok: bool
    detail: str = ""
    retry_after: float = 0.0
    is_final: bool = False
    """Whether another try cannot help."""


class Notifying(Protocol):
    """What the loop needs of a `Notifier`."""

    def offer(self, messages: Sequence[OutboxRow]) -> None:
        """Queue committed messages and return at once."""
        ...

    def close(self, timeout_seconds: float = 10.0) -> int:
        """Try what is left for a bounded time; return how many still wait."""
        ...


class Transport(Protocol):
    """Something that sends to one target; `AppriseChild`, or a double in a test."""

    def send(self, message: OutboxRow) -> SendResult:
        """Try once."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class AppriseChild:
    """One Apprise target in a child process, started at the first message and again if it dies or hangs."""

    def __init__(self, url: str, answer_seconds: float = ANSWER_SECONDS) -> None:
        """Keep the Apprise URL, which holds a secret."""
        self._url = url
        self._answer_seconds = answer_seconds
        self._child: subprocess.Popen[str] | None = None

    def _running(self) -> tuple[subprocess.Popen[str], IO[str], IO[str]]:
        if self._child is not None and self._child.poll() is not None:
            self.close()  # it died; its pipes go with it
        if self._child is None:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "runtime.alerts.apprise_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={name: value for name, value in os.environ.items() if _CHILD_ENVIRONMENT.fullmatch(name)},
                text=True,
            )
            if self._child.stdin is not None:
                self._child.stdin.write(json.dumps(self._url) + "\n")
        stdin, stdout = self._child.stdin, self._child.stdout
        if stdin is None or stdout is None:
            raise BrokenPipeError
        return self._child, stdin, stdout

    def send(self, message: OutboxRow) -> SendResult:
        """Hand one message to the child and wait for its answer, but not for ever."""
        line = {"title": message.title, "body": message.body, "severity": message.severity}
        began = time.monotonic()
        try:
            child, stdin, stdout = self._running()
            hanging = threading.Timer(self._answer_seconds, child.kill)
            hanging.start()
            try:
                stdin.write(json.dumps(line) + "\n")
                stdin.flush()
                return SendResult(**json.loads(stdout.readline()))
            finally:
                hanging.cancel()
        except (OSError, ValueError, TypeError):
            self.close()
            is_late = time.monotonic() - began >= self._answer_seconds
            cause = f"gave no answer in {self._answer_seconds:g} seconds" if is_late else "ended"
            return SendResult(ok=False, detail=f"the sending process {cause}; it is started again")

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


def apprise_targets(urls: Sequence[str]) -> dict[str, Transport]:
    """Return target -> its child process; a target is named by its scheme and a hash, never by its URL."""
    return {target_name(url): AppriseChild(url) for whole in urls for url in _one_target_each(whole)}


def target_name(url: str) -> str:
    """Return for example ``tgram:1f3a90c2``, the same at every start."""
    return f"{url.partition('://')[0].lower()}:{hashlib.sha256(url.encode()).hexdigest()[:8]}"


def _one_target_each(url: str) -> Iterator[str]:
    """Part a Telegram URL into one for each chat: Apprise sends to all of them again when one refuses."""
    scheme, _, rest = url.partition("://")
    path, mark, query = rest.partition("?")
    token, *chats = (part for part in path.split("/") if part)
    if scheme.lower() != "tgram" or len(chats) < 2:
        yield url
        return
    yield from (f"{scheme}://{token}/{chat}{mark}{query}" for chat in chats)


@dataclass(slots=True)
class _Lane:
    """The messages of one product for one target, in order."""

    waiting: deque[OutboxRow] = field(default_factory=deque)
    failures: int = 0
    not_before: float = 0.0


class Notifier:
    """One sending thread for each target; the loop only ever calls `offer`, which returns at once."""

    def __init__(
        self,
        transports: Mapping[str, Transport],
        record: RecordTries,
        *,
        pause: Callable[[int], float] | None = None,
        max_tries: int = MAX_TRIES,
    ) -> None:
        """Take target -> transport (empty: nothing is sent, the outbox keeps what is owed) and where tries are recorded."""
        self._transports = dict(transports)
        self._record = record
        self._pause = pause or pause_seconds
        self._max_tries = max_tries
        self._lanes: dict[str, dict[str, _Lane]] = {name: {} for name in self._transports}
        self._owing: dict[str, set[str]] = {}
        """Message key -> targets that have not taken it."""
        self._offered: set[str] = set()
        self._tries: list[DeliveryRow] = []
        self._receipts: list[ReceiptRow] = []
        self._recorded_at = time.monotonic()
        self._condition = threading.Condition()
        self._is_over = False
        self._threads = [
            threading.Thread(target=self._work, args=(name,), name=f"notifier {name}", daemon=True)
            for name in self._transports
        ]
        for thread in self._threads:
            thread.start()

    def offer(self, messages: Sequence[OutboxRow]) -> None:
        """Queue committed messages; one whose key was offered before is left out, and so are targets that settled it."""
        with self._condition:
            for message in messages:
                if message.message_key in self._offered:
                    continue
                self._offered.add(message.message_key)
                settled = message.settled if isinstance(message, OwedMessage) else ()
                owing = [name for name in self._transports if name not in settled]
                self._owing[message.message_key] = set(owing)
                for name in owing:
                    self._lanes[name].setdefault(message.product, _Lane()).waiting.append(message)
            self._condition.notify_all()

    @property
    def backlog(self) -> int:
        """Number of messages that wait, for one target or more."""
        with self._condition:
            if not self._transports:
                return len(self._offered)
            return len({message.message_key for message in self._waiting()})

    @property
    def targets(self) -> int:
        """Number of targets."""
        return len(self._transports)

    @property
    def oldest_waiting(self) -> datetime | None:
        """When the oldest message that waits for a target was owed; None where none waits, or there is no target."""
        with self._condition:
            return min((message.created_at for message in self._waiting()), default=None)

    def _waiting(self) -> Iterator[OutboxRow]:
        return (message for own in self._lanes.values() for lane in own.values() for message in lane.waiting)

    def close(self, timeout_seconds: float = 10.0) -> int:
        """Try what is left for at most ``timeout_seconds``, then stop; return how many messages still wait."""
        deadline = time.monotonic() + timeout_seconds
        with self._condition:
            while self._transports and self.backlog and (left := deadline - time.monotonic()) > 0:
                self._condition.wait(min(left, 0.2))
            self._is_over = True
            self._condition.notify_all()
        for thread, transport in zip(self._threads, self._transports.values(), strict=True):
            thread.join(max(0.0, deadline - time.monotonic()) + 0.5)
            # one that hangs in a target: ending the child ends the wait
            transport.close()
            thread.join(5.0)
        self._flush()
        return self.backlog

    def _work(self, name: str) -> None:
        while (lane := self._next_lane(name)) is not None:
            try:
                self._try_first(name, lane)
                if time.monotonic() - self._recorded_at > _RECORD_EVERY_SECONDS or not self._has_ready():
                    self._flush()
            except Exception:  # noqa: BLE001
                # nobody restarts this thread: whatever went wrong, it goes on with the next try
                _log.exception("sending to %s was interrupted", name)
                lane.not_before = time.monotonic() + FIRST_PAUSE_SECONDS

    def _next_lane(self, name: str) -> _Lane | None:
        """Wait for a lane whose first message may be tried now; None when it is over."""
        with self._condition:
            while not self._is_over:
                ready = self._ready_lanes(name)
                if ready:
                    return min(ready, key=lambda lane: lane.waiting[0].sequence)
                self._condition.wait(self._nap_seconds(name))
        return None

    def _ready_lanes(self, name: str) -> list[_Lane]:
        now = time.monotonic()
        return [lane for lane in self._lanes[name].values() if lane.waiting and lane.not_before <= now]

    def _has_ready(self) -> bool:
        with self._condition:
            return any(self._ready_lanes(name) for name in self._transports)

    def _nap_seconds(self, name: str) -> float:
        waits = [lane.not_before - time.monotonic() for lane in self._lanes[name].values() if lane.waiting]
        return max(0.01, min(waits, default=5.0))

    def _try_first(self, name: str, lane: _Lane) -> None:
        message = lane.waiting[0]
        try:
            result = self._transports[name].send(message)
        except Exception as error:  # noqa: BLE001  # a fault of one try counts as a refusal, so that it is bounded too
            result = SendResult(ok=False, detail=f"sending failed ({type(error).__name__})")
        with self._condition:
            self._settle(name, lane, message.message_key, result)
            self._condition.notify_all()

    def _settle(self, name: str, lane: _Lane, key: str, result: SendResult) -> None:
        now, owing = datetime.now(UTC), self._owing[key]
        if result.ok:
            owing.discard(name)
        lane.failures += not result.ok
        detail = f"{name}: {result.detail or 'refused'}" if not result.ok else ""
        waits = f"{name} took it; waits for {', '.join(sorted(owing))}" if owing else ""
        self._tries.append(DeliveryRow(key, now, result.ok and not owing, detail or waits))
        if result.ok or result.is_final or lane.failures >= self._max_tries:
            if not result.ok:
                _log.warning("a message became a dead letter at %s; show it: desk alerts list", name)
            self._receipts.append(ReceiptRow(key, name, now, result.ok, result.detail))
            lane.waiting.popleft()
            lane.failures, lane.not_before = 0, 0.0
        else:
            wait = max(self._pause(lane.failures), min(result.retry_after, MAX_RETRY_AFTER_SECONDS))
            lane.not_before = time.monotonic() + wait

    def _flush(self) -> None:
        with self._condition:
            tries, self._tries = self._tries, []
            receipts, self._receipts = self._receipts, []
            self._recorded_at = time.monotonic()
        if not tries:
            return
        try:
            self._record(tries, receipts)
        except Exception as error:  # noqa: BLE001  # a full disk, a person's client: sending goes on meanwhile
            # they stay in memory and are written with the next ones
            _log.warning("tries to send could not be recorded yet: %s", error)
            with self._condition:
                self._tries, self._receipts = tries + self._tries, receipts + self._receipts


def pause_seconds(failures: int) -> float:
    """Return how long to wait after the n-th failure in a row: 1, 2, 4 .. 60 seconds."""
    return min(MAX_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(failures - 1, 10))
