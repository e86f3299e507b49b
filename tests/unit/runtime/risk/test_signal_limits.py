from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from runtime.risk.signal_limits import RateLimiter, RateRules

AT = datetime(2025, 1, 15, 12, tzinfo=UTC)
RULES = RateRules()


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
