"""Verdicts on constructed evidence: each gate has a case that passes and one that fails."""

from __future__ import annotations

from dataclasses import replace

import pytest

from desk.errors import ConfigError
from models.bootstrap import Interval
from models.gates import Evidence, gate_profile, is_real, judge_gates

GOOD = Evidence(
    test_rows=12_000,
    test_days=9,
    classes=2,
    probability_spread=0.2,
    accuracy=Interval(0.75, 0.73, 0.77),
    base_rate=0.51,
    brier_skill=Interval(0.30, 0.25, 0.35),
    log_loss=Interval(0.50, 0.48, 0.52),
    baseline_log_losses={"base_rate": 0.693, "logistic_regression": 0.55},
    calibration_error=Interval(0.015, 0.01, 0.02),
    selective={0.1: Interval(0.95, 0.92, 0.97)},
    break_even=0.60,
    shuffled_auc=(0.49, 0.50, 0.51, 0.50, 0.505),
    future_accuracy=0.95,
    parity=2e-7,
    sources=("local:planted",),
)


def refused(evidence: Evidence, profile: str = "seed") -> set[str]:
    return {gate.name for gate in judge_gates(evidence, gate_profile(profile)) if not gate.passed}


@pytest.mark.parametrize("profile", ["seed", "selective", "calibrated"])
def test_gates_let_a_good_model_pass(profile):
    assert refused(GOOD, profile) == set()


@pytest.mark.parametrize(
    ("change", "gate"),
    [
        ({"accuracy": Interval(0.679, 0.66, 0.70)}, "min_accuracy"),
        ({"calibration_error": Interval(0.051, 0.04, 0.06)}, "calibration_error"),
        ({"accuracy": Interval(0.70, 0.50, 0.77)}, "accuracy_above_base_rate"),
        ({"brier_skill": Interval(0.05, -0.01, 0.10)}, "brier_skill"),
        ({"log_loss": Interval(0.56, 0.55, 0.57)}, "beats_baselines"),
        ({"shuffled_auc": (0.70, 0.71, 0.69, 0.70, 0.70)}, "shuffled_label_control"),
        ({"shuffled_auc": ()}, "shuffled_label_control"),
        ({"canaries": {"unique_rows": "BTC-USD has a minute twice"}}, "no_leak_canary"),
        ({"future_accuracy": 0.76}, "future_control"),
        ({"future_accuracy": None}, "future_control"),
        ({"parity": 2e-5}, "export_parity"),
        ({"parity": float("nan")}, "export_parity"),
        ({"sources": ("coinbase",)}, "audit"),
        ({"sources": ("local:planted", "local:recorded")}, "audit"),
    ],
)
def test_gates_refuse_by_name(change, gate):
    assert refused(replace(GOOD, **change)) == {gate}


@pytest.mark.parametrize(
    ("change", "gate"),
    [
        ({"test_rows": 20}, "enough_test_rows"),
        ({"test_days": 1}, "enough_test_rows"),
        ({"classes": 1}, "two_classes"),
        ({"probability_spread": 0.0}, "not_constant"),
        ({"probability_spread": float("nan")}, "not_constant"),
    ],
)
def test_gates_refuse_what_cannot_be_judged_without_looking_further(change, gate):
    results = judge_gates(replace(GOOD, **change), gate_profile("seed"))
    assert [result.name for result in results] == [gate]
    assert "." in results[0].sentence


def test_gates_of_a_model_without_intervals_refuse():
    bare = replace(GOOD, accuracy=Interval(0.75, None, None), brier_skill=Interval(0.3, None, None))
    assert refused(bare) >= {"accuracy_above_base_rate", "brier_skill"}


def test_selective_gate_compares_the_lower_bound_with_the_break_even():
    close = replace(GOOD, selective={0.1: Interval(0.62, 0.59, 0.65)})
    assert refused(close, "selective") == {"selective_accuracy"}


def test_calibrated_profile_asks_no_accuracy_but_truth():
    honest = replace(
        GOOD,
        accuracy=Interval(0.53, 0.522, 0.538),
        brier_skill=Interval(0.003, 0.001, 0.005),
        log_loss=Interval(0.690, 0.689, 0.691),
        baseline_log_losses={"logistic_regression": 0.6905},
        sources=("coinbase",),
    )
    assert refused(honest, "calibrated") == set()
    assert refused(honest, "seed") == {"min_accuracy"}
    assert "not tradeable" in gate_profile("calibrated").note


def test_seed_profile_takes_the_figures_from_the_settings():
    profile = gate_profile("seed", min_accuracy=0.9, max_calibration_error=0.001)
    results = {gate.name: gate for gate in judge_gates(GOOD, profile)}
    assert (results["min_accuracy"].bound, results["calibration_error"].bound) == (0.9, 0.001)
    assert not results["min_accuracy"].passed
    assert "MIN_ACCURACY" in results["min_accuracy"].sentence


def test_gate_profile_of_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ConfigError, match="seed, selective, calibrated"):
        gate_profile("lenient")


def test_every_gate_says_a_sentence_with_its_figure():
    for gate in judge_gates(GOOD, gate_profile("seed")):
        assert gate.sentence.endswith(".")
        assert gate.figure is not None


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        (["synthetic"], False),
        (["local:planted", "local:null"], False),
        (["coinbase"], True),
        (["local:recorded"], True),
        (["local:planted", "import"], True),
        ([], True),
    ],
)
def test_is_real_trusts_no_unnamed_source(sources, expected):
    assert is_real(sources) is expected
