"""Find with few requests when a product's history begins.

An exchange names no listing date, so windows are probed: the opening one, then one a month (a week, if no month shows
anything), then halves between the last empty and the first full one. A window may be empty although the product is
listed, in an outage or with a thinly traded product, so a probe that finds nothing while halving looks a second time later.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from core.candles import MINUTE, Page, Span, floor_minute
from market.providers.base import IN_FLIGHT, PAGE_MINUTES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from datetime import datetime

    Ask = Callable[[Span], Awaitable[Page | None]]

_PAGE = PAGE_MINUTES * MINUTE


async def first_open_time(ask: Ask, span: Span) -> datetime | None:
    """Return the open time of the first candle in ``span``, or None if no probe finds one.

    Args:
        ask: Returns the page of a window of at most ``PAGE_MINUTES`` minutes.
        span: Where to look.
    """
    opening = await _first_in(ask, span, span.start)
    if opening is not None:
        return opening
    # a month first: two years take 24 requests side by side; only a product without a trade at any of them costs 104 more
    for step in (timedelta(days=30), timedelta(days=7)):
        starts = [span.start + step * count for count in range(1, (span.end - span.start) // step + 1)]
        starts.append(max(span.start, span.end - _PAGE))
        hit = await _first_hit(ask, span, starts)
        if hit is not None:
            low = max((start for start in starts if start <= hit - step), default=span.start)
            return await _halved(ask, span, low, hit)
    return None


async def _first_hit(ask: Ask, span: Span, starts: Sequence[datetime]) -> datetime | None:
    """Probe all ``starts``, a few at a time; return the first candle that any of them saw."""
    gate = asyncio.Semaphore(IN_FLIGHT)

    async def probe(start: datetime) -> datetime | None:
        async with gate:
            return await _first_in(ask, span, start)

    seen = await asyncio.gather(*(probe(start) for start in starts))
    return min((moment for moment in seen if moment is not None), default=None)


async def _halved(ask: Ask, span: Span, low: datetime, high: datetime) -> datetime:
    """Return the first candle, known to lie after ``low`` and not after ``high``, where there is one."""
    while high - low > _PAGE:
        middle = floor_minute(low + (high - low) / 2)
        later = floor_minute(middle + (high - middle) / 2)
        seen = await _first_in(ask, span, middle) or await _first_in(ask, span, later)
        if seen is None or seen >= high:
            low = middle + MINUTE
        else:
            high = seen
    while (earlier := await _first_in(ask, span, max(span.start, high - _PAGE))) is not None and earlier < high:
        high = earlier
    return high


async def _first_in(ask: Ask, span: Span, start: datetime) -> datetime | None:
    end = min(start + _PAGE, span.end)
    page = await ask(Span(start, end)) if start < end else None
    return page.candles[0].open_time if page is not None and page.candles else None
