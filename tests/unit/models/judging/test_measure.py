"""From forecasts to a verdict: an oracle, a constant, noise, one class, too little, on the same data set."""

from __future__ import annotations

import numpy as np
import pytest

from models.datasets.dataset import UNLABELLED, load_dataset
from models.gates import gate_profile, judge_gates
from models.judging import measure as measuring
from models.judging.baselines import baseline_forecasts
from models.judging.measure import coverage_cuts, intervals, measure, reliability_points, slices_of
from models.statistics.metrics import base_rate, equal_mass_bins
from tests.small_dataset import write_dataset


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return load_dataset(write_dataset(tmp_path_factory.mktemp("data"), minutes=27_000, strength=0.15))


@pytest.fixture(scope="module")
def ends(data):
    return data.rows("BTC-USD", "test")


@pytest.fixture(scope="module", autouse=True)
def trained_once():
    """Baselines and controls of the same rows are trained once for all tests here; they take nearly all of the time."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("baseline_forecasts", "controls"):
            patch.setattr(f"models.judging.measure.{name}", remembered(getattr(measuring, name)))
        yield


def remembered(function):
    known = {}

    def call(data, product, ends):
        key = (data.digest, product, ends.tobytes())
        if key not in known:
            known[key] = function(data, product, ends)
        return known[key]

    return call


@pytest.fixture(scope="module")
def measured(data, ends, trained_once):
    return measure(data, "BTC-USD", ends, sure_and_right(data, ends, 0.8), cost_bps=15.0)


def refused(data, ends, p_N, sources=("local:planted",), profile="seed"):
    evidence = measure(data, "BTC-USD", ends, p_N, cost_bps=15.0).evidence(parity=0.0, canaries={}, sources=sources)
    return {gate.name for gate in judge_gates(evidence, gate_profile(profile)) if not gate.passed}


def sure_and_right(data, ends, accuracy):
    """Return calibrated forecasts of 0.9 or 0.1 of which about the share ``accuracy`` is right."""
    right_N = np.random.default_rng(4).random(len(ends)) < accuracy
    up_N = (data.direction_N[ends] == 1) == right_N
    return np.where(up_N, accuracy, 1 - accuracy) + np.random.default_rng(5).normal(0, 0.005, len(ends))


def test_a_calibrated_forecaster_passes_where_the_market_is_simulated(data, ends):
    assert refused(data, ends, sure_and_right(data, ends, 0.85)) == set()


def test_the_same_forecaster_is_audited_on_real_candles(data, ends):
    assert refused(data, ends, sure_and_right(data, ends, 0.85), sources=("coinbase",)) == {"audit"}


def test_a_perfect_oracle_is_taken_for_one_that_sees_the_future(data, ends):
    p_N = np.where(data.direction_N[ends] == 1, 0.999, 0.001)
    assert "future_control" in refused(data, ends, p_N)


def test_an_inverted_forecaster_is_refused(data, ends):
    found = refused(data, ends, 1 - sure_and_right(data, ends, 0.85))
    assert found >= {"min_accuracy", "accuracy_above_base_rate", "brier_skill", "calibration_error", "beats_baselines"}


def test_a_constant_is_refused_by_name(data, ends):
    assert refused(data, ends, np.full(len(ends), 0.5)) == {"not_constant"}


def test_noise_around_one_half_is_refused(data, ends):
    p_N = 0.5 + np.random.default_rng(6).normal(0, 0.01, len(ends))
    assert refused(data, ends, p_N, profile="calibrated") >= {"accuracy_above_base_rate", "brier_skill"}


def test_a_test_part_of_one_class_is_refused_by_name(data, ends):
    up = ends[data.direction_N[ends] == 1]
    assert "two_classes" in refused(data, up, np.full(len(up), 0.6))


def test_too_few_rows_are_refused_by_name(data, ends):
    assert "enough_test_rows" in refused(data, ends[:50], np.linspace(0.4, 0.6, 50))


def test_no_row_at_all_is_refused_and_nothing_crashes(data):
    found = refused(data, np.array([], dtype=np.int64), np.empty(0))
    assert found == {"enough_test_rows", "two_classes", "not_constant"}


def test_measure_says_every_slice_with_its_rows(ends, measured):
    found = measured
    rows = {(row.slice, row.metric): row for row in found.rows}
    sessions = [rows[f"session={name}", "accuracy"].row_count for name in ("tokyo", "london", "new_york")]
    assert sum(sessions) == len(ends) == rows["all", "accuracy"].row_count
    tiers = [row.row_count for (part, metric), row in rows.items() if part.startswith("tier=") and metric == "accuracy"]
    assert sum(tiers) <= len(ends)
    assert rows["coverage=1", "accuracy"].value == rows["all", "accuracy"].value
    assert rows["all", "break_even_accuracy"].value > 0.5
    assert len({(row.slice, row.metric) for row in found.rows}) == len(found.rows)


def test_measure_says_every_figure_of_every_slice_with_its_interval(data, ends, measured):
    rows = {(row.slice, row.metric): row for row in measured.rows}
    figures = {row.metric for row in measured.rows if row.slice == "all"}
    for part in ("session=london", "month=2025-01", "tier=high", "coverage=0.5"):
        assert {row.metric for row in measured.rows if row.slice == part} >= figures
        for metric in ("accuracy", "auc", "log_loss", "brier", "brier_skill", "ece_mass", "ece_width", "net_bps"):
            row = rows[part, metric]
            assert row.low_95 <= row.value <= row.high_95
    chosen_N = slices_of(np.full(len(ends), 0.5), data.minute_N[ends])["session=london"]
    assert rows["session=london", "base_rate"].value == base_rate(data.direction_N[ends][chosen_N])
    assert rows["session=london", "log_loss_less_base_rate"].high_95 < 0


def test_measure_says_of_a_slice_of_few_rows_only_how_few(data, ends):
    p_N = np.clip(sure_and_right(data, ends, 0.62), 0.3, 0.7)
    p_N[:40] = 0.9
    found = measure(data, "BTC-USD", ends, p_N, cost_bps=15.0)
    (row,) = [row for row in found.rows if row.slice == "tier=high"]
    assert (row.value, row.low_95, row.row_count) == (None, None, 40)


def test_measure_counts_what_overlapping_labels_are_worth(ends, measured):
    assert 50 < measured.figures["effective_rows"].value <= len(ends)


def test_measure_of_a_baseline_s_own_forecast_differs_from_it_by_nothing(data, ends):
    forecast = baseline_forecasts(data, "BTC-USD", ends)["logistic_regression"]
    found = measure(data, "BTC-USD", ends, forecast, cost_bps=15.0)
    difference = found.against_baselines["logistic_regression"]
    assert (difference.value, difference.low, difference.high) == (0.0, 0.0, 0.0)
    assert found.baselines["logistic_regression"]["ece_mass"] == found.figures["ece_mass"]
    assert found.baselines["logistic_regression"]["net_bps"] == found.figures["net_bps"]


def test_reliability_points_carry_the_interval_of_their_share(data, ends):
    p_N = sure_and_right(data, ends, 0.8)
    points = reliability_points(p_N, data.direction_N[ends], data.minute_N[ends], equal_mass_bins(p_N))
    assert sum(point.row_count for point in points) == len(ends)
    assert all(point.low_95 <= point.up_share <= point.high_95 for point in points)


def test_net_bps_of_a_forecaster_at_its_break_even_is_near_nothing(data, ends):
    cost = 1.0
    at = intervals(data, ends, np.full(len(ends), 0.6), cost_bps=cost)["break_even_accuracy"].value
    p_N = sure_and_right(data, ends, at)
    assert intervals(data, ends, p_N, cost_bps=cost)["net_bps"].value == pytest.approx(0.0, abs=1.0)


def test_coverage_cuts_are_the_quantiles_of_confidence(data, ends):
    p_N = np.random.default_rng(7).uniform(0.2, 0.8, len(ends))
    cuts = coverage_cuts(p_N, data.direction_N[ends])
    assert cuts["high"].row_count == pytest.approx(0.01 * len(ends), abs=2)
    assert cuts["medium"].row_count == pytest.approx(0.1 * len(ends), abs=2)
    assert cuts["high"].confidence > cuts["medium"].confidence > 0.5


def test_coverage_cuts_of_nothing_are_none():
    assert coverage_cuts(np.empty(0), np.empty(0, np.int8)) == {}


def test_measured_rows_are_labelled(data, ends):
    assert (data.direction_N[ends] != UNLABELLED).all()
