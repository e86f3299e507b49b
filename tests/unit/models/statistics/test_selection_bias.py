"""Deflated Sharpe ratios against the papers' own examples; over-fitting of tiny matrices by hand."""

from __future__ import annotations

import json
import math
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import ModelError
from models.statistics.selection_bias import (
    daily_means,
    deflated_sharpe_ratio,
    expected_maximum_sharpe,
    minimum_track_record,
    overfitting,
    probabilistic_sharpe_ratio,
    selection,
    sharpe_ratio,
)

DAY = 1440
# Bailey and Lopez de Prado (2014), "A numerical example": yearly Sharpe ratio 2.5, 250 days a year, 1250 days
DAILY, VARIANCE = 2.5 / math.sqrt(250), 0.5 / 250


def test_expected_maximum_of_the_published_example_is_0_1132():
    assert round(expected_maximum_sharpe(100, VARIANCE), 4) == 0.1132


def test_deflated_sharpe_of_the_published_example_is_0_9004():
    found = deflated_sharpe_ratio(DAILY, 1250, trials=100, variance=VARIANCE, skewness=-3.0, kurtosis=10.0)
    assert round(found, 4) == 0.9004


def test_deflated_sharpe_of_46_trials_passes_as_the_paper_says():
    # the paper: with 46 trials the same strategy would have been accepted at 95 %
    found = deflated_sharpe_ratio(DAILY, 1250, trials=46, variance=VARIANCE, skewness=-3.0, kurtosis=10.0)
    assert round(found, 4) == 0.9505


@pytest.mark.parametrize(("periods_of_year", "years"), [(250, 2.73), (52, 2.83), (12, 3.24)])
def test_minimum_track_record_of_the_published_table(periods_of_year, years):
    # Bailey and Lopez de Prado (2012): yearly Sharpe ratio 2 against 1 at 95 %, daily, weekly and monthly returns
    scale = math.sqrt(periods_of_year)
    assert round(minimum_track_record(2 / scale, benchmark=1 / scale) / periods_of_year, 2) == years


def test_probabilistic_sharpe_of_the_published_example_falls_with_skewness_and_tails():
    # Bailey and Lopez de Prado (2012), two years of months: 0.982 if taken as normal, 0.913 with the measured moments
    assert round(probabilistic_sharpe_ratio(0.458, 24), 3) == 0.982
    assert round(probabilistic_sharpe_ratio(0.458, 24, skewness=-2.448, kurtosis=10.164), 3) == 0.913


@pytest.mark.parametrize("trials", [10, 50, 200])
def test_expected_maximum_is_what_simulated_worthless_trials_show(trials):
    best = np.random.default_rng(1).normal(0.0, 0.3, size=(10_000, trials)).max(axis=1)
    assert expected_maximum_sharpe(trials, 0.09) == pytest.approx(best.mean(), rel=0.03)


def test_one_trial_searches_nothing():
    assert expected_maximum_sharpe(1, 1.0) == 0.0
    assert deflated_sharpe_ratio(0.1, 100, trials=1, variance=1.0) == probabilistic_sharpe_ratio(0.1, 100)


@settings(deadline=None)
@given(st.floats(0.01, 0.5), st.floats(-1, 1), st.floats(3, 12), st.floats(0.6, 0.99))
def test_minimum_track_record_is_where_the_probability_reaches_the_confidence(sharpe, skewness, kurtosis, confidence):
    moments = {"skewness": skewness, "kurtosis": kurtosis}
    periods = minimum_track_record(sharpe, confidence=confidence, **moments)
    assert probabilistic_sharpe_ratio(sharpe, math.ceil(periods), **moments) >= confidence - 1e-9
    assert (
        probabilistic_sharpe_ratio(sharpe, max(2, math.floor(periods)), **moments) <= confidence + 1e-9 or periods < 2
    )


@settings(deadline=None)
@given(st.floats(-0.3, 0.3), st.integers(2, 500), st.integers(1, 100))
def test_more_trials_never_make_a_result_likelier(sharpe, trials, more):
    few = deflated_sharpe_ratio(sharpe, 200, trials=trials, variance=0.01)
    many = deflated_sharpe_ratio(sharpe, 200, trials=trials + more, variance=0.01)
    assert many <= few


def test_sharpe_never_above_its_benchmark_needs_for_ever():
    assert minimum_track_record(0.1, benchmark=0.1) == math.inf
    assert math.isnan(minimum_track_record(math.nan))


def test_sharpe_of_returns_that_never_move_is_undefined():
    assert math.isnan(sharpe_ratio(np.full(30, 0.1)))
    assert math.isnan(sharpe_ratio(np.array([1.0])))


def test_daily_means_takes_whole_utc_days_in_any_order():
    minute_N = np.array([DAY + 5, 3, DAY - 1, 4 * DAY])
    assert daily_means(np.array([7.0, 1.0, 3.0, 9.0]), minute_N).tolist() == [2.0, 7.0, 9.0]


def _returns(days=100, per_day=24, edge=0.2, seed=0):
    generator = np.random.default_rng(seed)
    minute_N = np.arange(days * per_day) * (DAY // per_day)
    return edge + generator.normal(size=len(minute_N)), minute_N


def test_selection_agrees_with_the_functions_it_is_made_of():
    net_N, minute_N = _returns()
    found = selection(net_N, minute_N, 50)
    day_D = net_N.reshape(100, 24).mean(axis=1)
    assert found.days == 100
    assert found.sharpe_daily == pytest.approx(day_D.mean() / day_D.std(ddof=1))
    assert found.sharpe_annual == pytest.approx(found.sharpe_daily * math.sqrt(365))
    assert (found.trial_variance, found.trial_variance_from) == (1 / 99, "chance")
    assert found.expected_maximum_sharpe == pytest.approx(expected_maximum_sharpe(50, 1 / 99))
    assert found.deflated_sharpe_ratio < found.probabilistic_sharpe_ratio


def test_selection_takes_the_variance_of_the_trials_where_they_are_known():
    net_N, minute_N = _returns()
    found = selection(net_N, minute_N, 3, trial_sharpes=[0.1, 0.3, float("nan"), 0.5])
    assert found.trial_variance_from == "trials"
    assert found.trial_variance == pytest.approx(0.04)


@pytest.mark.parametrize("net_N", [np.zeros(0), np.full(20 * 24, -15.0), np.random.default_rng(0).normal(size=5 * 24)])
def test_selection_of_too_little_says_none_and_can_be_written(net_N):
    found = selection(net_N, np.arange(len(net_N)) * 60, 0)
    assert found.deflated_sharpe_ratio is None
    assert found.sharpe_daily is None
    assert found.trials == 1
    assert json.loads(json.dumps(asdict(found), allow_nan=False))["days"] == found.days


def test_selection_of_a_losing_model_has_no_track_record_to_wait_for():
    net_N, minute_N = _returns(edge=-0.5)
    found = selection(net_N, minute_N, 1)
    assert found.minimum_track_record_days is None
    assert found.probabilistic_sharpe_ratio < 0.05


def test_selection_of_the_best_of_many_worthless_models_is_seen_through():
    # each of 200 strategies is noise: the best looks significant alone, and is not once the search is counted
    generator = np.random.default_rng(5)
    return_DM = generator.normal(size=(250, 200))
    sharpes = [sharpe_ratio(column) for column in return_DM.T]
    best_D = return_DM[:, int(np.argmax(sharpes))]
    found = selection(best_D, np.arange(250) * DAY, 200, trial_sharpes=sharpes)
    assert found.probabilistic_sharpe_ratio > 0.95
    assert found.deflated_sharpe_ratio < 0.9


def test_overfitting_of_one_that_is_always_better_is_nought():
    value_DM = np.stack([np.ones(4), np.zeros(4)], axis=1)
    found = overfitting(value_DM, statistic="mean")
    assert found.blocks == 4
    assert len(found.logits) == 6
    assert found.logits == pytest.approx([math.log(2)] * 6)  # rank 2 of 2: w = 2/3
    assert found.probability == 0.0
    assert found.chosen == (1.0, 0.0)
    assert found.slope is None


def test_overfitting_of_two_that_are_each_good_in_one_half_by_hand():
    value_DM = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    found = overfitting(value_DM, statistic="mean")
    # days 1 and 2 inside choose the first, which is the worse outside; days 3 and 4 the second likewise; the four
    # mixed halves are ties inside and outside
    assert sorted(found.logits) == pytest.approx([-math.log(2)] * 2 + [0.0] * 4)
    assert found.probability == pytest.approx(2 / 6 + 0.5 * 4 / 6)
    assert found.chosen == pytest.approx((0.5, 0.5))
    assert found.slope == pytest.approx(-1.0)  # what is gained inside is lost outside
    assert found.intercept == pytest.approx(1.0)


def test_overfitting_of_equal_configurations_is_a_coin_flip():
    value_D = np.random.default_rng(0).normal(size=30)
    assert overfitting(np.stack([value_D] * 3, axis=1), blocks=6).probability == 0.5


def test_overfitting_of_pure_noise_is_a_half_on_average():
    generator = np.random.default_rng(2)
    found = [overfitting(generator.normal(size=(80, 5)), blocks=8).probability for _ in range(120)]
    assert np.mean(found) == pytest.approx(0.5, abs=0.06)


def test_overfitting_of_one_truly_better_configuration_is_near_nought():
    value_DM = np.random.default_rng(3).normal(size=(240, 10))
    value_DM[:, 4] += 0.5
    found = overfitting(value_DM, blocks=10)
    assert found.probability < 0.01
    assert found.chosen[4] > 0.98
    assert found.probability_of_loss < 0.01


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.floats(0.01, 100), st.permutations(range(4)))
def test_overfitting_does_not_depend_on_unit_or_order_of_columns(seed, unit, order):
    value_DM = np.random.default_rng(seed).normal(size=(24, 4))
    found = overfitting(value_DM, blocks=6)
    again = overfitting(unit * value_DM[:, list(order)], blocks=6)
    assert again.logits == pytest.approx(found.logits)
    assert again.probability == found.probability


def test_overfitting_sums_by_block_what_the_days_themselves_say():
    value_DM = np.random.default_rng(4).normal(1000.0, 1.0, size=(37, 3))  # blocks of unequal length, a large mean
    found = overfitting(value_DM, blocks=4)
    starts = np.linspace(0, 37, 5).astype(int)
    first_half = np.r_[value_DM[starts[0] : starts[2]]]
    assert found.inside[0] == pytest.approx(max(sharpe_ratio(column) for column in first_half.T), rel=1e-9)


@pytest.mark.parametrize(
    ("value_DM", "blocks", "said"),
    [
        (np.zeros((50, 1)), 16, "try two or more"),
        (np.zeros((3, 2)), 16, "3 days in 2 blocks"),
        (np.zeros((50, 2)), 7, "even number"),
        (np.full((50, 2), np.nan), 8, "day 1 of configuration 1 has the figure nan"),
    ],
)
def test_overfitting_of_what_cannot_be_judged_is_refused(value_DM, blocks, said):
    with pytest.raises(ModelError, match=said):
        overfitting(value_DM, blocks=blocks)
