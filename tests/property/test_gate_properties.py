"""No gate passes by a figure that is missing, infinite or no number, whatever the others say."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from functools import partial

from hypothesis import assume, given, settings
from hypothesis import strategies as some

from models.gates import PROFILES, GateEvidence, gate_profile, judge_gates
from models.statistics.bootstrap import Interval
from tests.judged_models import GOOD_EVIDENCE

# so long a test part, and so sure, that any number of looks hypothesis comes up with leaves it accepted
GOOD = replace(
    GOOD_EVIDENCE,
    test_rows=150_000,
    test_days=110,
    accuracy=Interval(0.75, 0.74, 0.76),
    brier_skill=Interval(0.30, 0.28, 0.32),
    log_loss=Interval(0.50, 0.49, 0.51),
    calibration_error=Interval(0.010, 0.005, 0.015),
    selective={0.1: Interval(0.95, 0.93, 0.97)},
)
BAD = some.sampled_from([None, math.nan, math.inf, -math.inf])
INTERVALS = ("accuracy", "brier_skill", "log_loss", "calibration_error")
NUMBERS = ("test_rows", "test_days", "classes", "probability_spread", "base_rate", "future_accuracy", "parity")
profiles = some.sampled_from(list(PROFILES)).map(gate_profile)


def accepted(evidence, profile) -> bool:
    return all(gate.passed for gate in judge_gates(evidence, profile))


@some.composite
def spoiled_intervals(draw, figure: Interval) -> Interval | None:
    """The figure with its value, or all of it, spoiled."""
    if draw(some.booleans()):
        return draw(some.none())
    return Interval(draw(BAD), *(draw(some.one_of(BAD, some.just(end))) for end in (figure.low, figure.high)))


@some.composite
def spoiled(draw) -> GateEvidence:
    """GateEvidence in which one field or more holds no figure."""
    names = draw(some.sets(some.sampled_from([*INTERVALS, *NUMBERS, "baselines", "shuffled_auc"]), min_size=1))
    changes: dict[str, object] = {name: draw(BAD) for name in names if name in NUMBERS}
    changes |= {name: draw(spoiled_intervals(getattr(GOOD, name))) for name in names if name in INTERVALS}
    if "baselines" in names:
        name = draw(some.sampled_from(list(GOOD.baseline_log_losses)))
        changes["baseline_log_losses"] = {**GOOD.baseline_log_losses, name: draw(BAD)}
    if "shuffled_auc" in names:
        changes["shuffled_auc"] = (*GOOD.shuffled_auc, draw(BAD))
    return replace(GOOD, **changes)


@given(spoiled(), profiles)
@settings(max_examples=100, deadline=None)
def test_gates_never_accept_what_is_missing_infinite_or_no_number(evidence, profile):
    results = judge_gates(evidence, profile)
    assert not all(gate.passed for gate in results)
    for gate in results:
        figures = (gate.figure, gate.bound, gate.low, gate.high)
        assert all(figure is None or math.isfinite(figure) for figure in figures)
        assert gate.sentence


def test_gates_accept_the_same_evidence_unspoiled():
    assert all(accepted(GOOD, gate_profile(name)) for name in PROFILES)


@given(BAD, some.sampled_from(["low", "high"]))
def test_gates_that_need_an_interval_refuse_without_either_end(bad, end):
    for name in ("accuracy", "brier_skill"):
        bare = replace(GOOD, **{name: getattr(GOOD, name)._replace(**{end: bad})})
        assert not accepted(bare, gate_profile("seed"))


@given(some.one_of(BAD.map(lambda bad: Interval(bad, bad, bad)), some.none()))
def test_selective_gate_refuses_a_coverage_that_was_not_measured(figure):
    profile = gate_profile("selective")
    assert not accepted(replace(GOOD, selective={0.1: figure}), profile)
    assert not accepted(replace(GOOD, selective={}), profile)
    assert not accepted(replace(GOOD, break_even=math.inf), profile)


everything = some.one_of(BAD, some.floats(allow_nan=True, allow_infinity=True))
anything = partial(some.builds, Interval, everything, everything, everything)


@given(
    some.builds(
        GateEvidence,
        test_rows=everything,
        test_days=everything,
        classes=everything,
        probability_spread=everything,
        accuracy=anything(),
        base_rate=everything,
        brier_skill=anything(),
        log_loss=anything(),
        baseline_log_losses=some.dictionaries(some.sampled_from(list(GOOD.baseline_log_losses)), everything),
        calibration_error=anything(),
        selective=some.dictionaries(some.sampled_from([0.1, 1.0]), anything()),
        break_even=everything,
        shuffled_auc=some.lists(everything),
        future_accuracy=everything,
        parity=everything,
        canaries=some.none(),
        sources=some.lists(some.sampled_from(["coinbase", "local:planted"])),
        cost_bps=everything,
    ),
    profiles,
)
@settings(max_examples=60, deadline=None)
def test_gates_say_something_of_whatever_they_are_given_and_never_accept_it(evidence, profile):
    assert not accepted(evidence, profile)  # nobody looked at the canaries


@given(
    some.floats(0.5, 1.0), some.floats(0.0, 0.2), some.floats(0.0, 0.2), some.integers(3, 500), some.integers(1, 1000)
)
def test_more_looks_never_turn_a_refusal_into_an_acceptance(value, below, above, days, looks):
    assume(value + above <= 1.0)
    evidence = replace(GOOD, accuracy=Interval(value, value - below, value + above), test_days=days)
    often = replace(gate_profile("calibrated"), looks=looks + 1)
    fewer = replace(gate_profile("calibrated"), looks=looks)
    assert accepted(evidence, fewer) or not accepted(evidence, often)


def test_every_field_of_the_evidence_is_spoiled_somewhere_above():
    named = {*INTERVALS, *NUMBERS, "baseline_log_losses", "shuffled_auc", "selective", "break_even", "canaries"}
    # sources name a market; costs are told, never held against anything
    assert {field.name for field in fields(GateEvidence)} == named | {"sources", "cost_bps"}
