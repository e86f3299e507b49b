"""What a passport claims comes from data set, graph and passport alone, the same each time."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from core.integrity import sha256_of
from models.datasets.dataset import load_dataset
from models.datasets.scaler import fit_scaler
from models.datasets.windows import part_ends
from models.gates import gate_profile
from models.judging.appraise import appraise
from models.networks.build import build_network, window_minutes
from models.serving.calibration import Calibration
from models.serving.export import OPSET, export_graph, served
from models.serving.passport import JudgingTerms, Parity, Passport, slot_of
from models.serving.scorer import Scorer
from models.statistics.metrics import brier, log_loss
from tests.small_dataset import COLUMNS, write_dataset


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """A fresh network, its calibration known, on a data set of four days of test."""
    folder = tmp_path_factory.mktemp("appraise")
    data = load_dataset(write_dataset(folder, minutes=24_000, strength=0.3))
    torch.manual_seed(3)
    scaler, minutes = fit_scaler(data), window_minutes("lstm_one_way")
    network = build_network("lstm_one_way", len(COLUMNS), 1, 0.0).eval()
    graph = export_graph(served(network, scaler, [Calibration("platt", 5.0, 0.1, 1000)]), folder, minutes, len(COLUMNS))
    passport = Passport(
        model_id="appraised",
        architecture="lstm_one_way",
        products=("BTC-USD",),
        inputs=COLUMNS,
        feature_set="seed39",
        feature_hash="f" * 64,
        window_minutes=minutes,
        opset=OPSET,
        sha256=sha256_of(graph),
        scaler=scaler.as_json(),
        parity=Parity(1000, 1e-7, 2e-7),
        # every seventh minute keeps this quick; the labels still overlap
        judged=JudgingTerms(gate_profile("calibrated"), cost_bps=4.0, trials=3, stride_minutes=7),
    )
    return data, Scorer(folder, passport), passport


@pytest.fixture(scope="module")
def found(judged):
    return appraise(*judged)["BTC-USD"]


def test_appraise_claims_every_section_as_plain_values(found):
    claims = found.verdict.as_json()
    assert json.loads(json.dumps(claims, allow_nan=False)) == claims
    assert {name for name, value in claims.items() if not value} <= {"accepted", "calibration"}
    assert found.verdict.slot == slot_of("lstm_one_way", "BTC-USD") == "lstm:BTC-USD"
    assert found.verdict.accepted == all(gate.passed for gate in found.verdict.gates)


def test_appraise_again_finds_the_same_to_the_last_bit(judged, found):
    again = appraise(*judged)["BTC-USD"]
    assert again.verdict.as_json() == found.verdict.as_json()
    assert again.curves.as_json() == found.curves.as_json()
    assert again.rows == found.rows


def test_appraise_undoes_the_calibration_for_the_figures_before_it(judged, found):
    data, scorer, passport = judged
    minutes = passport.window_minutes
    ends = part_ends(data, "test", minutes, stride=7, product="BTC-USD")
    windows = np.stack([data.x_NF[end - minutes + 1 : end + 1] for end in ends])
    p_N, logit_N = scorer.score_with_logits(windows, "BTC-USD")
    np.testing.assert_allclose(p_N, 1 / (1 + np.exp(-(5.0 * logit_N + 0.1))), atol=1e-6)
    before, after = found.verdict.calibrated.before, found.verdict.calibrated.after
    assert after["log_loss"] == pytest.approx(log_loss(p_N, data.direction_N[ends]))
    assert before["brier"] == pytest.approx(brier(1 / (1 + np.exp(-logit_N)), data.direction_N[ends]))
    assert found.verdict.calibrated.log_loss_change.value == pytest.approx(after["log_loss"] - before["log_loss"])
    assert len(found.curves.reliability_before) == 10


def test_appraise_compares_row_by_row_with_every_baseline(found):
    baselines, metrics = found.verdict.baselines, found.verdict.metrics
    assert set(baselines) == {"base_rate", "last_move_sign", "logistic_regression", "gradient_boosting"}
    for name, figures in baselines.items():
        assert None not in figures.values()
        less = found.verdict.against_baselines[name]
        assert less.value == pytest.approx(metrics["log_loss"].value - figures["log_loss"])
        assert less.low_95 < less.value < less.high_95


def test_appraise_of_other_labels_finds_other_figures(judged, found):
    data, scorer, passport = judged
    turned = replace(data, direction_N=np.where(data.direction_N >= 0, 1 - data.direction_N, -1).astype(np.int8))
    other = appraise(turned, scorer, passport)["BTC-USD"]
    assert other.verdict.metrics["accuracy"].value == pytest.approx(1 - found.verdict.metrics["accuracy"].value)
    assert not other.verdict.accepted


def test_appraise_of_a_product_without_test_rows_refuses_by_name(judged):
    data, scorer, passport = judged
    cut = replace(data, part_N=np.where(data.part_N == 3, -1, data.part_N).astype(np.int8))
    nothing = appraise(cut, scorer, passport)["BTC-USD"].verdict
    assert "enough_test_rows" in nothing.refused_by
    claims = nothing.as_json()
    assert (claims["controls"], claims["calibrated"], claims["metrics"]) == ({}, {}, {})
    assert json.dumps(claims, allow_nan=False)


def test_appraise_needs_no_torch():
    code = "import models.judging.appraise, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
