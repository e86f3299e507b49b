"""The short form of `desk null-check`: one world without an edge, one with shuffled labels, one with an edge, all the way."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from models.gates import gate_profile
from models.training.candidate import spec_as_json, train_spec
from validation.null_market.universe import BY_MINUTE, PLANTED_SET, PRODUCT, Universe, dataset_of
from validation.null_market.universe_process import try_universe

pytestmark = pytest.mark.slow
# two days of test say little about calibration: chance alone would show 0.05
PROFILE = gate_profile("seed", max_calibration_error=0.12)
EDGE = Universe(0, "planted", "", PLANTED_SET, 15, 11, 1)
NONE = Universe(1, "null", "", PLANTED_SET, 15, 12, 2)


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    """Two data sets; shuffled labels are those of the one with the edge."""
    folder = tmp_path_factory.mktemp("worlds")
    return {one.market: dataset_of(one, folder / one.market, best_accuracy=0.90) for one in (EDGE, NONE)}


@pytest.fixture
def outcome_of(worlds, tmp_path):
    def run(universe: Universe, epochs: int):
        spec = train_spec("lstm_one_way", (PRODUCT,), preset="demo", seed=universe.train_seed, epochs=epochs, stride=12)
        return try_universe(
            {
                "universe": asdict(universe),
                "dataset": asdict(worlds[universe.market]),
                "folder": str(tmp_path),
                "spec": spec_as_json(spec),
                "gates": asdict(PROFILE),
                "cost_bps": 18.0,
            }
        )

    return run


def test_planted_edge_is_found_trained_judged_and_promoted(outcome_of):
    found = outcome_of(EDGE, epochs=3)
    assert found.promoted, found
    assert found.passes("seed")
    assert found.figures["accuracy_above_base_rate"] > 0.75


@pytest.mark.parametrize("universe", [NONE, replace(EDGE, number=2, shuffle=BY_MINUTE)], ids=lambda one: one.kind)
def test_nothing_is_promoted_where_there_is_nothing_to_find(outcome_of, universe):
    found = outcome_of(universe, epochs=1)
    assert not found.failure
    assert not found.promoted
    # by the figures, whatever canaries and controls say
    assert {"accuracy_above_base_rate", "brier_skill"} & set(found.refused_by)
