"""A judged model's files as the code before there was a version wrote them, and as it writes them today."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import ModelError, ModelMismatchError
from core.files import as_json_bytes, write_json
from core.integrity import SEAL, broken_seal, sealed
from models.gates.judgement import Judgement, read_curves, write_curves
from models.serving.passport import VERSION, CalibrationChange, ControlFigures, Passport
from reports.models.model_card import read_card
from tests.judged_models import passport_json

GOLDEN = Path(__file__).parents[3] / "golden" / "judged_model"


def test_passport_of_before_there_was_a_version_is_read_and_written_the_same():
    passport, content = Passport.read(GOLDEN), json.loads((GOLDEN / "passport.json").read_text())
    assert passport.version == 0
    assert passport.accepted_slots == ("lstm:BTC-USD",)
    again = {key: value for key, value in passport.as_json().items() if key not in {"version", SEAL}}
    assert as_json_bytes(again) == as_json_bytes({key: value for key, value in content.items() if key != SEAL})


def test_judgement_and_curves_of_before_are_read_and_written_the_same(tmp_path):
    judgement = Judgement.read(GOLDEN)
    judgement.write(tmp_path)
    written = json.loads((tmp_path / "judgement.json").read_text())
    assert written == json.loads((GOLDEN / "judgement.json").read_text()) | {"version": 0}
    assert Judgement.read(tmp_path) == judgement
    curves = write_curves(tmp_path, read_curves(GOLDEN))
    assert curves.read_bytes() == (GOLDEN / "curves.json").read_bytes()


def test_report_of_a_model_of_before_has_every_figure():
    (card,) = read_card(GOLDEN).cards
    assert card.metric("accuracy").rows == 4035
    assert card.metric("log_loss_less_base_rate", "session=tokyo").high < 0
    assert card.slices("month") == ("2025-01",)
    assert len(card.curves.reliability_before) == 10


def test_passport_written_today_is_sealed_and_survives_the_way(tmp_path):
    passport = replace(Passport.read(GOLDEN), version=VERSION, seal=None)
    passport.write(tmp_path)
    read = Passport.read(tmp_path)
    assert replace(read, seal=None) == passport
    assert broken_seal(json.loads((tmp_path / "passport.json").read_text())) is None


def test_passport_writes_a_figure_that_is_no_number_as_none(tmp_path):
    passport = Passport.read(GOLDEN)
    verdict = replace(passport.verdicts["BTC-USD"], controls=ControlFigures((), float("nan")))
    replace(passport, verdicts={"BTC-USD": verdict}).write(tmp_path)
    assert Passport.read(tmp_path).verdicts["BTC-USD"].controls.future_accuracy is None


def test_passport_says_nothing_where_there_is_nothing_to_say():
    verdict = replace(
        Passport.read(GOLDEN).verdicts["BTC-USD"], controls=ControlFigures(), calibrated=CalibrationChange()
    )
    assert (verdict.as_json()["controls"], verdict.as_json()["calibrated"]) == ({}, {})


@pytest.mark.parametrize("key", ["model_id", "architecture", "products", "inputs", "feature_hash", "opset", "sha256"])
def test_passport_without_what_the_runtime_relies_on_is_refused_with_the_repair(tmp_path, key):
    content = {name: value for name, value in passport_json().items() if name != key}
    write_json(tmp_path / "passport.json", sealed(content))
    with pytest.raises(ModelMismatchError, match=rf"not whole \({key}: .*desk models rollback"):
        Passport.read(tmp_path)


def test_passport_with_a_value_of_another_kind_is_refused_by_its_path(tmp_path):
    verdicts = {"BTC-USD": {"accepted": "yes", "slot": "lstm:BTC-USD"}}
    write_json(tmp_path / "passport.json", sealed(passport_json(verdicts=verdicts)))
    with pytest.raises(ModelMismatchError, match=r"verdicts\.BTC-USD\.accepted: "):
        Passport.read(tmp_path)


def test_passport_of_newer_code_is_refused(tmp_path):
    write_json(tmp_path / "passport.json", sealed(passport_json(version=VERSION + 1)))
    with pytest.raises(ModelMismatchError, match="update Candledesk"):
        Passport.read(tmp_path)


def test_passport_changed_by_one_figure_is_refused_until_somebody_looks_closer(tmp_path):
    shutil.copy(GOLDEN / "passport.json", tmp_path)
    path = tmp_path / "passport.json"
    path.write_text(path.read_text().replace('"accepted": true', '"accepted": false'))
    with pytest.raises(ModelMismatchError, match="changed after the judging: its seal says"):
        Passport.read(tmp_path)
    assert Passport.read(tmp_path, with_seal=False).accepted_slots == ()


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"model_id"'])
def test_passport_that_is_no_object_names_the_command(tmp_path, content):
    (tmp_path / "passport.json").write_text(content)
    with pytest.raises(ModelError, match=r"passport\.json.*make train"):
        Passport.read(tmp_path)
