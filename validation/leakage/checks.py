"""One line of a leak check: what was probed, how often, and what was seen."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from core.child_process import run_child
from models.judging.leak_catalogue import Leak

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from core.dataset_files import DatasetRef

_MEMORY_GB = 4.0


@dataclass(frozen=True, slots=True)
class Check:
    """What was probed, and what came of it."""

    what: str
    probes: int
    """Interventions, or comparisons of a whole data set."""
    leaks: Sequence[Leak] = field(default_factory=list)
    expected: str = ""
    """The name a planted leak must be given; empty where nothing may be found."""
    note: str = ""
    """Why there was nothing to probe."""

    @property
    def holds(self) -> bool:
        """Whether nothing was found, or what was planted was called by its name."""
        return self.expected in {leak.name for leak in self.leaks} if self.expected else not self.leaks


@dataclass(frozen=True, slots=True)
class FitRun:
    """A small data set on which the fitting functions are tried, in a child process: this one stays without torch."""

    what: str
    dataset: DatasetRef
    seed: int = 0
    with_baselines: bool = True
    planted: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        where = {name: getattr(self.dataset, name) for name in ("digest", "path", "manifest_path")}
        return {
            "what": self.what,
            "dataset": where,
            "seed": self.seed,
            "with_baselines": self.with_baselines,
            "planted": self.planted,
        }


def fit_checks(runs: Sequence[FitRun], folder: Path, on_check: Callable[[Check], None]) -> None:
    """Try every run in one child process.

    Raises:
        TrainingError: the child refused or died; the text names the cause.
    """

    def hear(line: dict[str, Any]) -> None:
        leaks = [Leak(**leak) for leak in line["leaks"]]
        on_check(Check(line["what"], line["probes"], leaks, line["expected"]))

    job = {"runs": [run.as_json() for run in runs]}
    log = folder / "leak-check.log"
    run_child("validation.leakage.fit_process", job, name="leak-check", log=log, on_line=hear, memory_gb=_MEMORY_GB)
