"""Walk forward: fit on the past, judge what follows, move on, and fit again; each fold as strangers to one another.

A fold is a data set of its own (`models.datasets.folds`), so each is trained, calibrated, exported and judged exactly as a
model that is to be served, in processes of their own. What is finished is kept: the same run killed and started again
does only what is left.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.child_process import run_child
from core.errors import DeskError, TrainingError
from core.files import read_json
from models.datasets.folds import write_view
from models.judging.run_judging import judge_in_process
from models.training.candidate import spec_as_json
from models.training.run_training import train_in_process
from models.walk_forward.forecasts import known_forecasts, model_key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from core.dataset_files import DatasetRef
    from models.datasets.folds import FoldBorders
    from models.gates import GateProfile
    from models.training.progress import TrainProgress
    from models.training.spec import TrainSpec

TRAINED, JUDGED = 0.7, 0.9
"""Shares of a fold's work that are done once it is trained, and judged; forecasting is the rest."""


_LISTEN_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Configuration:
    """One way to train that is tried: the changes to the preset, and a name for tables."""

    name: str
    changes: Mapping[str, Any]
    specs: tuple[TrainSpec, ...]
    """One per product, or one for all products together."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All that decides a walk-forward run."""

    base: DatasetRef
    products: tuple[str, ...]
    folds: tuple[FoldBorders, ...]
    configurations: tuple[Configuration, ...]
    profile: GateProfile
    cost_bps: float

    @property
    def run_id(self) -> str:
        """A name that differs whenever anything that decides a figure differs."""
        told = {
            "base": self.base.digest,
            "folds": [asdict(fold) for fold in self.folds],
            "configurations": [[spec_as_json(spec) for spec in one.specs] for one in self.configurations],
            "profile": asdict(self.profile),
            "cost_bps": self.cost_bps,
        }
        digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12]
        return f"{self.configurations[0].specs[0].architecture}-{digest}"


@dataclass(frozen=True, slots=True)
class Job:
    """One fold of one configuration's model."""

    configuration: int
    fold: int
    """Counted from 0."""
    spec: TrainSpec
    weight: float
    """Its share of the run's work, by the length of what it is fitted on."""


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a job: where its candidate and forecasts lie, or why there are none."""

    job: Job
    candidate: str = ""
    model_id: str = ""
    refused_by: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Product -> gates that would refuse the fold's model."""
    training: Mapping[str, Any] = field(default_factory=dict)
    forecasts: str = ""
    baselines: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """What a run tells of itself while it works."""

    job: Job
    share: float
    """Of this job, 0 to 1."""
    words: str


def jobs(plan: Plan) -> list[Job]:
    """Return every job, the longest first so that no core idles at the end; equal ones in order."""
    found = [
        Job(number, fold, spec, len(spec.products) * float(borders.test - borders.train))
        for number, configuration in enumerate(plan.configurations)
        for spec in configuration.specs
        for fold, borders in enumerate(plan.folds)
    ]
    total = sum(job.weight for job in found)
    shares = [Job(job.configuration, job.fold, job.spec, job.weight / total) for job in found]
    return sorted(shares, key=lambda job: -job.weight)


def run(
    plan: Plan,
    home: Path,
    *,
    workers: int = 1,
    memory_gb: float = 8.0,
    on_step: Callable[[Step], None] = lambda _: None,
) -> list[Done]:
    """Train, judge and forecast every fold of every configuration under ``home``; a failed one leaves the others.

    Args:
        plan: What to do.
        home: Folder of this and other runs; candidates in it are named by what decides them and shared between runs.
        workers: Trainings at once, each in a process of its own with one thread.
        memory_gb: Limit of each process.
        on_step: Told from the workers' threads, one at a time.

    Returns:
        One entry a job, in the order of configuration, products and fold; a failed one carries its error.
    """
    lock = threading.Lock()

    def tell(step: Step) -> None:
        with lock:
            on_step(step)

    runner = _Runner(plan, home, memory_gb, tell)
    with ThreadPoolExecutor(workers) as pool:
        waiting = {pool.submit(runner.do, job) for job in jobs(plan)}
        done: list[Done] = []
        try:
            while waiting:
                # a wait without an end would hear of Ctrl-C only after it: a library's handler restarts it (measured)
                ended, waiting = wait(waiting, timeout=_LISTEN_SECONDS, return_when=FIRST_COMPLETED)
                done += [future.result() for future in ended]
        except BaseException:
            runner.stop()
            for future in waiting:
                future.cancel()
            raise
    return sorted(done, key=lambda one: (one.job.configuration, one.job.spec.products, one.job.fold))


class _Runner:
    """Does one job after another; holds a lock for each file that several jobs share."""

    def __init__(self, plan: Plan, home: Path, memory_gb: float, tell: Callable[[Step], None]) -> None:
        self._plan, self._home, self._memory_gb, self._tell = plan, home, memory_gb, tell
        views = home / "folds"
        self._views = [write_view(plan.base, borders, views) for borders in plan.folds]
        self._shared: dict[Path, threading.Lock] = {}
        self._guard = threading.Lock()
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Let the trainings at work end; what they finished is kept."""
        self._stopped.set()

    def do(self, job: Job) -> Done:
        """Do one job; an error this program foresaw becomes its result."""
        try:
            done = self._do(job)
        except DeskError as error:
            self._tell(Step(job, 1.0, f"failed: {error}"))
            return Done(job, error=str(error))
        self._tell(Step(job, 1.0, "done"))
        return done

    def _do(self, job: Job) -> Done:
        view, began = self._views[job.fold], time.monotonic()
        self._tell(Step(job, 0.0, "training"))

        def heard(progress: TrainProgress) -> None:
            if self._stopped.is_set():
                msg = f"{progress.name}: stopped; the same command goes on from there"
                raise TrainingError(msg)
            share = (progress.epoch - 1 + progress.step / max(progress.steps, 1)) / max(progress.epochs, 1)
            self._tell(Step(job, TRAINED * min(1.0, share), f"epoch {progress.epoch} of {progress.epochs}"))

        candidate = train_in_process(
            job.spec, view, self._home / "candidates", on_progress=heard, memory_gb=self._memory_gb
        )
        self._tell(Step(job, TRAINED, "judging"))
        judgement = judge_in_process(
            candidate,
            view,
            self._plan.profile,
            cost_bps=self._plan.cost_bps,
            # known beforehand and the same in every resumed run, which the count of the registry would not be
            trials=len(self._plan.configurations),
            memory_gb=self._memory_gb,
        )
        self._tell(Step(job, JUDGED, "forecasting"))
        folder = Path(candidate.path)
        forecasts = folder / "forecasts.parquet"
        # by fold and coins alone, so that every configuration is held against the same ones
        baselines = self._home / "baselines" / f"{view.digest[:16]}-{'-'.join(job.spec.products)}.parquet"
        self._forecast(view, job.spec.products, folder, forecasts, baselines)
        marker = read_json(folder / "candidate.json")
        return Done(
            job,
            candidate=candidate.candidate_id,
            model_id=judgement.model_id,
            refused_by={verdict.product: verdict.refused_by for verdict in judgement.verdicts},
            training={name: marker.get(name) for name in ("seconds", "best_epoch", "train_windows")}
            | {"seconds_here": round(time.monotonic() - began, 1)},
            forecasts=str(forecasts),
            baselines=str(baselines),
        )

    def _forecast(
        self, view: DatasetRef, products: Sequence[str], candidate: Path, forecasts: Path, baselines: Path
    ) -> None:
        if known_forecasts(forecasts, model_key(candidate, view)) and known_forecasts(baselines, view.digest):
            return
        paths = {"candidate": candidate, "forecasts": forecasts, "baselines": baselines}
        job = {"dataset": asdict(view), "products": list(products)}
        job |= {name: str(path.absolute()) for name, path in paths.items()}
        with self._guard:
            lock = self._shared.setdefault(baselines, threading.Lock())
        with lock:  # the second configuration finds them made
            run_child(
                "models.walk_forward.forecast_process",
                job,
                name=f"forecasting {candidate.name}",
                log=candidate / "forecast.log",
                on_line=lambda _: None,
                memory_gb=self._memory_gb,
            )
