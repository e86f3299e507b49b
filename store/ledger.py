"""The ledger's arithmetic: which minutes were asked for, as windows that are cut and merged.

Pure functions over intervals; `store.ingest` reads and writes the rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from desk.market import MINUTE, Page, Span, floor_minute

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

ANSWERED = "answered"
FAILED = "failed"

# an exchange publishes a minute some seconds after it closed; until then "no candle" proves nothing
SETTLE = timedelta(minutes=5)


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


def answered_window(page: Page) -> Window | None:
    """Return what a page proves: its window up to the last minute that was surely closed, or nothing.

    The still-open minute is never proved, and minutes younger than `SETTLE` only up to the last candle.
    """
    last = max((candle.open_time for candle in page.candles), default=page.window.start - MINUTE)
    settled = max(last + MINUTE, floor_minute(page.known_at - SETTLE))
    end = min(page.window.end, floor_minute(page.known_at), settled)
    if end <= page.window.start:
        return None
    return Window(page.window.start, end, ANSWERED, page.known_at, 1, "", page.source)


def recorded(windows: Iterable[Window], news: Window) -> list[Window]:
    """Return the windows of one product after ``news``, disjoint, merged and sorted by time.

    An answer removes the failures it covers; a failure never removes an answer. A minute asked again at a later
    time counts one try more; the same answer told twice changes nothing.
    """
    kept: list[Window] = []
    fresh = [news]
    for old in windows:
        if old.end <= news.start or old.start >= news.end:
            kept.append(old)
        elif old.state == FAILED or news.state == ANSWERED == old.state:
            kept += _cut(old, news)
            if old.state == news.state:
                fresh = [piece for part in fresh for piece in _again(part, old)]
        else:
            kept.append(old)
            fresh = [piece for part in fresh for piece in _cut(part, old)]
    return merged([*kept, *fresh])


def _cut(window: Window, hole: Window) -> list[Window]:
    """Return what is left of ``window`` outside ``hole``."""
    left = replace(window, end=min(window.end, hole.start))
    right = replace(window, start=max(window.start, hole.end))
    return [piece for piece in (left, right) if piece.start < piece.end]


def _again(part: Window, old: Window) -> list[Window]:
    """Return ``part`` with the minutes that ``old`` already had counted one try more."""
    start, end = max(part.start, old.start), min(part.end, old.end)
    if start >= end:
        return [part]
    is_new_try = part.asked_at > old.asked_at
    both = (
        replace(part, start=start, end=end, tries=old.tries + 1) if is_new_try else replace(old, start=start, end=end)
    )
    return [*_cut(part, both), both]


def merged(windows: Iterable[Window]) -> list[Window]:
    """Join neighbours that say the same, so that a long history is a few rows."""
    result: list[Window] = []
    for window in sorted(windows, key=lambda one: one.start):
        last = result[-1] if result else None
        if last and last.end == window.start and _says(last) == _says(window):
            result[-1] = replace(last, end=window.end, asked_at=max(last.asked_at, window.asked_at))
        else:
            result.append(window)
    return result


def _says(window: Window) -> tuple[str, int, str, str]:
    return window.state, window.tries, window.reason, window.source


def not_covered(span: Span, windows: Sequence[Window]) -> list[Span]:
    """Return the parts of ``span`` that none of ``windows`` covers, oldest first."""
    holes: list[Span] = []
    reached = span.start
    for window in sorted(windows, key=lambda one: one.start):
        if window.start > reached:
            holes.append(Span(reached, min(window.start, span.end)))
        reached = max(reached, window.end)
        if reached >= span.end:
            return holes
    return [*holes, Span(reached, span.end)]
