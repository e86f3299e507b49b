"""How often a test part was looked at: trainings on the disk and those only the registry remembers."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from core.dataset_files import DatasetRef
from core.errors import DatasetError
from core.settings import Paths, load_settings
from models.judging.promotion import judging_order
from models.registry.events import RegistryEvent
from models.registry.trials import looks_at as count_looks
from models.training.candidate import finished_trainings
from tests.judged_models import write_candidate


@pytest.fixture
def paths(tmp_path):
    return Paths(tmp_path).make()


def data_set(paths, digest: str, *, test="2025-03-01", end="2025-04-01", products=("BTC-USD", "ETH-USD")) -> DatasetRef:
    manifest = {
        "digest": digest * 64,
        "feature_set": {"name": "seed39", "version": 1, "sha256": "f" * 64, "columns": []},
        "horizon_minutes": 15,
        "sources": [],
        "borders": dict.fromkeys(("early_stop", "calibration", "test"), f"{test}T00:00:00+00:00"),
        "span": {"start": "2025-01-01T00:00:00+00:00", "end": f"{end}T00:00:00+00:00"},
        "products": list(products),
    }
    path = paths.datasets / f"{digest * 16}.json"
    path.write_text(json.dumps(manifest))
    return DatasetRef(digest * 64, str(path.with_suffix(".parquet")), str(path))


def candidate(paths, name: str, digest: str, products=("BTC-USD",)) -> None:
    write_candidate(paths.checkpoints / name, dataset_digest=digest * 64, products=list(products))


def looks_at(dataset, paths, events) -> int:
    trained = {
        one.candidate_id: (one.dataset_digest, frozenset(one.products)) for one in finished_trainings(paths.checkpoints)
    }
    return count_looks(dataset, trained, events)


def judged(model: str, *, test="2025-03-01", end="2025-04-01", products="BTC-USD") -> RegistryEvent:
    why = f"judged profile=seed test={test}T00:00:00+00:00/{end}T00:00:00+00:00 of={products}"
    return RegistryEvent("1", datetime(2025, 5, 1, tzinfo=UTC), "trial", "lstm", model, "me", why)


def test_looks_at_a_test_part_nobody_saw_is_one(paths):
    assert looks_at(data_set(paths, "a"), paths, []) == 1


def test_looks_count_every_coin_of_every_training_on_the_same_minutes(paths):
    mine = data_set(paths, "a")
    data_set(paths, "b", test="2025-03-20", end="2025-05-01")
    candidate(paths, "lstm-BTC-USD-1", "a")
    candidate(paths, "transformer-all-1", "a", ("BTC-USD", "ETH-USD"))
    candidate(paths, "lstm-BTC-USD-2", "b")
    assert looks_at(mine, paths, []) == 4


def test_looks_leave_out_other_minutes_and_other_coins(paths):
    mine = data_set(paths, "a", products=("BTC-USD",))
    data_set(paths, "b", test="2025-04-01", end="2025-05-01", products=("BTC-USD",))
    data_set(paths, "c", products=("SOL-USD",))
    candidate(paths, "lstm-BTC-USD-2", "b")
    candidate(paths, "lstm-SOL-USD-1", "c", ("SOL-USD",))
    assert looks_at(mine, paths, [judged("lstm-BTC-USD-3-x", test="2024-01-01", end="2024-02-01")]) == 1


def test_looks_remember_trainings_whose_folder_is_gone_and_count_none_twice(paths):
    mine = data_set(paths, "a")
    candidate(paths, "lstm-BTC-USD-1", "a")
    gone = judged("lstm-BTC-USD-9-12345678")
    again = judged("lstm-BTC-USD-1-87654321")
    assert looks_at(mine, paths, [gone, gone, again]) == 2


def test_looks_count_a_training_whose_data_set_is_gone(paths):
    mine = data_set(paths, "a")
    candidate(paths, "lstm-BTC-USD-1", "a")
    candidate(paths, "lstm-BTC-USD-2", "f")  # nobody can tell what it was tested on
    assert looks_at(mine, paths, []) == 2


def test_looks_at_a_data_set_without_borders_is_refused(paths):
    mine = data_set(paths, "a")
    (paths.datasets / ("a" * 16 + ".json")).write_text('{"digest": "aaaa"}')
    with pytest.raises(DatasetError, match=r"lacks .*borders.*make features"):
        looks_at(mine, paths, [])


def test_judging_order_tells_the_gates_of_the_looks(paths):
    mine = data_set(paths, "a")
    candidate(paths, "lstm-BTC-USD-1", "a")
    candidate(paths, "lstm-BTC-USD-2", "a")
    settings = load_settings(desk_home=paths.home)
    assert judging_order(settings, 18.0, dataset=mine).profile.looks == 2
    assert judging_order(settings, 18.0).profile.looks == 1
