"""`desk leak-check` as a person runs it, and its audit of a data set that is really there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from core.candles import MINUTE, Candle, Page, Span
from models.judging.leak_canaries import Leak
from store.feature_store import FeatureStore
from validation.leakage.audit import newest_data_set, plant_steps
from validation.leakage.dataset_checks import SPOILED
from validation.leakage.fit_checks import PIPELINES
from validation.leakage.leak_list import LEAKS, LeakCheck, Where, plants
from validation.leakage.point_in_time import CutlessStore
from validation.leakage.sql_interventions import START, small_market

if TYPE_CHECKING:
    from pathlib import Path

    from core.settings import Settings

COINS = ("BTC-USD", "ETH-USD")
SPAN = Span(START, START + 1_100 * MINUTE)


def run(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "desk", "leak-check", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"DESK_HOME": str(home)},
    )


def test_command_on_a_planted_set_names_leak_place_and_repair(tmp_path: Path) -> None:
    done = run(tmp_path, "--set", "leak_future_shift", "--format", "json")
    checks = json.loads(done.stdout)
    assert done.returncode == 1
    assert [check["holds"] for check in checks] == [False, False]
    assert {leak["name"] for check in checks for leak in check["leaks"]} == {"future shift"}


def test_command_on_an_unknown_set_names_those_there_are(tmp_path: Path) -> None:
    done = run(tmp_path, "--set", "crystal_ball")
    assert done.returncode == 2
    assert "seed39" in done.stderr
    assert "Traceback" not in done.stderr


def test_every_leak_has_a_repair_and_every_plant_of_the_list_is_there() -> None:
    assert all(known.repair for known in LEAKS.values())
    assert set(SPOILED) == set(plants(Where.DATASET))
    assert set(PIPELINES) == set(plants(Where.FIT))
    assert plant_steps() == 29


@pytest.mark.parametrize(
    ("expected", "leaks", "holds"),
    [
        ("", [], True),
        ("", [Leak("look-ahead", "a", "b")], False),
        ("look-ahead", [Leak("look-ahead", "a", "b")], True),
        ("future shift", [Leak("look-ahead", "a", "b")], False),
        ("future shift", [], False),
    ],
)
def test_check_holds_when_dark_or_when_the_plant_is_named(expected: str, leaks: list[Leak], *, holds: bool) -> None:
    assert LeakCheck("a check", 1, leaks, expected).holds is holds


def filled(settings: Settings, store_type: type[FeatureStore]) -> FeatureStore:
    """Two coins, some of whose candles were revised a day after the data set's cut."""
    store = store_type(settings.paths.market_db)
    store.migrate()
    cut = SPAN.end + 60 * MINUTE
    candles = [candle for candle in small_market(4) if candle.product in COINS]
    for product in COINS:
        own = tuple(candle for candle in candles if candle.product == product)
        store.record_pages([Page(product, SPAN, own, cut, "local:test")])
    revised = [
        Page(c.product, Span(c.open_time, c.open_time + MINUTE), (c,), cut + 1_440 * MINUTE, "local:test")
        for c in map(louder, candles[500:560])
    ]
    store.record_pages(revised)
    store.export_dataset(COINS, SPAN, settings.paths.datasets, feature_set="seed39", known_at_cut=cut)
    return store


def louder(candle: Candle) -> Candle:
    return replace(candle, high=candle.high * 2, close=candle.high * 2)


def audited(settings: Settings) -> list[LeakCheck]:
    found: list[LeakCheck] = []
    newest_data_set(settings.paths, found.append)
    return found


def test_audit_of_a_sound_data_set_is_dark(settings: Settings) -> None:
    filled(settings, FeatureStore)
    checks = audited(settings)
    assert len(checks) == 4
    assert all(check.probes and check.holds for check in checks), checks


def test_audit_sees_a_data_set_that_knows_later_revisions(settings: Settings) -> None:
    filled(settings, CutlessStore)
    named = {leak.name for check in audited(settings) for leak in check.leaks}
    assert "revised candle" in named


def test_audit_without_a_store_or_data_set_says_so(settings: Settings) -> None:
    (nothing,) = audited(settings)
    assert "make backfill" in nothing.note
    FeatureStore(settings.paths.market_db).migrate()
    (empty,) = audited(settings)
    assert "make features" in empty.note
    assert empty.holds
