"""Ids name files and folders: one that leads out of them is refused wherever it is read."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.dataset_files import DatasetManifest, DatasetRef
from core.errors import DatasetError, ModelError
from core.files import write_json
from core.integrity import require_id
from models.gates.judgement import Judgement
from models.registry import Registry
from models.registry.events import RegistryEvent, as_file, links
from models.serving.passport import Passport
from models.training.candidate import TrainedCandidate
from models.training.spec import CandidateRef
from tests.judged_models import SLOT, candidate_json, judgement_of, write_model, write_passport

ESCAPES = ("../../../escape", "..", "/etc", "a/b", "a..b", ".hidden", "a\n", "a\x00", "", " ", "x" * 300)


@pytest.mark.parametrize("name", ESCAPES)
def test_id_that_is_no_file_name_is_refused(name):
    with pytest.raises(ValueError, match="is no id"):
        require_id(name, "model")


@pytest.mark.parametrize("name", ["lstm-BTC-USD-0123456789ab-01234567", "d" * 64, "a.b_c-1"])
def test_ids_as_they_are_given_are_taken(name):
    require_id(name, "model")
    assert CandidateRef(name, "lstm", (), "").candidate_id == DatasetRef(name, "", "").digest == name


def test_registry_file_that_promotes_a_model_outside_is_refused_as_damaged(tmp_path):
    """The links are right, by the public recipe, and so is the passport out there."""
    registry = Registry(tmp_path / "models" / "registry.json")
    write_model(tmp_path / "escape", "first")
    registry.record_trainings(["first"])
    event = {"event_id": "", "happened_at": datetime.now(UTC), "kind": "promotion", "slot": SLOT, "who": "me"}
    outside = RegistryEvent(**event, model_id="outside", why="a")
    object.__setattr__(outside, "model_id", "../../escape")
    object.__setattr__(outside, "event_id", [*links([*registry.events(), outside])][-1])
    registry.path.write_bytes(as_file([*registry.events(), outside]))
    with pytest.raises(ModelError, match=r"damaged .*'../../escape' is no id.*desk models restore"):
        registry.current()


def test_tables_that_name_a_model_outside_restore_nothing(tmp_path):
    row = {
        "event_id": "e",
        "happened_at": datetime.now(UTC),
        "kind": "promotion",
        "slot": SLOT,
        "who": "me",
        "why": "a",
    }
    with pytest.raises(ModelError, match=r"no registry wrote.*is no id"):
        Registry(tmp_path / "registry.json").restore([row | {"model_id": "../escape"}])


def test_registry_writes_no_id_that_it_would_not_read(tmp_path):
    registry = Registry(tmp_path / "registry.json")
    with pytest.raises(ModelError, match=r"records nothing.*is no id"):
        registry.record_trainings(["../escape"])
    with pytest.raises(ModelError, match="is no id"):
        registry.promote(write_model(tmp_path / "model", "../../../escape"), why="a")
    assert not registry.path.exists()


@pytest.mark.parametrize("key", ["model_id", "candidate_id", "dataset_digest"])
def test_passport_that_names_a_file_outside_is_refused(tmp_path, key):
    write_passport(tmp_path, **{key: "../../escape"})
    with pytest.raises(ModelError, match="is no id"):
        Passport.read(tmp_path)


@pytest.mark.parametrize("key", ["candidate_id", "dataset_digest"])
def test_candidate_that_names_a_file_outside_is_refused(tmp_path, key):
    (tmp_path / "candidate.json").write_text(json.dumps(candidate_json(Path("x")) | {key: "../../escape"}))
    with pytest.raises(ModelError, match="is no id"):
        TrainedCandidate.read(tmp_path)


def test_judgement_of_a_model_outside_is_refused(tmp_path):
    judgement_of(tmp_path, "first").write(tmp_path)
    content = json.loads((tmp_path / "judgement.json").read_text())
    write_json(tmp_path / "judgement.json", content | {"model_id": "../first"})
    with pytest.raises(ModelError, match="is no id"):
        Judgement.read(tmp_path)


@pytest.mark.parametrize("key", ["digest", "base_digest"])
def test_manifest_that_names_a_file_outside_is_refused(make_dataset, key):
    path = Path(make_dataset(minutes=300).manifest_path)
    write_json(path, json.loads(path.read_text()) | {key: "../../../etc/passwd"})
    with pytest.raises(DatasetError, match="is no id"):
        DatasetManifest.read(path)


def test_references_name_no_file_outside():
    with pytest.raises(ValueError, match="is no id"):
        DatasetRef("../x", "", "")
    with pytest.raises(ValueError, match="is no id"):
        CandidateRef("../x", "lstm", (), "")
