"""One rate limit for all processes of the machine."""

import asyncio
import multiprocessing
import struct
import time

import pytest

from core.errors import ProviderError
from market.exchange.server import running
from market.exchange.state import TokenBucket
from market.providers.rate_limiter import SharedLimiter

RATE = 40


def take(file, count, begin, answers):
    """Take permits in a process of its own and send back when each was given."""

    async def work():
        limiter = SharedLimiter(file, "exchange private", RATE)
        times = []

        async def item():
            await limiter.acquire()
            times.append(time.monotonic())

        await asyncio.gather(*(item() for _ in range(count)))
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


def test_hold_lets_nobody_pass_and_then_goes_on_at_the_rate(tmp_path):
    file = tmp_path / "r.sqlite"
    holder, other = (SharedLimiter(file, "a", 50) for _ in range(2))
    holder.hold(0.3)
    began = time.monotonic()
    timed(other, 1)
    held = time.monotonic() - began
    assert held > 0.25
    # no burst waits at its end: the next nine permits take 20 ms each
    assert timed(SharedLimiter(file, "a", 50), 9) > 0.15
    holder.close()


def test_hold_of_absurd_length_is_bounded_and_still_one(tmp_path):
    limiter = SharedLimiter(tmp_path / "r.sqlite", "a", 50)
    limiter.hold(1e9)
    (due,) = struct.unpack("<q", limiter._file.read_bytes())
    assert 170 < (due - time.monotonic_ns()) / 1e9 < 181
    limiter.close()


def backfill_in(home, urls, rate, product, answers):
    """Fetch eight days of a product in a process of its own, once the exchange's address is known."""
    from datetime import UTC, datetime, timedelta

    from core.candles import Span
    from core.settings import load_settings
    from market.providers.coinbase import CoinbaseProvider

    async def work(url):
        settings = load_settings(desk_home=home, coinbase_base_url=url, public_requests_per_second=rate)
        provider = CoinbaseProvider(settings)
        end = datetime(2024, 3, 1, tzinfo=UTC)
        windows = list(Span(end - timedelta(days=8), end).pages(300))
        pages = [page async for page in provider.pages(product, windows)]
        await provider.aclose()
        return len(pages)

    answers.put(asyncio.run(work(urls.get(timeout=30))))


@pytest.mark.slow
def test_three_processes_share_the_ceiling_and_a_strict_exchange_refuses_none(make_exchange, tmp_path):
    rate, products = 40, ("BTC-USD", "ETH-USD", "SOL-USD")
    exchange = make_exchange(public_rate=rate)
    context = multiprocessing.get_context("fork")
    urls, answers = context.Queue(), context.Queue()
    workers = [context.Process(target=backfill_in, args=(tmp_path, urls, rate, name, answers)) for name in products]
    for worker in workers:
        # before the server's thread begins: a process forked beside threads may inherit a lock that nobody lets go
        worker.start()
    with running(exchange) as url:
        began = time.monotonic()
        for _ in workers:
            urls.put(url)
        pages = sum(answers.get(timeout=60) for _ in workers)
        seconds = time.monotonic() - began
        for worker in workers:
            worker.join(30)
    assert pages == 3 * 39 and exchange.counts["status_429"] == 0
    # together, not each: a third of a second's permits at once, the others one after the other
    requested = exchange.counts["public_requests"] + exchange.counts["open_requests"]
    assert requested == 3 * 40 and seconds > (requested - rate / 3) / rate - 0.1
