"""What a flow decides before it submits anything; none of it needs Prefect to run."""

from __future__ import annotations

import logging

import pytest

from core.errors import DatasetError, ExchangeUnavailableError, SpanError, TrainingError, UnknownProductError
from core.settings import load_settings
from models.training.candidate import PRESETS, CandidateRef
from tasks.command_line import OneLine
from tasks.features import products_in
from tasks.market_data import BackfillResult, require_products
from tasks.progress_artifact import artifact_key
from tasks.train import plan_trainings


@pytest.fixture
def dataset(make_dataset):
    return make_dataset(products=("BTC-USD", "ETH-USD"), minutes=400)


def test_products_in_without_names_are_all_of_the_data_set(dataset):
    assert products_in(dataset, None) == ("BTC-USD", "ETH-USD")


def test_products_in_resolves_short_names(dataset):
    assert products_in(dataset, "eth") == ("ETH-USD",)


def test_products_in_absent_one_names_the_commands(dataset):
    with pytest.raises(DatasetError, match=r"SOL-USD is not in data set.*make backfill"):
        products_in(dataset, "SOL")


def test_plan_trainings_has_the_longest_first(settings):
    specs = plan_trainings(settings, ["BTC-USD", "ETH-USD"], None)
    assert [spec.name for spec in specs] == ["transformer", "lstm-BTC-USD", "lstm-ETH-USD", "boosting"]


def test_plan_trainings_of_market_takes_epochs_and_strides_from_the_settings(settings):
    transformer, coin, _boosting = plan_trainings(settings, ["BTC-USD"], None)
    assert (transformer.epochs, transformer.stride) == (settings.epochs, settings.transformer_stride)
    assert (coin.epochs, coin.stride) == (settings.epochs, settings.train_stride)


def test_plan_trainings_of_demo_keeps_the_preset_but_for_epochs(settings):
    chosen = load_settings(desk_home=settings.desk_home, train_preset="demo")
    (coin,) = plan_trainings(chosen, ["BTC-USD"], 2, transformer=False)
    assert (coin.epochs, coin.stride, coin.batch_size) == (2, 10, 64)


def test_plan_trainings_leaves_the_rounds_of_boosting_to_its_preset(settings):
    (boosting,) = plan_trainings(settings, ["BTC-USD", "ETH-USD"], 2, lstm=False, transformer=False)
    known = PRESETS["market"]["boosting"]
    assert boosting.products == ("BTC-USD", "ETH-USD")
    assert (boosting.epochs, boosting.stride, boosting.members) == (known["epochs"], known["stride"], known["members"])


@pytest.mark.parametrize(
    ("preset", "by_setting", "asked", "expected"),
    [
        ("market", True, None, True),
        ("market", False, None, False),
        ("market", False, True, True),
        ("market", True, False, False),
        ("demo", True, None, False),
        ("demo", True, True, True),
    ],
)
def test_plan_trainings_trains_boosting_when_asked_or_by_setting_on_a_market(
    settings, preset, by_setting, asked, expected
):
    chosen = load_settings(desk_home=settings.desk_home, train_preset=preset, train_boosting=by_setting)
    specs = plan_trainings(chosen, ["BTC-USD"], None, boosting=asked)
    assert ("boosting" in {spec.architecture for spec in specs}) == expected


def test_require_products_leaves_out_what_is_not_offered():
    results = [BackfillResult("BTC-USD", "complete"), BackfillResult("BNB-USD", "not_offered")]
    assert require_products(results) == ["BTC-USD"]


def test_require_products_none_offered_names_the_setting():
    with pytest.raises(UnknownProductError, match="PRODUCTS"):
        require_products([BackfillResult("NOPE-USD", "not_offered")])


def test_require_products_raises_what_went_wrong():
    with pytest.raises(ExchangeUnavailableError):
        require_products([BackfillResult("BTC-USD", "complete"), ExchangeUnavailableError("down")])


def test_artifact_key_is_what_prefect_accepts():
    assert artifact_key("gates", "lstm:BTC-USD") == "gates-lstm-btc-usd"


def log_record(error):
    return logging.LogRecord("x", logging.ERROR, "f", 1, "boom %r", (error,), (type(error), error, None))


def test_one_line_drops_the_traceback_of_an_error_made_on_purpose():
    record = log_record(SpanError("exchange them"))
    assert OneLine().filter(record)
    assert (record.getMessage(), record.exc_info) == ("exchange them", None)


def test_one_line_keeps_the_traceback_of_a_surprise():
    record = log_record(KeyError("x"))
    assert OneLine().filter(record)
    assert record.exc_info is not None


def test_training_error_names_every_failure_when_nothing_was_trained(monkeypatch):
    from tasks import train

    monkeypatch.setattr(train, "get_run_logger", lambda: logging.getLogger("test"))
    with pytest.raises(TrainingError, match=r"BTC.*ETH"):
        train.require_candidates([TrainingError("BTC"), TrainingError("ETH")])


def test_one_failed_training_leaves_the_others(monkeypatch):
    from tasks import train

    monkeypatch.setattr(train, "get_run_logger", lambda: logging.getLogger("test"))
    good = CandidateRef("id", "lstm", ("BTC-USD",), "path")
    assert train.require_candidates([good, TrainingError("ETH-USD ran out of memory")]) == [good]
