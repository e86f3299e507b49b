"""Pipelines with one leaking function, to show that `validation.leakage.fit_checks` catches each.

The leaking function is the real one, given a data set whose parts are renamed: that is what such a mistake comes to.
Shapes: N rows, F inputs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from models.datasets.dataset import PARTS
from models.datasets.scaler import Scaler, fit_scaler
from models.datasets.windows import windows
from models.judging.baselines import baseline_forecasts
from validation.leakage.fit_checks import Pipeline, Trained, calibrate_small, train_small
from validation.leakage.planted_datasets import renamed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from models.datasets.dataset import Dataset
    from models.serving.calibration import Calibration
    from models.serving.passport import CoverageCut


@dataclass(frozen=True, slots=True)
class FitPlant:
    """A pipeline with one leaking function, and what that must be called."""

    name: str
    expected: str
    pipeline: Pipeline


def _all_rows(data: Dataset) -> Dataset:
    return renamed(data, early_stop="train", calibration="train", test="train")


def _on_test(data: Dataset) -> Dataset:
    return renamed(data, calibration="test", test="calibration")


def _scaler_on_all(data: Dataset) -> Scaler:
    return fit_scaler(_all_rows(data))


def _train_on_calibration(data: Dataset, seed: int) -> Trained:
    trained = train_small(renamed(data, calibration="train"), seed)
    return replace(trained, scaler=fit_scaler(data), return_scale=(1.0,))


def _stop_on_test(data: Dataset, seed: int) -> Trained:
    return train_small(renamed(data, early_stop="test", test="early_stop"), seed)


def _stop_on_calibration(data: Dataset, seed: int) -> Trained:
    return train_small(renamed(data, early_stop="calibration", calibration="early_stop"), seed)


def _scaled_by_all(data: Dataset, seed: int) -> Trained:
    return replace(train_small(data, seed), return_scale=(float(np.nanstd(data.return_N)),))


def _calibrated_on_test(trained: Trained, data: Dataset, product: str) -> tuple[Calibration, Mapping[str, CoverageCut]]:
    return calibrate_small(trained, _on_test(data), product)


def _cut_on_test(trained: Trained, data: Dataset, product: str) -> tuple[Calibration, Mapping[str, CoverageCut]]:
    calibration, _ = calibrate_small(trained, data, product)
    _, cuts = calibrate_small(trained, _on_test(data), product)
    return calibration, cuts


def _baselines_on_all(data: Dataset, product: str, rows: NDArray[np.int64]) -> Mapping[str, NDArray[np.float64]]:
    return baseline_forecasts(_all_rows(data), product, rows)


def _any_end(data: Dataset, part: str, minutes: int) -> NDArray[np.int64]:
    """Take every labelled row of a part, whatever lies before it."""
    ends = np.flatnonzero((data.part_N == PARTS.index(part)) & (data.direction_N >= 0))
    return ends[ends >= minutes - 1]


def _ends_by_coin(data: Dataset, part: str, minutes: int) -> NDArray[np.int64]:
    """Take every labelled row whose window lies in one coin, and forget the holes."""
    ends = _any_end(data, part, minutes)
    return np.asarray(ends[data.coin_N[ends - minutes + 1] == data.coin_N[ends]])


def _ends_by_clock(data: Dataset, part: str, minutes: int) -> NDArray[np.int64]:
    """Take rows whose window is whole by the clock of its own coin, or begins with another coin."""
    ends = _any_end(data, part, minutes)
    begins = ends - minutes + 1
    whole = data.minute_N[ends] - data.minute_N[begins] == minutes - 1
    return np.asarray(ends[whole | (data.coin_N[begins] != data.coin_N[ends])])


def _late_windows(x_NF: NDArray[np.float32], end_B: NDArray[np.int64], minutes: int) -> NDArray[np.float32]:
    """Windows that hold the minute after their end."""
    return windows(np.concatenate([x_NF[1:], x_NF[-1:]]), end_B, minutes)


FIT_PLANTS = (
    FitPlant("scaler on all rows", "scaler on all rows", Pipeline(scaler=_scaler_on_all)),
    FitPlant("returns scaled by all rows", "target scale on all rows", Pipeline(train=_scaled_by_all)),
    FitPlant("calibration part trained on", "weights fitted on later parts", Pipeline(train=_train_on_calibration)),
    FitPlant("early stopping watches test", "early stopping on test", Pipeline(train=_stop_on_test)),
    FitPlant(
        "early stopping watches calibration", "early stopping on calibration", Pipeline(train=_stop_on_calibration)
    ),
    FitPlant("calibrator on test", "calibrator on test", Pipeline(calibrate=_calibrated_on_test)),
    FitPlant("tiers cut on test", "threshold cut on test", Pipeline(calibrate=_cut_on_test)),
    FitPlant("baselines on all rows", "baseline fitted on later parts", Pipeline(baselines=_baselines_on_all)),
    FitPlant("windows over holes", "window across a hole", Pipeline(ends=_ends_by_coin)),
    FitPlant("windows over two coins", "window mixes coins", Pipeline(ends=_ends_by_clock)),
    FitPlant("windows one minute late", "window reads past its end", Pipeline(windows=_late_windows)),
)
"""Pipelines with one leaking function."""
