"""Figures against scikit-learn and against examples worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score, brier_score_loss, log_loss, roc_auc_score

from models import evaluate
from models.bootstrap import DayBootstrap
from models.calibrate import fit_calibration


@pytest.fixture
def forecast():
    generator = np.random.default_rng(5)
    p_N = np.round(generator.beta(2, 2, size=5000), 3)  # rounded, so that there are ties
    y_N = (generator.random(5000) < p_N).astype(np.int8)
    return p_N, y_N


def test_metrics_agree_with_scikit_learn(forecast):
    p_N, y_N = forecast
    assert evaluate.accuracy(p_N, y_N) == pytest.approx(accuracy_score(y_N, p_N >= 0.5))
    assert evaluate.auc(p_N, y_N) == pytest.approx(roc_auc_score(y_N, p_N))
    assert evaluate.log_loss(p_N, y_N) == pytest.approx(log_loss(y_N, np.clip(p_N, 1e-7, 1 - 1e-7)))
    assert evaluate.brier(p_N, y_N) == pytest.approx(brier_score_loss(y_N, p_N))


def test_weighted_auc_agrees_with_scikit_learn(forecast):
    p_N, y_N = forecast
    weight_N = np.random.default_rng(6).integers(0, 4, size=len(p_N)).astype(float)
    assert evaluate.auc(p_N, y_N, weight_N) == pytest.approx(roc_auc_score(y_N, p_N, sample_weight=weight_N))


def test_reliability_agrees_with_scikit_learn(forecast):
    p_N, y_N = forecast
    up, mean = calibration_curve(y_N, p_N, n_bins=10, strategy="uniform")
    table = evaluate.reliability(p_N, y_N, evaluate.equal_width_bins(p_N))
    np.testing.assert_allclose([row["up_share"] for row in table], up, atol=0.01)
    np.testing.assert_allclose([row["mean_probability"] for row in table], mean, atol=0.01)


def test_direction_is_long_from_one_half_on():
    assert evaluate.accuracy(np.array([0.5, 0.49]), np.array([1, 0], np.int8)) == 1.0


def test_auc_worked_by_hand_counts_ties_half():
    # pairs (up, down): .8>.3, .8>.5, .5>.3, .5=.5 -> 3.5 of 4
    p_N, y_N = np.array([0.8, 0.5, 0.5, 0.3]), np.array([1, 1, 0, 0], np.int8)
    assert evaluate.auc(p_N, y_N) == 3.5 / 4


def test_auc_of_one_class_is_not_a_number():
    assert math.isnan(evaluate.auc(np.array([0.2, 0.8]), np.array([1, 1], np.int8)))


def test_brier_skill_worked_by_hand():
    # Brier .04, always saying .5 gives .25
    p_N, y_N = np.array([0.8, 0.2]), np.array([1, 0], np.int8)
    assert evaluate.brier_skill(p_N, y_N) == pytest.approx(1 - 0.04 / 0.25)


def test_base_rate_is_that_of_the_commoner_direction():
    assert evaluate.base_rate(np.array([0, 0, 0, 1], np.int8)) == 0.75


def test_calibration_error_worked_by_hand():
    # bin of .9: says .9, half come true (gap .4); bin of .1: says .1, none come true (gap .1)
    p_N = np.array([0.9, 0.9, 0.1, 0.1])
    y_N = np.array([1, 0, 0, 0], np.int8)
    assert evaluate.calibration_error(p_N, y_N, evaluate.equal_width_bins(p_N)) == pytest.approx(0.25)


def test_equal_mass_bins_hold_equally_many_rows(forecast):
    counts = np.bincount(evaluate.equal_mass_bins(forecast[0]))
    assert len(counts) == 10
    assert counts.max() - counts.min() < 60


def test_equal_mass_bins_of_a_constant_are_one_bin():
    assert len(set(evaluate.equal_mass_bins(np.full(50, 0.5)).tolist())) == 1


@pytest.mark.parametrize("coverage", evaluate.COVERAGES)
def test_covered_takes_the_most_confident_share(coverage):
    p_N = np.linspace(0.0, 0.99, 1000)
    chosen_N = evaluate.covered(p_N, coverage)
    assert chosen_N.mean() == pytest.approx(coverage, abs=0.003)
    rest = evaluate.confidence(p_N)[~chosen_N]
    assert not len(rest) or rest.max() <= evaluate.confidence(p_N)[chosen_N].min()


def test_net_bps_worked_by_hand():
    # long earns +20 bps, short earns -(-10) = +10 bps, each pays 15
    found = evaluate.net_bps(np.array([0.7, 0.3]), np.array([0.002, -0.001]), 15.0)
    np.testing.assert_allclose(found, [5.0, -5.0])


def test_break_even_accuracy_worked_by_hand():
    # E|r| 21 bps, cost 5 bps: 0.5 + 5 / 42 (the field notes quote 0.617 for 0.21 %)
    assert evaluate.break_even_accuracy(np.array([0.0021, -0.0021]), 5.0) == pytest.approx(0.6190, abs=1e-4)
    assert math.isinf(evaluate.break_even_accuracy(np.zeros(3), 5.0))


def days_of(rows_per_day: int, days: int) -> np.ndarray:
    return np.concatenate([np.arange(rows_per_day) + day * 1440 for day in range(days)])


def test_bootstrap_interval_covers_the_truth_of_independent_days():
    covered = 0
    for seed in range(60):
        value_N = np.random.default_rng(seed).normal(size=30 * 40)
        interval = DayBootstrap(days_of(40, 30), replicates=400).mean(value_N)
        covered += interval.low <= 0.0 <= interval.high
    assert 50 <= covered <= 60  # 95 % of 60 is 57


def test_bootstrap_is_wider_where_a_whole_day_moves_together():
    generator = np.random.default_rng(0)
    minutes, days = days_of(40, 30), DayBootstrap(days_of(40, 30))
    together = days.mean(np.repeat(generator.normal(size=30), 40))
    apart = days.mean(generator.normal(size=len(minutes)))
    assert together.high - together.low > 3 * (apart.high - apart.low)


def test_bootstrap_gives_the_same_ends_each_time(forecast):
    p_N, y_N = forecast
    ends = [DayBootstrap(days_of(500, 10)).auc(p_N, y_N) for _ in range(2)]
    assert ends[0] == ends[1]
    assert ends[0].low < ends[0].value < ends[0].high


def test_bootstrap_of_every_metric_agrees_with_resampling_rows(forecast):
    p_N, y_N = forecast
    days = DayBootstrap(days_of(500, 10), replicates=20)
    bin_N = evaluate.equal_mass_bins(p_N)
    skill, error = days.brier_skill(p_N, y_N), days.calibration_error(p_N, y_N, bin_N)
    skills, errors = [], []
    for times_D in days.times_RD:
        rows = np.repeat(np.arange(len(p_N)), times_D.astype(int)[days.day_N])
        skills.append(evaluate.brier_skill(p_N[rows], y_N[rows]))
        errors.append(evaluate.calibration_error(p_N[rows], y_N[rows], bin_N[rows]))
    assert (skill.low, skill.high) == pytest.approx(tuple(np.quantile(skills, (0.025, 0.975))))
    assert (error.low, error.high) == pytest.approx(tuple(np.quantile(errors, (0.025, 0.975))))


def test_bootstrap_of_a_single_day_gives_no_interval():
    assert DayBootstrap(np.arange(100)).mean(np.ones(100)) == (1.0, None, None)


def test_calibration_repairs_an_overconfident_model():
    generator = np.random.default_rng(1)
    true_N = generator.normal(size=20_000)
    y_N = (generator.random(20_000) < 1 / (1 + np.exp(-true_N))).astype(np.int8)
    found = fit_calibration(3.0 * true_N + 0.6, y_N)
    assert found.kind == "platt"
    assert (found.slope, found.shift) == pytest.approx((1 / 3, -0.2), abs=0.03)


def test_calibration_of_a_model_that_is_wrong_way_round_does_not_turn_it():
    logit_N = np.linspace(-3, 3, 2000)
    found = fit_calibration(logit_N, (logit_N < 0).astype(np.int8))
    assert found.kind == "temperature"
    assert found.slope > 0
    assert found.apply(np.array([1.0]))[0] > 0.5


@pytest.mark.parametrize(("rows", "y"), [(50, [0, 1]), (400, [1])])
def test_calibration_with_too_little_to_fit_leaves_the_model_as_it_is(rows, y):
    y_N = np.resize(np.array(y, np.int8), rows)
    assert fit_calibration(np.linspace(-1, 1, rows), y_N).kind == "none"
