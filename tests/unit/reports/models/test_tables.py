"""The lines under a gate table."""

from __future__ import annotations

import json
from pathlib import Path

from core.files import parse_json
from models.serving.passport import Passport
from reports.models.tables import facts_table, notes_beside_gates
from tests.judged_models import passport_json

GOLDEN = Path(__file__).parents[3] / "golden" / "judged_model"


def passport(**changes) -> Passport:
    return parse_json(Passport, json.dumps(passport_json(**changes)).encode())


def judged(looks: int) -> dict:
    return {"profile": {"name": "seed", "looks": looks}, "cost_bps": 18.0, "trials": 4}


def test_notes_say_feasibility_other_profiles_and_how_used_the_test_part_is():
    feasible, others, looks = notes_beside_gates(Passport.read(GOLDEN), "BTC-USD")
    assert feasible.startswith("feasibility: A round trip of 15.0 bps against an average move of 7.2 bps")
    assert others.endswith(
        "selective would refuse it by selective_accuracy, calibration_error; calibrated would refuse it by calibration_error"
    )
    assert looks == "test part: this is the first look at it"


def test_notes_of_a_test_part_that_was_looked_at_often_say_how_the_bounds_are_held():
    (looks,) = notes_beside_gates(passport(judged=judged(10)), "BTC-USD")
    assert "10 trainings share its minutes" in looks
    assert "99.50 %" in looks


def test_notes_of_an_older_passport_leave_out_what_it_lacks():
    assert notes_beside_gates(passport(), "BTC-USD") == []
    verdicts = {"BTC-USD": {"accepted": True, "slot": "lstm:BTC-USD"}}
    assert notes_beside_gates(passport(verdicts=verdicts), "BTC-USD") == []


def test_facts_of_an_older_passport_say_what_it_lacks():
    facts = {row["what"]: row["which"] for row in facts_table(passport()).records()}
    assert (facts["data set"], facts["judged"]) == ("not computed", "not judged")
    assert facts["seal"] == "none: judged by an older version"
