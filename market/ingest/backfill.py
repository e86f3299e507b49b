"""Fetch what the ledger says is missing of one product since its listing, and commit it page by page."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from core.candles import MINUTE, Span
from core.errors import ListingUnknownError, UnknownProductError
from core.failpoints import failpoint
from market.providers import PAGE_MINUTES, FetchFailedError, open_provider
from store.coverage_store import NOT_OFFERED, OFFERED
from store.feature_store import FeatureStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from core.candles import Page
    from core.settings import Settings
    from market.providers import FetchFailed, Provider
    from store.coverage_store import Listing
    from store.ingest import WriteCount

PAGES_PER_WRITE = 20
"""Pages per transaction: 6,000 rows, so that the write lock is taken seldom and held for some 50 ms."""

MAX_PAGES_WAITING = PAGES_PER_WRITE
"""Pages that wait in memory for a slow store before the asking pauses: what a kill can cost is these and one batch."""

ASK_AGAIN_AFTER = timedelta(days=1)
"""How long a product that is not offered is left alone; a repair asks at once."""

_MARGIN = timedelta(days=1)


class OnProgress(Protocol):
    """Receives now and then how far the work is."""

    def __call__(self, share: float, note: str = "") -> None:
        """Take the share done, 0 to 1, and a few words."""
        ...


def quiet(share: float, note: str = "") -> None:
    """Show nothing."""


@dataclass(frozen=True, slots=True)
class BackfillResult:
    """What one product's backfill did; ``state`` is complete, partial or not_offered."""

    product: str
    state: str
    pages: int = 0
    stored: int = 0
    revised: int = 0
    quarantined: int = 0
    empty_minutes: int = 0
    failed_windows: int = 0
    reason: str = ""
    """Why it is not offered, or why the first of the failed windows failed."""


async def backfill(
    settings: Settings, product: str, span: Span, on_progress: OnProgress = quiet, *, provider: Provider | None = None
) -> BackfillResult:
    """Fetch the missing minutes of ``span``; a killed run loses no committed page and the next asks only for the rest.

    Args:
        settings: All settings.
        product: Product id.
        span: What there should be; cut to the time since the product's listing.
        on_progress: Called after each commit.
        provider: One that is open already, and is left open; the settings' own when left out.

    Raises:
        CredentialsError: the key was refused.
        StoreError: the store cannot be written; what was committed before stays.
    """
    store = FeatureStore(settings.paths.market_db)
    opened = provider or open_provider(settings)
    try:
        wanted = await listed_part(store, opened, product, span)
        if isinstance(wanted, str):
            return BackfillResult(product, "not_offered", reason=wanted)
        store.record_wanted(product, wanted)
        windows = pack_into_requests(store.missing_windows(product, wanted))
        return await fetch(store, opened, product, windows, on_progress)
    except UnknownProductError as error:
        # delisted since its candles were stored, which stay
        return BackfillResult(product, "not_offered", reason=not_offered(store, product, str(error)))
    finally:
        if provider is None:
            await opened.aclose()
        store.close()


def pack_into_requests(spans: Iterable[Span]) -> list[Span]:
    """Return as few windows of at most ``PAGE_MINUTES`` minutes as cover ``spans``, which are disjoint and oldest first.

    Minutes between them are asked along: one request for a page costs as much as one for a minute.
    """
    packed: list[Span] = []
    for span in spans:
        rest: Span | None = span
        if packed and span.end - packed[-1].start <= PAGE_MINUTES * MINUTE:
            packed[-1], rest = Span(packed[-1].start, span.end), None
        elif packed and span.start - packed[-1].start < PAGE_MINUTES * MINUTE:
            # fill the page begun, the rest opens others
            border = packed[-1].start + PAGE_MINUTES * MINUTE
            packed[-1], rest = Span(packed[-1].start, border), Span(border, span.end)
        if rest is not None:
            packed += rest.pages(PAGE_MINUTES)
    return packed


async def fetch(
    store: FeatureStore, provider: Provider, product: str, windows: Sequence[Span], on_progress: OnProgress = quiet
) -> BackfillResult:
    """Ask for ``windows`` and commit the answers twenty pages at a time; failed windows are noted in the ledger."""
    totals: dict[str, Any] = {"pages": 0, "stored": 0, "revised": 0, "quarantined": 0, "empty_minutes": 0}

    def committed(count: WriteCount) -> None:
        for name, value in asdict(count).items():
            totals[name] += value
        on_progress(totals["pages"] / len(windows), f"{totals['stored']} candles")

    failed: Sequence[FetchFailed] = ()
    commits = _Commits(store, committed)
    try:
        async for page in provider.pages(product, windows):
            totals["pages"] += 1
            await commits.add(page)
    except FetchFailedError as error:
        failed = error.failed
    finally:
        # whatever ended the asking, an answered page is not asked for again
        await commits.flush()
    for window in failed:
        await asyncio.to_thread(store.record_failure, product, window.window, window.cause, provider.name)
    if not failed:
        on_progress(1.0)
    state = "partial" if failed else "complete"
    return BackfillResult(
        product, state, **totals, failed_windows=len(failed), reason=failed[0].cause if failed else ""
    )


class _Commits:
    """Commits pages in a thread beside the event loop, so that no request waits for the store.

    A commit takes some 100 ms, and as long as another process holds the write lock; meanwhile the pages that are
    answered gather here, up to ``MAX_PAGES_WAITING``.
    """

    def __init__(self, store: FeatureStore, committed: Callable[[WriteCount], None]) -> None:
        """Write into ``store``; ``committed`` receives the counts of each commit, in the event loop's thread."""
        self._store = store
        self._committed = committed
        self._waiting: list[Page] = []
        self._running: asyncio.Task[WriteCount] | None = None

    async def add(self, page: Page) -> None:
        """Take a page; returns at once unless the store has fallen far behind.

        Raises:
            StoreError: an earlier commit failed.
        """
        self._waiting.append(page)
        if self._running is not None and (self._running.done() or len(self._waiting) >= MAX_PAGES_WAITING):
            await self._settle()
        if self._running is None and len(self._waiting) >= PAGES_PER_WRITE:
            self._start()

    async def flush(self) -> None:
        """Return when every page taken is committed.

        Raises:
            StoreError: a commit failed.
        """
        await self._settle()
        if self._waiting:
            self._start()
            await self._settle()

    def _start(self) -> None:
        batch, self._waiting = self._waiting, []
        self._running = asyncio.create_task(asyncio.to_thread(self._write, batch))

    def _write(self, batch: list[Page]) -> WriteCount:
        failpoint("fetch.before_commit")
        count = self._store.record_pages(batch)
        failpoint("fetch.after_commit")
        return count

    async def _settle(self) -> None:
        if self._running is None:
            return
        running, self._running = self._running, None
        try:
            count = await running
        except BaseException:
            # the next commit would fail the same way; what waits is missing in the ledger, so it is asked for again
            self._waiting.clear()
            raise
        self._committed(count)


async def listed_part(
    store: FeatureStore, provider: Provider, product: str, span: Span, *, again: bool = False
) -> Span | str:
    """Cut ``span`` to the time since the product's listing, found by bisection once it is needed and then stored.

    Args:
        store: Where listings are noted.
        provider: Who is asked.
        product: Product id.
        span: What is wanted.
        again: Ask although the product was not offered a short while ago.

    Returns:
        What of ``span`` there can be, or the reason why there is nothing.
    """
    known = store.listing(product)
    if known is not None and known.state == NOT_OFFERED and not again and _still_holds(known, span):
        return f"{known.reason} (as of {known.checked_at:%Y-%m-%d %H:%M}; asked again after a day)"
    stored = store.span_stored(product)
    if known is not None and known.state == OFFERED and known.first_open_time is not None:
        return _since(_earlier(known.first_open_time, stored), span)
    if stored is not None and stored.start <= span.start and (known is None or known.state == OFFERED):
        return span
    return await _searched(store, provider, product, span, stored)


def _still_holds(known: Listing, span: Span) -> bool:
    """Return whether a note that a product is not offered answers for ``span`` too, and is fresh."""
    if datetime.now(UTC) - known.checked_at >= ASK_AGAIN_AFTER:
        return False
    if known.searched_from is None or known.searched_until is None:
        # the exchange does not know the product at all
        return True
    # a search that reached its present also answers for the hours since
    is_to_present = known.checked_at - known.searched_until < ASK_AGAIN_AFTER
    until = known.searched_until + (ASK_AGAIN_AFTER if is_to_present else timedelta(0))
    return known.searched_from <= span.start and span.end <= until


def _earlier(listed: datetime, stored: Span | None) -> datetime:
    # a file may have brought candles from before
    return min(listed, stored.start) if stored is not None else listed


async def _searched(
    store: FeatureStore, provider: Provider, product: str, span: Span, stored: Span | None
) -> Span | str:
    # where candles are stored already, only what lies before them is unknown
    has_earlier = stored is not None and span.start < stored.start
    unsearched = Span(span.start, min(stored.start, span.end)) if stored is not None and has_earlier else span
    try:
        first = await provider.first_candle(product, unsearched)
    except ListingUnknownError:
        # where such a provider's answers begin must never be stored as a listing: another one would not look before it
        return span
    except UnknownProductError as error:
        return not_offered(store, product, str(error))
    if stored is not None and stored.start < span.end and (first is None or stored.start < first):
        first = stored.start
    if first is None:
        return not_offered(store, product, f"{product} has no candle within {span}", searched=span)
    # a first candle at the very start of what was searched says nothing about the listing
    is_listing = first - span.start > _MARGIN
    store.record_listing(product, OFFERED, first if is_listing else None, "", searched=span)
    return _since(first, span) if is_listing else span


def not_offered(store: FeatureStore, product: str, reason: str, *, searched: Span | None = None) -> str:
    """Note that the exchange does not offer ``product`` (now, or within ``searched``); return the reason.

    What is known of its listing is kept: a delisted product has a history.
    """
    known = store.listing(product)
    first = known.first_open_time if known is not None else None
    store.record_listing(product, NOT_OFFERED, first, reason, searched=searched)
    return reason


def _since(listed: datetime, span: Span) -> Span | str:
    if listed >= span.end:
        return f"its first candle, {listed:%Y-%m-%d %H:%M}, is later than {span}"
    return Span(max(listed, span.start), span.end)
