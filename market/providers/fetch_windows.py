"""Asking a source several things at a time, and keeping what it said apart from what it left unsaid.

Coinbase's answer to a window is its last word: a minute without a row had no trade. Other sources answer less than they
are asked. Kraken returns its last 720 minutes whatever is asked for, Yahoo an empty table beyond 30 days, others cut
long answers without a word. From such a source a missing row proves something only between two rows of the same
answer, so a page reaches from the first of them to the last, and the rest is reported as not answered.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import stamina

from core.candles import MINUTE, Page, Span, floor_minute
from core.errors import ExchangeUnavailableError
from market.providers.base import FailedWindow, NoAnswerError, RequestError, WindowsFailedError
from market.providers.coinbase_wire import TryAgainError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Iterable
    from datetime import datetime

    from market.providers.retries import RetryPolicy

T = TypeVar("T")

MARGIN_MINUTES = 60
"""Minutes asked for on either side of a window, in search of the rows that prove its first and last minutes.

Also the age under which a minute without a row is too young to be called unanswered."""

GIVE_UP_AFTER = 5
"""So many questions without an answer, and none with one between them, are an outage."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one question brought: pages, and the parts of its windows of which nothing was learned."""

    pages: Sequence[Page] = ()
    unproved: Sequence[FailedWindow] = ()


async def ask_each(
    product: str,
    questions: Iterable[Sequence[Span]],
    ask: Callable[[Sequence[Span]], Coroutine[None, None, Answer]],
    *,
    at_once: int,
    hopeless: Sequence[FailedWindow] = (),
) -> AsyncGenerator[Page, None]:
    """Put ``questions``, each of one or more windows, ``at_once`` at a time; yield pages as they are answered.

    Args:
        product: Product id.
        questions: Windows that are asked for together.
        ask: Asks once, retries included.
        at_once: Questions on the way at the same time.
        hopeless: Windows that nobody needs to ask for; reported as failed with the others.

    Raises:
        WindowsFailedError: after all pages, if a window or a part of one was not answered.
    """
    waiting, tasks = deque(questions), dict[asyncio.Task[Answer], Sequence[Span]]()
    failed: list[FailedWindow] = []
    unproved, streak = list(hopeless), 0
    try:
        while (waiting and streak < GIVE_UP_AFTER) or tasks:
            while waiting and len(tasks) < at_once and streak < GIVE_UP_AFTER:
                windows = waiting.popleft()
                tasks[asyncio.create_task(ask(windows))] = windows
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                windows = tasks.pop(task)
                try:
                    answer = task.result()
                except ExchangeUnavailableError as error:
                    failed += [_failure(window, error) for window in windows]
                    streak += 1
                    continue
                streak = 0
                unproved += answer.unproved
                for page in answer.pages:
                    yield page
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if failed or unproved:
        raise WindowsFailedError(product, [*failed, *joined(unproved)], gave_up=bool(waiting))


def _failure(window: Span, error: ExchangeUnavailableError) -> FailedWindow:
    if isinstance(error, RequestError):
        return FailedWindow(window, str(error), error.request, error.cause)
    return FailedWindow(window, str(error))


async def tried(policy: RetryPolicy, place: str, ask: Callable[[], Coroutine[None, None, T]]) -> T:
    """Ask ``place`` until it answers usefully.

    Raises:
        NoAnswerError: the tries are used up.
    """
    try:
        async for attempt in stamina.retry_context(
            on=policy.after,
            attempts=policy.attempts,
            timeout=None,
            wait_initial=policy.wait_initial,
            wait_max=policy.wait_max,
            wait_jitter=policy.wait_jitter,
        ):
            with attempt:
                return await ask()
    except TryAgainError as error:
        msg = (
            f"{place} gave no useful answer in {policy.attempts} tries, the last: {error}; "
            "see its status page, then run the same command again"
        )
        raise NoAnswerError(msg, request=error.request, cause=error.cause, tries=policy.attempts) from error
    raise AssertionError(place)  # the context above either returns or raises


def proved_part(window: Span, told: Collection[datetime]) -> Span | None:
    """Return the part of ``window`` that lies between rows of one answer; None if no minute of it does.

    Args:
        window: What was asked for.
        told: Open times of the answer's rows, those outside ``window`` too.
    """
    if not told:
        return None
    start, end = max(window.start, min(told)), min(window.end, max(told) + MINUTE)
    return Span(start, end) if start < end else None


def unproved_parts(window: Span, proved: Span | None, present: datetime, reason: str) -> list[FailedWindow]:
    """Return what is left of ``window`` without ``proved``, minutes too young to have a row after them left out."""
    old = min(window.end, floor_minute(present) - MARGIN_MINUTES * MINUTE)
    ends = [(window.start, old)] if proved is None else [(window.start, min(proved.start, old)), (proved.end, old)]
    return [FailedWindow(Span(start, end), reason) for start, end in ends if start < end]


def joined(failed: Iterable[FailedWindow]) -> list[FailedWindow]:
    """Join neighbours that failed for the same reason, oldest first: years out of reach are one line, not thousands."""
    result: list[FailedWindow] = []
    for one in sorted(failed, key=lambda part: part.window):
        last = result[-1] if result else None
        if last is not None and last.reason == one.reason and last.window.end >= one.window.start:
            whole = Span(last.window.start, max(last.window.end, one.window.end))
            result[-1] = replace(last, window=whole)
        else:
            result.append(one)
    return result


def closed_part(window: Span, present: datetime) -> Span | None:
    """Return the part of ``window`` whose minutes are over at ``present``."""
    end = min(window.end, floor_minute(present))
    return Span(window.start, end) if window.start < end else None
