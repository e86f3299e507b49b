"""Planted leaks, each to be caught by its name, and clean markets, which must raise no alarm."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from models.datasets.dataset import load_dataset
from models.judging.dataset_leaks import close_leaks, input_leaks, label_leaks, split_leaks
from store.feature_sets import FEATURE_SETS
from validation.leakage.checks import Check, FitRun, fit_checks
from validation.leakage.planted_datasets import DATA_PLANTS, LABEL_PLANTS, with_labels
from validation.leakage.point_in_time import CutlessStore, planted_labels, rebuilt
from validation.leakage.sql_interventions import PLANTS, Bench, planted_sets, small_market

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from core.candles import Candle
    from models.datasets.dataset import Dataset
    from models.judging.dataset_leaks import Closes
    from models.judging.leak_catalogue import Leak
    from validation.leakage.point_in_time import Rebuilt

DATA_PROBES = 4
"""Comparisons of a data set: parts, labels, closes, inputs."""
FIT_PLANT_COUNT = 11
_SLOW_EVERY = 5
"""Of clean seeds, every fifth also builds the data set and trains the baselines twice, which takes as long as the rest."""


def plant_steps() -> int:
    """Return how many checks `plants` makes."""
    return len(PLANTS) + 1 + len(DATA_PLANTS) + len(LABEL_PLANTS) + FIT_PLANT_COUNT


def plants(folder: Path, on_check: Callable[[Check], None]) -> None:
    """Try every planted leak."""
    made = rebuilt("seed39", 0, folder / "plants")
    runs = [FitRun("plants", made.reference, planted=True)]
    with _beside(runs, folder, on_check):
        _feature_plants(on_check)
        spoiled = rebuilt("seed39", 0, folder / "cutless", CutlessStore)
        on_check(Check("a store that forgets the cut", 1, spoiled.leaks, "revised candle"))
        data, closes = load_dataset(made.reference), closes_of(made.candles)
        for plant in DATA_PLANTS:
            on_check(Check(plant.name, DATA_PROBES, data_leaks(plant.spoil(data), closes), plant.expected))
        for view, expected in LABEL_PLANTS:
            labelled = with_labels(data, planted_labels(view, made.candles))
            on_check(Check(f"sql/leaks/{view}", DATA_PROBES, data_leaks(labelled, closes), expected))


def _feature_plants(on_check: Callable[[Check], None]) -> None:
    bench = Bench(small_market())
    for name, features in planted_sets().items():
        probed = bench.probe(features)
        on_check(Check(f"sql/leaks/{name}", probed.interventions, probed.leaks, PLANTS[name]))
    bench.close()


def seed_steps(seeds: int) -> int:
    """Return how many checks `clean_seeds` makes."""
    return seeds * (len(FEATURE_SETS) + 3)


def clean_seeds(seeds: int, folder: Path, on_check: Callable[[Check], None]) -> None:
    """Run the real pipeline on as many clean markets; feature sets take turns in data sets and fits."""
    names = list(FEATURE_SETS)

    def build(seed: int) -> Rebuilt:
        name, twice = names[seed % len(names)], not seed % _SLOW_EVERY
        return rebuilt(name, seed, folder / f"seed-{seed}", twice=twice)

    runs = []
    with ThreadPoolExecutor(2) as pool:
        for seed, made in enumerate(pool.map(build, range(seeds))):
            name = names[seed % len(names)]
            on_check(Check(f"seed {seed}: {name} at its cut", 2 + int(not seed % _SLOW_EVERY), made.leaks))
            data = load_dataset(made.reference)
            on_check(Check(f"seed {seed}: {name} data set", DATA_PROBES, data_leaks(data, closes_of(made.candles))))
            runs.append(
                FitRun(f"seed {seed}: fits on {name}", made.reference, seed, with_baselines=not seed % _SLOW_EVERY)
            )
    with _beside(runs, folder, on_check):
        bench = Bench(small_market())
        for seed in range(seeds):
            bench.load(small_market(seed))
            for name, features in FEATURE_SETS.items():
                probed = bench.probe(features)
                on_check(Check(f"seed {seed}: {name}", probed.interventions, probed.leaks))
        bench.close()


def data_leaks(data: Dataset, closes: Closes) -> list[Leak]:
    """Return every leak that can be read from a data set."""
    return split_leaks(data) + label_leaks(data, closes) + close_leaks(data, closes) + input_leaks(data)


def closes_of(candles: Sequence[Candle]) -> Closes:
    """Return minute and close of candles by product."""
    found = {}
    for product in sorted({candle.product for candle in candles}):
        own = [candle for candle in candles if candle.product == product]
        minutes = np.array([int(candle.open_time.timestamp()) // 60 for candle in own], np.int64)
        found[product] = (minutes, np.array([float(candle.close) for candle in own]))
    return found


@contextmanager
def _beside(runs: Sequence[FitRun], folder: Path, on_check: Callable[[Check], None]) -> Iterator[None]:
    """Try fits in a child process while the block runs; what goes wrong there goes wrong here, at its end."""
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(fit_checks, runs, folder, on_check)
        yield
        done.result()
