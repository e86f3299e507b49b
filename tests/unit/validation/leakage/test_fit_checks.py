"""What is fitted must not move with rows it may not see: each planted pipeline is caught and named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from models.datasets.dataset import Dataset, load_dataset
from validation.leakage.fit_checks import Pipeline, calibrate_small, fit_leaks, pipeline_windows, replaced, train_small
from validation.leakage.planted_datasets import one_coin
from validation.leakage.planted_fits import FIT_PLANTS
from validation.leakage.point_in_time import rebuilt

if TYPE_CHECKING:
    from validation.leakage.planted_fits import FitPlant

MINUTES = 60
WINDOWS = {"window across a hole", "window mixes coins", "window reads past its end"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load_dataset(rebuilt("flow", 2, tmp_path_factory.mktemp("made"), twice=False).reference)


@pytest.fixture(scope="module")
def small(data: Dataset) -> Dataset:
    return one_coin(data)


def test_real_pipeline_raises_no_alarm(data: Dataset, small: Dataset) -> None:
    assert fit_leaks(small, Pipeline()) + pipeline_windows(data, Pipeline(), MINUTES) == []


@pytest.mark.parametrize("plant", [one for one in FIT_PLANTS if one.expected not in WINDOWS], ids=lambda one: one.name)
def test_planted_pipeline_is_caught_by_its_name(small: Dataset, plant: FitPlant) -> None:
    with_baselines = plant.expected.startswith("baseline")
    assert {leak.name for leak in fit_leaks(small, plant.pipeline, with_baselines=with_baselines)} == {plant.expected}


@pytest.mark.parametrize("plant", [one for one in FIT_PLANTS if one.expected in WINDOWS], ids=lambda one: one.name)
def test_planted_windows_are_caught_by_their_name(data: Dataset, plant: FitPlant) -> None:
    assert {leak.name for leak in pipeline_windows(data, plant.pipeline, MINUTES)} == {plant.expected}


def test_replaced_rows_are_those_of_the_part_and_after_it_only(small: Dataset) -> None:
    other = replaced(small, "test", 0)
    first = small.minute_N[small.part_N == 3].min()
    before = small.minute_N < first
    assert (other.x_NF[before] == small.x_NF[before]).all()
    assert (other.x_NF[~before] != small.x_NF[~before]).mean() > 0.9
    assert (other.direction_N[before] == small.direction_N[before]).all()
    assert (other.direction_N[~before] != small.direction_N[~before]).mean() > 0.2
    assert not np.isnan(other.x_NF).any()


def test_calibration_has_enough_rows_to_be_fitted_at_all(small: Dataset) -> None:
    # with fewer than 200 rows nothing would be fitted and every calibrator would pass
    calibration, cuts = calibrate_small(train_small(small, 0), small, "BTC-USD")
    assert {candidate.kind for candidate in calibration.candidates} >= {"none", "temperature", "platt"}
    assert set(cuts) == {"high", "medium"}
