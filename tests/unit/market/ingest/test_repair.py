"""What a backfill plans from the ledger and the listings, and what a repair asks again."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from core.candles import MINUTE, Candle, Page, Span
from core.errors import UnknownProductError
from market.ingest.backfill import ASK_AGAIN_AFTER, BackfillResult, backfill, pack_into_requests
from market.ingest.repair import RepairResult, repair
from market.providers import FetchFailed, FetchFailedError
from store.feature_store import FeatureStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence

    from core.settings import Settings


class ToldProvider:
    """Answers from a list of candles; some windows may fail, and some products may be unknown."""

    name = "told"

    def __init__(self, candles: Iterable[Candle], *, fails: Iterable[Span] = (), unknown: Iterable[str] = ()) -> None:
        self.candles = list(candles)
        self.fails = list(fails)
        self.unknown = set(unknown)
        self.requested: list[Span] = []
        self.searched: list[Span] = []
        self.present = datetime.now(UTC)

    async def pages(self, product: str, windows: Sequence[Span]) -> AsyncIterator[Page]:
        if product in self.unknown:
            raise UnknownProductError(f"{product} is not a product of this exchange")
        failed = []
        for window in windows:
            self.requested.append(window)
            if any(window.start < hole.end and window.end > hole.start for hole in self.fails):
                failed.append(FetchFailed(window, "503"))
                continue
            yield Page(product, window, self._inside(product, window), self.present, self.name)
        if failed:
            raise FetchFailedError(product, failed, gave_up=False)

    async def first_candle(self, product: str, span: Span) -> datetime | None:
        self.searched.append(span)
        if product in self.unknown:
            raise UnknownProductError(f"{product} is not a product of this exchange")
        return min((candle.open_time for candle in self._inside(product, span)), default=None)

    async def server_time(self) -> datetime:
        return self.present

    async def check(self) -> str:
        return "told"

    async def aclose(self) -> None:
        """Nothing to close."""

    def _inside(self, product: str, span: Span) -> tuple[Candle, ...]:
        return tuple(
            candle
            for candle in self.candles
            if candle.product == product
            and span.start <= candle.open_time < span.end
            and candle.open_time + MINUTE <= self.present
        )


# so long ago that every minute stays settled when a test lets what was asked have happened earlier
T0 = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=500)
SPAN = Span(T0, T0 + 900 * MINUTE)


def hole(start: int, end: int) -> Span:
    return Span(T0 + start * MINUTE, T0 + end * MINUTE)


def without(candles: Sequence[Candle], *holes: Span) -> list[Candle]:
    return [item for item in candles if not any(span.start <= item.open_time < span.end for span in holes)]


@pytest.fixture
def candles(walk: Callable[..., list[Candle]]) -> list[Candle]:
    return walk("BTC-USD", 900, start=T0)


@pytest.fixture
def filled(settings: Settings) -> Callable[..., BackfillResult]:
    def run(provider: ToldProvider, span: Span = SPAN, product: str = "BTC-USD") -> BackfillResult:
        return asyncio.run(backfill(settings, product, span, provider=provider))

    return run


@pytest.fixture
def repaired(settings: Settings) -> Callable[..., RepairResult]:
    def run(provider: ToldProvider, product: str = "BTC-USD") -> RepairResult:
        return asyncio.run(repair(settings, product, provider=provider))

    return run


@pytest.fixture
def store(settings: Settings) -> FeatureStore:
    return FeatureStore(settings.paths.market_db)


def age(store: FeatureStore, hours: float) -> None:
    """Let everything asked so far, and every listing checked, have happened that much earlier."""
    with store._writing() as connection:
        for table, column in (("ledger", "asked_at"), ("listings", "checked_at")):
            connection.execute(f"update {table} set {column} = {column} - to_seconds($1)", [hours * 3600])
        connection.execute(
            "update listings set searched_until = searched_until - to_seconds($1), "
            "searched_from = searched_from - to_seconds($1)",
            [hours * 3600],
        )


def states(store: FeatureStore) -> dict[str, int]:
    (row,) = (row for row in store.coverage() if row["product"] == "BTC-USD")
    names = ("stored", "empty", "quarantined", "failed", "unasked")
    return {name: row[f"{name}_minutes"] for name in names if row[f"{name}_minutes"]}


# --- what a backfill asks for


def test_backfill_asks_only_for_what_the_ledger_has_no_answer_to(
    filled: Callable[..., BackfillResult], candles: list[Candle]
) -> None:
    provider = ToldProvider(without(candles, hole(100, 110)), fails=[hole(300, 600)])
    assert filled(provider).state == "partial"
    again = ToldProvider(candles)
    assert filled(again).stored == 300
    # the ten empty minutes were answered and are not asked for again, however few candles there are
    assert again.requested == [hole(300, 600)]
    nothing = ToldProvider(candles)
    assert (filled(nothing).state, nothing.requested) == ("complete", [])


def test_backfill_never_finished_is_seen_to_be_missing(
    filled: Callable[..., BackfillResult], candles: list[Candle], store: FeatureStore
) -> None:
    provider = ToldProvider(candles)
    provider.present = T0 + 310 * MINUTE
    filled(provider)
    # 300 + 10 minutes had closed; of the rest nobody could have an answer
    assert states(store) == {"stored": 310, "unasked": 590}


def test_minute_of_which_only_nonsense_was_told_is_quarantined_and_not_asked_for_again(
    filled: Callable[..., BackfillResult], candles: list[Candle], store: FeatureStore
) -> None:
    spoiled = [replace(item, volume=Decimal(-1)) if item.open_time == T0 + 7 * MINUTE else item for item in candles]
    filled(ToldProvider(spoiled))
    assert states(store) == {"stored": 899, "quarantined": 1}
    again = ToldProvider(candles)
    filled(again)
    assert again.requested == []


# --- listings


def test_unknown_product_is_reported_and_left_alone_for_a_day(
    filled: Callable[..., BackfillResult], store: FeatureStore
) -> None:
    unknown = ToldProvider([], unknown=["XYZ-USD"])
    assert filled(unknown, product="XYZ-USD").state == "not_offered"
    again = ToldProvider([], unknown=["XYZ-USD"])
    actual = filled(again, product="XYZ-USD")
    assert (actual.state, again.searched) == ("not_offered", [])
    assert "asked again after a day" in actual.reason
    age(store, ASK_AGAIN_AFTER / timedelta(hours=1))
    filled(again, product="XYZ-USD")
    assert again.searched == [SPAN]


def test_product_listed_later_is_found_and_its_date_honoured(
    filled: Callable[..., BackfillResult], store: FeatureStore, walk: Callable[..., list[Candle]]
) -> None:
    early = Span(T0 - timedelta(days=60), T0 - timedelta(days=30))
    listed = T0 - timedelta(days=3)
    provider = ToldProvider(walk("BNB-USD", 1440, start=listed))
    actual = filled(provider, span=early, product="BNB-USD")
    assert (actual.state, provider.requested) == ("not_offered", [])
    assert "no candle within" in actual.reason
    # another span is another question
    later = Span(early.start, listed + 600 * MINUTE)
    assert filled(provider, span=later, product="BNB-USD").stored == 600
    assert provider.requested[0].start == listed
    noted = store.listing("BNB-USD")
    assert noted is not None
    assert (noted.state, noted.first_open_time, noted.searched_from) == ("offered", listed, early.start)
    # from now on a span before it is known to hold nothing, without a request
    before = len(provider.searched)
    assert "later than" in filled(provider, span=early, product="BNB-USD").reason
    assert len(provider.searched) == before


def test_product_not_yet_listed_is_asked_for_again_after_a_day(
    filled: Callable[..., BackfillResult], store: FeatureStore, walk: Callable[..., list[Candle]]
) -> None:
    nothing = ToldProvider([])
    assert filled(nothing, product="BNB-USD").state == "not_offered"
    listed = ToldProvider(walk("BNB-USD", 100, start=T0 + 800 * MINUTE))
    assert filled(listed, product="BNB-USD").state == "not_offered"
    age(store, 24)
    assert filled(listed, product="BNB-USD").stored == 100
    noted = store.listing("BNB-USD")
    assert noted is not None
    assert noted.state == "offered"


def test_delisted_product_is_reported_and_keeps_its_candles(
    filled: Callable[..., BackfillResult], candles: list[Candle], store: FeatureStore
) -> None:
    filled(ToldProvider(candles), span=hole(0, 600))
    gone = ToldProvider(candles, unknown=["BTC-USD"])
    actual = filled(gone)
    assert (actual.state, "not a product" in actual.reason) == ("not_offered", True)
    assert states(store) == {"stored": 600, "unasked": 300}
    again = ToldProvider(candles)
    assert filled(again).state == "not_offered"
    age(store, 24)
    assert filled(again).stored == 300


# --- repair


def test_repair_asks_failed_windows_at_once(
    filled: Callable[..., BackfillResult], repaired: Callable[..., RepairResult], candles: list[Candle]
) -> None:
    filled(ToldProvider(candles, fails=[hole(300, 600)]))
    again = ToldProvider(candles)
    result = repaired(again)
    assert again.requested == [hole(300, 600)]
    assert (result.state, result.asked_minutes, result.recovered) == ("complete", (("failed", 300),), 300)
    assert (result.left_minutes, result.next_due) == ((), None)


def test_repair_of_what_fails_again_says_so(
    filled: Callable[..., BackfillResult], repaired: Callable[..., RepairResult], candles: list[Candle]
) -> None:
    broken = ToldProvider(candles, fails=[hole(300, 600)])
    filled(broken)
    result = repaired(broken)
    assert (result.state, result.left_minutes) == ("partial", (("failed", 300),))


def test_repair_asks_empty_minutes_ever_more_rarely_and_in_the_end_no_more(
    filled: Callable[..., BackfillResult],
    repaired: Callable[..., RepairResult],
    candles: list[Candle],
    store: FeatureStore,
) -> None:
    provider = ToldProvider(without(candles, hole(10, 15)))
    filled(provider)
    requested = []
    # just before and just after each time at which something is due
    for hours in (0.9, 0.2, 22, 3, 24 * 6, 25, 24 * 29, 25, 24 * 365):
        age(store, hours)
        result = repaired(ToldProvider(without(candles, hole(10, 15))))
        requested.append(result.requests)
    assert requested == [0, 1, 0, 1, 0, 1, 0, 1, 0]
    assert (result.given_up_minutes, result.waiting_minutes, result.next_due) == (5, 0, None)
    assert "asked for often enough" in str(result)


def test_repair_finds_a_minute_that_the_exchange_gives_back(
    filled: Callable[..., BackfillResult],
    repaired: Callable[..., RepairResult],
    candles: list[Candle],
    store: FeatureStore,
) -> None:
    spoiled = [replace(item, low=Decimal(0)) if item.open_time == T0 + 40 * MINUTE else item for item in candles]
    filled(ToldProvider(without(spoiled, hole(10, 15), hole(700, 702))))
    assert states(store) == {"stored": 892, "empty": 7, "quarantined": 1}
    first = repaired(ToldProvider(candles))
    assert (first.requests, first.waiting_minutes) == (0, 8)
    age(store, 1)
    provider = ToldProvider(candles)
    result = repaired(provider)
    assert provider.requested == [hole(10, 41), hole(700, 702)]
    assert result.asked_minutes == (("empty", 7), ("quarantined", 1))
    assert (result.recovered, result.left_minutes) == (8, ())
    assert states(store) == {"stored": 900}
    assert [row["check"] for row in store.quality() if row["bad_rows"]] == []
    assert str(result).startswith("BTC-USD: asked again for 7 empty minutes + 1 quarantined minutes in 2 requests")


def test_repair_of_a_product_nobody_asked_for_names_the_command(repaired: Callable[..., RepairResult]) -> None:
    result = repaired(ToldProvider([]))
    assert (result.state, "make backfill" in str(result)) == ("never_asked", True)


def test_repair_asks_at_once_whether_a_product_is_offered_now(
    filled: Callable[..., BackfillResult], repaired: Callable[..., RepairResult], walk: Callable[..., list[Candle]]
) -> None:
    filled(ToldProvider([]), product="BNB-USD")
    assert repaired(ToldProvider([]), product="BNB-USD").state == "not_offered"
    result = repaired(ToldProvider(walk("BNB-USD", 900, start=T0)), product="BNB-USD")
    assert "it is offered now; run: make backfill" in str(result)


@pytest.mark.parametrize(
    ("spans", "requested"),
    [
        ([], []),
        ([(0, 1)], [(0, 1)]),
        ([(0, 1), (299, 300)], [(0, 300)]),
        ([(0, 1), (300, 301)], [(0, 1), (300, 301)]),
        ([(0, 1), (290, 320)], [(0, 300), (300, 320)]),
        ([(5, 700)], [(5, 305), (305, 605), (605, 700)]),
        ([(5, 700), (701, 702)], [(5, 305), (305, 605), (605, 702)]),
    ],
)
def test_questions_cover_what_is_due_with_few_pages(spans: list[Any], requested: list[Any]) -> None:
    assert pack_into_requests(hole(*span) for span in spans) == [hole(*span) for span in requested]
