"""Configurations from words and files, and what is refused."""

from __future__ import annotations

import pytest

from core.errors import ConfigError
from models.walk_forward.fold_runs import parse_configurations


def test_nothing_told_is_the_preset_alone():
    assert parse_configurations([]) == {"preset": {}}


def test_words_become_typed_changes():
    found = parse_configurations(["preset", "learning_rate=0.001, members=2", "dropout=0.2"])
    assert found == {
        "preset": {},
        "learning_rate=0.001, members=2": {"learning_rate": 0.001, "members": 2},
        "dropout=0.2": {"dropout": 0.2},
    }


def test_file_gives_named_configurations_before_the_words(tmp_path):
    path = tmp_path / "tried.toml"
    path.write_text('[[configuration]]\nname = "calm"\ndropout = 0.5\n[[configuration]]\nlearning_rate = 1e-4\n')
    assert list(parse_configurations(["preset"], path)) == ["calm", "learning_rate=0.0001", "preset"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["learning_rate"], "is not name=value"),
        (["layers=3"], "is no setting of a training; there are average_windows"),
        (["products=BTC-USD"], "is no setting of a training"),
        (["epochs=2.5"], "epochs is '2.5', it must be a whole number"),
        (["dropout=high"], "must be a number"),
        (["dropout=0.2", "dropout=0.20"], "twice"),
    ],
)
def test_words_that_make_no_sense_are_refused(words, said):
    with pytest.raises(ConfigError, match=said):
        parse_configurations(words)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not toml [",
        "configuration = 3",
        "[[trial]]\nepochs = 1",
        '[[configuration]]\nepochs = "many"',
        "[[configuration]]\nepochs = true",
    ],
)
def test_file_that_makes_no_sense_is_refused(tmp_path, text):
    path = tmp_path / "tried.toml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        parse_configurations([], path)


def test_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.toml cannot be read"):
        parse_configurations([], tmp_path / "nowhere.toml")
