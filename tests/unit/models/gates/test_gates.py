"""Verdicts on constructed evidence: each gate has a case that passes and one that fails."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from core.errors import ConfigError
from models.datasets.dataset import load_dataset
from models.gates import PROFILES, GateEvidence, GateProfile, gate_profile, is_real, judge_gates, refusals_by_profile
from models.gates.gate_checks import BASELINES
from models.judging.baselines import baseline_forecasts
from models.statistics.bootstrap import DayBootstrap, Interval
from models.statistics.metrics import base_rate, calibration_error, equal_mass_bins, hits, log_losses
from tests.judged_models import GOOD_EVIDENCE as GOOD
from validation.leakage.dataset_checks import renamed
from validation.leakage.fit_checks import calibrate_small, train_small


def refused(evidence: GateEvidence, profile: str = "seed") -> set[str]:
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
        ({"shuffled_auc": (0.1, 0.9)}, "shuffled_label_control"),
        ({"baseline_log_losses": GOOD.baseline_log_losses | {"gradient_boosting": 0.50}}, "beats_baselines"),
        ({"baseline_log_losses": GOOD.baseline_log_losses | {"my_own": 0.4}}, "beats_baselines"),
        ({"baseline_log_losses": {"base_rate": 0.693, "logistic_regression": 0.55}}, "beats_baselines"),
        ({"baseline_log_losses": {}}, "beats_baselines"),
        ({"canaries": None}, "no_leak_canary"),
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
        baseline_log_losses=dict.fromkeys(BASELINES, 0.6905),
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
        (["local:planted", "local:planted:trades", "local:null:trades"], False),
        (["coinbase:trades"], True),
        (["local:planted", "import"], True),
        ([], True),
    ],
)
def test_is_real_trusts_no_unnamed_source(sources, expected):
    assert is_real(sources) is expected


def told(evidence: GateEvidence, gate: str, profile: GateProfile | str = "seed") -> str:
    chosen = gate_profile(profile) if isinstance(profile, str) else profile
    return next(result.sentence for result in judge_gates(evidence, chosen) if result.name == gate)


def test_every_gate_of_the_specification_is_asked():
    always = {
        "accuracy_above_base_rate",
        "brier_skill",
        "beats_baselines",
        "shuffled_label_control",
        "no_leak_canary",
        "future_control",
        "export_parity",
        "audit",
    }
    asked = {name: {gate.name for gate in judge_gates(GOOD, gate_profile(name))} for name in PROFILES}
    assert asked == {
        "seed": always | {"min_accuracy", "calibration_error"},
        "selective": always | {"selective_accuracy", "calibration_error"},
        "calibrated": always | {"calibration_error"},
    }
    assert (PROFILES["seed"].min_accuracy, PROFILES["seed"].max_calibration_error) == (0.68, 0.05)
    assert PROFILES["selective"].selective_coverage == 0.1
    assert PROFILES["selective"].max_calibration_error == PROFILES["calibrated"].max_calibration_error == 0.02


def test_baselines_that_are_trained_are_those_the_gate_asks_for(make_dataset):
    data = load_dataset(make_dataset())
    rows = data.rows("BTC-USD", "test")[:50]
    assert set(baseline_forecasts(data, "BTC-USD", rows)) >= set(BASELINES)


def test_beats_baselines_names_every_baseline_and_those_that_are_better():
    sentence = told(replace(GOOD, log_loss=Interval(0.555, 0.54, 0.57)), "beats_baselines")
    assert "no better than that of logistic regression (" in sentence
    assert all(name.replace("_", " ") in sentence for name in BASELINES)
    assert "fall by more than 0.0050" in sentence


def test_refusal_by_luck_says_how_many_days_would_settle_it():
    unsure = replace(GOOD, accuracy=Interval(0.53, 0.50, 0.56), base_rate=0.51, test_days=30)
    days = int(re.search(r"(\d+) test days would clear it instead of 30", told(unsure, "accuracy_above_base_rate"))[1])
    # the interval narrows with the root of the days: 0.03 must become 0.02
    assert days == pytest.approx(30 * (0.03 / 0.02) ** 2, abs=3)
    longer = replace(unsure, accuracy=Interval(0.53, 0.53 - 0.0199, 0.53 + 0.0199), test_days=days)
    assert "accuracy_above_base_rate" not in refused(longer)


def test_refusal_of_what_is_not_better_says_that_no_number_of_days_helps():
    worse = replace(GOOD, accuracy=Interval(0.50, 0.47, 0.53), base_rate=0.51)
    assert "No number of days changes that" in told(worse, "accuracy_above_base_rate")


def test_selective_refusal_says_which_cost_would_pass():
    # break-even 0.6 at 18 bps is 90 bps a unit of accuracy above a half, twice over; 0.56 bears six tenths of it
    close = replace(GOOD, selective={0.1: Interval(0.58, 0.56, 0.60)}, break_even=0.60, test_days=1_000)
    bearable = float(
        re.search(r"under ([0-9.]+) bps instead of 18.0", told(close, "selective_accuracy", "selective"))[1]
    )
    assert bearable == pytest.approx(18.0 * 0.06 / 0.10, abs=0.05)
    cheaper = replace(close, break_even=0.5 + 0.1 * (bearable - 0.02) / 18.0, cost_bps=bearable - 0.02)
    assert refused(cheaper, "selective") == set()


def test_calibration_refusal_says_what_chance_alone_would_show():
    few = told(
        replace(GOOD, calibration_error=Interval(0.06, 0.03, 0.09), test_rows=3_000, test_days=3), "calibration_error"
    )
    assert "even a forecast that comes true would show" in few
    many = told(
        replace(GOOD, calibration_error=Interval(0.06, 0.05, 0.07), test_rows=150_000, test_days=110),
        "calibration_error",
    )
    assert "must itself fall" in many


def test_more_looks_at_the_test_part_lower_the_bound_and_are_told():
    close = replace(GOOD, accuracy=Interval(0.70, 0.64, 0.76), base_rate=0.63, test_days=40)
    assert "accuracy_above_base_rate" not in refused(close)
    often = judge_gates(close, replace(gate_profile("seed"), looks=50))
    refusal = next(gate for gate in often if gate.name == "accuracy_above_base_rate")
    assert not refusal.passed
    assert "50 looks at this test part" in refusal.sentence
    assert (refusal.low, refusal.high) == (0.64, 0.76)  # the interval itself stays what it is


def test_refusals_by_profile_say_what_another_would_take():
    honest = replace(GOOD, accuracy=Interval(0.66, 0.65, 0.67), calibration_error=Interval(0.03, 0.02, 0.04))
    found = refusals_by_profile(honest, gate_profile("seed", min_accuracy=0.6))
    assert found == {"seed": (), "selective": ("calibration_error",), "calibrated": ("calibration_error",)}


# --- corner cases: constructed forecasts of constructed labels, measured as a judging measures them


def measured(p_N: np.ndarray, y_N: np.ndarray, *, days: int = 10) -> GateEvidence:
    """Return the evidence of a forecast; what its figures do not decide is good."""
    boot = DayBootstrap(np.arange(len(y_N)) * days // len(y_N) * 1440)
    return replace(
        GOOD,
        test_rows=len(y_N),
        test_days=days,
        classes=len(np.unique(y_N)),
        probability_spread=float(np.std(p_N)),
        accuracy=boot.mean(hits(p_N, y_N)),
        base_rate=base_rate(y_N),
        brier_skill=boot.brier_skill(p_N, y_N),
        log_loss=boot.mean(log_losses(p_N, y_N)),
        calibration_error=boot.calibration_error(p_N, y_N, equal_mass_bins(p_N)),
    )


def labels(share: float, rows: int = 20_000, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).random(rows) < share).astype(np.int8)


def test_constant_predictor_passes_the_calibration_error_and_is_refused_as_constant():
    y_N = labels(0.5)
    constant = np.full(len(y_N), y_N.mean())
    assert calibration_error(constant, y_N, equal_mass_bins(constant)) < 0.001
    assert refused(measured(constant, y_N), "calibrated") == {"not_constant"}


def test_nearly_constant_predictor_is_refused_although_it_is_calibrated():
    y_N = labels(0.5)
    wobbling = y_N.mean() + 0.001 * np.random.default_rng(1).normal(size=len(y_N))
    found = refused(measured(wobbling, y_N), "calibrated")
    assert "calibration_error" not in found
    assert {"accuracy_above_base_rate", "brier_skill"} <= found


def test_majority_class_predictor_of_a_lopsided_market_is_refused_whatever_its_accuracy():
    y_N = labels(0.72)
    majority = np.clip(0.72 + 0.01 * np.random.default_rng(1).normal(size=len(y_N)), 0.6, 0.9)
    evidence = measured(majority, y_N)
    assert evidence.accuracy.value > 0.68  # as good as the seed profile asks
    assert {"accuracy_above_base_rate", "brier_skill"} <= refused(evidence)


def test_always_down_predictor_gains_nothing_from_ties():
    # a close that stays counts as "not up": where three of ten minutes tie, calling down is right 0.65 of the time
    generator = np.random.default_rng(2)
    return_N = np.where(generator.random(20_000) < 0.3, 0.0, generator.normal(size=20_000))
    y_N = (return_N > 0).astype(np.int8)
    down = np.clip(0.35 + 0.01 * generator.normal(size=len(y_N)), 0.2, 0.49)
    evidence = measured(down, y_N)
    assert evidence.base_rate == pytest.approx(0.65, abs=0.01)
    assert "accuracy_above_base_rate" in refused(evidence, "calibrated")


def test_window_of_one_class_is_refused_before_anything_else_is_asked():
    y_N = np.ones(1_000, dtype=np.int8)
    right = np.random.default_rng(3).uniform(0.9, 1.0, len(y_N))
    assert refused(measured(right, y_N), "seed") == {"two_classes"}


def test_calibrator_never_sees_the_test_part_and_one_that_does_gives_another(make_dataset):
    data = load_dataset(make_dataset(minutes=4_500))
    trained = train_small(data, 0)
    calibration, cuts = calibrate_small(trained, data, "BTC-USD")
    test = data.part_N == 3
    data.direction_N[test] = 1 - data.direction_N[test]
    assert calibrate_small(trained, data, "BTC-USD") == (calibration, cuts)
    assert calibrate_small(trained, renamed(data, calibration="test", test="calibration"), "BTC-USD")[0] != calibration
