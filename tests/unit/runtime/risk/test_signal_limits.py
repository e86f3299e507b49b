from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.risk.signal_limits import RateLimiter, RateRules, TierRules, TierState

AT = datetime(2025, 1, 15, 12, tzinfo=UTC)
RULES = RateRules()
TIERS = TierRules()


def minute(number: float) -> datetime:
    return AT + timedelta(minutes=number)


def test_limiter_refuses_the_eleventh_signal_of_an_hour() -> None:
    limiter = RateLimiter(RULES)
    for number in range(10):
        assert limiter.refusal(minute(number), "low") is None
        limiter.record_signal(minute(number), "low")
    assert "limit is 10" in str(limiter.refusal(minute(59.9), "low"))
    assert limiter.refusal(minute(60), "low") is None


def test_limiter_refuses_the_sixth_high_signal_and_lets_a_medium_pass() -> None:
    limiter = RateLimiter(RULES)
    for number in range(5):
        limiter.record_signal(minute(number), "high")
    assert "limit is 5" in str(limiter.refusal(minute(10), "high"))
    assert limiter.refusal(minute(10), "medium") is None


@pytest.mark.parametrize(("gap", "blocked"), [(59, True), (60, False)])
def test_two_losses_within_sixty_minutes_block_sixty_minutes(gap: int, blocked: bool) -> None:
    limiter = RateLimiter(RULES)
    assert not limiter.record_loss(minute(0))
    assert limiter.record_loss(minute(gap)) == blocked
    assert (limiter.refusal(minute(gap + 59.9), "low") is not None) == blocked
    assert limiter.refusal(minute(gap + 60), "low") is None


def test_third_loss_prolongs_the_pause_without_beginning_another() -> None:
    limiter = RateLimiter(RULES)
    limiter.record_loss(minute(0))
    assert limiter.record_loss(minute(1))
    assert not limiter.record_loss(minute(30))
    assert limiter.refusal(minute(89), "low") is not None
    assert limiter.refusal(minute(90), "low") is None


def test_restored_limiter_refuses_what_the_old_one_would() -> None:
    signals = [(minute(number), "high" if number % 2 else "low") for number in range(8)]
    losses = [minute(20), minute(25)]
    old, new = RateLimiter(RULES), RateLimiter(RULES)
    for made_at, tier in signals:
        old.record_signal(made_at, tier)
    for moment in losses:
        old.record_loss(moment)
    new.restore(reversed(signals), reversed(losses))
    for number in range(26, 120):
        for tier in ("high", "low"):
            assert old.refusal(minute(number), tier) == new.refusal(minute(number), tier)


def tiers_of(confidences: list[float]) -> list[str]:
    states = itertools.accumulate(
        confidences, lambda state, confidence: state.after(confidence, TIERS), initial=TierState()
    )
    return [state.name for state in itertools.islice(states, 1, None)]


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
    assert tiers_of(confidences) == tiers


def test_minute_without_probability_forgets_what_was_pending() -> None:
    state = TierState().after(0.6, TIERS).after(0.8, TIERS).skipped().after(0.8, TIERS)
    assert state.name == "low"
    assert state.after(0.8, TIERS).name == "high"


def test_restored_tier_goes_on_from_the_last_decision() -> None:
    assert TierState.restored("high").after(0.6, TIERS).name == "high"
    assert TierState.restored(None).after(0.6, TIERS).name == "low"


def test_other_cuts_hold_from_the_next_minute_on() -> None:
    state, coverage = TierState.restored("low"), TierRules(0.58, 0.55, 0.006)
    assert state.after(0.6, coverage).after(0.6, coverage).name == "high"


@given(st.lists(st.floats(0.5, 1.0), min_size=1, max_size=60))
def test_tier_never_changes_twice_in_two_minutes(confidences: list[float]) -> None:
    tiers = tiers_of(confidences)
    changes = [number for number in range(1, len(tiers)) if tiers[number] != tiers[number - 1]]
    assert all(later - earlier >= 2 for earlier, later in itertools.pairwise(changes))
