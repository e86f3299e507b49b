"""The child process that looks for leaks in what is fitted: runs as JSON on standard input, one JSON line for each."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from core.child_job import do_job, tell
from core.dataset_files import DatasetRef
from models.datasets.dataset import load_dataset
from models.networks.build import window_minutes
from models.training.fit import make_deterministic
from validation.leakage.fit_checks import ARCHITECTURE, Pipeline, fit_leaks, pipeline_windows, scaler_leaks
from validation.leakage.planted_datasets import one_coin
from validation.leakage.planted_fits import FIT_PLANTS

if TYPE_CHECKING:
    from models.datasets.dataset import Dataset
    from models.judging.leak_catalogue import Leak

_PROBES = 4
"""Windows traced, and scaler, training and calibration fitted twice; baselines are one more."""


def main() -> int:
    """Do the runs that standard input names; return 0, or 2 with the reason as a JSON line.

    A run is ``{"what", "dataset", "seed", "with_baselines", "planted"}``; with ``planted`` every planted pipeline is tried on
    the data set as well.
    """
    return do_job(_do_all)


def _do_all(job: dict[str, Any]) -> None:
    for run in job["runs"]:
        _do(run)


def _do(run: dict[str, Any]) -> None:
    data = load_dataset(DatasetRef(**run["dataset"]))
    small, seed = one_coin(data), int(run["seed"])
    make_deterministic(seed)
    minutes = window_minutes(ARCHITECTURE)
    if run["planted"]:
        for plant in FIT_PLANTS:
            found = _tried(plant.pipeline, small, seed) + pipeline_windows(data, plant.pipeline, minutes)
            tell(_said(plant.name, plant.expected, 1, found))
        return
    pipeline = Pipeline()
    found = pipeline_windows(data, pipeline, minutes)
    found += scaler_leaks(data, pipeline, seed)
    found += fit_leaks(small, pipeline, seed, with_baselines=run["with_baselines"])
    tell(_said(run["what"], "", _PROBES + int(run["with_baselines"]), found))


def _tried(pipeline: Pipeline, small: Dataset, seed: int) -> list[Leak]:
    real = Pipeline()
    if pipeline.ends is not real.ends or pipeline.windows is not real.windows:
        return []  # fits cut their own windows; those of the pipeline are traced
    return fit_leaks(small, pipeline, seed, with_baselines=pipeline.baselines is not real.baselines)


def _said(what: str, expected: str, probes: int, found: list[Leak]) -> dict[str, Any]:
    return {"what": what, "expected": expected, "probes": probes, "leaks": [asdict(leak) for leak in found]}


if __name__ == "__main__":
    sys.exit(main())
