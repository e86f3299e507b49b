"""Calibration: planted distortions come back, the simplest kind that does it is taken, and no ranking turns round."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from models.serving.calibration import (
    KINDS,
    LOGIT_CLIP,
    MIN_ROWS,
    MIN_Z_SCORE,
    Calibration,
    fit_calibration,
    fit_kind,
)
from models.serving.export import CalibrationHead

ROWS = 12_000
SIGNAL = np.random.default_rng(1).normal(size=ROWS)
LUCK = np.random.default_rng(2).random(ROWS)
MINUTES = np.arange(ROWS) + 29_000_000


def labels(truth_N: np.ndarray) -> np.ndarray:
    return (LUCK[: len(truth_N)] < truth_N).astype(np.int8)


def fit(logit_N: np.ndarray, y_N: np.ndarray) -> Calibration:
    return fit_calibration(logit_N, y_N, MINUTES[: len(y_N)])


def test_a_model_that_is_right_is_hardly_touched():
    found = fit(SIGNAL, labels(expit(SIGNAL)))
    assert found.kind == "temperature"
    assert found.slope == pytest.approx(1.0, abs=0.03)


def test_a_small_edge_moves_the_temperature_less_than_its_rows_alone_would():
    # logits of a tenth: 2,000 rows, worth 133, cannot tell a slope of 1 from one of 3
    logit_N, y_N = 0.1 * SIGNAL[:2000], labels(expit(0.4 * SIGNAL[:2000]))
    alone = LogisticRegression(C=np.inf, fit_intercept=False).fit(logit_N[:, None], y_N).coef_.item()
    assert alone > 2
    assert 1 < fit_kind("temperature", logit_N, y_N).slope < 0.7 * alone


def test_platt_must_surely_beat_the_temperature():
    found = fit(SIGNAL, labels(expit(SIGNAL + 0.5)))
    by_kind = {score.kind: score for score in found.candidates}
    assert found.kind == "platt"
    assert by_kind["platt"].excess < -MIN_Z_SCORE * by_kind["platt"].excess_error
    against = by_kind["platt"].held_out_log_loss - by_kind["temperature"].held_out_log_loss
    assert by_kind["platt"].excess == pytest.approx(against)


def test_a_shift_within_two_standard_errors_is_left_to_the_temperature():
    found = fit(SIGNAL, labels(expit(SIGNAL + 0.02)))
    platt = next(score for score in found.candidates if score.kind == "platt")
    assert platt.excess >= -MIN_Z_SCORE * platt.excess_error
    assert found.kind == "temperature"


def test_one_that_is_too_sure_gets_its_temperature_back():
    found = fit(3.0 * SIGNAL, labels(expit(SIGNAL)))
    assert found.kind == "temperature"
    assert found.slope == pytest.approx(1 / 3, abs=0.02)


def test_one_that_is_too_sure_and_leans_to_one_side_gets_both_back():
    found = fit(3.0 * SIGNAL + 0.9, labels(expit(SIGNAL)))
    assert found.kind == "platt"
    assert (found.slope, found.shift) == pytest.approx((1 / 3, -0.3), abs=0.04)


def test_platt_agrees_with_scikit_learn():
    y_N = labels(expit(0.7 * SIGNAL - 0.4))
    found = fit_kind("platt", SIGNAL, y_N)
    theirs = LogisticRegression(C=np.inf, tol=1e-8).fit(SIGNAL[:, None], y_N)
    # Platt's smoothed targets differ from 0 and 1 by one in six thousand
    assert (found.slope, found.shift) == pytest.approx((theirs.coef_[0, 0], theirs.intercept_[0]), abs=2e-3)


def test_one_that_is_the_wrong_way_round_is_not_turned():
    found = fit(SIGNAL, labels(expit(-SIGNAL)))
    assert found.kind in {"temperature", "platt"}
    assert 0 < found.slope <= 0.02
    assert (np.diff(found.apply(np.linspace(-3, 3, 50))) > 0).all()


@pytest.mark.parametrize(("rows", "y"), [(MIN_ROWS - 1, [0, 1]), (400, [1]), (400, [0]), (0, [0])])
def test_too_little_to_fit_leaves_the_model_as_it_is(rows, y):
    found = fit(np.linspace(-1, 1, rows), np.resize(np.array(y, np.int8), rows))
    assert (found.kind, found.candidates) == ("none", ())


def test_a_constant_forecast_is_left_as_it_is():
    assert fit(np.full(ROWS, 0.3), labels(np.full(ROWS, 0.5))).kind == "none"


def test_choice_is_made_on_later_rows_than_each_fit_saw(monkeypatch):
    seen = []

    def spy(kind, logit_N, y_N):
        seen.append(len(logit_N))
        return fit_kind(kind, logit_N, y_N)

    monkeypatch.setattr("models.serving.calibration.fit_kind", spy)
    found = fit(SIGNAL, labels(expit(SIGNAL)))
    # four forward steps, each without the last 15 minutes before it; the last call is the fit on every row
    assert sorted(set(seen[:-1])) == [int((ROWS - 1) * share) - 15 for share in (0.4, 0.55, 0.7, 0.85)]
    assert seen[-1] == ROWS
    assert found.held_out_rows == pytest.approx(0.6 * ROWS, abs=2)


def test_choice_does_not_know_the_order_of_the_rows_by_anything_but_their_minutes():
    logit_N, y_N = 3.0 * SIGNAL, labels(expit(SIGNAL))
    shuffled = np.random.default_rng(3).permutation(ROWS)
    one, other = fit(logit_N, y_N), fit_calibration(logit_N[shuffled], y_N[shuffled], MINUTES[shuffled])
    assert (one.kind, one.slope) == (other.kind, pytest.approx(other.slope))


def test_candidates_are_told_with_their_losses_and_one_is_chosen():
    found = fit(3.0 * SIGNAL, labels(expit(SIGNAL)))
    told = json.loads(json.dumps(asdict(found.choice())))
    assert [candidate["kind"] for candidate in told["candidates"]] == list(KINDS)[: len(told["candidates"])]
    assert [candidate["kind"] for candidate in told["candidates"] if candidate["chosen"]] == ["temperature"]
    losses = {candidate["kind"]: candidate["held_out_log_loss"] for candidate in told["candidates"]}
    assert losses["none"] > losses["temperature"]
    assert told["parameters"] == {"slope": found.slope}


def test_the_same_rows_give_the_same_calibration():
    y_N = labels(expit(2.0 * SIGNAL + 0.5))
    assert fit(SIGNAL, y_N) == fit(SIGNAL, y_N)


def test_graph_and_numpy_agree_for_coins_of_every_kind_beside_each_other():
    y_N = labels(expit(1.6 * SIGNAL + 0.2))
    coins = [fit_kind(kind, SIGNAL, y_N) for kind in KINDS]
    said_B = torch.tensor(np.concatenate([np.linspace(-40, 40, 801), SIGNAL[:500]]), dtype=torch.float32)
    head = CalibrationHead(coins)
    for coin, calibration in enumerate(coins):
        p_B = head(said_B, torch.full(said_B.shape, coin, dtype=torch.int64)).double().numpy()
        np.testing.assert_allclose(p_B, calibration.apply(said_B.double().numpy()), atol=2e-6)
        assert ((p_B > 0) & (p_B < 1)).all()


@settings(max_examples=60, deadline=None)
@given(st.floats(0.02, 50), st.floats(-5, 5), st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=40))
def test_no_calibration_reverses_a_ranking_or_leaves_the_open_unit_interval(slope, shift, logits):
    calibration, logit_N = Calibration("platt", slope, shift), np.sort(np.array(logits))
    p_N = calibration.apply(logit_N)
    assert ((p_N > 0) & (p_N < 1)).all()
    assert (np.diff(p_N) >= -1e-12).all()
    said_B = torch.tensor(logit_N, dtype=torch.float32)
    graph_N = CalibrationHead([calibration])(said_B, torch.zeros(len(logits), dtype=torch.int64)).double().numpy()
    assert ((graph_N > 0) & (graph_N < 1)).all()
    # float32 may order neighbours of the last digit either way, no more
    assert (np.diff(graph_N) >= -2e-6).all()


@settings(max_examples=20, deadline=None)
@example(375, 3, 1.0)
@given(st.integers(0, 10_000), st.integers(0, 3), st.floats(0.05, 4))
def test_whatever_is_fitted_rises_and_is_finite(seed, distortion, spread):
    generator = np.random.default_rng(seed)
    logit_N = spread * generator.normal(size=3200)
    truth_N = (expit(logit_N), np.full(3200, 0.5), expit(-logit_N), np.where(logit_N > spread, 0.99, 0.01))[distortion]
    y_N = (generator.random(3200) < truth_N).astype(np.int8)
    for kind in KINDS:
        if (found := fit_kind(kind, logit_N, y_N)) is not None:
            p_N = found.apply(np.linspace(-20, 20, 401))
            assert np.isfinite(p_N).all()
            assert (np.diff(p_N) >= 0).all()
            inner_N = found.apply(np.linspace(-spread, spread, 101))
            # strictly, but where a steep fit meets the clip
            bound_N = (inner_N <= expit(-LOGIT_CLIP)) | (inner_N >= expit(LOGIT_CLIP))
            assert ((np.diff(inner_N) > 0) | (bound_N[:-1] & bound_N[1:])).all()


def test_logits_beyond_the_clip_are_all_as_sure_as_may_be():
    said = Calibration("none").apply(np.array([-1e9, -LOGIT_CLIP, LOGIT_CLIP, 1e9]))
    assert said == pytest.approx([1e-6, 1e-6, 1 - 1e-6, 1 - 1e-6], rel=0.02)
    assert logit(said[-1]) == pytest.approx(LOGIT_CLIP)
