"""Try many universes in a few child processes; log every outcome at once, so that a killed run goes on."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

from core.child_process import run_child, stop_children
from core.errors import LockHeldError, TrainingError
from core.locks import hold
from core.version import commit
from models.training.candidate import RECIPE, spec_as_json
from store.feature_sets import FEATURE_SETS
from validation.null_market.universe import (
    PRODUCT,
    Universe,
    UniverseOutcome,
    dataset_of,
    outcome_from_json,
    training_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from models.gates import GateProfile

_BATCH = 4
"""Universes a child process tries; more would save little, for loading torch takes two seconds, and cost more when killed."""
_LISTEN_SECONDS = 0.5
_MEMORY_GB = 3.0


@dataclass(frozen=True, slots=True)
class NullTerms:
    """What all universes of a run share; another choice is another run, with a log of its own."""

    seed: int
    architecture: str
    best_accuracy: float
    gates: GateProfile
    cost_bps: float

    def folder(self, home: Path) -> Path:
        """Return where outcomes under these terms, and this code, are kept."""
        sets = {name: features.sha256 for name, features in FEATURE_SETS.items()}
        chosen = asdict(self) | {"sets": sets, "recipe": RECIPE, "commit": commit()}
        return home / hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()[:12]


class OutcomeLog:
    """One JSON line for each universe that is done."""

    def __init__(self, path: Path) -> None:
        """Open the log, and forget a line that a kill cut off."""
        self._path, self._lock = path, Lock()
        if path.exists() and not (text := path.read_bytes()).endswith(b"\n"):
            path.write_bytes(text[: text.rfind(b"\n") + 1])

    def outcomes(self) -> dict[Universe, UniverseOutcome]:
        """Return what is known, the last word of each universe."""
        if not self._path.exists():
            return {}
        lines = self._path.read_text(encoding="utf-8").splitlines()
        outcomes = [outcome_from_json(json.loads(line)) for line in lines]
        return {outcome.universe: outcome for outcome in outcomes}

    def add(self, outcome: UniverseOutcome) -> None:
        """Append an outcome, flushed to disk."""
        with self._lock, self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(outcome)) + "\n")
            file.flush()
            os.fsync(file.fileno())


@contextmanager
def exclusively(folder: Path) -> Iterator[None]:
    """Hold the folder for this process, and sweep out what a killed one left.

    Raises:
        TrainingError: another process tries universes there.
    """
    try:
        with hold(folder / ".lock", timeout_seconds=0):
            for left in folder.glob("work-*"):
                shutil.rmtree(left, ignore_errors=True)
            yield
    except LockHeldError as error:
        msg = (
            f"another null-check (process {error.holder}) is at work in {folder}; wait for it, or choose another --seed"
        )
        raise TrainingError(msg) from None


def try_universes(
    todo: Sequence[Universe],
    terms: NullTerms,
    folder: Path,
    workers: int,
    on_outcome: Callable[[UniverseOutcome], None],
) -> None:
    """Try every universe, some at a time in each of ``workers`` child processes; outcomes come in any order.

    Raises:
        TrainingError: a child process died; what was done is in the log.
    """
    log = OutcomeLog(folder / "universes.jsonl")
    # a short list is shared out evenly, a long one in batches
    size = max(1, min(_BATCH, len(todo) // workers))
    batches = [todo[start : start + size] for start in range(0, len(todo), size)]

    def keep(outcome: UniverseOutcome) -> None:
        log.add(outcome)
        on_outcome(outcome)

    works = [folder / f"work-{os.getpid()}-{number}" for number in range(len(batches))]
    pool = ThreadPoolExecutor(workers)
    try:
        waiting = {pool.submit(_try, batch, terms, work, keep) for batch, work in zip(batches, works, strict=True)}
        while waiting:
            # a wait without an end would hear of Ctrl-C only after it: a library's handler restarts it (measured)
            ended, waiting = wait(waiting, timeout=_LISTEN_SECONDS, return_when=FIRST_EXCEPTION)
            for batch in ended:
                batch.result()
    except BaseException:
        # not waited for: a thread may be half-way through a universe of 180 days
        pool.shutdown(wait=False, cancel_futures=True)
        stop_children()
        for work in works:
            shutil.rmtree(work, ignore_errors=True)
        raise
    pool.shutdown()


def _try(batch: Sequence[Universe], terms: NullTerms, work: Path, keep: Callable[[UniverseOutcome], None]) -> None:
    def on_line(line: dict[str, Any]) -> None:
        if "outcome" in line:
            keep(outcome_from_json(line["outcome"]))

    try:
        runs = [_run(universe, terms, work / str(universe.number)) for universe in batch]
        run_child(
            "validation.null_market.universe_process",
            {"runs": runs},
            name="null-check",
            log=work.parent / "null-check.log",
            on_line=on_line,
            memory_gb=_MEMORY_GB,
        )
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _run(universe: Universe, terms: NullTerms, folder: Path) -> dict[str, Any]:
    reference = dataset_of(universe, folder / "datasets", terms.best_accuracy)
    return {
        "universe": asdict(universe),
        "dataset": asdict(reference),
        "folder": str(folder.absolute()),
        "spec": spec_as_json(training_of(universe, terms.architecture, PRODUCT)),
        "gates": asdict(terms.gates),
        "cost_bps": terms.cost_bps,
    }
