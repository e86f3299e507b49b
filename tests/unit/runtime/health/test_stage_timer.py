from __future__ import annotations

import pytest

from runtime.health.board import BUCKETS_SECONDS, StageTimer


@pytest.mark.parametrize(
    ("seconds", "p50", "p99"),
    [([], None, None), ([2.0], 2.0, 2.0), ([3.0, 1.0, 2.0], 2.0, 3.0), ([n / 100 for n in range(1, 201)], 1.0, 1.98)],
)
def test_quantiles_are_the_nearest_rank(seconds: list[float], p50: float | None, p99: float | None) -> None:
    timer = StageTimer("commit")
    for value in seconds:
        timer.add(value)
    times = timer.times()
    assert (times.p50_seconds, times.p99_seconds, times.count) == (p50, p99, len(seconds))


def test_buckets_count_what_took_at_most_so_long() -> None:
    timer = StageTimer("commit")
    for value in (0.005, 0.0051, 60.0, 61.0):
        timer.add(value)
    counts = dict(zip(BUCKETS_SECONDS, timer.times().bucket_counts, strict=True))
    assert (counts[0.005], counts[0.01], counts[30.0], counts[60.0]) == (1, 2, 2, 3)
    assert timer.times().sum_seconds == pytest.approx(121.0101)


def test_quantiles_are_of_the_last_thousand_counts_of_all() -> None:
    timer = StageTimer("commit")
    for value in [50.0] * 500 + [1.0] * 1000:
        timer.add(value)
    assert (timer.times().p99_seconds, timer.times().count) == (1.0, 1500)
