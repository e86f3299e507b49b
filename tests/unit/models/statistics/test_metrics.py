"""Figures against scikit-learn and against examples worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score, brier_score_loss, log_loss, roc_auc_score

from models.statistics import bootstrap, metrics
from models.statistics.bootstrap import DayBootstrap


@pytest.fixture
def forecast():
    generator = np.random.default_rng(5)
    p_N = np.round(generator.beta(2, 2, size=5000), 3)  # rounded, so that there are ties
    y_N = (generator.random(5000) < p_N).astype(np.int8)
    return p_N, y_N


def test_metrics_agree_with_scikit_learn(forecast):
    p_N, y_N = forecast
    assert metrics.accuracy(p_N, y_N) == pytest.approx(accuracy_score(y_N, p_N >= 0.5))
    assert metrics.auc(p_N, y_N) == pytest.approx(roc_auc_score(y_N, p_N))
    assert metrics.log_loss(p_N, y_N) == pytest.approx(log_loss(y_N, np.clip(p_N, 1e-7, 1 - 1e-7)))
    assert metrics.brier(p_N, y_N) == pytest.approx(brier_score_loss(y_N, p_N))


def test_reliability_agrees_with_scikit_learn(forecast):
    p_N, y_N = forecast
    up, mean = calibration_curve(y_N, p_N, n_bins=10, strategy="uniform")
    table = metrics.reliability(p_N, y_N, metrics.equal_width_bins(p_N))
    np.testing.assert_allclose([row["up_share"] for row in table], up, atol=0.01)
    np.testing.assert_allclose([row["mean_probability"] for row in table], mean, atol=0.01)


def test_direction_is_long_from_one_half_on():
    assert metrics.accuracy(np.array([0.5, 0.49]), np.array([1, 0], np.int8)) == 1.0


def test_auc_worked_by_hand_counts_ties_half():
    # pairs (up, down): .8>.3, .8>.5, .5>.3, .5=.5 -> 3.5 of 4
    p_N, y_N = np.array([0.8, 0.5, 0.5, 0.3]), np.array([1, 1, 0, 0], np.int8)
    assert metrics.auc(p_N, y_N) == 3.5 / 4


def test_auc_of_one_class_is_not_a_number():
    assert math.isnan(metrics.auc(np.array([0.2, 0.8]), np.array([1, 1], np.int8)))


@pytest.mark.parametrize(
    ("forecast_of_rain", "rained", "score"),
    [(1.0, 1, 0.0), (1.0, 0, 1.0), (0.7, 1, 0.09), (0.7, 0, 0.49), (0.3, 1, 0.49), (0.5, 0, 0.25), (0.5, 1, 0.25)],
)
def test_brier_of_the_textbook_s_rainy_day(forecast_of_rain, rained, score):
    # the worked example commonly printed with Brier 1950: a chance of rain, and whether it rained
    assert metrics.brier(np.array([forecast_of_rain]), np.array([rained], np.int8)) == pytest.approx(score)


def test_brier_skill_worked_by_hand():
    # Brier .04, always saying .5 gives .25
    p_N, y_N = np.array([0.8, 0.2]), np.array([1, 0], np.int8)
    assert metrics.brier_skill(p_N, y_N) == pytest.approx(1 - 0.04 / 0.25)


def test_base_rate_is_that_of_the_commoner_direction():
    assert metrics.base_rate(np.array([0, 0, 0, 1], np.int8)) == 0.75


def test_calibration_error_worked_by_hand():
    # bin of .9: says .9, half come true (gap .4); bin of .1: says .1, none come true (gap .1)
    p_N = np.array([0.9, 0.9, 0.1, 0.1])
    y_N = np.array([1, 0, 0, 0], np.int8)
    assert metrics.calibration_error(p_N, y_N, metrics.equal_width_bins(p_N)) == pytest.approx(0.25)


def test_equal_mass_bins_hold_equally_many_rows(forecast):
    counts = np.bincount(metrics.equal_mass_bins(forecast[0]))
    assert len(counts) == 10
    assert counts.max() - counts.min() < 60


def test_equal_mass_bins_of_a_constant_are_one_bin():
    assert len(set(metrics.equal_mass_bins(np.full(50, 0.5)).tolist())) == 1


@pytest.mark.parametrize("coverage", metrics.COVERAGES)
def test_covered_takes_the_most_confident_share(coverage):
    p_N = np.linspace(0.0, 0.99, 1000)
    chosen_N = metrics.covered(p_N, coverage)
    assert chosen_N.mean() == pytest.approx(coverage, abs=0.003)
    rest = metrics.confidence(p_N)[~chosen_N]
    assert not len(rest) or rest.max() <= metrics.confidence(p_N)[chosen_N].min()


def test_net_bps_worked_by_hand():
    # long earns +20 bps, short earns -(-10) = +10 bps, each pays 15
    found = metrics.net_bps(np.array([0.7, 0.3]), np.array([0.002, -0.001]), 15.0)
    np.testing.assert_allclose(found, [5.0, -5.0])


def test_break_even_accuracy_worked_by_hand():
    # E|r| 21 bps, cost 5 bps: 0.5 + 5 / 42 (the field notes quote 0.617 for 0.21 %)
    assert metrics.break_even_accuracy(metrics.mean_move_bps(np.array([0.0021, -0.0021])), 5.0) == pytest.approx(
        0.6190, abs=1e-4
    )
    assert math.isinf(metrics.break_even_accuracy(metrics.mean_move_bps(np.zeros(3)), 5.0))


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
    resampled = [np.repeat(np.arange(len(p_N)), times_D.astype(int)[days.day_N]) for times_D in days.times_RD]
    for interval, metric in ((days.brier_skill, metrics.brier_skill), (days.auc, metrics.auc)):
        found = interval(p_N, y_N)
        values = [metric(p_N[rows], y_N[rows]) for rows in resampled]
        assert found.value == metric(p_N, y_N)
        assert (found.low, found.high) == pytest.approx(tuple(np.quantile(values, (days.tail, 1 - days.tail))))


def test_bootstrap_of_auc_in_several_chunks_is_that_of_one(forecast, monkeypatch):
    p_N, y_N = forecast
    days = DayBootstrap(days_of(500, 10), replicates=20)
    whole = days.auc(p_N, y_N)
    monkeypatch.setattr(bootstrap, "_CHUNK_GROUPS", 7)
    assert days.auc(p_N, y_N) == pytest.approx(whole)


def test_bootstrap_joins_an_hour_of_a_day_to_the_day_beside_it():
    minutes = np.arange(1380, 5 * 1440 + 30)  # an hour, four days, half an hour
    days = DayBootstrap(minutes)
    assert days.days == 4
    assert np.bincount(days.day_N).tolist() == [1500, 1440, 1440, 1470]
    assert DayBootstrap(minutes[:500]).days == 2


def test_interval_of_few_days_reaches_further_than_plain_percentiles():
    # Hesterberg 2015, section 5.3: the tail is the normal one of sqrt(n / (n - 1)) times the t quantile 2.262, 2.093
    assert DayBootstrap(days_of(2, 10)).tail == pytest.approx(0.00855, abs=1e-4)
    assert DayBootstrap(days_of(2, 20)).tail == pytest.approx(0.0159, abs=1e-4)
    assert DayBootstrap(days_of(1, 2000)).tail == pytest.approx(0.025, abs=1e-4)


def overlapping(seed: int, days: int, per_day: int = 240, overlap: int = 15) -> np.ndarray:
    """Hits whose neighbours share all but one of ``overlap`` minutes, right half of the time."""
    noise = np.random.default_rng(seed).normal(size=days * per_day + overlap - 1)
    return (np.convolve(noise, np.ones(overlap), mode="valid") > 0).astype(float)


def test_day_bootstrap_covers_where_labels_overlap_and_resampling_rows_does_not():
    minutes, by_day, by_row = days_of(240, 30), 0, 0
    for seed in range(150):
        hits_N = overlapping(seed, 30)
        interval = DayBootstrap(minutes, replicates=300).mean(hits_N)
        by_day += interval.low <= 0.5 <= interval.high
        by_row += abs(hits_N.mean() - 0.5) <= 1.96 * hits_N.std() / np.sqrt(len(hits_N))
    assert by_day >= 135  # 95 % of 150 is 142.5, standard error 2.7
    assert by_row < 90


def test_effective_rows_of_overlapping_labels_are_a_tenth_or_less():
    # a mean over 15 minutes keeps a correlation of (2 / pi) asin(1 - k / 15) at lag k: 1 + 2 sum = 11.2
    found = [DayBootstrap(days_of(240, 60)).effective_rows(overlapping(seed, 60)) for seed in range(20)]
    assert np.median(found) == pytest.approx(60 * 240 / 11.2, rel=0.2)


def test_effective_rows_of_independent_rows_are_about_all_of_them():
    hits_N = (np.random.default_rng(2).random(60 * 240) < 0.5).astype(float)
    assert DayBootstrap(days_of(240, 60)).effective_rows(hits_N) > 0.6 * len(hits_N)


def calibrated_or_not(seed: int, slope: float, days: int = 40, per_day: int = 60):
    """Forecasts of slow inputs; at slope 1 they are true, below they are too sure."""
    generator = np.random.default_rng(seed)
    z_N = np.repeat(generator.normal(size=days * per_day // 5), 5)
    truth_N = 1 / (1 + np.exp(-slope * z_N))
    return 1 / (1 + np.exp(-z_N)), (generator.random(len(z_N)) < truth_N).astype(np.int8), truth_N


@pytest.mark.parametrize("slope", [1.0, 0.6])
def test_interval_of_calibration_error_covers_the_true_error_also_when_it_is_nought(slope):
    covered, plain = 0, 0
    for seed in range(80):
        p_N, y_N, truth_N = calibrated_or_not(seed, slope)
        bin_N = metrics.equal_mass_bins(p_N)
        gaps_K = np.bincount(bin_N, weights=p_N - truth_N)
        days = DayBootstrap(days_of(60, 40), replicates=200)
        true_error = np.abs(gaps_K).sum() / len(p_N)
        found = days.calibration_error(p_N, y_N, bin_N)
        covered += found.low <= true_error + 1e-12 and true_error <= found.high
        assert found.low <= found.value <= found.high
        daily_DK = np.stack([np.bincount(days.day_N, weights=(p_N - y_N) * (bin_N == k)) for k in range(10)], axis=1)
        resampled_R = np.abs(days.times_RD @ daily_DK).sum(axis=1) / len(p_N)
        plain += np.quantile(resampled_R, 0.025) <= true_error <= np.quantile(resampled_R, 0.975)
    assert covered >= 72  # 95 % of 80 is 76
    assert slope < 1 or plain < 8


def test_calibration_error_of_a_single_day_has_no_interval(forecast):
    p_N, y_N = forecast[0][:200], forecast[1][:200]
    found = DayBootstrap(np.arange(200)).calibration_error(p_N, y_N, metrics.equal_mass_bins(p_N))
    assert (found.low, found.high) == (None, None)


def test_bootstrap_of_a_single_day_gives_no_interval():
    assert DayBootstrap(np.arange(100)).mean(np.ones(100)) == (1.0, None, None)
