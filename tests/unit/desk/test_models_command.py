"""`desk models` as a person runs it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from core.errors import DatasetError, ModelError, StoreError
from desk import __main__ as command_line
from models.registry import Registry
from models.registry.events import NewEvent, appended, as_file
from store.database import write_transaction
from store.feature_store import FeatureStore
from tests.judged_models import SLOT, gate_json, judged_model

if TYPE_CHECKING:
    from pathlib import Path

INTERVAL = {"value": 0.71234, "low_95": 0.7, "high_95": 0.72}


def judged(settings, model_id: str, *, accepted: bool = True) -> Path:
    """Leave and record a judged candidate, as far as the commands look at it."""
    verdict = {
        "slot": SLOT,
        "accepted": accepted,
        "gates": [gate_json(passed=accepted)],
        "metrics": {"accuracy": INTERVAL},
        "baselines": {"logistic_regression": {"accuracy": 0.61}},
        "calibration": {"kind": "platt", "parameters": {"slope": 0.9, "shift": 0.1}, "rows": 500},
    }
    return judged_model(
        settings,
        model_id,
        accepted=accepted,
        candidate_id=model_id.rpartition("-")[0],
        dataset_digest="d" * 64,
        borders={"test": "2025-02-01T00:00:00+00:00"},
        span={"start": "2025-01-01T00:00:00+00:00", "end": "2025-03-01T00:00:00+00:00"},
        judged={"profile": {"name": "seed"}, "cost_bps": 18.0, "trials": 2, "at": "2025-03-02", "commit": "c" * 40},
        verdicts={"BTC-USD": verdict},
    )


@pytest.fixture
def desk(settings):
    def run(*words):
        environ = {"DESK_HOME": str(settings.paths.home), "COLUMNS": "60"}
        result = CliRunner().invoke(command_line.build("models"), ["models", *words], env=environ)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.output

    return run


def served(settings):
    return {slot: found.model_id for slot, found in Registry(settings.paths.registry).current().items()}


def test_list_says_who_serves_who_was_refused_and_how_often_luck_was_tried(desk, settings):
    assert "no model was ever judged" in desk("list")
    judged(settings, "lstm-BTC-good-1")
    desk("promote", "lstm-BTC-good", "--why", "it passed")
    judged(settings, "lstm-BTC-middle-2")
    judged(settings, "lstm-BTC-bad-3", accepted=False)
    said = desk("list")
    lines = [line for line in said.splitlines() if line.startswith(SLOT)]
    assert [" ".join(line.split()[1:3]) for line in lines] == ["lstm-BTC-good-1 promoted", "lstm-BTC-bad-3 refused"]
    assert "refused by min_accuracy" in lines[1], "a pipe must not cut a row"
    assert "3 trainings (0 never judged), 3 judgings: 3 trials" in said
    assert "2025-02-01 to 2025-03-01 of BTC-USD was looked at 3 times" in said
    assert "lstm-BTC-middle-2" in desk("list", "--all")


def test_show_prints_figures_baselines_gates_and_history(desk, settings):
    judged(settings, "lstm-BTC-good-1")
    desk("promote", "lstm-BTC-good", "--why", "it passed")
    said = desk("show", "lstm-BTC-good-1")
    for word in (
        "0.7123",
        "0.7000 to 0.7200",
        "0.6100",
        "platt on 500 rows: slope 0.9000, shift 0.1000",
        "Said so.",
        "it passed",
        "2 trials",
    ):
        assert word in said, word
    assert [line.split()[2] for line in said.split("history")[1].splitlines() if line.startswith("20")] == [
        "trial",
        "candidate",
        "promotion",
    ]


def test_promote_names_the_gates_and_a_dry_run_changes_nothing(desk, settings):
    judged(settings, "lstm-BTC-good-1")
    judged(settings, "lstm-BTC-bad-2", accepted=False)
    with pytest.raises(ModelError, match="refused for lstm:BTC-USD by min_accuracy"):
        desk("promote", "lstm-BTC-bad", "--why", "please")
    with pytest.raises(ModelError, match="not judged for lstm:ETH-USD, but for lstm:BTC-USD"):
        desk("promote", "lstm-BTC-good", "lstm:ETH-USD", "--why", "please")
    before = settings.paths.registry.read_bytes()
    assert "would be served by lstm-BTC-good-1 (before: nothing)" in desk(
        "promote", "lstm-BTC-good", "--why", "x", "--dry-run"
    )
    assert settings.paths.registry.read_bytes() == before
    assert served(settings) == {}
    with pytest.raises(ModelError, match="--why"):
        desk("promote", "lstm-BTC-good", "--why", " ")
    assert "is served by lstm-BTC-good-1" in desk("promote", "lstm-BTC-good", SLOT, "--why", "x")
    assert "is served already" in desk("promote", "lstm-BTC-good", "--why", "x")
    assert served(settings) == {SLOT: "lstm-BTC-good-1"}


def test_rollback_goes_back_one_by_one(desk, settings):
    for number in (1, 2):
        judged(settings, f"lstm-BTC-{number}-{number}")
        desk("promote", f"lstm-BTC-{number}", "--why", "x")
    assert "would be served by lstm-BTC-1-1" in desk("rollback", SLOT, "--why", "x", "--dry-run")
    assert served(settings) == {SLOT: "lstm-BTC-2-2"}
    assert "is served by lstm-BTC-1-1" in desk("rollback", SLOT, "--why", "x")
    assert "is served by nothing" in desk("rollback", SLOT, "--why", "x")
    with pytest.raises(ModelError, match="nothing to roll back; see: desk models list"):
        desk("rollback", SLOT, "--why", "x")


def test_name_that_fits_several_or_none_is_refused(desk, settings):
    judged(settings, "lstm-BTC-aa-1")
    judged(settings, "lstm-BTC-ab-2")
    with pytest.raises(ModelError, match="fits lstm-BTC-aa, lstm-BTC-ab"):
        desk("show", "lstm-BTC-a")
    for name in ("nope", "some/folder"):
        with pytest.raises(ModelError, match="desk models list --all"):
            desk("show", name)


def test_verify_of_a_model_whose_data_set_is_gone_names_the_rebuild(desk, settings, tmp_path):
    folder = judged(settings, "lstm-BTC-aa-1")
    for words in (
        ["lstm-BTC-aa"],
        ["--model", str(folder)],
        ["--model", str(folder), "--dataset", str(tmp_path / "no")],
    ):
        with pytest.raises(DatasetError, match=f"desk dataset rebuild {'d' * 16}"):
            desk("verify", *words)


def test_verify_of_the_registry_finds_changed_files_tables_and_events(desk, settings):
    FeatureStore(settings.paths.make().market_db).migrate()
    judged(settings, "lstm-BTC-aa-1")
    desk("promote", "lstm-BTC-aa", "--why", "x")
    assert "3 events, each linked to the one before; the tables agree; 1 slots serve whole files" in desk("verify")
    graph = settings.paths.promoted / "lstm-BTC-aa-1" / "model.onnx"
    graph.write_bytes(b"other")
    with pytest.raises(ModelError, match=r"lstm:BTC-USD: .*is not the one that was judged"):
        desk("verify")
    desk("promote", "lstm-BTC-aa", "--why", "put its files right")
    assert "whole files" in desk("verify")
    with write_transaction(settings.paths.market_db) as connection:
        connection.execute("update registry_events set who = 'somebody else'")
    with pytest.raises(ModelError, match="registry_events_edited"):
        desk("verify")
    with pytest.raises(StoreError, match="was edited"):
        desk("restore")


def test_restore_puts_a_spoiled_registry_back(desk, settings):
    FeatureStore(settings.paths.make().market_db).migrate()
    judged(settings, "lstm-BTC-aa-1")
    desk("promote", "lstm-BTC-aa", "--why", "x")
    path = settings.paths.registry
    whole = json.loads(path.read_text())
    path.write_text(path.read_text().replace('"why": "x"', '"why": "y"'))
    for words in (["list"], ["promote", "lstm-BTC-aa", "--why", "x"], ["rollback", SLOT, "--why", "x"], ["verify"]):
        with pytest.raises(ModelError, match=r"event 3 \(promotion.*desk models restore"):
            desk(*words)
    assert "holds 3 events again" in desk("restore")
    assert json.loads(path.read_text()) == whole
    with pytest.raises(ModelError, match="nothing to restore"):
        desk("restore")


def test_verify_tells_which_events_the_tables_lacked(desk, settings):
    judged(settings, "lstm-BTC-aa-1")
    desk("promote", "lstm-BTC-aa", "--why", "x")
    FeatureStore(settings.paths.make().market_db).migrate()
    assert "the tables lacked the promotion of lstm-BTC-aa-1 for lstm:BTC-USD" in desk("verify")
    assert "lacked" not in desk("verify")


def test_verify_refuses_events_that_no_command_wrote_and_keeps_them_out_of_the_tables(desk, settings):
    FeatureStore(settings.paths.make().market_db).migrate()
    judged(settings, "lstm-BTC-aa-1")
    desk("promote", "lstm-BTC-aa", "--why", "x")
    path = settings.paths.registry
    events = Registry(path).events()
    fresh = appended(events, [NewEvent("promotion", SLOT, "lstm-BTC-bad-2", "passed every gate")])
    path.write_bytes(as_file([*events, *fresh]))
    with pytest.raises(ModelError, match="nobody here wrote the promotion of lstm-BTC-bad-2"):
        desk("verify")
    assert "holds 3 events again" in desk("restore")
    assert "whole files" in desk("verify")
