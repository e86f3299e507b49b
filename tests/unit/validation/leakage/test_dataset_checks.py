"""Spoiled data sets: each leak is called by its name, the sound one by none."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from models.datasets.dataset import Dataset, load_dataset
from models.datasets.scaler import fit_scaler
from models.judging.leak_canaries import failing_canaries, input_leaks
from validation.leakage.dataset_checks import (
    SPOILED,
    close_leaks,
    closes_of,
    data_leaks,
    one_coin,
    stored_leaks,
    with_labels,
)
from validation.leakage.leak_list import Where, plants
from validation.leakage.point_in_time import AuditedDataset, planted_labels, rebuilt

if TYPE_CHECKING:
    from validation.leakage.dataset_checks import Closes


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> AuditedDataset:
    return rebuilt("seed39", 5, tmp_path_factory.mktemp("made"), twice=False)


@pytest.fixture(scope="module")
def data(made: AuditedDataset) -> Dataset:
    return load_dataset(made.reference)


@pytest.fixture(scope="module")
def closes(made: AuditedDataset) -> Closes:
    return closes_of(made.candles)


def names(data: Dataset, closes: Closes) -> set[str]:
    return {leak.name for leak in data_leaks(data, closes)}


def test_sound_data_set_raises_no_alarm(data: Dataset, closes: Closes) -> None:
    assert names(data, closes) == set()


@pytest.mark.parametrize(("plant", "expected"), plants(Where.DATASET).items())
def test_spoiled_data_set_is_caught_by_its_name(data: Dataset, closes: Closes, plant, expected) -> None:
    assert expected in names(SPOILED[plant](data), closes)


@pytest.mark.parametrize(("view", "expected"), plants(Where.LABELS).items())
def test_planted_labels_are_caught_by_their_name(
    made: AuditedDataset, data: Dataset, closes: Closes, view, expected
) -> None:
    assert expected in names(with_labels(data, planted_labels(view, made.candles)), closes)


def test_labels_turned_round_are_borne_out_by_no_candle(data: Dataset, closes: Closes) -> None:
    turned = np.where(data.direction_N >= 0, 1 - data.direction_N, data.direction_N).astype(np.int8)
    assert names(replace(data, direction_N=turned), closes) == {"label that no candle bears out"}


def test_close_of_another_version_of_a_candle_is_a_revision(data: Dataset, closes: Closes) -> None:
    minutes, values = closes["ETH-USD"]
    revised = {"ETH-USD": (minutes, np.where(np.arange(len(values)) == len(values) // 2, values * 1.01, values))}
    (leak,) = close_leaks(data, revised)
    assert (leak.name, leak.location) == ("revised candle", "ETH-USD, close")


def test_later_close_among_the_inputs_is_seen_against_the_close(data: Dataset) -> None:
    x_NF = data.x_NF.copy()
    x_NF[:, 4] = data.close_N * (1 + np.nan_to_num(data.return_N))  # a price level: no order by itself
    leaks = input_leaks(replace(data, x_NF=x_NF))
    assert {leak.location.rpartition(", ")[2] for leak in leaks} == {data.columns[4]}


def test_inputs_that_differ_by_a_bit_from_the_past_alone_are_named(data: Dataset) -> None:
    coin = one_coin(data)
    computed = {"BTC-USD": (coin.minute_N[100:190], coin.x_NF[100:190].copy())}
    assert stored_leaks(data, computed, data.columns) == []
    computed["BTC-USD"][1][7, 3] = np.nextafter(computed["BTC-USD"][1][7, 3], np.float32(9))
    (leak,) = stored_leaks(data, computed, data.columns)
    assert leak.location == f"BTC-USD, {data.columns[3]}"


@pytest.mark.parametrize(
    ("plant", "canary"),
    [
        ("rows dealt out at random", "shuffled_split"),
        ("second coin split an hour later", "coin_instants"),
        ("training rows again in the test part", "unique_rows"),
        ("return of the next 15 minutes, with noise, as an input", "label_among_inputs"),
    ],
)
def test_canary_of_the_gate_fails_on_the_plant(data: Dataset, plant: str, canary: str) -> None:
    spoiled = SPOILED[plant](data)
    assert canary in failing_canaries(spoiled, fit_scaler(spoiled))
    assert failing_canaries(data, fit_scaler(data)) == {}
