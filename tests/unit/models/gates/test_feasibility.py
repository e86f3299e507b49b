"""What costs ask of a forecast: worked examples, and identities that hold for any rows."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as some

from models.gates.feasibility import feasibility
from models.statistics.metrics import break_even_accuracy, mean_move_bps

MINUTES = np.arange(10_000) + 28_000_000 // 1440 * 1440


def rows(moves_bps: list[float], *, repeat: int = 25) -> np.ndarray:
    return np.tile(np.array(moves_bps) / 1e4, repeat)


@pytest.mark.parametrize(("cost", "needed"), [(2.0, 0.547), (5.0, 0.617), (7.7, 0.68), (10.0, 0.735)])
def test_break_even_accuracy_of_known_costs(cost, needed):
    # round trips against E|r| = 21 bps, a yearly volatility of 50 %
    assert break_even_accuracy(21.3, cost) == pytest.approx(needed, abs=1.5e-3)


def test_feasibility_of_a_worked_example():
    # ten moves of 10 bps and ten of 30, up and down in turn; a call of "up" is right on every second of them
    return_N = rows([10.0, -10.0, 30.0, -30.0], repeat=5)
    found = feasibility(return_N, MINUTES[:20], np.full(20, 0.6), 8.0)
    assert found.mean_move_bps == pytest.approx(20.0)
    assert found.break_even_accuracy == pytest.approx(0.5 + 8.0 / 40.0)
    assert (found.accuracy, found.base_rate) == (0.5, 0.5)
    assert found.gross_bps == pytest.approx(0.0, abs=1e-9)
    assert found.cost_borne_bps == pytest.approx(0.0, abs=1e-9)
    whole = found.by_confidence[0]
    assert whole.oracle_net_bps == pytest.approx(20.0 - 8.0)
    assert whole.model_net_bps == pytest.approx(-8.0)
    assert found.paying_share == 1.0


def test_feasibility_of_the_largest_moves_and_of_the_surest_minutes_differ():
    return_N = rows([1.0, -1.0, 1.0, -50.0])
    p_N = np.tile([0.9, 0.1, 0.55, 0.55], 25)
    found = feasibility(return_N, MINUTES[:100], p_N, 10.0)
    surest, largest = found.by_confidence[1], found.by_move[2]
    assert surest.coverage == 0.5
    assert surest.accuracy == 1.0
    assert surest.oracle_net_bps == pytest.approx(1.0 - 10.0)
    assert surest.break_even_accuracy > 1.0
    assert largest.oracle_net_bps == pytest.approx(40.0)
    assert largest.break_even_accuracy == pytest.approx(0.6)
    assert found.paying_share == 0.25


def test_feasibility_a_day_holds_one_position_at_a_time():
    found = feasibility(np.full(1440, 20.0 / 1e4), MINUTES[:1440], np.full(1440, 0.7), 5.0, horizon_minutes=15)
    assert found.days == 1
    assert found.by_confidence[0].signals_per_day == 96
    assert found.by_confidence[0].model_net_bps_per_day == pytest.approx(96 * 15.0)
    assert found.by_confidence[0].oracle_net_bps_per_day == pytest.approx(96 * 15.0)


def test_feasibility_of_a_perfect_model_bears_the_average_move():
    return_N = np.random.default_rng(0).normal(scale=1e-3, size=2_000)
    found = feasibility(return_N, MINUTES[:2_000], (return_N > 0).astype(float), 4.0)
    assert found.accuracy == 1.0
    assert found.cost_borne_bps == pytest.approx(found.mean_move_bps)
    assert found.gross_bps == pytest.approx(found.mean_move_bps)
    assert found.by_confidence[0].model_net_bps == pytest.approx(found.by_confidence[0].oracle_net_bps)


@pytest.mark.parametrize(
    ("cost", "words"),
    [
        (18.0, "cannot break even at any accuracy if every minute is traded"),
        (4.0, "needs an accuracy of 0.7"),
    ],
)
def test_feasibility_sentence_says_what_costs_ask(cost, words):
    return_N = np.random.default_rng(0).normal(scale=1e-3, size=2_000)
    sentence = feasibility(return_N, MINUTES[:2_000], np.full(2_000, 0.51), cost).sentence
    assert words in sentence
    assert "perfect direction oracle" in sentence
    assert sentence.endswith(".")


def test_feasibility_of_a_model_worse_than_chance_bears_no_cost():
    return_N = np.random.default_rng(0).normal(scale=1e-3, size=2_000)
    wrong = feasibility(return_N, MINUTES[:2_000], (return_N <= 0).astype(float), 4.0)
    assert wrong.cost_borne_bps < 0
    assert "bears no cost at all" in wrong.sentence


def test_feasibility_where_nothing_moves_says_so():
    still = feasibility(np.zeros(300), MINUTES[:300], np.full(300, 0.6), 4.0)
    assert still.break_even_accuracy is None
    assert "No price moved" in still.sentence


@pytest.mark.parametrize(
    ("returns", "p", "cost"),
    [([], [], 4.0), ([math.nan], [0.5], 4.0), ([0.001], [math.nan], 4.0), ([0.001], [0.5], math.inf)],
)
def test_feasibility_of_no_rows_or_no_figures_is_none(returns, p, cost):
    assert feasibility(np.array(returns), MINUTES[: len(returns)], np.array(p), cost) is None


returns = some.lists(some.floats(-0.05, 0.05), min_size=1, max_size=60).map(np.array)


@example(np.array([0.0, 0.0, 4.550274058710152e-102]), 0.00032763624381856426, 0)
@given(returns, some.floats(0.0, 50.0), some.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_feasibility_holds_its_identities(return_N, cost, seed):
    p_N = np.random.default_rng(seed).random(len(return_N))
    found = feasibility(return_N, MINUTES[: len(return_N)], p_N, cost)
    json.dumps(asdict(found), allow_nan=False)
    for one in (*found.by_confidence, *found.by_move):
        assert one.model_net_bps <= one.oracle_net_bps + 1e-9  # nobody beats the oracle on the same minutes
        assert one.model_net_bps_per_day <= one.oracle_net_bps_per_day + 1e-6
        assert one.signals_per_day * found.days <= one.signals
    by_move = [one.oracle_net_bps for one in found.by_move]
    assert all(right >= left - 1e-9 for left, right in pairwise(by_move))  # fewer and larger moves
    assert found.by_move[0].oracle_net_bps == pytest.approx(found.by_confidence[0].oracle_net_bps)
    if found.break_even_accuracy is not None:
        assert found.break_even_accuracy == pytest.approx(break_even_accuracy(mean_move_bps(return_N), cost))
