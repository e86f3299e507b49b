"""Which candidates are judged and which slots are switched."""

from __future__ import annotations

import json
import logging
import os
from hashlib import sha256
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from core.dataset_files import DatasetRef
from core.errors import ModelError, UnknownProductError
from core.settings import load_settings
from models.gates.judgement import Judgement, ProductVerdict
from models.training.spec import CandidateRef
from tasks import promote
from tasks.promote import candidates_of, promote_models, resolve_slots

DATASET = DatasetRef("d" * 64, "d.parquet", "d.json")


def trained(settings, name, architecture, products, age, digest=DATASET.digest):
    home = settings.paths.checkpoints / name
    home.mkdir(parents=True)
    (home / "weights.pt").write_bytes(b"w")
    marker = {"architecture": architecture, "products": products, "dataset_digest": digest}
    marker["weights_sha256"] = sha256(b"w").hexdigest()
    (home / "candidate.json").write_text(json.dumps(marker))
    os.utime(home / "candidate.json", (1e9 - age, 1e9 - age))


@pytest.fixture
def desk(tmp_path):
    settings = load_settings(desk_home=tmp_path / "var")
    settings.paths.make()
    trained(settings, "lstm-BTC-USD-old", "lstm", ["BTC-USD"], 9)
    trained(settings, "lstm-BTC-USD-new", "lstm", ["BTC-USD"], 1)
    trained(settings, "lstm_one_way-BTC-USD-1", "lstm_one_way", ["BTC-USD"], 3)
    trained(settings, "lstm-ETH-USD-1", "lstm", ["ETH-USD"], 2)
    trained(settings, "transformer-all-1", "transformer", ["BTC-USD", "ETH-USD"], 4)
    trained(settings, "lstm-SOL-USD-1", "lstm", ["SOL-USD"], 4, digest="e" * 64)
    return settings


@pytest.mark.parametrize(
    ("names", "slots", "expected"),
    [
        (None, None, {"lstm-BTC-USD-new", "lstm_one_way-BTC-USD-1", "lstm-ETH-USD-1", "transformer-all-1"}),
        ("lstm-BTC-USD", None, {"lstm-BTC-USD-new"}),
        ("lstm-BTC-USD-old", None, {"lstm-BTC-USD-old"}),
        (["lstm-ETH", "transformer"], None, {"lstm-ETH-USD-1", "transformer-all-1"}),
        (None, "lstm:ETH", {"lstm-ETH-USD-1"}),
        (None, "lstm:BTC-USD, transformer", {"lstm-BTC-USD-new", "lstm_one_way-BTC-USD-1", "transformer-all-1"}),
        ("transformer", "transformer:BTC", {"transformer-all-1"}),
    ],
)
def test_candidates_are_the_newest_of_each_kind_that_was_asked_for(desk, names, slots, expected):
    assert {one.candidate_id for one in candidates_of.fn(DATASET, names, slots)} == expected


@pytest.mark.parametrize(
    ("names", "slots"), [("lstm-XRP", None), (None, "lstm:SOL"), ("transformer", "lstm:BTC"), (None, "boosting:BTC")]
)
def test_what_nothing_fits_is_named_with_what_there_is(desk, names, slots):
    with pytest.raises(ModelError, match=r"fits .*; there are .*lstm-BTC-USD-new"):
        candidates_of.fn(DATASET, names, slots)


def test_no_training_on_the_data_set_names_the_command(desk):
    with pytest.raises(ModelError, match="make train"):
        candidates_of.fn(DatasetRef("f" * 64, "", ""))


def test_slots_are_named_as_the_registry_does(settings):
    assert resolve_slots(settings, None) == set()
    assert resolve_slots(settings, "lstm:btc, transformer:ETH-USD") == {"lstm:BTC-USD", "transformer:ETH-USD"}
    assert resolve_slots(settings, "boosting") == {f"boosting:{product}" for product in settings.products}
    with pytest.raises(UnknownProductError):
        resolve_slots(settings, "lstm:XRP")


class Book:
    """A registry that remembers what was asked of it."""

    def __init__(self):
        self.judged, self.promoted = [], []

    def record_judgement(self, judgement):
        self.judged.append(judgement.model_id)

    def promote(self, path, slots, why):
        self.promoted += [(slot, why) for slot in slots]


@pytest.fixture
def book(monkeypatch):
    kept = Book()
    monkeypatch.setattr(promote, "Registry", lambda _: kept)
    monkeypatch.setattr(promote, "mirror_registry", lambda *_: None)
    monkeypatch.setattr(promote, "get_run_logger", lambda: logging.getLogger("test"))
    kept.artifact = SimpleNamespace(text="")
    monkeypatch.setattr(
        promote, "create_markdown_artifact", lambda text, **_: setattr(kept.artifact, "text", text) or None
    )
    return kept


JUDGEMENT = Judgement(
    "m-1",
    "transformer",
    "somewhere",
    "seed",
    (
        ProductVerdict("BTC-USD", "transformer:BTC-USD", True, ()),
        ProductVerdict("ETH-USD", "transformer:ETH-USD", True, ()),
        ProductVerdict("SOL-USD", "transformer:SOL-USD", False, ()),
    ),
    (),
)


@pytest.mark.parametrize(
    ("slots", "dry_run", "expected"),
    [
        (None, False, ["transformer:BTC-USD", "transformer:ETH-USD"]),
        ("transformer:ETH", False, ["transformer:ETH-USD"]),
        (None, True, []),
        ("transformer:SOL", False, []),
    ],
)
def test_only_accepted_slots_that_were_asked_for_are_switched(book, slots, dry_run, expected):
    assert promote_models.fn([JUDGEMENT], slots, dry_run) == expected
    assert book.promoted == [(slot, "passed every gate of seed") for slot in expected]
    assert book.judged == ["m-1"]  # a look at the test part counts in any case
    lines = book.artifact.text.splitlines()[2:]
    told = {line.split(" | ")[0].removeprefix("| "): line.split(" | ")[2] for line in lines}
    assert [slot for slot, word in told.items() if word == "promoted"] == expected
    assert told["transformer:SOL-USD"] == "refused"


def test_judge_model_takes_the_profile_of_the_run(monkeypatch, tmp_path):
    asked = []

    def terms(settings, *figures, **_):
        asked.append((settings.gate_profile, *figures))
        return Mock()

    monkeypatch.setattr(promote, "judging_terms", terms)
    monkeypatch.setattr(promote, "judge_in_process", lambda *_, **__: JUDGEMENT)
    monkeypatch.setattr(promote, "_show_gates", lambda _: None)
    monkeypatch.setattr(promote, "write_model_report", lambda *_: None)
    monkeypatch.setattr(promote, "Registry", Mock())
    candidate = CandidateRef("lstm-BTC-USD-1", "lstm", ("BTC-USD",), str(tmp_path))
    promote.judge_model.fn(candidate, DATASET, 0.6, 0.1)
    promote.judge_model.fn(candidate, DATASET, profile="calibrated")
    assert asked == [("seed", 0.6, 0.1), ("calibrated", None, None)]
