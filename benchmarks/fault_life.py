"""One life of a worker as its parent sees it, and what all lives together come to."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from benchmarks.fault_oracle import Verdict
from benchmarks.fault_plan import RANDOM
from benchmarks.fault_worker import PARTIAL, REFUSED

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext
    from multiprocessing.process import BaseProcess

    from benchmarks.fault_plan import Death
    from benchmarks.fault_worker import Job

STUCK_SECONDS = 120.0


class Finding(Exception):  # noqa: N818  # what a campaign is for, not what goes wrong in it
    """A promise that was broken."""


@dataclass
class Tally:
    """Everything the campaign counted."""

    kills: Counter[str] = field(default_factory=Counter)
    """By place."""
    ends: Counter[str] = field(default_factory=Counter)
    """Lives that ended otherwise: finished, partial, refused for a full disk."""
    faults: Counter[str] = field(default_factory=Counter)
    episodes: int = 0
    minutes: int = 0
    """Minutes of truth held against the store at the ends of episodes."""
    checks: int = 0
    """Comparisons after a kill."""
    requests: int = 0
    needed: int = 0
    retried: int = 0
    """Requests that met a fault and had to be made again."""
    thrown_away: list[int] = field(default_factory=list)
    """By death: requests whose answers were not stored; the few that look for a listing are among them."""
    acknowledged: int = 0
    """Pages acknowledged before a kill, each found in the store after it."""
    reads: int = 0
    verdict: Verdict = field(default_factory=Verdict)
    findings: list[str] = field(default_factory=list)

    @property
    def killed(self) -> int:
        """How often a process was killed."""
        return sum(self.kills.values())

    def as_json(self) -> dict[str, Any]:
        """Return all counts for a file."""
        counters = {name: dict(getattr(self, name)) for name in ("kills", "ends", "faults")}
        return vars(self) | counters | {"verdict": asdict(self.verdict), "killed": self.killed}


@dataclass
class Life:
    """A running worker and how it is meant to end."""

    process: BaseProcess
    death: Death
    job: Job
    began: float

    def end(self) -> str:
        """Wait for its end, or bring it about; return what became of it."""
        is_random = self.death.place == RANDOM
        self.process.join(
            max(0.0, self.began + self.death.after_seconds - time.monotonic()) if is_random else STUCK_SECONDS
        )
        if is_random and self.process.is_alive():
            self.process.kill()
            self.process.join()
        if self.process.is_alive():
            self.process.kill()
            msg = f"worker {self.job.name} was still at work after {STUCK_SECONDS:g} s; its log: {self.job.folder}"
            raise Finding(msg)
        endings = {-signal.SIGKILL: self.death.place, 0: "finished", PARTIAL: "partial", REFUSED: "refused"}
        if self.process.exitcode not in endings:
            msg = f"worker {self.job.name} ended with status {self.process.exitcode}; its log: {self.job.folder}"
            raise Finding(msg)
        return endings[self.process.exitcode]


def forks() -> ForkServerContext:
    """Return a way to start processes that have imported everything already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["benchmarks.fault_campaign", "benchmarks.fault_flows", "benchmarks.surroundings", "rich.progress"]
    )
    return context
