import html
import re

import pytest

from core.errors import ModelError
from models.serving.passport import Appraisal
from reports.models.model_card import Metric, ProductCard, read_card, read_cards
from reports.models.report import model_document, write_model_report
from reports.models.tables import rows_sentence
from tests.judged_models import write_passport


def test_read_cards_reads_every_judged_model(observed):
    cards = read_cards(observed)
    assert [model.passport.products for model in cards] == [("BTC-USD",), ("ETH-USD",), ("SOL-USD",)]
    assert cards[2].cards[0].failed == ("accuracy", "brier_skill")


def test_read_card_without_any_figure_shows_nothing_invented(tmp_path):
    (card,) = read_card(write_passport(tmp_path)).cards
    assert card.metric("accuracy").value is None
    assert not card.is_accepted


@pytest.mark.parametrize("content", ['{"products": [', '{"products": ["BTC-USD"]}', "[]"])
def test_read_cards_leaves_out_what_is_no_passport(settings, content):
    home = settings.paths.checkpoints / "spoiled"
    home.mkdir()
    (home / "passport.json").write_text(content)
    assert read_cards(settings) == ()
    with pytest.raises(ModelError, match="make train"):
        read_card(home)


def test_write_model_report_writes_one_page(observed):
    path = write_model_report(observed, observed.paths.checkpoints / "lstm-SOL-USD-9c0d1e2f")
    page = path.read_text()
    assert path.name == "lstm-SOL-USD-9c0d1e2f.html"
    assert "refused for SOL-USD (accuracy, brier_skill)" in page
    assert "<svg" in page


def page_of(observed, model_id="lstm-BTC-USD-1a2b3c4d"):
    page = write_model_report(observed, observed.paths.checkpoints / model_id).read_text()
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", page)))


def test_model_report_shows_the_candidates_and_what_calibration_changed(observed):
    text = page_of(observed)
    assert "9,000 minutes of the calibration part" in text
    assert "temperature 0.69000 0.00000 0.00000 taken" in text
    assert "ECE, equal mass 0.03100 0.01200" in text
    assert "-0.00400 (-0.00500 to -0.00300)" in text


def test_model_report_shows_costs_luck_and_what_the_rows_are_worth(observed):
    text = page_of(observed)
    assert "A round trip of 18.0 bps asks too much." in text
    assert "none pays" in text
    assert "deflated Sharpe ratio (all trials) 0.9004" in text
    assert "worth about 860 independent ones, by their days' own spread 910" in text


def test_model_report_sets_the_paired_difference_beside_a_baseline(observed):
    assert "logistic -0.01230 -0.02000 to -0.00400 better" in page_of(observed)


def test_model_report_says_of_a_month_that_it_is_too_short(observed):
    text = page_of(observed)
    assert "month 2025-01 2025-02 2025-03 minutes 6,400 6,400 60" in text
    assert re.search(r"accuracy 0\.744 \([^)]+\) 0\.744 \([^)]+\) too few", text)


def test_model_report_draws_every_picture(observed):
    document = model_document(read_card(observed.paths.checkpoints / "lstm-BTC-USD-1a2b3c4d"))
    names = [picture.name for picture in document.pictures]
    assert names == ["reliability", "coverage", "month_btc_usd", "session_btc_usd", "training"]
    assert "member 2" in document.pictures[-1].svg
    assert "log loss saved" in document.pictures[2].svg


def test_model_report_of_a_passport_without_figures_says_so(tmp_path):
    document = model_document(read_card(write_passport(tmp_path)))
    text = document.markdown(lambda picture: picture.name)
    for told in ("No test minute was scored", "does not say how the probability was calibrated", "was not computed"):
        assert told in text


def test_rows_sentence_says_when_they_are_too_few():
    def card(low, high, rows=1_500):
        verdict = Appraisal(accepted=False, slot="lstm:A-USD")
        return ProductCard("A-USD", verdict, {"all": {"accuracy": Metric(0.55, low, high, rows)}})

    assert "too few to tell a real edge" in rows_sentence(card(0.5, 0.6))
    assert "too few" not in rows_sentence(card(0.545, 0.555, 60_000))
    assert "too few days for any interval" in rows_sentence(card(None, None))


def test_write_model_report_without_a_passport_names_the_command(observed, tmp_path):
    with pytest.raises(ModelError, match="make train"):
        write_model_report(observed, tmp_path)
