"""Tests by betting: known answers, the promised error under daily looks, and what counts as independent."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.statistics.sequential import (
    evidence_above_zero,
    evidence_of_larger,
    interval,
    log_capital,
    one_at_a_time,
    shows,
    values_needed,
)

shares = st.lists(st.floats(0, 1), min_size=1, max_size=30)


def coin(dice, count, chance):
    return (dice.random(count) < chance).astype(float)


def test_log_capital_of_one_value_is_the_mean_of_the_bets():
    bets = [0.0, *np.geomspace(0.002, 0.99, 18)]
    by_hand = math.log(sum(1 + bet / 0.4 * (1.0 - 0.4) for bet in bets) / len(bets))
    assert log_capital([1.0], np.array([0.4]))[0] == pytest.approx(by_hand)


def test_log_capital_of_nothing_is_no_evidence():
    assert log_capital([], np.array([0.5]))[0] == 0


def test_log_capital_of_the_mean_itself_is_no_evidence():
    assert log_capital([0.3] * 500, np.array([0.3]))[0] == pytest.approx(0)


@given(values=shares, mean=st.floats(0.05, 0.95))
def test_log_capital_does_not_depend_on_the_order(values, mean):
    at = np.array([mean])
    assert log_capital(values, at)[0] == pytest.approx(log_capital(values[::-1], at)[0])


@settings(max_examples=50)
@given(values=shares, mean=st.floats(0.1, 0.9))
def test_capital_of_a_fair_next_value_is_what_it_was(values, mean):
    """The martingale: a value of 1 with probability ``mean``, of 0 otherwise, changes nothing on average."""
    at = np.array([mean])
    before = math.exp(log_capital(values, at)[0])
    won, lost = (math.exp(log_capital([*values, last], at)[0]) for last in (1.0, 0.0))
    assert mean * won + (1 - mean) * lost == pytest.approx(before)


def test_daily_looks_at_a_coin_flip_err_at_most_as_often_as_promised():
    """200 runs of 60 days of 20 signals, looked at every day: 5 % are 10 runs; more than 20 would be chance once in 800."""
    dice = np.random.default_rng(7)
    wrong = 0
    for _ in range(200):
        values = coin(dice, 1200, 0.5)
        wrong += any(shows(log_capital(values[:n], np.array([0.5]))[0], 0.05) for n in range(20, 1201, 20))
    assert wrong <= 20


def test_interval_at_every_look_holds_the_truth_in_95_of_100_runs():
    dice = np.random.default_rng(3)
    missed = 0
    for _ in range(100):
        values = coin(dice, 600, 0.7)
        looks = [interval(values[:n], n) for n in range(50, 601, 50)]
        missed += any(not look.low <= 0.7 <= look.high for look in looks)
    assert missed <= 10


def test_interval_of_nothing_is_none():
    assert interval([], 0) is None


def test_interval_of_a_thousand_fair_flips_is_narrow():
    share = interval([0.0, 1.0] * 500, 1200)
    assert (share.value, share.count, share.effective) == (0.5, 1200, 1000)
    assert 0.42 < share.low < 0.46 and 0.54 < share.high < 0.58


def test_evidence_of_larger_needs_both_sides_to_be_known():
    high, low = [1.0] * 200, [0.0] * 200
    assert shows(evidence_of_larger(high, low, 0.0), 0.001)
    assert not shows(evidence_of_larger(high, low[:1], 0.0), 0.01)
    assert not shows(evidence_of_larger(high[:1], low, 0.0), 0.01)
    assert not shows(evidence_of_larger([], low, 0.0), 0.05)


def test_evidence_of_larger_at_the_gap_itself_shows_nothing():
    assert not shows(evidence_of_larger([0.6] * 5000, [0.5] * 5000, 0.1), 0.05)


def test_evidence_above_zero_of_a_value_beyond_the_worst_is_none():
    good = [10.0, 12.0, -3.0] * 300
    assert shows(evidence_above_zero(good, 300.0), 0.001)
    assert evidence_above_zero([*good, -301.0], 300.0) == -math.inf


def test_one_at_a_time_leaves_out_what_overlaps():
    rows = [(100, 1.0), (114, 0.0), (115, 1.0), (129, 0.0), (130, 0.0)]
    assert one_at_a_time(reversed(rows), 15) == (1.0, 1.0, 0.0)


def test_one_at_a_time_takes_signals_of_one_minute_as_one():
    assert one_at_a_time([(7, 1.0), (7, 0.0), (7, 1.0)], 15) == (pytest.approx(2 / 3),)


def test_values_needed_knows_when_the_other_side_is_too_small():
    alone = values_needed(0.42, 0.05, 10**9, 0.05)
    assert values_needed(0.42, 0.05, 3000, 0.05) > alone
    assert values_needed(0.42, 0.05, alone - 1, 0.05) is None
