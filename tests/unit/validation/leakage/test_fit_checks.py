"""What is fitted must not move with rows it may not see: each planted pipeline is caught and named."""

from __future__ import annotations

import numpy as np
import pytest

from models.datasets.dataset import Dataset, load_dataset
from validation.leakage.dataset_checks import one_coin
from validation.leakage.fit_checks import (
    Pipeline,
    calibrate_small,
    fit_leaks,
    pipeline_windows,
    plant_leaks,
    replaced,
    train_small,
)
from validation.leakage.leak_list import Where, plants
from validation.leakage.point_in_time import rebuilt

MINUTES = 60


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load_dataset(rebuilt("flow", 2, tmp_path_factory.mktemp("made"), twice=False).reference)


@pytest.fixture(scope="module")
def small(data: Dataset) -> Dataset:
    return one_coin(data)


def test_real_pipeline_raises_no_alarm(data: Dataset, small: Dataset) -> None:
    assert fit_leaks(small, Pipeline()) + pipeline_windows(data, Pipeline(), MINUTES) == []


@pytest.mark.parametrize(("plant", "expected"), plants(Where.FIT).items())
def test_planted_pipeline_is_caught_by_its_name_and_by_no_other(data: Dataset, plant: str, expected: str) -> None:
    assert {leak.name for leak in plant_leaks(plant, data, 0)} == {expected}


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
