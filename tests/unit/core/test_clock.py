"""The loop's clock: the start of the machine's, and the time that has passed since."""

from datetime import UTC, datetime, timedelta

import core.clock
from core.clock import SystemClock


def test_clock_set_back_or_forth_changes_nothing(monkeypatch):
    """A loop that believed it slept in silence for the hour it was set back."""
    clock = SystemClock()
    before = clock.now()

    class Another(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime(2001, 1, 1, tzinfo=UTC)

    monkeypatch.setattr(core.clock, "datetime", Another)
    assert timedelta() <= clock.now() - before < timedelta(seconds=5)


def test_wait_until_a_moment_that_has_passed_returns_at_once():
    clock = SystemClock()
    clock.wait_until(clock.now() - timedelta(hours=1))


def test_wait_until_sleeps_until_the_moment():
    clock = SystemClock()
    moment = clock.now() + timedelta(seconds=0.05)
    clock.wait_until(moment)
    assert clock.now() >= moment
