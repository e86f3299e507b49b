"""The choices of one training."""

from __future__ import annotations

import logging
from typing import get_args

import pytest
from prefect import flow

from core.errors import ConfigError, TrainingError
from core.settings import load_settings
from models.gates import PROFILES
from models.training.candidate import PRESETS, CandidateRef, spec_from_settings
from tasks import train
from tasks.command_line import Architecture, Count, Profile, run_from_shell
from tasks.train import require_all


def test_forms_offer_every_architecture_and_profile():
    assert set(get_args(Architecture)) == set(PRESETS["market"]) == set(PRESETS["demo"])
    assert set(get_args(Profile)) == set(PROFILES)


def test_what_is_chosen_wins_over_settings_and_they_over_the_preset(tmp_path):
    settings = load_settings(desk_home=tmp_path, epochs=7, train_seed=3, train_stride=2)
    spec = spec_from_settings(settings, "lstm", ["BTC-USD"], epochs=None, seed=9, learning_rate=0.5)
    assert (spec.epochs, spec.seed, spec.stride, spec.learning_rate) == (7, 9, 2, 0.5)
    assert spec.batch_size == PRESETS["market"]["lstm"]["batch_size"]


def test_nought_is_chosen_and_none_is_not(settings):
    spec = spec_from_settings(settings, "lstm", ["BTC-USD"], patience=0, dropout=0.0, weight_decay=None)
    assert (spec.patience, spec.dropout) == (0, 0.0)
    assert spec.weight_decay == PRESETS["market"]["lstm"]["weight_decay"]


@pytest.mark.parametrize("architecture", ["lstm", "lstm_one_way"])
def test_one_coin_per_lstm(settings, architecture):
    with pytest.raises(ConfigError, match="learns one coin, not 2"):
        spec_from_settings(settings, architecture, ["BTC-USD", "ETH-USD"])


@pytest.mark.parametrize("architecture", ["transformer", "boosting"])
def test_all_coins_for_the_others(settings, architecture):
    assert spec_from_settings(settings, architecture, ["BTC-USD", "ETH-USD"]).products == ("BTC-USD", "ETH-USD")


def test_value_that_makes_no_sense_is_refused_before_any_process_starts(settings):
    with pytest.raises(ConfigError, match=r"dropout is 2\.0"):
        spec_from_settings(settings, "lstm", ["BTC-USD"], dropout=2.0)


@flow(name="small")
def small(count: Count = 1) -> int:
    """Do little.

    Args:
        count: How often, a text that is long enough to be broken at the width of a terminal if it were set as a paragraph.
    """
    return count


def test_help_has_a_line_for_each_parameter(capsys):
    with pytest.raises(SystemExit, match="0"):
        run_from_shell(small, ["--help"])
    screen = capsys.readouterr().out
    assert "Do little." in screen
    assert "Args:" not in screen
    assert "  count  How often, a text that is long enough to be broken at the width of a terminal if it were" in screen


def test_wrong_parameter_is_one_line_that_says_what_is_taken(capsys):
    with pytest.raises(SystemExit, match="2"):
        run_from_shell(small, ["-p", "count=0"])
    told = "small: Flow run received invalid parameters: - count: Input should be greater than or equal to 1\n"
    assert capsys.readouterr().err == told


def test_require_all_names_each_failure_and_what_was_kept(monkeypatch):
    monkeypatch.setattr(train, "get_run_logger", lambda: logging.getLogger("test"))
    good = CandidateRef("lstm-BTC-USD-1", "lstm", ("BTC-USD",), "path")
    assert require_all([good]) == ["lstm-BTC-USD-1"]
    with pytest.raises(TrainingError, match=r"1 of 2 trainings failed: ETH-USD: killed\. Kept: lstm-BTC-USD-1"):
        require_all([good, TrainingError("ETH-USD: killed")])
