"""What `desk demo` refuses before it starts anything."""

from __future__ import annotations

import json

import pytest

from core.errors import ConfigError
from desk import demo as command


@pytest.fixture(autouse=True)
def no_signal_handler(monkeypatch):
    monkeypatch.setattr(command.signal, "signal", lambda *_: None)


@pytest.mark.parametrize(
    "marker", [None, {"plan": "another", "finished": True}, {"plan": "another", "finished": False}]
)
def test_folder_with_files_of_somebody_is_refused_and_kept(tmp_path, marker):
    (tmp_path / "thesis.txt").write_text("years of work")
    if marker is not None:
        (tmp_path / "demo.json").write_text(json.dumps(marker))
    with pytest.raises(ConfigError, match=r"thesis\.txt.*choose another folder"):
        command.demo(home=tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("marker", ["{}", "[]", '{"plan": "another", "finished": true}'])
def test_folder_somebody_named_is_kept_without_fresh(tmp_path, marker):
    (tmp_path / "market.duckdb").write_text("candles of two years")
    (tmp_path / "demo.json").write_text(marker)
    with pytest.raises(ConfigError, match=r"--fresh deletes it"):
        command.demo(home=tmp_path)
    assert (tmp_path / "market.duckdb").read_text() == "candles of two years"


def test_store_of_somebody_without_a_demo_is_refused(tmp_path):
    (tmp_path / "market.duckdb").write_text("candles")
    with pytest.raises(ConfigError, match=r"it has no demo\.json"):
        command.demo(home=tmp_path)


@pytest.mark.parametrize(("data", "words"), [(None, "DATA=folder"), ("empty", "holds none of")])
def test_recorded_market_without_candles_names_the_option(tmp_path, data, words):
    folder = tmp_path / data if data else None
    with pytest.raises(ConfigError, match=words):
        command.demo(market=command.MarketKind.RECORDED, data=folder, home=tmp_path / "home")
