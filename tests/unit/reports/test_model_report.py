import json

import pytest

from desk.errors import ModelError
from desk.reports.model_report import write_model_report
from desk.reports.passports import promoted_slots, read_card, read_cards, standings


def test_read_cards_reads_every_judged_model(observed):
    cards = read_cards(observed)
    assert [card.products for card in cards] == [("BTC-USD",), ("ETH-USD",), ("SOL-USD",)]
    assert cards[2].cards[0].failed == ("accuracy", "brier_skill")


def test_read_card_without_any_figure_shows_nothing_invented(tmp_path):
    path = tmp_path / "passport.json"
    path.write_text(json.dumps({"products": ["BTC-USD"]}))
    card = read_card(path)
    assert card.cards[0].metric("accuracy").value is None
    assert card.text("dataset_digest") == "not computed"
    assert not card.cards[0].is_accepted


def test_read_card_of_half_a_file_is_none(tmp_path):
    path = tmp_path / "passport.json"
    path.write_text('{"products": [')
    assert read_card(path) is None


def test_standings_without_passports_take_the_gates_from_the_registry():
    events = [{"kind": "refusal", "slot": "lstm:BTC-USD", "model_id": "m1", "why": "seed: refused by accuracy, audit"}]
    (standing,) = standings(("BTC-USD",), (), {}, events)
    assert standing.reason == "m1 failed accuracy, audit"


def test_promoted_slots_without_a_registry_file_are_replayed_from_its_history(tmp_path, observed):
    events = [{"kind": "promotion", "slot": "lstm:A-USD", "model_id": "m1"}]
    assert promoted_slots(observed, events) == {"lstm:A-USD": "m1"}


def test_write_model_report_writes_one_page(observed):
    path = write_model_report(observed, observed.paths.checkpoints / "lstm-SOL-USD-9c0d1e2f")
    page = path.read_text()
    assert path.name == "lstm-SOL-USD-9c0d1e2f.html"
    assert "refused for SOL-USD (accuracy, brier_skill)" in page
    assert "<svg" in page


def test_write_model_report_without_a_passport_names_the_command(observed, tmp_path):
    with pytest.raises(ModelError, match="make evaluate"):
        write_model_report(observed, tmp_path)
