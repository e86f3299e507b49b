"""Worlds without an edge: what is shuffled, what is left alone, and how an outcome is counted."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from core.errors import DatasetError
from core.integrity import sha256_of
from models.datasets.dataset import load_dataset
from models.datasets.scaler import fit_scaler
from models.gates import GateResult
from models.gates.judgement import Judgement, ProductVerdict
from models.judging.leak_canaries import failing_canaries
from tests.small_dataset import write_dataset
from validation.null_market.universe import (
    ALWAYS_ON,
    AUDITS,
    BY_DAY,
    BY_MINUTE,
    EPOCH_WINDOWS,
    Sizes,
    Universe,
    failed,
    outcome,
    outcome_from_json,
    shuffled,
    training_of,
    universes,
)

SIZES = Sizes(20, 4, null_days=30, planted_days=120, features=("flow", "seed39"))


@pytest.fixture(scope="module")
def reference(tmp_path_factory, request):
    # so long that the calibration part, 7.5 %, has two days
    return write_dataset(tmp_path_factory.mktemp("whole"), minutes=40_000)


def parts(data, column):
    return {part: np.sort(column[data.part_N == part]) for part in range(4)}


def edge(data) -> float:
    """Return how well the planted inputs tell the direction on the training part."""
    rows = (data.part_N == 0) & (data.coin_N == 0)
    return float(np.mean((data.x_NF[rows, :6].mean(axis=1) > 0) == (data.direction_N[rows] == 1)))


def test_labels_shuffled_by_minute_are_the_same_ones_in_each_part_and_tell_nothing(reference, tmp_path):
    whole, mixed = load_dataset(reference), load_dataset(shuffled(reference, tmp_path, 1, BY_MINUTE))
    for part, values in parts(whole, whole.return_N).items():
        assert (values == parts(mixed, mixed.return_N)[part]).all()
    assert (mixed.x_NF == whole.x_NF).all()
    assert edge(whole) > 0.6
    assert edge(mixed) == pytest.approx(0.5, abs=0.02)
    # direction and return of a label stay together
    labelled = mixed.direction_N >= 0
    assert ((mixed.return_N[labelled] > 0) == (mixed.direction_N[labelled] == 1)).all()
    assert set(failing_canaries(mixed, fit_scaler(mixed))) == {"labels"}


def test_labels_shuffled_by_day_tell_nothing_and_light_no_canary(reference, tmp_path):
    whole, moved = load_dataset(reference), load_dataset(shuffled(reference, tmp_path, 1, BY_DAY))
    assert (moved.x_NF == whole.x_NF).all()
    assert edge(moved) == pytest.approx(0.5, abs=0.05)
    assert failing_canaries(moved, fit_scaler(moved)) == {}
    for product in whole.coins:
        for part in ("train", "early_stop", "calibration", "test"):
            lost = len(whole.rows(product, part)) - len(moved.rows(product, part))
            assert 0 <= lost <= 2 * whole.horizon_minutes
    # neighbours still share their minutes, which is what makes this null hard
    rows = moved.rows("BTC-USD", "train")
    assert np.mean(moved.direction_N[rows][1:] == moved.direction_N[rows][:-1]) > 0.8


def test_shuffling_is_seeded_and_leaves_the_original_alone(make_dataset, tmp_path):
    small = make_dataset(minutes=2_000)
    before = sha256_of(Path(small.path))
    first = shuffled(small, tmp_path / "a", 1, BY_MINUTE)
    assert shuffled(small, tmp_path / "b", 1, BY_MINUTE).digest == first.digest
    assert shuffled(small, tmp_path / "c", 2, BY_MINUTE).digest != first.digest
    assert sha256_of(Path(small.path)) == before
    assert json.loads(Path(first.manifest_path).read_text())["shuffled"] == "by minute, seed 1"


def test_shuffling_by_day_of_a_part_shorter_than_two_days_is_refused(make_dataset, tmp_path):
    with pytest.raises(DatasetError, match="take a longer span"):
        shuffled(make_dataset(), tmp_path / "a", 1, BY_DAY)
    with pytest.raises(DatasetError, match="by minute or by day, not 'by week'"):
        shuffled(make_dataset(), tmp_path / "a", 1, "by week")


def test_universes_are_all_different_and_keep_their_seeds_when_there_are_more():
    few, many = universes(SIZES, 1), universes(replace(SIZES, nulls=40, planted=9), 1)
    assert set(few) < set(many)
    assert len({one.market_seed for one in many}) == len({one.number for one in many}) == 49
    assert not {one.market_seed for one in few} & {one.market_seed for one in universes(SIZES, 2)}


def test_universes_without_an_edge_take_turns_with_markets_shuffles_and_sets():
    nulls = [one for one in universes(SIZES, 1) if one.is_null]
    assert len(nulls) == 20
    assert {(one.market, one.shuffle) for one in nulls} == {
        ("null", ""),
        ("planted", BY_MINUTE),
        ("planted", BY_DAY),
        ("null", BY_DAY),
    }
    assert {(one.kind, one.features) for one in nulls} >= {("null", "flow"), ("null", "seed39")}


def test_universes_with_an_edge_are_spread_among_the_others():
    found = universes(SIZES, 1)
    planted = [place for place, one in enumerate(found) if not one.is_null]
    assert len(planted) == 4
    assert all(4 <= later - earlier <= 8 for earlier, later in pairwise(planted))


def test_training_of_a_universe_has_as_many_windows_whatever_its_days():
    for days in (30, 120):
        spec = training_of(Universe(0, "null", "", "flow", days, 1, 5), "lstm_one_way", "BTC-USD")
        assert days * 1440 * 0.7 / spec.stride == pytest.approx(EPOCH_WINDOWS, rel=0.05)
        assert (spec.seed, spec.architecture, spec.products) == (5, "lstm_one_way", ("BTC-USD",))


def judged(**passed: bool) -> Judgement:
    gates = tuple(GateResult(name, is_passed, 0.5, 0.6, 0.4, 0.7, "So.") for name, is_passed in passed.items())
    verdict = ProductVerdict("BTC-USD", "lstm:BTC-USD", all(passed.values()), gates)
    return Judgement("model", "lstm", "folder", "seed", (verdict,), ())


def test_outcome_counts_what_each_profile_and_the_gates_that_always_hold_would_do():
    judgement = judged(min_accuracy=False, calibration_error=True, brier_skill=True, no_leak_canary=False)
    profiles = {"seed": ["min_accuracy", "no_leak_canary"], "calibrated": ["no_leak_canary"]}
    found = outcome(Universe(0, "planted", BY_DAY, "flow", 30, 1, 1), judgement, profiles, promoted=False, seconds=1.0)
    assert found.refused_by == ("min_accuracy", "no_leak_canary")
    assert found.refused_under[ALWAYS_ON] == ("no_leak_canary",)
    assert not found.passes("calibrated")
    assert found.passes("calibrated", without=AUDITS)
    assert not found.passes("seed", without=AUDITS)
    assert found.figures["brier_skill low"] == 0.4
    assert outcome_from_json(json.loads(json.dumps(asdict(found)))) == found


def test_outcome_of_a_failed_training_passes_nothing():
    found = failed(Universe(0, "null", "", "flow", 30, 1, 1), "the loss is no longer a number")
    assert not found.promoted
    assert not found.passes("seed", without=AUDITS)
    assert outcome_from_json(json.loads(json.dumps(asdict(found)))) == found
