"""One rate limit for all processes of the machine."""

import asyncio
import multiprocessing
import struct
import time

import pytest

from desk.errors import ProviderError
from desk.exchange.limits import TokenBucket
from desk.providers.limiter import SharedLimiter

RATE = 40


def take(file, count, begin, answers):
    """Take permits in a process of its own and send back when each was given."""

    async def work():
        limiter = SharedLimiter(file, "exchange private", RATE)
        times = []

        async def one():
            await limiter.acquire()
            times.append(time.monotonic())

        await asyncio.gather(*(one() for _ in range(count)))
        limiter.close()
        return times

    begin.wait(30)
    answers.put(asyncio.run(work()))


def test_two_processes_share_one_rate_and_a_strict_bucket_refuses_nothing(tmp_path):
    context = multiprocessing.get_context("fork")
    begin, answers = context.Event(), context.Queue()
    file = tmp_path / "var" / "rate_limit.sqlite"
    workers = [context.Process(target=take, args=(file, RATE, begin, answers)) for _ in range(2)]
    for worker in workers:
        worker.start()
    begin.set()
    merged = sorted(moment for part in [answers.get(timeout=60) for _ in workers] for moment in part)
    for worker in workers:
        worker.join(30)
    now = iter([merged[0], *merged])
    bucket = TokenBucket(RATE, lambda: next(now))
    assert [bucket.take() for _ in merged].count(False) == 0
    # 80 permits, 13 of them at once: 67 intervals of 25 ms
    assert merged[-1] - merged[0] > 1.5


def timed(limiter, permits):
    async def work():
        started = time.monotonic()
        for _ in range(permits):
            await limiter.acquire()
        limiter.close()
        return time.monotonic() - started

    return asyncio.run(work())


def test_groups_do_not_share_a_rate(tmp_path):
    limiters = [SharedLimiter(tmp_path / "r.sqlite", group, 1) for group in ("a", "b", "c")]
    assert sum(timed(limiter, 1) for limiter in limiters) < 0.9


def test_rate_is_kept_by_whoever_comes_next(tmp_path):
    file = tmp_path / "r.sqlite"
    # eight permits at ten a second, three of them at once
    assert timed(SharedLimiter(file, "a", 10), 4) + timed(SharedLimiter(file, "a", 10), 4) > 0.45


def test_file_from_before_a_restart_stops_nobody(tmp_path):
    limiter = SharedLimiter(tmp_path / "r.sqlite", "a", 1)
    limiter._file.write_bytes(struct.pack("<q", time.monotonic_ns() + 10**15))
    assert timed(limiter, 1) < 0.9


@pytest.mark.parametrize("content", [b"", b"abc", b"\xff" * 8, b"longer than eight bytes"])
def test_file_of_other_content_stops_nobody_for_long(tmp_path, content):
    limiter = SharedLimiter(tmp_path / "r.sqlite", "a", 3)
    limiter._file.write_bytes(content)
    assert timed(limiter, 1) < 1.0


def test_file_that_cannot_be_opened_is_an_error_that_names_it(tmp_path):
    (tmp_path / "home").write_text("a file where a folder should be")
    limiter = SharedLimiter(tmp_path / "home" / "r.sqlite", "a", 1)
    with pytest.raises(ProviderError, match="cannot be used"):
        asyncio.run(limiter.acquire())
