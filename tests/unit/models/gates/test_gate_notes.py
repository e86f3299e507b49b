"""The lines under a gate table."""

from __future__ import annotations

from models.gates.gate_notes import beside_the_gates

PASSPORT = {
    "judged": {"profile": {"name": "seed", "looks": 10}},
    "verdicts": {
        "BTC-USD": {
            "feasibility": {"sentence": "A round trip of 18.0 bps asks too much."},
            "profiles": {"seed": ["min_accuracy"], "selective": ["selective_accuracy"], "calibrated": []},
        }
    },
}


def test_lines_say_feasibility_other_profiles_and_how_used_the_test_part_is():
    feasible, others, looks = beside_the_gates(PASSPORT, "BTC-USD")
    assert feasible == "feasibility: A round trip of 18.0 bps asks too much."
    assert others.endswith("selective would refuse it by selective_accuracy; calibrated would accept it")
    assert "10 trainings share its minutes" in looks
    assert "99.50 %" in looks


def test_lines_of_a_first_look_say_so():
    fresh = {"judged": {"profile": {"name": "seed", "looks": 1}}}
    assert beside_the_gates(fresh, "BTC-USD") == ["test part: this is the first look at it"]


def test_lines_of_an_older_passport_leave_out_what_it_lacks():
    assert beside_the_gates({}, "BTC-USD") == []
    assert beside_the_gates({"verdicts": {"BTC-USD": {"accepted": True, "feasibility": None}}}, "BTC-USD") == []
