"""A candidate's name, and its file as every version wrote it."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from core.dataset_files import DatasetRef
from core.errors import ModelError
from core.files import as_json_bytes, plain_json
from models.training.candidate import TrainedCandidate, TrainSpec, candidate_id, finished, spec_as_json, spec_from_json
from tests.judged_models import candidate_json, write_candidate

GOLDEN = Path(__file__).parents[3] / "golden" / "judged_model"
SPEC = TrainSpec("lstm", ("BTC-USD",), epochs=2)
DATASET = DatasetRef("d" * 64, "d.parquet", "d.json")


def test_candidate_id_differs_with_everything_that_decides_the_weights():
    other_data = DatasetRef("e" * 64, "d.parquet", "d.json")
    names = {
        candidate_id(SPEC, DATASET, "f"),
        candidate_id(TrainSpec("lstm", ("BTC-USD",), epochs=2, seed=1), DATASET, "f"),
        candidate_id(SPEC, other_data, "f"),
        candidate_id(SPEC, DATASET, "g"),
    }
    assert len(names) == 4
    assert all(name.startswith("lstm-BTC-USD-") for name in names)


def test_candidate_id_of_all_coins_says_so():
    assert candidate_id(TrainSpec("transformer", ("A-USD", "B-USD")), DATASET, "f").startswith("transformer-all-")


def test_spec_survives_the_way_through_json():
    assert spec_from_json(spec_as_json(SPEC)) == SPEC


def test_finished_believes_the_weights_not_the_marker(tmp_path):
    assert finished(tmp_path) is None
    (tmp_path / "weights.pt").write_bytes(b"whole")
    assert finished(tmp_path) is None
    write_candidate(tmp_path)
    assert finished(tmp_path).products == ("BTC-USD",)
    (tmp_path / "weights.pt").write_bytes(b"half")
    assert finished(tmp_path) is None


def test_candidate_of_before_there_was_a_version_is_read_whole():
    candidate = TrainedCandidate.read(GOLDEN)
    assert (candidate.version, candidate.members, len(candidate.history)) == (0, 1, 2)
    content = plain_json({key: value for key, value in asdict(candidate).items() if key != "version"})
    del content["feature_set"]["warm_up_minutes"]  # which manifests did not say then
    assert as_json_bytes(content) == (GOLDEN / "candidate.json").read_bytes()


def test_candidate_survives_the_way_through_its_file(tmp_path):
    candidate = replace(TrainedCandidate.read(GOLDEN), version=1)
    candidate.write(tmp_path)
    assert TrainedCandidate.read(tmp_path) == candidate


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (candidate_json(Path("x")) | {"members": "two"}, r"damaged \(members: .*make train"),
        ({"architecture": "lstm"}, r"damaged \(candidate_id: .*make train"),
        (candidate_json(Path("x")) | {"version": 99}, "has version 99.*update Candledesk"),
    ],
)
def test_candidate_that_is_damaged_or_newer_is_refused_with_the_repair(tmp_path, content, match):
    (tmp_path / "candidate.json").write_text(json.dumps(content))
    with pytest.raises(ModelError, match=match):
        TrainedCandidate.read(tmp_path)
