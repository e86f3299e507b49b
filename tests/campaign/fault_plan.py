"""Decide by a seed alone what happens in a campaign: spans, deaths, faults."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from core.candles import Span
from core.failpoints import PLACES, VARIABLE
from market.exchange.simulated_market import EPOCH

if TYPE_CHECKING:
    from collections.abc import Iterator

DAYS = (14, 40)
"""Least and most days of one episode."""
PRODUCTS = ("BTC-USD", "ETH-USD", "SOL-USD", "XRP-USD", "DOGE-USD")
LATE, LISTED_AT = "BNB-USD", datetime(2024, 2, 14, 15, 7, tzinfo=UTC)
"""A product without candles before a time that no span starts at."""
PRESENT = datetime(2024, 4, 1, tzinfo=UTC)
MARKET = "null"

RANDOM = "random moment"
"""Not a place: the parent kills."""
EXPORT_PLACES = tuple(place for place in PLACES if place.startswith("export."))
FIRST_PLACE = "migrate.before_rename"
"""Passed only where there is no database yet."""
REGISTRY_PLACES = tuple(place for place in PLACES if place.startswith("registry."))
"""Passed by promotions, which `tests/unit/models/registry/test_kills.py` kills."""
WORK_PLACES = tuple(place for place in PLACES if place not in (*EXPORT_PLACES, *REGISTRY_PLACES, FIRST_PLACE))
_FULL_PLACES = ("write.before_begin", "ingest.after_candles", "write.before_commit", "publish.before_rename")
_ANSWER_FAULTS = ("500", "502", "401", "reset", "slow", "html", "truncated")
_DATA_FAULTS = ("duplicates", "disorder", "outside", "revised", "late_hole")


@dataclass(frozen=True)
class Death:
    """How one life of a worker is meant to end."""

    place: str
    at_pass: int = 1
    after_seconds: float = 0.0
    """For a random moment; a worker whose place is never passed just finishes."""
    action: str = "kill"

    @property
    def environ(self) -> dict[str, str]:
        """The setting that makes it so."""
        return {VARIABLE: "" if self.place == RANDOM else f"{self.place}:{self.at_pass}={self.action}"}


@dataclass(frozen=True)
class Scene:
    """One episode: an empty folder, some products over some days, and what the exchange does meanwhile."""

    number: int
    products: tuple[str, ...]
    span: Span
    has_key: bool
    faults: tuple[dict[str, Any], ...]

    @property
    def pages(self) -> int:
        """Requests that it takes when nothing goes wrong, before any listing is looked for."""
        return sum(1 for product in self.products for _ in offered(product, self.span).pages(300))


def offered(product: str, span: Span) -> Span:
    """Return the part of ``span`` in which the exchange has candles of ``product``."""
    return Span(max(span.start, LISTED_AT), span.end) if product == LATE else span


def scene(seed: int, number: int, days: tuple[int, int] = DAYS) -> Scene:
    """Return episode ``number`` of the campaign with ``seed``; the same every time."""
    dice = random.Random(f"{seed} {number} scene")
    # the late product's listing lies inside a span that begins before it; others begin anywhere
    with_late = dice.random() < 0.5
    length = dice.randint(*days)
    latest = (LISTED_AT if with_late else PRESENT) - EPOCH - timedelta(days=2 if with_late else length + 1)
    earliest = max(timedelta(0), LISTED_AT - EPOCH - timedelta(days=length - 2)) if with_late else timedelta(0)
    start = EPOCH + timedelta(minutes=dice.randint(*(int(edge.total_seconds() // 60) for edge in (earliest, latest))))
    names = dice.sample(PRODUCTS, 2) + [LATE] * with_late
    span = Span(start, start + timedelta(days=length))
    return Scene(number, tuple(names), span, dice.random() < 0.5, tuple(_faults(dice)))


def _faults(dice: random.Random) -> Iterator[dict[str, Any]]:
    """Every kind, more or less of it; now and then an outage that outlasts the tries of all requests in flight."""
    for body in ("html", "json", "empty"):
        wait = dice.choice((None, 0.05))
        yield {"kind": "429", "probability": dice.uniform(0.001, 0.01), "body": body, "retry_after": wait}
    for kind in _ANSWER_FAULTS:
        yield {"kind": kind, "probability": dice.uniform(0.002, 0.02), "seconds": 0.1}
    for kind in _DATA_FAULTS:
        yield {"kind": kind, "probability": dice.uniform(0.01, 0.06)}
    if dice.random() < 0.3:
        yield {"kind": dice.choice(("500", "502", "reset")), "count": 80}


def deaths(seed: int, number: int) -> Iterator[Death]:
    """Yield deaths without end: half at random moments, half at every named place in turn."""
    dice = random.Random(f"{seed} {number} deaths")
    if dice.random() < 0.3:
        yield Death(FIRST_PLACE)
    places = list(WORK_PLACES)
    random.Random(seed).shuffle(places)
    # the deck goes on about where the episode before left it, so that each place comes up in a short campaign too
    at = number * 10
    while True:
        kind = dice.random()
        if kind < 0.45:
            yield Death(RANDOM, after_seconds=dice.uniform(0.0, 0.9))
        elif kind < 0.93:
            yield Death(places[at % len(places)], dice.choice((1, 1, 2, 3, 5)))
            at += 1
        else:
            yield Death(dice.choice(_FULL_PLACES), dice.choice((2, 3, 4)), action="full")
