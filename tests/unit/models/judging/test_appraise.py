"""What a passport claims comes from data set, graph and passport alone, the same each time."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from core.integrity import sha256_of
from models.datasets.dataset import load_dataset
from models.datasets.scaler import fit_scaler
from models.datasets.windows import part_ends
from models.gates import gate_profile
from models.judging.appraise import appraise, slot_of
from models.networks.build import build_network, window_minutes
from models.serving.calibration import Calibration
from models.serving.export import OPSET, export_graph, served
from models.serving.scorer import Scorer
from models.statistics.metrics import brier, log_loss

_SPEC = importlib.util.spec_from_file_location("models_fixture", Path(__file__).parents[2] / "conftest.py")
fixture = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(fixture)
COLUMNS = fixture.COLUMNS


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """A fresh network, its calibration known, on a data set of four days of test."""
    folder = tmp_path_factory.mktemp("appraise")
    data = load_dataset(fixture.write_dataset(folder, minutes=24_000, strength=0.3))
    torch.manual_seed(3)
    scaler, minutes = fit_scaler(data), window_minutes("lstm_one_way")
    network = build_network("lstm_one_way", len(COLUMNS), 1, 0.0).eval()
    graph = export_graph(served(network, scaler, [Calibration("platt", 5.0, 0.1, 1000)]), folder, minutes, len(COLUMNS))
    passport = {
        "model_id": "appraised",
        "architecture": "lstm_one_way",
        "products": ["BTC-USD"],
        "inputs": list(COLUMNS),
        "feature_set": "seed39",
        "feature_hash": "f" * 64,
        "window_minutes": minutes,
        "opset": OPSET,
        "sha256": sha256_of(graph),
        "scaler": scaler.as_json(),
        "parity": {"largest_difference": 1e-7, "largest_difference_one_by_one": 2e-7},
        "judged": {
            "profile": asdict(gate_profile("calibrated")),
            "cost_bps": 4.0,
            "trials": 3,
            # every seventh minute keeps this quick; the labels still overlap
            "stride_minutes": 7,
        },
    }
    (folder / "passport.json").write_text(json.dumps(passport))
    return data, Scorer(folder), passport


@pytest.fixture(scope="module")
def found(judged):
    return appraise(*judged)["BTC-USD"]


def test_appraise_claims_every_section_as_plain_values(found):
    assert json.loads(json.dumps(found.claims, allow_nan=False)) == found.claims
    assert set(found.claims) >= {
        "accepted",
        "slot",
        "gates",
        "coverage_cuts",
        "metrics",
        "baselines",
        "against_baselines",
        "controls",
        "calibrated",
        "feasibility",
        "selection",
    }
    assert found.slot == slot_of("lstm_one_way", "BTC-USD") == "lstm:BTC-USD"
    assert found.accepted == found.claims["accepted"] == all(gate["passed"] for gate in found.claims["gates"])


def test_appraise_again_finds_the_same_to_the_last_bit(judged, found):
    again = appraise(*judged)["BTC-USD"]
    assert again.claims == found.claims
    assert again.curves == found.curves
    assert again.rows == found.rows


def test_appraise_undoes_the_calibration_for_the_figures_before_it(judged, found):
    data, scorer, passport = judged
    minutes = passport["window_minutes"]
    ends = part_ends(data, "test", minutes, stride=7, product="BTC-USD")
    windows = np.stack([data.x_NF[end - minutes + 1 : end + 1] for end in ends])
    p_N, logit_N = scorer.score_with_logits(windows, "BTC-USD")
    np.testing.assert_allclose(p_N, 1 / (1 + np.exp(-(5.0 * logit_N + 0.1))), atol=1e-6)
    before, after = found.claims["calibrated"]["before"], found.claims["calibrated"]["after"]
    assert after["log_loss"] == pytest.approx(log_loss(p_N, data.direction_N[ends]))
    assert before["brier"] == pytest.approx(brier(1 / (1 + np.exp(-logit_N)), data.direction_N[ends]))
    assert found.claims["calibrated"]["log_loss_change"]["value"] == pytest.approx(
        after["log_loss"] - before["log_loss"]
    )
    assert len(found.curves["reliability_before"]) == 10


def test_appraise_compares_row_by_row_with_every_baseline(found):
    baselines, metrics = found.claims["baselines"], found.claims["metrics"]
    assert set(baselines) == {"base_rate", "last_move_sign", "logistic_regression", "gradient_boosting"}
    for name, figures in baselines.items():
        assert None not in figures.values()
        difference = found.claims["against_baselines"][name]
        assert difference["value"] == pytest.approx(metrics["log_loss"]["value"] - figures["log_loss"])
        assert difference["low_95"] < difference["value"] < difference["high_95"]


def test_appraise_of_other_labels_finds_other_figures(judged, found):
    data, scorer, passport = judged
    turned = replace(data, direction_N=np.where(data.direction_N >= 0, 1 - data.direction_N, -1).astype(np.int8))
    other = appraise(turned, scorer, passport)["BTC-USD"]
    assert other.claims["metrics"]["accuracy"]["value"] == pytest.approx(
        1 - found.claims["metrics"]["accuracy"]["value"]
    )
    assert not other.accepted


def test_appraise_of_a_product_without_test_rows_refuses_by_name(judged):
    data, scorer, passport = judged
    cut = replace(data, part_N=np.where(data.part_N == 3, -1, data.part_N).astype(np.int8))
    nothing = appraise(cut, scorer, passport)["BTC-USD"]
    assert "enough_test_rows" in {gate.name for gate in nothing.gates if not gate.passed}
    assert json.dumps(nothing.claims, allow_nan=False)


def test_appraise_needs_no_torch():
    code = "import models.judging.appraise, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
