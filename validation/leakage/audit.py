"""Run the leak check: audit what is really there, try every planted leak, or run the clean pipeline on many small markets."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from core.candles import minute_start
from core.child_process import run_child, stop_children
from core.errors import DatasetError
from core.locks import scratch_folder
from models.datasets.dataset import load_dataset
from models.judging.leak_canaries import Leak, input_leaks, split_leaks
from store.feature_sets import FEATURE_SETS, feature_set
from store.feature_store import FeatureStore
from validation.leakage.dataset_checks import (
    SPOILED,
    close_leaks,
    closes_of,
    data_leaks,
    label_leaks,
    stored_leaks,
    with_labels,
)
from validation.leakage.leak_list import LEAKS, LeakCheck, Where, plants
from validation.leakage.point_in_time import CutlessStore, closes_at, inputs_at, planted_labels, rebuilt
from validation.leakage.sql_interventions import Bench, planted_sets, small_market

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from core.dataset_files import DatasetRef
    from core.settings import Paths
    from models.datasets.dataset import Dataset
    from validation.leakage.point_in_time import AuditedDataset

    OnCheck = Callable[[LeakCheck], None]

SQL_SEEDS = 2
DATA_PROBES = 4
"""Comparisons of a data set: parts, labels, closes, inputs."""
_SLOW_EVERY = 5
"""Of clean seeds, every fifth also builds the data set and trains the baselines twice, which takes as long as the rest."""
_MOMENTS = 4
_MOMENT_MINUTES = 90
_LISTEN_SECONDS = 0.5
_MEMORY_GB = 4.0


@dataclass(frozen=True, slots=True)
class FitRun:
    """A small data set on which the fitting functions are tried, in a child process: this one stays without torch."""

    what: str
    dataset: DatasetRef
    seed: int = 0
    with_baselines: bool = True
    planted: bool = False


def audit_steps() -> int:
    """Return how many checks `audit` makes."""
    return SQL_SEEDS + 3 + 4


def audit(name: str, paths: Paths, on_check: OnCheck) -> None:
    """Probe the set ``name`` and the functions that fit on small markets, then the newest data set under ``paths``.

    A set planted under ``sql/leaks`` may be named too; it is probed, and nothing else.

    Raises:
        ConfigError: there is no such set.
        TrainingError: the child process that fits refused or died; the text names the cause.
    """
    planted = planted_sets().get(name)
    features = planted or feature_set(name)
    with Bench(small_market()) as bench:
        for seed in range(SQL_SEEDS):
            bench.load(small_market(seed))
            probed = bench.probe(features)
            on_check(LeakCheck(f"SQL of {name}, market {seed}", probed.interventions, probed.leaks))
    if planted:
        return
    with scratch_folder("leak-audit") as folder:
        made = rebuilt(features.name, 0, folder)
        on_check(LeakCheck(f"rebuild of a {name} data set at its cut", 1, made.leaks))
        small = load_dataset(made.reference)
        on_check(LeakCheck(f"a small {name} data set", DATA_PROBES, data_leaks(small, closes_of(made.candles))))
        _fit([FitRun("scaler, training, calibration, tiers, baselines", made.reference)], folder, on_check)
    newest_data_set(paths, on_check)


def newest_data_set(paths: Paths, on_check: OnCheck) -> None:
    """Hold the newest data set under ``paths`` against its own parts and against the candles of the store."""
    if not paths.market_db.exists():
        on_check(LeakCheck("newest data set", 0, note=f"no store under {paths.home} yet: make backfill"))
        return
    store = FeatureStore(paths.market_db)
    try:
        reference = store.latest_dataset()
    except DatasetError as error:
        on_check(LeakCheck("newest data set", 0, note=str(error)))
        return
    data = load_dataset(reference)
    what = f"data set {data.digest[:16]}"
    on_check(LeakCheck(f"{what}: parts, purge, instants", 1, split_leaks(data)))
    on_check(LeakCheck(f"{what}: {len(data.columns)} inputs against labels", 1, input_leaks(data)))
    cut, span = data.manifest.known_at_cut or data.manifest.span.end, data.manifest.span
    closes = {name: known for name, known in closes_at(store, data.coins, span, cut).items() if len(known[0])}
    missing = [product for product in data.coins if product not in closes]
    note = f"the store has no candles of {', '.join(missing)}: make backfill" if missing else ""
    leaks = label_leaks(data, closes) + close_leaks(data, closes)
    on_check(LeakCheck(f"{what}: labels and closes against candles of the cut", 2 * len(closes), leaks, note=note))
    on_check(_inputs(store, data, cut, what))


def _inputs(store: FeatureStore, data: Dataset, cut: datetime, what: str) -> LeakCheck:
    """Compute some hours of inputs again, each from candles that were there by then, and compare every bit."""
    made_with = data.manifest.feature_set
    what = f"{what}: inputs against the past alone"
    known = FEATURE_SETS.get(made_with.name)
    if known is None or known.sha256 != made_with.sha256:
        return LeakCheck(what, 0, note=f"made by another version of {made_with.name}; build it again: make features")
    first, last = int(data.minute_N.min()) + _MOMENT_MINUTES, int(data.minute_N.max()) + 1
    leaks: list[Leak] = []
    for minute in np.linspace(first, last, _MOMENTS).astype(int).tolist():
        computed = inputs_at(store, data.coins, minute_start(minute), _MOMENT_MINUTES, known.name, cut)
        leaks += stored_leaks(data, computed, data.columns)
    return LeakCheck(what, _MOMENTS, leaks)


def plant_steps() -> int:
    """Return how many checks `try_plants` makes."""
    return sum(len(known.plants) for known in LEAKS.values())


def try_plants(folder: Path, on_check: OnCheck) -> None:
    """Try every planted leak of the list; each must be caught and called by its name."""
    made = rebuilt("seed39", 0, folder / "plants")
    with _beside([FitRun("plants", made.reference, planted=True)], folder, on_check):
        sets = planted_sets()
        with Bench(small_market()) as bench:
            for name, expected in plants(Where.SQL).items():
                probed = bench.probe(sets[name])
                on_check(LeakCheck(f"sql/leaks/{name}", probed.interventions, probed.leaks, expected))
        for name, expected in plants(Where.CUT).items():
            spoiled = rebuilt("seed39", 0, folder / "cutless", CutlessStore)
            on_check(LeakCheck(name, 1, spoiled.leaks, expected))
        data, closes = load_dataset(made.reference), closes_of(made.candles)
        for name, expected in plants(Where.DATASET).items():
            on_check(LeakCheck(name, DATA_PROBES, data_leaks(SPOILED[name](data), closes), expected))
        for view, expected in plants(Where.LABELS).items():
            labelled = with_labels(data, planted_labels(view, made.candles))
            on_check(LeakCheck(f"sql/leaks/{view}", DATA_PROBES, data_leaks(labelled, closes), expected))


def seed_steps(seeds: int) -> int:
    """Return how many checks `clean_seeds` makes."""
    return seeds * (len(FEATURE_SETS) + 3)


def clean_seeds(seeds: int, folder: Path, on_check: OnCheck) -> None:
    """Run the real pipeline on as many clean markets; feature sets take turns in data sets and fits."""
    names = [list(FEATURE_SETS)[seed % len(FEATURE_SETS)] for seed in range(seeds)]

    def build(seed: int) -> AuditedDataset:
        return rebuilt(names[seed], seed, folder / f"seed-{seed}", twice=not seed % _SLOW_EVERY)

    runs = []
    with ThreadPoolExecutor(2) as pool:
        for seed, made in enumerate(pool.map(build, range(seeds))):
            name, is_slow = names[seed], not seed % _SLOW_EVERY
            on_check(LeakCheck(f"seed {seed}: {name} at its cut", 2 + is_slow, made.leaks))
            leaks = data_leaks(load_dataset(made.reference), closes_of(made.candles))
            on_check(LeakCheck(f"seed {seed}: {name} data set", DATA_PROBES, leaks))
            runs.append(FitRun(f"seed {seed}: fits on {name}", made.reference, seed, with_baselines=is_slow))
    with _beside(runs, folder, on_check), Bench(small_market()) as bench:
        for seed in range(seeds):
            bench.load(small_market(seed))
            for name, features in FEATURE_SETS.items():
                probed = bench.probe(features)
                on_check(LeakCheck(f"seed {seed}: {name}", probed.interventions, probed.leaks))


@contextmanager
def _beside(runs: Sequence[FitRun], folder: Path, on_check: OnCheck) -> Iterator[None]:
    """Try fits in a child process while the block runs; what goes wrong there goes wrong here, at its end."""
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(_fit, runs, folder, on_check)
        try:
            yield
            while not done.done():
                # a wait without an end would hear of Ctrl-C only after it: a library's handler restarts it (measured)
                wait([done], timeout=_LISTEN_SECONDS)
        except BaseException:
            stop_children()
            raise
        done.result()


def _fit(runs: Sequence[FitRun], folder: Path, on_check: OnCheck) -> None:
    """Try every run in one child process."""

    def on_line(line: dict[str, Any]) -> None:
        on_check(LeakCheck(**{**line, "leaks": [Leak(**leak) for leak in line["leaks"]]}))

    job, log = {"runs": [asdict(run) for run in runs]}, folder / "leak-check.log"
    run_child("validation.leakage.fit_checks", job, name="leak-check", log=log, on_line=on_line, memory_gb=_MEMORY_GB)
