"""Walk forward: fit on the past, judge what follows, move on, and fit again, each fold independently of the others.

What is tried is parsed and planned here, then run. A fold is a data set of its own (`models.datasets.folds`), so each is
trained, calibrated, exported and judged exactly as a model that is to be served, in processes of their own. What is
finished is kept: the same run killed and started again does only what is left.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
import tomllib
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING

from core.child_process import run_child
from core.errors import ConfigError, DeskError, TrainingError
from core.locks import hold
from models.datasets.folds import write_view
from models.judging.promotion import judge_in_process
from models.training.candidate import TrainedCandidate, TrainSpec, spec_as_json
from models.training.run_training import train_in_process
from models.walk_forward.forecasts import known_forecasts, model_key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from core.dataset_files import DatasetRef
    from models.datasets.folds import FoldBorders
    from models.gates import GateProfile
    from models.training.run_training import TrainProgress

Changes = dict[str, int | float]
"""Fields of a `TrainSpec` that a configuration changes."""
PRESET = "preset"
"""The word for a configuration without any change."""
_TYPES = {field.name: field.type for field in fields(TrainSpec) if field.name not in {"architecture", "products"}}
_EXAMPLE = "[[configuration]] with a line such as learning_rate = 0.001 for each"

TRAINED, JUDGED = 0.7, 0.9
"""Shares of a fold's work that are done once it is trained, and judged; forecasting is the rest."""
_LISTEN_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Configuration:
    """One way to train that is tried: the changes to the preset, and a name for tables."""

    name: str
    changes: Changes
    specs: tuple[TrainSpec, ...]
    """One per product, or one for all products together."""


@dataclass(frozen=True, slots=True)
class WalkForwardPlan:
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
        decides = {
            "base": self.base.digest,
            "folds": [asdict(fold) for fold in self.folds],
            "configurations": [[spec_as_json(spec) for spec in tried.specs] for tried in self.configurations],
            "profile": asdict(self.profile),
            "cost_bps": self.cost_bps,
        }
        digest = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:12]
        return f"{self.configurations[0].specs[0].architecture}-{digest}"


@dataclass(frozen=True, slots=True)
class FoldJob:
    """One fold of one configuration's model."""

    configuration: int
    fold: int
    """Counted from 0."""
    spec: TrainSpec
    weight: float
    """Its share of the run's work, by the length of what it is fitted on."""


@dataclass(frozen=True, slots=True)
class FoldTraining:
    """What one fold's training took."""

    seconds: float | None = None
    """Of the process that trained it, whenever that was."""
    best_epoch: int | None = None
    train_windows: int | None = None
    seconds_here: float | None = None
    """From training to forecasts in this run; next to nothing for a fold that was finished before."""


@dataclass(frozen=True, slots=True)
class FinishedJob:
    """What became of a job: where its candidate and forecasts lie, or why there are none."""

    job: FoldJob
    candidate: str = ""
    model_id: str = ""
    refused_by: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Product -> gates that would refuse the fold's model."""
    training: FoldTraining | None = None
    forecasts: str = ""
    baselines: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class WalkForwardStep:
    """How far one job of a run is, reported while it works."""

    job: FoldJob
    share: float
    """Of this job, 0 to 1."""
    words: str


def parse_configurations(words: Sequence[str], file: Path | None = None) -> dict[str, Changes]:
    """Return name -> changes of every configuration, those of the file first; the preset alone if there is none.

    Args:
        words: Each one configuration: ``learning_rate=0.001,dropout=0.2``, or ``preset`` for no change.
        file: TOML with a table ``[[configuration]]`` for each, ``name`` being its name if it is there.

    Raises:
        ConfigError: the file cannot be read, a field is unknown or not a number, or two configurations are the same.
    """
    named = _from_file(file) if file is not None else []
    named += [(None, _from_words(word)) for word in words]
    configurations: dict[str, Changes] = {}
    for name, changes in named or [(PRESET, {})]:
        clean = {key: _value(key, value) for key, value in changes.items()}
        label = name or ", ".join(f"{key}={value:g}" for key, value in clean.items()) or PRESET
        if label in configurations or clean in configurations.values():
            msg = f"the configuration {label} is there twice; a trial counted twice is no second trial, leave one out"
            raise ConfigError(msg)
        configurations[label] = clean
    return configurations


def _from_file(path: Path) -> list[tuple[str | None, Mapping[str, object]]]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"the configurations {path} cannot be read ({error}); write {_EXAMPLE}"
        raise ConfigError(msg) from error
    tables = content.get("configuration")
    if set(content) != {"configuration"} or not isinstance(tables, list) or not tables:
        msg = f"the configurations {path} hold {', '.join(content) or 'nothing'}, not tables named configuration; write {_EXAMPLE}"
        raise ConfigError(msg)
    return [
        (str(table["name"]) if "name" in table else None, {key: table[key] for key in table if key != "name"})
        for table in tables
    ]


def _from_words(text: str) -> dict[str, str]:
    if text.strip() == PRESET:
        return {}
    changes = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if not equals:
            msg = f"--set {text!r}: {part!r} is not name=value; write for example --set learning_rate=0.001,dropout=0.2, or --set {PRESET}"
            raise ConfigError(msg)
        changes[name.strip()] = value.strip()
    return changes


def _value(name: str, value: object) -> int | float:
    if name not in _TYPES:
        msg = f"{name!r} is no setting of a training; there are {', '.join(sorted(_TYPES))}"
        raise ConfigError(msg)
    kind = int if _TYPES[name] == "int" else float
    is_number = isinstance(value, int | float | str) and not isinstance(value, bool)
    try:
        number = kind(str(value)) if is_number else None
    except ValueError:
        number = None
    if number is None:
        msg = f"{name} is {value!r}, it must be {'a whole number' if kind is int else 'a number'}"
        raise ConfigError(msg)
    return number


def jobs(plan: WalkForwardPlan) -> list[FoldJob]:
    """Return every job, the longest first so that no core idles at the end; equal ones in order."""
    planned = [
        FoldJob(number, fold, spec, len(spec.products) * float(borders.test - borders.train))
        for number, configuration in enumerate(plan.configurations)
        for spec in configuration.specs
        for fold, borders in enumerate(plan.folds)
    ]
    total = sum(job.weight for job in planned)
    shares = [FoldJob(job.configuration, job.fold, job.spec, job.weight / total) for job in planned]
    return sorted(shares, key=lambda job: -job.weight)


def run(
    plan: WalkForwardPlan,
    home: Path,
    *,
    workers: int = 1,
    memory_gb: float = 8.0,
    on_step: Callable[[WalkForwardStep], None] = lambda _: None,
) -> list[FinishedJob]:
    """Train, judge and forecast every fold of every configuration under ``home``; a failed one leaves the others.

    Args:
        plan: What to do.
        home: Folder of this and other runs; candidates in it are named by what decides them and shared between runs.
        workers: Trainings at once, each in a process of its own with one thread.
        memory_gb: Limit of each process.
        on_step: Called from the workers' threads, one at a time.

    Returns:
        One entry a job, in the order of configuration, products and fold; a failed one carries its error.
    """
    lock = threading.Lock()

    def report(step: WalkForwardStep) -> None:
        with lock:
            on_step(step)

    runner = _Runner(plan, home, memory_gb, report)
    with ThreadPoolExecutor(workers) as pool:
        waiting = {pool.submit(runner.do, job) for job in jobs(plan)}
        done: list[FinishedJob] = []
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
    return sorted(done, key=lambda ended: (ended.job.configuration, ended.job.spec.products, ended.job.fold))


class _Runner:
    """Does one job after another, in the calling thread."""

    def __init__(
        self, plan: WalkForwardPlan, home: Path, memory_gb: float, report: Callable[[WalkForwardStep], None]
    ) -> None:
        self._plan, self._home, self._memory_gb, self._report = plan, home, memory_gb, report
        views = home / "folds"
        self._views = [write_view(plan.base, borders, views) for borders in plan.folds]
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Let the trainings at work end; what they finished is kept."""
        self._stopped.set()

    def do(self, job: FoldJob) -> FinishedJob:
        """Do one job; an error this program foresaw becomes its result."""
        try:
            done = self._do(job)
        except DeskError as error:
            self._report(WalkForwardStep(job, 1.0, f"failed: {error}"))
            return FinishedJob(job, error=str(error))
        self._report(WalkForwardStep(job, 1.0, "done"))
        return done

    def _do(self, job: FoldJob) -> FinishedJob:
        view, began = self._views[job.fold], time.monotonic()
        self._report(WalkForwardStep(job, 0.0, "training"))

        def on_progress(progress: TrainProgress) -> None:
            if self._stopped.is_set():
                msg = f"{progress.name}: stopped; the same command goes on from there"
                raise TrainingError(msg)
            share = (progress.epoch - 1 + progress.step / max(progress.steps, 1)) / max(progress.epochs, 1)
            self._report(
                WalkForwardStep(job, TRAINED * min(1.0, share), f"epoch {progress.epoch} of {progress.epochs}")
            )

        candidate = train_in_process(
            job.spec, view, self._home / "candidates", on_progress=on_progress, memory_gb=self._memory_gb
        )
        self._report(WalkForwardStep(job, TRAINED, "judging"))
        judgement = judge_in_process(
            candidate,
            view,
            self._plan.profile,
            cost_bps=self._plan.cost_bps,
            # known beforehand and the same in every resumed run, which the registry's count would not be
            trials=len(self._plan.configurations),
            memory_gb=self._memory_gb,
        )
        self._report(WalkForwardStep(job, JUDGED, "forecasting"))
        folder = Path(candidate.path)
        forecasts = folder / "forecasts.parquet"
        # by fold and coins alone, so that every configuration is held against the same ones
        baselines = self._home / "baselines" / f"{view.digest[:16]}-{'-'.join(job.spec.products)}.parquet"
        self._forecast(view, job.spec.products, folder, forecasts, baselines)
        trained = TrainedCandidate.read(folder)
        return FinishedJob(
            job,
            candidate=candidate.candidate_id,
            model_id=judgement.model_id,
            refused_by={verdict.product: verdict.refused_by for verdict in judgement.verdicts},
            training=FoldTraining(
                seconds=trained.seconds,
                best_epoch=trained.best_epoch,
                train_windows=trained.train_windows,
                seconds_here=round(time.monotonic() - began, 1),
            ),
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
        # the baselines of a fold are every configuration's: the second waits, and finds them made
        with hold(baselines.with_suffix(".lock")):
            run_child(
                "models.walk_forward.forecast_process",
                job,
                name=f"forecasting {candidate.name}",
                log=candidate / "forecast.log",
                on_line=lambda _: None,
                memory_gb=self._memory_gb,
            )
