"""The plan of a training: which windows, how fast, when it is checked; and windows as the device gathers them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import ConfigError, TrainingError
from models.datasets.dataset import Dataset
from models.datasets.scaler import fit_scaler
from models.datasets.windows import part_ends
from models.training.batches import Batches, Schedule
from models.training.candidate import TrainSpec

MINUTES = 60


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Dataset:
    minute_N = np.arange(2000) + 29_000_000
    part_N = np.repeat(np.array([0, 1, 2, 3], np.int8), [1400, 150, 150, 300])
    generator = np.random.default_rng(0)
    return Dataset(
        digest="d" * 64,
        manifest=None,  # no schedule reads it
        coins=("BTC-USD",),
        columns=("one", "two", "three"),
        coin_N=np.zeros(2000, np.int64),
        minute_N=minute_N,
        close_N=np.ones(2000),
        x_NF=generator.normal(size=(2000, 3)).astype(np.float32),
        direction_N=generator.integers(0, 2, 2000).astype(np.int8),
        return_N=generator.normal(size=2000),
        part_N=part_N,
    )


@settings(deadline=None, max_examples=40)
@given(
    stride=st.integers(1, 40),
    epochs=st.integers(1, 6),
    batch_size=st.integers(1, 300),
    check_windows=st.integers(1, 3000),
)
def test_schedule_takes_each_epochs_minutes_once_and_checks_at_its_end(data, stride, epochs, batch_size, check_windows):
    spec = TrainSpec(
        "lstm", ("BTC-USD",), epochs=epochs, stride=stride, batch_size=batch_size, check_windows=check_windows
    )
    schedule = Schedule(spec, data, MINUTES, seed=5)
    taken: dict[int, list[int]] = {}
    seen = 0
    for step in range(schedule.steps):
        assert schedule.seen(step) == seen
        ends = schedule.ends(step)
        assert len(ends)
        seen += len(ends)
        taken.setdefault(schedule.epoch(step), []).extend(ends.tolist())
        if schedule.epoch(step + 1) > schedule.epoch(step) or step + 1 == schedule.steps:
            assert step + 1 in schedule.checks
    assert schedule.seen(schedule.steps) == seen
    train = part_ends(data, "train", MINUTES)
    for ends in taken.values():
        assert len(set(ends)) == len(ends)
        assert set(ends) <= set(train.tolist())
        assert len({data.minute_N[end] % stride for end in ends}) == 1
    assert len(taken) == epochs
    assert schedule.checks == sorted(set(schedule.checks))
    assert schedule.checks[-1] == schedule.steps


def test_schedule_visits_every_remainder_before_one_comes_again(data):
    spec = TrainSpec("lstm", ("BTC-USD",), epochs=5, stride=5, batch_size=1000)
    schedule = Schedule(spec, data, MINUTES, seed=0)
    ends = np.concatenate([schedule.ends(step) for step in range(schedule.steps)])
    assert sorted(ends) == part_ends(data, "train", MINUTES).tolist()


def test_schedule_begins_anywhere_with_the_same_windows(data):
    spec = TrainSpec("lstm", ("BTC-USD",), epochs=3, stride=7, batch_size=50)
    whole, resumed = (Schedule(spec, data, MINUTES, seed=1) for _ in range(2))
    expected = [whole.ends(step) for step in range(whole.steps)]
    for step in (7, 2, whole.steps - 1):
        np.testing.assert_array_equal(resumed.ends(step), expected[step])
    other = Schedule(spec, data, MINUTES, seed=2)
    assert any((other.ends(step) != expected[step]).any() for step in range(whole.steps))


def test_rate_warms_up_falls_and_cools_down(data):
    spec = TrainSpec("lstm", ("BTC-USD",), epochs=40, batch_size=10, learning_rate=2.0)
    schedule = Schedule(spec, data, MINUTES, seed=0)
    rates = np.array([schedule.rate(step) for step in range(schedule.steps)])
    top = int(rates.argmax())
    assert 0 < rates[0] < 0.01 * 2.0
    assert rates.max() == pytest.approx(2.0, rel=0.01)
    assert (np.diff(rates[:top]) > 0).all()
    assert (np.diff(rates[top:]) < 0).all()
    assert rates[-1] < 0.05 * 2.0


def test_rate_does_not_know_the_end_of_a_training_that_is_stopped_early(data):
    short = TrainSpec("lstm", ("BTC-USD",), epochs=200, batch_size=10)
    schedules = [Schedule(spec, data, MINUTES, seed=0) for spec in (short, replace(short, epochs=400))]
    assert schedules[0].rate(3000) == schedules[1].rate(3000)


def test_keep_grows_to_the_wanted_average(data):
    long = TrainSpec("lstm", ("BTC-USD",), epochs=100, batch_size=100, average_windows=1000)
    kept = [Schedule(long, data, MINUTES, seed=0).keep(step) for step in range(500)]
    assert kept[0] == pytest.approx(0.1)
    assert kept == sorted(kept)
    assert kept[-1] == pytest.approx(10 / 11)


def test_keep_of_a_short_training_does_not_reach_back_to_its_start(data):
    short = Schedule(TrainSpec("lstm", ("BTC-USD",), epochs=2, batch_size=20), data, MINUTES, seed=0)
    longest = 0.05 * short.steps
    assert short.keep(short.steps) == pytest.approx(longest / (1 + longest))


def test_schedule_of_too_few_windows_says_what_to_do(data):
    with pytest.raises(TrainingError, match="lower the stride"):
        Schedule(TrainSpec("lstm", ("BTC-USD",), stride=1300), data, MINUTES, seed=0)


@pytest.mark.parametrize(
    ("field", "value", "repair"),
    [
        ("stride", 0, "set TRAIN_STRIDE"),
        ("epochs", 0, "set EPOCHS"),
        ("members", 0, "set TRAIN_MEMBERS"),
        ("members", 1.5, "whole number"),
        ("batch_size", 0, "batch_size in that range"),
        ("check_windows", 0, "at least 1"),
        ("seed", -1, "set TRAIN_SEED"),
        ("dropout", 1.5, "below 1"),
        ("dropout", float("nan"), "below 1"),
        ("learning_rate", 0.0, "above 0"),
        ("learning_rate", float("inf"), "above 0"),
        ("weight_decay", -1.0, "0 or more"),
        ("budget_seconds", -5.0, "set TRAIN_BUDGET_SECONDS"),
    ],
)
def test_train_spec_refuses_nonsense_and_names_the_repair(field, value, repair):
    with pytest.raises(ConfigError, match=f"lstm-BTC-USD: {field} is .*{repair}"):
        TrainSpec("lstm", ("BTC-USD",), **{field: value})


def test_train_spec_without_products_is_refused():
    with pytest.raises(ConfigError, match="at least one product"):
        TrainSpec("lstm", ())


def test_batches_gather_on_the_device_what_numpy_gathers(data):
    own = replace(data, x_NF=data.x_NF.copy())
    scaler = fit_scaler(own)
    batches = Batches(own, scaler, MINUTES, [2.0], "cpu")
    ends = part_ends(data, "train", MINUTES)[[0, 700, 3, -1]]
    batch = batches.at(ends)
    expected = data.x_NF.copy()
    scaler.scale_in_place(expected, data.coin_N)
    np.testing.assert_array_equal(batch.x_BTF.numpy(), [expected[end - MINUTES + 1 : end + 1] for end in ends])
    np.testing.assert_array_equal(batch.direction_B.numpy(), data.direction_N[ends].astype(np.float32))
    np.testing.assert_allclose(batch.return_B.numpy(), np.clip(data.return_N[ends] / 2.0, -3, 3), rtol=1e-6)
    assert batch.x_BTF.is_contiguous()
