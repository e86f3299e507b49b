"""Compute the ledger: which minutes were asked for, as windows that are cut and merged.

Pure functions over intervals; `store.ingest` reads and writes the rows. A minute inside a window is, by the window's
state: answered (stored, or proved empty if there is no candle), quarantined or failed; outside all of them it was never
asked for.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from core.candles import MINUTE, Page, Span, floor_minute

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from datetime import datetime

ANSWERED = "answered"
QUARANTINED = "quarantined"
FAILED = "failed"

# an exchange publishes a minute some seconds after it closed; until then "no candle" proves nothing
SETTLE = timedelta(minutes=5)

REASK_AFTER = (timedelta(hours=1), timedelta(days=1), timedelta(days=7), timedelta(days=30))
"""How long after its first, second, third and fourth answer a minute without a candle is worth asking for again.

An exchange that lost a minute for a while gives it back within hours or days. After the fifth answer it is not asked
for again: a coin that nobody trades at night has thousands of such minutes.
"""


@dataclass(frozen=True, slots=True)
class Window:
    """One row of the ledger, without its product."""

    start: datetime
    end: datetime
    state: str
    asked_at: datetime
    tries: int
    reason: str
    source: str


def due_at(state: str, asked_at: datetime, tries: int) -> datetime | None:
    """Return from when on minutes of a window without a candle are worth asking for again; None for never.

    Failed ones at once; empty and quarantined ones by `REASK_AFTER`.
    """
    if state == FAILED:
        return asked_at
    return asked_at + REASK_AFTER[tries - 1] if tries <= len(REASK_AFTER) else None


def answered_window(page: Page) -> Window | None:
    """Return what a page proves: its window up to the last minute that was surely closed, or nothing.

    The still-open minute is never proved, and minutes younger than `SETTLE` only up to the last candle.
    """
    last = max((candle.open_time for candle in page.candles), default=page.window.start - MINUTE)
    settled = max(last + MINUTE, floor_minute(page.known_at - SETTLE))
    end = min(page.window.end, floor_minute(page.known_at), floor_minute(settled))
    if end <= page.window.start:
        return None
    return Window(page.window.start, end, ANSWERED, page.known_at, 1, "", page.source)


def told_windows(page: Page, nonsense: Mapping[datetime, str]) -> list[Window]:
    """Return what a page proves, with the minutes of which only ``nonsense`` was told apart.

    Args:
        page: The answer.
        nonsense: Minute -> the rule that was broken, of minutes without a good row in this answer.
    """
    window = answered_window(page)
    if window is None:
        return []
    bad = [
        replace(window, start=minute, end=minute + MINUTE, state=QUARANTINED, reason=reason)
        for minute, reason in sorted(nonsense.items())
        if window.start <= minute < window.end
    ]
    return merged([*_without(window, bad), *bad])


def recorded(windows: Sequence[Window], news: Window) -> list[Window]:
    """Return the windows of one product after ``news``, disjoint, merged and sorted by time, as ``windows`` must be.

    An answer removes the failures it covers; a failure never removes an answer. Of two answers about a minute the later
    one holds. A minute asked again an hour later or more counts one try more; the same answer told twice changes nothing.
    """
    low = bisect_left(windows, news.start, key=lambda window: window.end)
    high = bisect_right(windows, news.end, key=lambda window: window.start)
    return [*windows[:low], *merged(_combined(windows[low:high], news)), *windows[high:]]


def _combined(windows: Iterable[Window], news: Window) -> list[Window]:
    kept: list[Window] = []
    fresh = [news]
    for old in windows:
        if old.end <= news.start or old.start >= news.end:
            kept.append(old)
        elif old.state == news.state or FAILED not in {old.state, news.state}:
            kept += _without(old, [news])
            fresh = [piece for part in fresh for piece in _again(part, old)]
        elif old.state == FAILED:
            kept += _without(old, [news])
        else:
            kept.append(old)
            fresh = [piece for part in fresh for piece in _without(part, [old])]
    return [*kept, *fresh]


def _without(window: Window, holes: Sequence[Window]) -> list[Window]:
    """Return what is left of ``window`` outside ``holes``, which are disjoint and sorted by time."""
    pieces: list[Window] = []
    start = window.start
    for hole in holes:
        if hole.start > start:
            pieces.append(replace(window, start=start, end=min(hole.start, window.end)))
        start = max(start, hole.end)
    if start < window.end:
        pieces.append(replace(window, start=start))
    return [piece for piece in pieces if piece.start < piece.end]


def _again(part: Window, old: Window) -> list[Window]:
    """Return ``part`` with the minutes that ``old`` had already as the later of the two tells them."""
    start, end = max(part.start, old.start), min(part.end, old.end)
    if start >= end:
        return [part]
    if _order(part) > _order(old):
        both = replace(part, start=start, end=end, tries=old.tries + _is_new_try(part, old))
    else:
        both = replace(old, start=start, end=end)
    return [*_without(part, [both]), both]


def _order(window: Window) -> tuple[datetime, bool, str, str]:
    # of two answers at the same instant the one that is not believed counts, so that nothing is hidden
    return window.asked_at, window.state == QUARANTINED, window.reason, window.source


def _is_new_try(part: Window, old: Window) -> bool:
    # a live tail asks for the newest minutes many times within minutes; that proves no more than once
    return part.asked_at > old.asked_at if part.state == FAILED else part.asked_at - old.asked_at >= REASK_AFTER[0]


def settled(windows: Sequence[Window], stored: Collection[datetime]) -> list[Window]:
    """Return ``windows`` with the quarantined minutes that have a candle after all, among ``stored``, called answered."""
    result: list[Window] = []
    for window in windows:
        good = [
            replace(window, start=minute, end=minute + MINUTE, state=ANSWERED, reason="")
            for minute in sorted(stored)
            if window.state == QUARANTINED and window.start <= minute < window.end
        ]
        result += [*_without(window, good), *good]
    return merged(result)


def merged(windows: Iterable[Window]) -> list[Window]:
    """Join neighbours that say the same, so that a long history is a few rows."""
    result: list[Window] = []
    for window in sorted(windows, key=lambda window: window.start):
        last = result[-1] if result else None
        if last and last.end == window.start and _says(last) == _says(window):
            result[-1] = replace(last, end=window.end, asked_at=max(last.asked_at, window.asked_at))
        else:
            result.append(window)
    return result


def _says(window: Window) -> tuple[str, int, str, str, datetime]:
    # only within an hour of asking: a dead coin's one ever-growing window would never be due for another question
    hour = window.asked_at.replace(minute=0, second=0, microsecond=0)
    return window.state, window.tries, window.reason, window.source, hour


def not_covered(span: Span, windows: Sequence[Window]) -> list[Span]:
    """Return the parts of ``span`` that none of ``windows`` covers, oldest first."""
    holes: list[Span] = []
    reached = span.start
    for window in sorted(windows, key=lambda window: window.start):
        if window.start > reached:
            holes.append(Span(reached, min(window.start, span.end)))
        reached = max(reached, window.end)
        if reached >= span.end:
            return holes
    return [*holes, Span(reached, span.end)]
