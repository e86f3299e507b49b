"""Lower bounds that allow for few days and many looks, against known quantiles and by counting how often they are wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from models.gates.bounds import (
    cautious_low,
    chance_calibration_error,
    days_to_clear,
    figure_to_clear,
    is_number,
    is_whole,
)
from models.statistics.bootstrap import DayBootstrap, Interval


def test_cautious_low_of_many_days_and_one_look_is_that_of_the_interval():
    assert cautious_low(Interval(0.55, 0.53, 0.57), 2_000, 1) == pytest.approx(0.53, abs=1e-4)


def test_cautious_low_of_many_looks_is_the_normal_quantile_of_the_divided_level():
    # 2.5 % over 10 looks is 0.25 %: 2.807 standard errors instead of 1.960
    assert cautious_low(Interval(0.55, 0.53, 0.57), 100_000, 10) == pytest.approx(0.55 - 0.02 * 2.807 / 1.960, abs=1e-4)


def test_cautious_low_is_never_above_the_low_end_of_the_interval():
    assert cautious_low(Interval(0.55, 0.50, 0.56), 500, 1) == 0.50


@pytest.mark.parametrize(
    ("figure", "days", "looks"),
    [
        (Interval(0.55, None, 0.57), 10, 1),
        (Interval(math.nan, 0.53, 0.57), 10, 1),
        (Interval(0.55, 0.53, math.inf), 10, 1),
        (Interval(0.55, 0.57, 0.53), 10, 1),
        (Interval(0.55, 0.53, 0.57), 1, 1),
        (Interval(0.55, 0.53, 0.57), 10, 0),
    ],
)
def test_cautious_low_of_what_has_no_interval_clears_nothing(figure, days, looks):
    assert cautious_low(figure, days, looks) == -math.inf
    assert days_to_clear(figure, 0.0, days, looks) is None


@pytest.mark.parametrize("days", [3, 9])
def test_cautious_low_lies_above_the_truth_about_as_rarely_as_it_says(days):
    """A forecast without an edge whose hits last for hours; measured with 600 draws: 1.3 to 4 % after one look, 0 to 0.7 % after ten."""
    generator = np.random.default_rng(days)
    wrong = {1: 0, 10: 0}
    plain = 0
    trials = 200
    minutes = np.arange(0, days * 1440, 15)
    for _ in range(trials):
        hits_N = (_slow(generator, len(minutes)) > 0).astype(float)
        figure = DayBootstrap(minutes).mean(hits_N)
        plain += figure.low > 0.5
        for looks in wrong:
            wrong[looks] += cautious_low(figure, days, looks) > 0.5
    # at 2.5 % eleven or more of 200 happen once in 100
    assert wrong[1] <= min(11, plain)
    assert wrong[10] <= 3


def _slow(generator: np.random.Generator, count: int) -> np.ndarray:
    """An AR(1) that forgets within an hour, a value for each quarter of an hour."""
    keep = math.exp(-1 / 4)
    noise = generator.normal(size=count + 40)
    weights = keep ** np.arange(40)
    return np.convolve(noise, weights)[40 : 40 + count]


def test_days_to_clear_is_the_first_number_of_days_that_does():
    days = days_to_clear(Interval(0.53, 0.50, 0.56), 0.51, 30, 4)
    # Hesterberg's interval of 30 days: t and root of 30/29 standard errors of a resampled mean to each side
    error = 0.03 / (stats.t.ppf(0.975, 29) * math.sqrt(30 / 29))
    spread = error * math.sqrt(30) * math.sqrt(30 / 29)
    low = {n: 0.53 - stats.t.ppf(1 - 0.025 / 4, n - 1) * spread / math.sqrt(n) for n in (days - 1, days)}
    assert low[days - 1] <= 0.51 < low[days]


def test_days_to_clear_is_none_where_the_figure_itself_is_not_above():
    assert days_to_clear(Interval(0.50, 0.48, 0.52), 0.51, 30, 1) is None
    assert (
        days_to_clear(Interval(0.5100001, 0.48, 0.54), 0.51, 30, 1) is None
    )  # it would take longer than anybody lives


def test_figure_to_clear_has_its_lower_bound_at_the_bound():
    figure = Interval(0.53, 0.50, 0.56)
    wanted = figure_to_clear(figure, 0.52, 30, 3)
    moved = Interval(*(end + wanted - 0.53 for end in figure))
    assert cautious_low(moved, 30, 3) == pytest.approx(0.52)
    assert figure_to_clear(Interval(0.5, None, None), 0.5, 30, 1) is None


def test_chance_calibration_error_is_what_true_probabilities_show():
    generator = np.random.default_rng(0)
    shown = []
    for _ in range(200):
        p_N = generator.uniform(0.2, 0.8, 2_000)
        y_N = generator.random(2_000) < p_N
        order = np.argsort(p_N).reshape(10, 200)
        shown.append(np.abs((p_N - y_N)[order].mean(axis=1)).mean())
    brier = float(np.mean(0.25 - (generator.uniform(0.2, 0.8, 10_000) - 0.5) ** 2))
    assert chance_calibration_error(brier, 2_000, 1, 10) == pytest.approx(np.mean(shown), rel=0.05)
    assert chance_calibration_error(0.2, 0, 15, 10) == math.inf


@pytest.mark.parametrize(
    ("value", "expected"), [(0.5, True), (np.float64(0.5), True), (np.int64(1), True), (1.01, False)]
)
def test_is_number_knows_numbers_in_range(value, expected):
    assert is_number(value, 0.0, 1.0) is expected


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf, "0.5"])
def test_is_number_and_is_whole_refuse_what_is_none(value):
    assert not is_number(value)
    assert not is_whole(Interval(0.5, value, 0.6))
    assert not is_whole(Interval(value, 0.4, 0.6))
    assert not is_whole(None)
