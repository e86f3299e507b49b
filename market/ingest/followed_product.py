"""Keep where a followed product stands (what to ask for next, what of an answer may be stored) and what following came to."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from core.candles import MINUTE, Page, Span
from core.files import write_json
from market.providers import PAGE_MINUTES
from store.ledger import SETTLE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from store.ingest import WriteCount

REREAD_AFTER = timedelta(minutes=2)
"""So long after its close a minute is read once more: by then it has settled."""
PROVED_EMPTY_AFTER = SETTLE
"""So long after its close a minute without a candle has none."""
MAX_REQUEST = PAGE_MINUTES * MINUTE
"""A gap longer than one request is filled beside the minutes of the present, not before them."""


class ProductStanding(NamedTuple):
    """Where a product stood before a commit."""

    settled_until: datetime
    newest: datetime | None


@dataclass(slots=True)
class FollowedProduct:
    """One product while it is followed."""

    product: str
    settled_until: datetime
    """The first minute that the exchange still has to be asked for, perhaps not for the first time."""
    newest: datetime | None = None
    """The newest minute stored."""
    failure: str = ""
    """Why the last request was not answered; empty when it was."""
    gap_failure: str = ""
    """Why the last try to fill a long gap left some of it."""
    is_offered: bool = True

    @property
    def progress(self) -> ProductStanding:
        """Where the product stands, for `reset` when a commit fails."""
        return ProductStanding(self.settled_until, self.newest)

    def reset(self, progress: ProductStanding) -> None:
        """Go back to where the product stood."""
        self.settled_until, self.newest = progress

    def wanted(self, last: datetime) -> Span | None:
        """Return what to ask for when ``last`` is the newest closed minute; never more than one request answers."""
        start = max(self.settled_until, last + MINUTE - MAX_REQUEST)
        return Span(start, last + MINUTE) if start <= last else None

    def take(self, pages: Sequence[Page], last: datetime) -> list[Page]:
        """Note what ``pages`` settle; return them cut to what may be recorded.

        Left out are minutes that were not wanted, and young ones without a candle: that there is none is said to the
        ledger once, when it is proved.
        """
        wanted = self.wanted(last)
        inside = [part for page in pages if wanted is not None and (part := _cut(page, wanted)) is not None]
        kept = [part for page in inside for span in _proved(page) if (part := _cut(page, span)) is not None]
        self._settle(inside)
        # a row without numbers is set aside by the store
        stored = [candle.open_time for page in kept for candle in page.candles if candle.close.is_finite()]
        self.newest = max([*stored, *([self.newest] if self.newest else [])], default=None)
        return kept

    def _settle(self, pages: Sequence[Page]) -> None:
        """Move on over the minutes that need not be asked for again."""
        with_candle = {candle.open_time for page in pages for candle in page.candles}
        known_at = {minute: page.known_at for page in pages for minute in _minutes(page.window)}
        while (minute := self.settled_until) in known_at:
            wait = REREAD_AFTER if minute in with_candle else PROVED_EMPTY_AFTER
            if minute + MINUTE + wait > known_at[minute]:
                return
            self.settled_until += MINUTE


@dataclass(slots=True)
class FollowStats:
    """Counts of one session, and the delay of every minute that was stored live."""

    minutes: int = 0
    stored: int = 0
    """Candles of minutes that had none, those of filled gaps included."""
    revised: int = 0
    quarantined: int = 0
    outages: int = 0
    delays: list[float] = field(default_factory=list)
    """Seconds from a minute's close to its commit, one a minute."""

    def add(self, count: WriteCount, delay: float | None) -> None:
        """Count one commit; ``delay`` is its distance from the close of a minute it stored first."""
        self.stored += count.stored
        self.revised += count.revised
        self.quarantined += count.quarantined
        if delay is not None:
            self.delays.append(delay)

    def delay(self, share: float) -> float | None:
        """Return the delay, seconds, that ``share`` of the minutes did not exceed (nearest rank); None without any."""
        if not self.delays:
            return None
        ordered = sorted(self.delays)
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)]

    @property
    def delay_summary(self) -> str:
        """The delays in one phrase."""
        if not self.delays:
            return "no minute stored live yet"
        p50, p95, longest = (self.delay(share) for share in (0.5, 0.95, 1.0))
        return f"close to commit p50 {p50:.2f} s, p95 {p95:.2f} s, max {longest:.2f} s over {len(self.delays)} minutes"

    def write(self, file: Path) -> None:
        """Write the figures as JSON, for people and their own tools; nothing here reads them back."""
        counts = {name: getattr(self, name) for name in ("minutes", "stored", "revised", "quarantined", "outages")}
        delays = {"p50": self.delay(0.5), "p95": self.delay(0.95), "max": self.delay(1.0), "count": len(self.delays)}
        write_json(file, {**counts, "delay_seconds": delays})


def merge_spans(spans: Iterable[Span]) -> list[Span]:
    """Return the same minutes as sorted spans that neither overlap nor touch."""
    merged: list[Span] = []
    for span in sorted(spans):
        if merged and span.start <= merged[-1].end:
            merged[-1] = Span(merged[-1].start, max(merged[-1].end, span.end))
        else:
            merged.append(span)
    return merged


def _cut(page: Page, span: Span) -> Page | None:
    """Return the part of ``page`` that lies in ``span``."""
    start, end = max(page.window.start, span.start), min(page.window.end, span.end)
    if start >= end:
        return None
    candles = tuple(candle for candle in page.candles if start <= candle.open_time < end)
    return Page(page.product, Span(start, end), candles, page.known_at, page.source)


def _proved(page: Page) -> list[Span]:
    """Return the minutes of ``page`` that have a candle, or are old enough to be proved empty."""
    with_candle = {candle.open_time for candle in page.candles}
    return merge_spans(
        Span(minute, minute + MINUTE)
        for minute in _minutes(page.window)
        if minute in with_candle or minute + MINUTE + PROVED_EMPTY_AFTER <= page.known_at
    )


def _minutes(span: Span) -> Iterator[datetime]:
    return (part.start for part in span.pages(1))
