"""Where one followed product stands: what has to be asked for, and what of an answer may be stored."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from core.candles import MINUTE, Page, Span
from market.providers import PAGE_MINUTES
from store.ledger import SETTLE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from core.candles import Candle

REREAD_AFTER = timedelta(minutes=2)
"""So long after its close a minute is read once more: by then it has settled."""
PROVED_EMPTY_AFTER = SETTLE
"""So long after its close a minute without a candle has none."""
LONGEST_ASK = PAGE_MINUTES * MINUTE
"""A gap longer than one request is filled beside the minutes of the present, not before them."""
_VALUES = ("open", "high", "low", "close", "volume")


@dataclass(frozen=True, slots=True)
class Difference:
    """A minute that was built from trades and that the exchange tells otherwise."""

    built: Candle
    told: Candle | None
    """None where it has no candle of the minute at all."""

    def __str__(self) -> str:
        """Return one line that names every value that differs."""
        minute = f"{self.built.product} {self.built.open_time:%H:%M}"
        if self.told is None:
            return f"{minute}: built from trades, but the exchange has no candle"
        pairs = ((name, getattr(self.built, name), getattr(self.told, name)) for name in _VALUES)
        said = ", ".join(f"{name} {ours} -> {theirs}" for name, ours, theirs in pairs if ours != theirs)
        return f"{minute}: built from trades, revised by the exchange's candle: {said}"


class Mark(NamedTuple):
    """Where a product stood."""

    settled_until: datetime
    newest: datetime | None
    built: dict[datetime, Candle]
    told: set[datetime]


@dataclass(slots=True)
class Coin:
    """One product while it is followed."""

    product: str
    settled_until: datetime
    """The first minute that the exchange still has to be asked for, perhaps not for the first time."""
    newest: datetime | None = None
    """The newest minute stored."""
    source: str = ""
    """Who answered the last request."""
    failure: str = ""
    """Why the last request was not answered; empty when it was."""
    gap_failure: str = ""
    """Why the last try to fill a long gap left some of it."""
    is_offered: bool = True
    built: dict[datetime, Candle] = field(default_factory=dict)
    """Minutes stored from trades that the exchange's own candles have not replaced yet."""
    told: set[datetime] = field(default_factory=set)
    """Minutes not settled yet of which the exchange has told a candle."""

    def lacks(self, minute: datetime) -> bool:
        """Whether the exchange has not told this minute; its own word is never replaced by ours."""
        return minute >= self.settled_until and minute not in self.told

    def mark(self) -> Mark:
        """Return where the product stands, for `reset` when a commit fails."""
        return Mark(self.settled_until, self.newest, dict(self.built), set(self.told))

    def reset(self, mark: Mark) -> None:
        """Stand where the product stood."""
        self.settled_until, self.newest, self.built, self.told = mark

    def wanted(self, last: datetime) -> list[Span]:
        """Return what to ask for when ``last`` is the newest closed minute; never more than one request answers.

        A minute built from trades is left alone until it has settled: the exchange's candle of it may still lack trades.
        """
        young = {minute for minute in self.built if minute + REREAD_AFTER > last}
        start = max(self.settled_until, last + MINUTE - LONGEST_ASK)
        minutes = (minute for minute in _minutes(start, last + MINUTE) if minute not in young)
        return list(runs(minutes))

    def take(self, pages: Sequence[Page], last: datetime) -> tuple[list[Page], list[Difference], int]:
        """Note what ``pages`` settle.

        Returns:
            The pages cut to what may be recorded, the built minutes the exchange tells otherwise, and how many built
            minutes it confirmed. Left out are minutes that are not to be replaced yet, and young ones without a candle: that
            there is none is said to the ledger once, when it is proved.
        """
        spans = self.wanted(last)
        kept = [piece for page in pages for piece in _inside(page, spans)]
        told = {candle.open_time: candle for page in kept for candle in page.candles}
        known_at = {minute: page.known_at for page in kept for minute in _minutes(page.window.start, page.window.end)}
        kept = [piece for page in kept for piece in _inside(page, list(runs(_sure(page))))]
        self._settle(told, known_at)
        differences, confirmed = [], 0
        for minute in [minute for minute in self.built if minute < self.settled_until]:
            built = self.built.pop(minute)
            if told.get(minute) != built:
                differences.append(Difference(built, told.get(minute)))
            else:
                confirmed += 1
        self.told = {minute for minute in self.told | told.keys() if minute >= self.settled_until}
        self.note([page for page in kept if page.candles])
        if pages:
            self.source = pages[-1].source
        return kept, differences, confirmed

    def note(self, pages: Sequence[Page]) -> None:
        """Note the newest minute of ``pages``."""
        for page in pages:
            self.newest = max(page.candles[-1].open_time, self.newest or page.candles[-1].open_time)

    def _settle(self, told: dict[datetime, Candle], known_at: dict[datetime, datetime]) -> None:
        while self.settled_until in known_at:
            minute = self.settled_until
            wait = REREAD_AFTER if minute in told else PROVED_EMPTY_AFTER
            if minute + MINUTE + wait > known_at[minute]:
                return
            self.settled_until += MINUTE


def runs(minutes: Iterable[datetime]) -> Iterator[Span]:
    """Join rising minutes into spans."""
    start = end = None
    for minute in minutes:
        if start is None or end != minute:
            if start is not None and end is not None:
                yield Span(start, end)
            start = minute
        end = minute + MINUTE
    if start is not None and end is not None:
        yield Span(start, end)


def hull(spans: Sequence[Span]) -> Span:
    """Return the shortest span that holds all of ``spans``, which are sorted."""
    return Span(spans[0].start, spans[-1].end)


def united(spans: Iterable[Span]) -> list[Span]:
    """Return the same minutes as sorted spans that neither overlap nor touch."""
    joined: list[Span] = []
    for span in sorted(spans):
        if joined and span.start <= joined[-1].end:
            joined[-1] = Span(joined[-1].start, max(joined[-1].end, span.end))
        else:
            joined.append(span)
    return joined


def _inside(page: Page, spans: Sequence[Span]) -> Iterator[Page]:
    """Cut ``page`` to the parts of it that lie in ``spans``."""
    for span in spans:
        start, end = max(page.window.start, span.start), min(page.window.end, span.end)
        if start < end:
            candles = tuple(candle for candle in page.candles if start <= candle.open_time < end)
            yield Page(page.product, Span(start, end), candles, page.known_at, page.source)


def _sure(page: Page) -> Iterator[datetime]:
    """Yield the minutes of ``page`` that have a candle, or are old enough to be proved empty."""
    told = {candle.open_time for candle in page.candles}
    for minute in _minutes(page.window.start, page.window.end):
        if minute in told or minute + MINUTE + PROVED_EMPTY_AFTER <= page.known_at:
            yield minute


def _minutes(start: datetime, end: datetime) -> Iterator[datetime]:
    while start < end:
        yield start
        start += MINUTE
