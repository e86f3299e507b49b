"""Trials are counted whoever removed the folder, and one look at a test part is one look however often it is repeated."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from core.integrity import sha256_of
from models.registry import Registry
from models.registry.trials import JudgedPart, candidate_of, uses_of
from tests.judged_models import judgement_of, write_passport

SPAN = {"start": "2025-01-01T00:00:00+00:00", "end": "2025-03-01T00:00:00+00:00"}


def judge(
    registry,
    model_id,
    *,
    profile="seed",
    accepted=True,
    test="2025-02-20T00:00:00+00:00",
    at="noon",
    coins=("BTC-USD",),
):
    """Record a judging as the judge leaves it."""
    folder = registry.path.parent / "checkpoints" / candidate_of(model_id)
    write_passport(
        folder,
        model_id,
        products=list(coins),
        dataset_digest="d" * 64,
        borders={"test": test},
        span=SPAN,
        judged={
            "profile": {"name": profile, "min_accuracy": 0.6},
            "cost_bps": 18.0,
            "trials": 1,
            "stride_minutes": 1,
            "at": at,
        },
    )
    slots = tuple(f"lstm:{coin}" for coin in coins)
    return registry.record_judgement(judgement_of(folder, model_id, accepted=accepted, slots=slots, profile=profile))


def counts(registry, on_disk=()):
    found = registry.count_trials(on_disk)
    return found.trainings, found.judgings, found.unjudged, found.total


def test_training_counts_once_and_with_its_first_judging_too(tmp_path):
    registry = Registry(tmp_path / "registry.json")
    assert counts(registry) == (0, 0, 0, 0)
    assert len(registry.record_trainings(["lstm-BTC-a", "lstm-BTC-b", "lstm-BTC-a"])) == 2
    assert registry.record_trainings(["lstm-BTC-a"]) == ()
    assert counts(registry) == (2, 0, 2, 2)
    judge(registry, "lstm-BTC-a-1")
    assert counts(registry) == (2, 1, 1, 2)
    # found on the disk, recorded or not; and judged although nobody recorded its training
    assert counts(registry, ["lstm-BTC-b", "lstm-BTC-c"]) == (3, 1, 2, 3)
    judge(registry, "lstm-BTC-d-1")
    assert counts(registry) == (3, 2, 1, 3)


def test_judging_under_other_terms_is_another_trial_and_the_same_again_is_not(tmp_path):
    registry = Registry(tmp_path / "registry.json")
    assert [event.kind for event in judge(registry, "lstm-BTC-a-1")] == ["trial", "candidate"]
    assert judge(registry, "lstm-BTC-a-1") == ()
    assert counts(registry)[3] == 1
    judge(registry, "lstm-BTC-a-1", profile="selective", accepted=False)
    assert counts(registry)[3] == 2
    # judged anew under terms there were: another passport, the same look, and its verdict is told again
    again = judge(registry, "lstm-BTC-a-1", at="midnight")
    assert [event.kind for event in again] == ["trial", "candidate"]
    assert counts(registry)[3] == 2
    folder = tmp_path / "checkpoints" / "lstm-BTC-a"
    recorded = registry.recorded_passports("lstm-BTC-a-1")
    assert len(recorded) == 3
    assert recorded[-1] == sha256_of(folder / "passport.json")


def test_uses_of_a_test_part_count_what_overlaps_in_time_and_coin(tmp_path):
    registry = Registry(tmp_path / "registry.json")
    for number in range(3):
        judge(registry, f"lstm-BTC-{number}-1")
    judge(registry, "lstm-BTC-early-1", test="2025-02-01T00:00:00+00:00")
    judge(registry, "lstm-ETH-0-1", coins=("ETH-USD",))
    judge(registry, "transformer-all-0-1", coins=("BTC-USD", "ETH-USD"))

    def uses(day, coin):
        part = JudgedPart(datetime(2025, 2, day, tzinfo=UTC), datetime(2025, 2, day + 1, tzinfo=UTC), frozenset({coin}))
        return uses_of(part, registry.events())

    assert (uses(25, "BTC-USD"), uses(25, "ETH-USD"), uses(10, "BTC-USD"), uses(25, "SOL-USD")) == (5, 2, 1, 0)


def test_judgings_of_older_versions_count_until_they_are_repeated(tmp_path):
    registry = Registry(tmp_path / "registry.json")
    registry.record("trial", "lstm", "lstm-BTC-a-1", "judged")
    registry.record("trial", "lstm", "lstm-BTC-b-1", "judged")
    assert counts(registry)[3] == 2
    judge(registry, "lstm-BTC-a-1")
    assert counts(registry)[3] == 2
    assert json.loads(registry.path.read_text())["head"]["count"] == 4
