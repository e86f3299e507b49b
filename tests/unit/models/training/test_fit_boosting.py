"""The boosting member: the same bytes twice and resumed, rounds from the early-stop part, a graph like any other's."""

from __future__ import annotations

import json
from dataclasses import replace

import lightgbm
import numpy as np
import pytest
import torch

from core.errors import TrainingError
from models.datasets.dataset import PARTS, load_dataset
from models.networks.build import build_network, window_minutes
from models.serving.calibration import Calibration
from models.serving.export import OPSET, export_graph, parity, served
from models.serving.scorer import Scorer
from models.training.candidate import TrainSpec
from models.training.fit_boosting import fit_boosting
from tests.judged_models import write_passport
from tests.small_dataset import write_dataset

COINS = ("BTC-USD", "ETH-USD")
QUICK = TrainSpec("boosting", COINS, epochs=40, members=2, stride=2, dropout=0.7, learning_rate=0.1)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("boosting"), products=COINS, minutes=1500)


@pytest.fixture(scope="module")
def fitted(reference):
    return fit_boosting(QUICK, load_dataset(reference))


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def network_of(fitted) -> torch.nn.Module:
    network = build_network("boosting", 31, len(COINS), 0.0, fitted.members)
    network.load_state_dict(fitted.weights)
    return network.eval()


def test_fit_boosting_twice_gives_the_same_bits(fitted, reference):
    assert same(fit_boosting(QUICK, load_dataset(reference)).weights, fitted.weights)


def test_fit_boosting_resumed_after_a_member_gives_the_bits_of_one_run(fitted, reference, tmp_path):
    class Killed(Exception):
        pass

    def kill(_progress):
        raise Killed

    with pytest.raises(Killed):
        fit_boosting(QUICK, load_dataset(reference), checkpoint=tmp_path / "training.pt", on_progress=kill)
    told = []
    again = fit_boosting(QUICK, load_dataset(reference), checkpoint=tmp_path / "training.pt", on_progress=told.append)
    assert [(one.member, one.share) for one in told] == [(2, 1.0)]
    assert same(again.weights, fitted.weights)


def test_fit_boosting_keeps_the_rounds_that_the_early_stop_part_likes_best(fitted):
    (best,) = [entry for entry in fitted.history if entry.check == fitted.best_checks[0]]
    assert [entry.epoch for entry in fitted.history] == [10, 20, 30, 40]
    assert best.early_stop_log_loss == min(entry.early_stop_log_loss for entry in fitted.history) < np.log(2) - 0.03
    assert fitted.best_epoch == best.epoch
    boosters = [lightgbm.Booster(model_str=text) for text in json.loads(fitted.weights["text"].numpy().tobytes())]
    assert [booster.num_trees() for booster in boosters] == [best.epoch] * QUICK.members


def test_kept_trees_learnt_from_the_early_stop_part_too(fitted, reference):
    """The newest minutes are worth the most; how many rounds to grow was chosen without them."""
    data = load_dataset(reference)
    rows = (data.part_N == PARTS.index("early_stop")) & (data.direction_N >= 0)
    data.x_NF[rows] = data.x_NF[rows][::-1]
    other = fit_boosting(replace(QUICK, epochs=fitted.best_epoch), data)
    alone = fit_boosting(replace(QUICK, epochs=fitted.best_epoch), load_dataset(reference))
    assert not same(other.weights, alone.weights)


def test_fit_boosting_never_reads_calibration_and_test_rows(fitted, reference):
    data = load_dataset(reference)
    hidden_N = (data.part_N != PARTS.index("train")) & (data.part_N != PARTS.index("early_stop"))
    data.x_NF[hidden_N] = 7.0
    data.direction_N[hidden_N] = 0
    assert same(fit_boosting(QUICK, data).weights, fitted.weights)


def test_fit_boosting_over_its_budget_ends_after_the_member_at_work(reference):
    short = fit_boosting(replace(QUICK, budget_seconds=1e-6), load_dataset(reference))
    assert short.ended_by == ["budget"]
    alone = fit_boosting(replace(QUICK, members=1), load_dataset(reference))
    assert same(short.weights, alone.weights)


def test_fit_boosting_on_labels_of_one_kind_is_a_named_refusal(reference):
    data = load_dataset(reference)
    data.direction_N[data.direction_N == 1] = 0
    with pytest.raises(TrainingError, match="0 of them up; both directions are needed"):
        fit_boosting(QUICK, data)


def test_graph_of_boosting_agrees_with_torch_and_has_the_same_bytes_twice(fitted, tmp_path):
    calibrations = [Calibration("platt", 0.9, 0.05, 500), Calibration("none", rows=500)]
    model = served(network_of(fitted), fitted.scaler, calibrations)
    graph = export_graph(model, tmp_path, window_minutes("boosting"), 31)
    first = graph.read_bytes()
    assert export_graph(model, tmp_path, window_minutes("boosting"), 31).read_bytes() == first
    write_passport(
        tmp_path,
        "boosting-test",
        architecture="boosting",
        products=list(COINS),
        inputs=[f"input_{position:02d}" for position in range(31)],
        window_minutes=window_minutes("boosting"),
        opset=OPSET,
    )
    generator = np.random.default_rng(2)
    x_BTF = generator.normal(size=(70, 1, 31)).astype(np.float32) * 3
    x_BTF[:, :, 10] = x_BTF[:, :, 10] * 50 + 60_000
    proof = parity(model, Scorer(tmp_path), x_BTF, list(COINS), np.arange(70) % 2)
    assert proof.windows == 70
    assert proof.largest <= 1e-6
