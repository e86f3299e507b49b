"""Which candidates are judged and which slots are switched."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from types import SimpleNamespace

import pytest

from core.dataset_files import DatasetRef
from core.errors import ModelError, UnknownProductError
from core.settings import load_settings
from models.judging.promotion import resolve_slots
from models.registry import Registry
from models.serving.passport import Passport
from models.training.candidate import CandidateRef
from store.feature_store import FeatureStore
from store.registry_mirror import history_faults
from tasks import promote
from tasks.promote import candidates_of, promote_models
from tests.judged_models import judgement_of, write_candidate, write_model

DATASET = DatasetRef("d" * 64, "d.parquet", "d.json")


def trained(settings, name, architecture, products, age, digest=DATASET.digest):
    home = settings.paths.checkpoints / name
    write_candidate(home, weights=b"w", architecture=architecture, products=products, dataset_digest=digest)
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


@pytest.fixture
def shown(monkeypatch):
    """The Markdown that the task shows."""
    kept = SimpleNamespace(text="")
    monkeypatch.setattr(promote, "create_markdown_artifact", lambda text, **_: setattr(kept, "text", text))
    return kept


SLOTS = ("transformer:BTC-USD", "transformer:ETH-USD", "transformer:SOL-USD")


@pytest.fixture
def judgement(settings):
    """Of a model that passes for BTC and ETH and is refused for SOL."""
    folder = settings.paths.checkpoints / "transformer-all-1"
    write_model(folder, "transformer-all-1-m", slots=SLOTS, architecture="transformer")
    passport = Passport.read(folder)
    refused = replace(passport.verdicts["SOL-USD"], accepted=False)
    replace(passport, verdicts=passport.verdicts | {"SOL-USD": refused}).write(folder)
    judgement = judgement_of(folder, "transformer-all-1-m", slots=SLOTS)
    verdicts = tuple(replace(own, accepted=own.product != "SOL-USD") for own in judgement.verdicts)
    return replace(judgement, verdicts=verdicts)


@pytest.mark.parametrize(
    ("slots", "dry_run", "expected"),
    [
        (None, False, ["transformer:BTC-USD", "transformer:ETH-USD"]),
        ("transformer:ETH", False, ["transformer:ETH-USD"]),
        (None, True, []),
        ("transformer:SOL", False, []),
    ],
)
def test_only_accepted_slots_that_were_asked_for_are_switched(settings, judgement, shown, slots, dry_run, expected):
    FeatureStore(settings.paths.market_db).migrate()
    assert promote_models.fn([judgement], slots, dry_run) == expected
    registry = Registry(settings.paths.registry)
    assert sorted(registry.current()) == expected
    assert {event.why for event in registry.events()} <= {"passed every gate of seed"}
    assert history_faults(FeatureStore(settings.paths.market_db)) == []
    lines = shown.text.splitlines()[2:]
    outcomes = {line.split(" | ")[0].removeprefix("| "): line.split(" | ")[2] for line in lines}
    assert [slot for slot, word in outcomes.items() if word == "promoted"] == expected
    assert outcomes["transformer:SOL-USD"] == "refused"


def test_judge_model_takes_the_profile_of_the_run_and_records_the_look(monkeypatch, settings, tmp_path):
    ordered = []

    def judge(candidate, dataset, gates, *, cost_bps, trials):
        ordered.append((gates.name, gates.min_accuracy, gates.max_calibration_error))
        return judgement_of(tmp_path, "lstm-BTC-USD-1-m", profile=gates.name)

    dataset = DatasetRef("a" * 64, "", str(tmp_path / "a.json"))
    span = {"start": "2025-01-01T00:00:00+00:00", "end": "2025-04-01T00:00:00+00:00"}
    features = {"name": "seed39", "version": 1, "sha256": "f" * 64, "columns": []}
    borders = dict.fromkeys(("early_stop", "calibration", "test"), "2025-03-01T00:00:00+00:00")
    manifest = {"digest": "a" * 64, "span": span, "products": ["BTC-USD"], "horizon_minutes": 15, "sources": []}
    manifest |= {"borders": borders, "feature_set": features}
    (tmp_path / "a.json").write_text(json.dumps(manifest))
    monkeypatch.setattr("models.judging.promotion.judge_in_process", judge)
    for name in ("_show_gates", "read_card", "write_model_report"):
        monkeypatch.setattr(promote, name, lambda *_: None)
    candidate = CandidateRef("lstm-BTC-USD-1", "lstm", ("BTC-USD",), str(tmp_path))
    promote.judge_model.fn(candidate, dataset, 0.6, 0.1)
    promote.judge_model.fn(candidate, dataset, profile="calibrated")
    assert ordered == [("seed", 0.6, 0.1), ("calibrated", None, 0.02)]
    kinds = [event.kind for event in Registry(settings.paths.registry).events()]
    assert kinds == ["trial", "candidate", "candidate"]  # the same model, judged under two profiles
