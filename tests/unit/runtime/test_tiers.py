from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.tiers import TierRules, TierTracker


@pytest.mark.parametrize(
    ("confidences", "tiers"),
    [
        ([0.80], ["high"]),
        ([0.60, 0.80, 0.80], ["low", "low", "high"]),
        ([0.60, 0.80, 0.60, 0.80, 0.80], ["low", "low", "low", "low", "high"]),
        ([0.60, 0.76, 0.76, 0.76], ["low", "low", "medium", "medium"]),
        ([0.80, 0.74, 0.74, 0.74], ["high"] * 4),
        ([0.80, 0.72, 0.72], ["high", "high", "medium"]),
        ([0.60, 0.80, 0.70], ["low", "low", "medium"]),
        ([0.80, 0.50, 0.70], ["high", "high", "medium"]),
        ([0.70, 0.80, 0.50, 0.50], ["medium", "medium", "medium", "low"]),
    ],
)
def test_tier_changes_after_two_minutes_past_the_margin(confidences: list[float], tiers: list[str]) -> None:
    tracker = TierTracker(TierRules())
    assert [tracker.update(confidence) for confidence in confidences] == tiers


def test_minute_without_probability_forgets_what_was_pending() -> None:
    tracker = TierTracker(TierRules())
    tracker.update(0.6)
    tracker.update(0.8)
    tracker.skip()
    assert tracker.update(0.8) == "low"
    assert tracker.update(0.8) == "high"


def test_restored_tracker_goes_on_from_its_tier() -> None:
    assert TierTracker.restored(TierRules(), "high").update(0.6) == "high"
    assert TierTracker.restored(TierRules(), None).update(0.6) == "low"


@given(st.lists(st.floats(0.5, 1.0), min_size=1, max_size=60))
def test_tier_never_changes_twice_in_two_minutes(confidences: list[float]) -> None:
    tracker = TierTracker(TierRules())
    tiers = [tracker.update(confidence) for confidence in confidences]
    changes = [number for number in range(1, len(tiers)) if tiers[number] != tiers[number - 1]]
    assert all(later - earlier >= 2 for earlier, later in itertools.pairwise(changes))
