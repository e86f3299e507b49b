"""Leak canaries, baselines and controls on data sets with a planted fault."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from models.datasets.dataset import load_dataset
from models.datasets.scaler import Scaler, fit_scaler
from models.judging.baselines import baseline_forecasts, controls, thinned
from models.judging.leak_canaries import failing_canaries
from models.statistics.metrics import accuracy, auc


def test_canaries_of_a_sound_data_set_are_dark(make_dataset):
    data = load_dataset(make_dataset(products=("BTC-USD", "ETH-USD"), minutes=800, gap_at=200))
    assert failing_canaries(data, fit_scaler(data)) == {}


def test_canary_sees_a_minute_twice(make_dataset):
    data = load_dataset(make_dataset(minutes=500))
    data.minute_N[100] = data.minute_N[99]
    assert set(failing_canaries(data, fit_scaler(data))) >= {"unique_rows"}


def test_canary_sees_a_part_that_begins_before_the_labels_of_the_last_have_ended(make_dataset):
    data = load_dataset(make_dataset(minutes=500))
    first = np.flatnonzero(data.part_N == 1)[0]
    data.part_N[first - 5] = 1
    assert "part_order" in failing_canaries(data, fit_scaler(data))


def test_canary_sees_coins_split_at_different_instants(make_dataset):
    data = load_dataset(make_dataset(products=("BTC-USD", "ETH-USD"), minutes=500))
    tail = np.flatnonzero((data.coin_N == 1) & (data.part_N == 0))[-50:]
    data.part_N[tail] = 1
    assert "part_order" in failing_canaries(data, fit_scaler(data))


def test_canary_sees_a_scaler_fitted_on_all_rows(make_dataset):
    data = load_dataset(make_dataset(minutes=500))
    leaked = fit_scaler(replace(data, part_N=np.zeros_like(data.part_N)))
    assert "train_only_scaler" in failing_canaries(data, leaked)


def test_canary_sees_a_scaler_of_the_wrong_width(make_dataset):
    data = load_dataset(make_dataset(minutes=500))
    short = Scaler(np.zeros((1, 30), np.float32), np.ones((1, 30), np.float32))
    assert "train_only_scaler" in failing_canaries(data, short)


def test_canary_sees_labels_that_are_not_of_the_horizon(make_dataset):
    data = load_dataset(make_dataset(minutes=500))
    known = data.direction_N >= 0
    data.direction_N[known] = np.roll(data.direction_N[known], 7)
    assert "labels" in failing_canaries(data, fit_scaler(data))


def test_baselines_find_the_planted_relation_and_the_base_rate_does_not(make_dataset):
    data = load_dataset(make_dataset(minutes=6000))
    test = data.rows("BTC-USD", "test")
    found = baseline_forecasts(data, "BTC-USD", test)
    assert set(found) == {"base_rate", "last_move_sign", "logistic_regression", "gradient_boosting"}
    y_N = data.direction_N[test]
    assert auc(found["logistic_regression"], y_N) > 0.65
    assert auc(found["gradient_boosting"], y_N) > 0.65
    assert len(np.unique(found["base_rate"])) == 1
    assert len(np.unique(found["last_move_sign"])) <= 3


def test_baselines_of_a_one_class_train_part_are_the_simple_ones(make_dataset):
    data = load_dataset(make_dataset(minutes=600))
    data.direction_N[data.direction_N >= 0] = 1
    assert set(baseline_forecasts(data, "BTC-USD", data.rows("BTC-USD", "test"))) == {"base_rate", "last_move_sign"}


def test_controls_know_nothing_of_shuffled_labels_and_everything_of_the_future(make_dataset):
    data = load_dataset(make_dataset(minutes=6000))
    test = data.rows("BTC-USD", "test")
    found = controls(data, "BTC-USD", test)
    y_N = data.direction_N[test]
    assert abs(np.mean(found.shuffled_auc) - 0.5) < 0.02
    assert found.future_seen_N.mean() > 0.9
    assert accuracy(found.future_p_N[found.future_seen_N], y_N[found.future_seen_N]) > 0.9


def test_thinned_keeps_order_and_ends():
    rows = thinned(np.arange(1000), 10)
    assert (len(rows), rows[0], rows[-1]) == (10, 0, 999)
    assert (np.diff(rows) > 0).all()
