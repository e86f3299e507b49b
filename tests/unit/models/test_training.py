"""The training loop: the same bytes twice, resumable, stopped when told to, guarded by a golden curve."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from desk.errors import TrainingError
from desk.market import TrainSpec
from models.dataset import load_dataset
from models.train import fit

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "loss_lstm_cpu.txt"
QUICK = TrainSpec("lstm", ("BTC-USD",), epochs=3, stride=10, batch_size=32, learning_rate=3e-3, dropout=0.1)


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def test_fit_twice_gives_the_same_bits(make_dataset):
    reference = make_dataset(minutes=1200)
    first, second = (fit(QUICK, load_dataset(reference)) for _ in range(2))
    assert same(first.weights, second.weights)
    assert [row["train_loss"] for row in first.history] == [row["train_loss"] for row in second.history]


def test_fit_resumed_after_each_epoch_gives_the_bits_of_one_run(make_dataset, tmp_path):
    reference, checkpoint = make_dataset(minutes=1200), tmp_path / "epoch.pt"
    whole = fit(QUICK, load_dataset(reference))

    class Killed(Exception):
        pass

    def kill(progress):
        if progress.early_stop_loss is not None:
            raise Killed

    for _ in range(3):
        with pytest.raises(Killed):
            fit(QUICK, load_dataset(reference), checkpoint=checkpoint, on_progress=kill)
    resumed = fit(QUICK, load_dataset(reference), checkpoint=checkpoint)
    assert same(whole.weights, resumed.weights)
    assert len(resumed.history) == 3


def test_fit_of_the_transformer_learns_two_coins(make_dataset):
    data = load_dataset(make_dataset(products=("BTC-USD", "ETH-USD"), minutes=1500, strength=3.0))
    spec = TrainSpec(
        "transformer", ("BTC-USD", "ETH-USD"), epochs=2, stride=12, batch_size=16, learning_rate=1e-3, dropout=0.0
    )
    fitted = fit(spec, data)
    assert fitted.history[-1]["early_stop_log_loss"] < 0.69
    assert fitted.train_windows > 100


def test_fit_matches_the_golden_curve(make_dataset):
    """Twenty epochs of one step each. If a change is wanted: raise RECIPE in models/candidate.py, write the file anew."""
    data = load_dataset(make_dataset(minutes=700))
    spec = TrainSpec("lstm", ("BTC-USD",), epochs=20, stride=4, batch_size=256, learning_rate=2e-3, patience=0)
    losses = [row["train_loss"] for row in fit(spec, data, precision="float32").history]
    assert len(losses) == 20
    np.testing.assert_allclose(losses, np.loadtxt(GOLDEN), rtol=2e-3)


def test_fit_stops_early_when_the_early_stop_part_gets_no_better(make_dataset):
    data = load_dataset(make_dataset(minutes=900, strength=0.0))
    spec = TrainSpec(
        "lstm", ("BTC-USD",), epochs=40, stride=5, batch_size=16, learning_rate=1e-2, dropout=0.0, patience=2
    )
    fitted = fit(spec, data, precision="float32")
    assert len(fitted.history) == fitted.best_epoch + 2 < 40


def test_fit_stops_after_the_epoch_that_passes_its_budget(make_dataset):
    spec = TrainSpec("lstm", ("BTC-USD",), epochs=50, stride=10, budget_seconds=0.001)
    assert len(fit(spec, load_dataset(make_dataset(minutes=900))).history) == 1


def test_fit_tells_how_long_it_still_takes(make_dataset):
    told = []
    fit(QUICK, load_dataset(make_dataset(minutes=900)), on_progress=told.append)
    ends = [progress for progress in told if progress.early_stop_loss is not None]
    assert [progress.epoch for progress in ends] == [1, 2, 3]
    assert ends[0].seconds_left > 0
    assert ends[-1].seconds_left == 0


def test_fit_without_windows_says_what_to_do(make_dataset):
    with pytest.raises(TrainingError, match="backfill a longer span"):
        fit(QUICK, load_dataset(make_dataset(minutes=80)))


def test_fit_with_an_absurd_rate_says_the_loss_is_no_number(make_dataset):
    spec = TrainSpec("transformer", ("BTC-USD",), epochs=3, stride=30, batch_size=8, learning_rate=1e30)
    with pytest.raises(TrainingError, match="lower learning rate"):
        fit(spec, load_dataset(make_dataset(minutes=900)), precision="float32")
