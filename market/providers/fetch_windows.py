"""Fetch many windows concurrently, with retries; separate the pages that arrived from the windows that failed.

Coinbase's answer to a window is its last word: a minute without a row had no trade. Other sources answer less than they
are asked. Kraken returns its last 720 minutes whatever is asked for, Yahoo an empty table beyond 30 days, others cut
long answers without a word. From such a source a missing row proves something only between two rows of the same
answer, so a page reaches from the first of them to the last, and the rest is reported as not answered.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import stamina
from stamina.instrumentation import RetryHookFactory, set_on_retry_hooks

from core.candles import MINUTE, Page, Span, floor_minute
from core.errors import CredentialsError, ExchangeUnavailableError
from market.providers.base import FetchFailed, FetchFailedError, TryAgainError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Coroutine, Iterable
    from datetime import datetime

    from stamina.instrumentation import RetryDetails, RetryHook

T = TypeVar("T")
logger = logging.getLogger(__name__)

MARGIN_MINUTES = 60
"""Minutes asked for on either side of a window, in search of the rows that prove its first and last minutes.

Also the age under which a minute without a row is too young to be called unanswered."""

GIVE_UP_AFTER = 5
"""So many requests without an answer, and none with one between them, are an outage."""

MAX_UNAUTHORIZED = 3
"""Coinbase refuses good tokens now and then; three refusals in a row are meant."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a request is tried and how long is waited between, doubling, with jitter."""

    # waits of 1, 2, 4, 8 and 16 s, half a minute in all: what lasts longer is an outage, which the next run mends
    attempts: int = 6
    wait_initial: float = 1.0
    wait_max: float = 20.0
    wait_jitter: float = 1.0

    def wait_after(self, error: Exception) -> bool | float:
        """Return whether ``error`` is worth another try, as so many seconds where the exchange named them.

        The jitter goes on top: all who were given the same wait would otherwise come back in the same instant.
        """
        if not isinstance(error, TryAgainError):
            return False
        jitter = random.uniform(0, self.wait_jitter)  # noqa: S311  # spreads requests, guards nothing
        return True if error.wait is None else error.wait + jitter


@dataclass(frozen=True, slots=True)
class Subject:
    """What a request is about, as errors and the log may name it: no query and no header, so never a token."""

    host: str
    request: str
    """Such as ``GET /market/products/BTC-USD/candles for 2024-01-01 00:00 .. 2024-01-01 05:00``."""
    identity: str = "a request without a key"
    """Whom the exchange refuses when it answers 401."""
    repair: str = ""
    """What to do about such a refusal."""


async def with_retries(
    policy: RetryPolicy,
    subject: Subject,
    fetch: Callable[[], Awaitable[T]],
    *,
    after_refusal: Callable[[], Awaitable[object]] | None = None,
) -> T:
    """Call ``fetch`` until it answers usefully; a refused token is looked into (``after_refusal``) and tried again.

    Raises:
        ExchangeUnavailableError: the tries are used up.
        CredentialsError: 401, as often as is tolerated.
    """
    refusals = 0
    try:
        async for attempt in stamina.retry_context(
            on=policy.wait_after,
            attempts=policy.attempts,
            timeout=None,
            wait_initial=policy.wait_initial,
            wait_max=policy.wait_max,
            wait_jitter=policy.wait_jitter,
        ):
            with attempt:
                try:
                    return await fetch()
                except TryAgainError as error:
                    error.request = subject.request
                    refusals += error.status == 401
                    if refusals >= MAX_UNAUTHORIZED:
                        msg = f"{subject.host} refused {subject.identity} {refusals} times ({error}); {subject.repair}"
                        raise CredentialsError(msg) from error
                    if error.status == 401 and after_refusal is not None:
                        await after_refusal()
                    raise
    except TryAgainError as error:
        msg = (
            f"{subject.host} gave no useful answer in {policy.attempts} tries, the last: {error}; "
            "see its status page, then run the same command again"
        )
        raise ExchangeUnavailableError(msg) from error
    raise AssertionError(subject)  # the context above either returns or raises


def _retry_hook() -> RetryHook:
    return _log_retry


def _log_retry(details: RetryDetails) -> None:
    """Log one failed try: which, of what, why, and when the next one is."""
    error = details.caused_by
    logger.warning(
        "try %d of %s failed: %s; next in %.1f s",
        details.retry_num,
        getattr(error, "request", "") or details.name,
        str(error) or type(error).__name__,
        details.wait_for,
    )


# the library's own line says only that something is tried again; there is one such hook for the whole process
set_on_retry_hooks((RetryHookFactory(_retry_hook),))


@dataclass(frozen=True, slots=True)
class Fetched:
    """What one request brought: pages, and the parts of its windows of which nothing was learned."""

    pages: Sequence[Page] = ()
    unproved: Sequence[FetchFailed] = ()


async def fetch_windows(
    product: str,
    requests: Sequence[Sequence[Span]],
    fetch: Callable[[Sequence[Span]], Coroutine[None, None, Fetched]],
    *,
    concurrency: int,
    before: Callable[[], Awaitable[object]] | None = None,
    out_of_reach: Sequence[FetchFailed] = (),
) -> AsyncGenerator[Page, None]:
    """Make ``requests``, each for one or more windows, ``concurrency`` at a time; yield pages as they are answered.

    Args:
        product: Product id.
        requests: Windows that are asked for together.
        fetch: Makes one request, retries included.
        concurrency: Requests on the way at the same time; one that is being tried again holds back no page behind it.
        before: Asked once, before the requests, and not once for each request that goes out first.
        out_of_reach: Windows that nobody needs to ask for; reported as failed with the others.

    Raises:
        FetchFailedError: after all pages, if a window or a part of one was not answered.
    """
    waiting, tasks = deque(requests), dict[asyncio.Task[Fetched], Sequence[Span]]()
    failed, unproved, streak = list[FetchFailed](), list(out_of_reach), 0
    if before is not None and requests:
        await _asked_before(product, requests, before)
    try:
        while (waiting and streak < GIVE_UP_AFTER) or tasks:
            while waiting and len(tasks) < concurrency and streak < GIVE_UP_AFTER:
                windows = waiting.popleft()
                tasks[asyncio.create_task(fetch(windows))] = windows
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                windows = tasks.pop(task)
                try:
                    fetched = task.result()
                except ExchangeUnavailableError as error:
                    failed += [FetchFailed(window, str(error)) for window in windows]
                    streak += 1
                    continue
                streak = 0
                unproved += fetched.unproved
                for page in fetched.pages:
                    yield page
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if failed or unproved:
        raise FetchFailedError(product, [*failed, *join_failures(unproved)], gave_up=bool(waiting))


async def _asked_before(
    product: str, requests: Sequence[Sequence[Span]], before: Callable[[], Awaitable[object]]
) -> None:
    try:
        await before()
    except ExchangeUnavailableError as error:
        first = FetchFailed(requests[0][0], str(error))
        raise FetchFailedError(product, [first], gave_up=len(requests) > 1) from error


def proved_part(window: Span, open_times: Collection[datetime]) -> Span | None:
    """Return the part of ``window`` that lies between rows of one answer; None if no minute of it does.

    Args:
        window: What was asked for.
        open_times: Those of the answer's rows, outside ``window`` too.
    """
    if not open_times:
        return None
    start, end = max(window.start, min(open_times)), min(window.end, max(open_times) + MINUTE)
    return Span(start, end) if start < end else None


def unproved_parts(window: Span, proved: Span | None, present: datetime, cause: str) -> list[FetchFailed]:
    """Return what is left of ``window`` without ``proved``, minutes too young to have a row after them left out."""
    old = min(window.end, floor_minute(present) - MARGIN_MINUTES * MINUTE)
    ends = [(window.start, old)] if proved is None else [(window.start, min(proved.start, old)), (proved.end, old)]
    return [FetchFailed(Span(start, end), cause) for start, end in ends if start < end]


def join_failures(failed: Iterable[FetchFailed]) -> list[FetchFailed]:
    """Join neighbours that failed for the same cause, oldest first: years out of reach are one line, not thousands."""
    result: list[FetchFailed] = []
    for failure in sorted(failed, key=lambda part: part.window):
        last = result[-1] if result else None
        if last is not None and last.cause == failure.cause and last.window.end >= failure.window.start:
            whole = Span(last.window.start, max(last.window.end, failure.window.end))
            result[-1] = replace(last, window=whole)
        else:
            result.append(failure)
    return result
