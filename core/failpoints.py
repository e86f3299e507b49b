"""Named places at which a test may kill this process, fill its disk or hold it up.

``DESK_FAILPOINTS=write.before_commit:3=kill,publish.before_rename=sleep:0.5`` kills the process at the third pass of one
place and holds it up for half a second at the first pass of another. Without that variable a call costs a tenth of a
microsecond and does nothing. ``python -m tests.campaign`` is what uses them.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from typing import TYPE_CHECKING

from core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

VARIABLE = "DESK_FAILPOINTS"

PLACES = {
    "migrate.before_rename": "a new database is built beside its place and not yet moved there",
    "write.before_begin": "the lock is held and the database open, no transaction yet",
    "write.before_commit": "everything of a transaction is done but its commit",
    "write.after_commit": "committed, not yet closed, so perhaps only in the write-ahead log",
    "write.after_close": "committed and checkpointed, the lock still held",
    "ingest.after_compare": "the candles of a batch are compared with what is stored, nothing is changed",
    "ingest.after_replaced": "a replaced candle is kept as a revision, its new version is not yet in place",
    "ingest.after_candles": "candles are in, quarantine and ledger are not",
    "ingest.after_quarantine": "candles and quarantine are in, the ledger is not",
    "ingest.after_ledger_cut": "the ledger's old windows are gone, the new ones not yet there",
    "fetch.before_commit": "pages were answered and are not yet committed",
    "fetch.after_commit": "pages are committed and the caller does not know yet",
    "publish.before_checkpoint": "the lock is held for the read copy, the database not yet opened",
    "publish.before_copy": "the database is checkpointed and closed, the copy not begun",
    "publish.before_rename": "the copy is made and not yet in place",
    "publish.after_rename": "the new copy is in place, the lock still held",
    "export.before_rename": "a raw export's draft is written and not yet in place",
    "export.before_manifest": "a raw export is in place without its manifest",
    "registry.after_lock": "the registry's lock is held, nothing was looked at",
    "registry.before_copy": "a file of a model is about to be copied; each file is one pass",
    "registry.before_folder": "every file is copied and flushed, under a name that nobody serves",
    "registry.after_folder": "a model's files are in place, no event names them",
    "registry.before_append": "the files are there and the events decided, the registry's draft is not written",
    "registry.before_switch": "the registry's draft is written and flushed, the old file still in place",
    "registry.after_switch": "the switch is made, the lock still held",
    "registry.before_table": "the switch is made, the tables do not know of it",
    "registry.after_events": "the events are in the tables' transaction, the metrics are not",
    "registry.after_table": "the tables know, the caller does not know yet",
}
"""Every failpoint, each with the state of things at that line."""

ACTIONS = ("kill", "full", "sleep")


@dataclass(slots=True)
class _Trap:
    """What happens at one pass of one place."""

    at_pass: int
    action: str
    seconds: float = 0.0
    # a count and not a number: several threads may pass, and next() is one step
    passes: Iterator[int] = field(default_factory=lambda: count(1))

    def trigger(self, name: str) -> None:
        if next(self.passes) != self.at_pass:
            return
        if self.action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.action == "full":
            raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)} (failpoint {name})")
        time.sleep(self.seconds)


def failpoint(name: str) -> None:
    """Do nothing, unless the environment names it: then at the pass it names kill, fill or hold up.

    Raises:
        OSError: ENOSPC, where the environment says ``full``.
        ConfigError: the environment names a place or an action that there is not.
    """
    trap = _armed().get(name)
    if trap is not None:
        trap.trigger(name)


def rearm() -> None:
    """Read the environment again, and count every pass from one; for a process that was forked."""
    _armed.cache_clear()


@cache
def _armed() -> dict[str, _Trap]:
    return dict(_parsed(entry.strip()) for entry in os.environ.get(VARIABLE, "").split(",") if entry.strip())


def _parsed(entry: str) -> tuple[str, _Trap]:
    """Read ``place``, ``place=action`` or ``place:pass=action:seconds``."""
    left, _, right = entry.partition("=")
    name, _, at_pass = left.partition(":")
    action, _, seconds = right.partition(":")
    if name not in PLACES:
        msg = f"{VARIABLE} names the failpoint {name!r}; there are {', '.join(PLACES)}"
        raise ConfigError(msg)
    try:
        trap = _Trap(int(at_pass or 1), action or "kill", float(seconds or 0))
    except ValueError:
        trap = _Trap(0, "")
    if trap.action not in ACTIONS or trap.at_pass < 1 or trap.seconds < 0:
        msg = f"{VARIABLE} says {entry!r}; write name:pass=action, the action one of kill, full and sleep:SECONDS"
        raise ConfigError(msg)
    return name, trap
