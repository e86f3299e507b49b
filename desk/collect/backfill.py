"""Fetch what the ledger says is missing of one product and commit it page by page."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

from desk.errors import UnknownProductError
from desk.market import Span
from desk.providers import PAGE_MINUTES, WindowsFailedError, open_provider
from store.feature_store import FeatureStore

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from desk.config import Settings
    from desk.market import Page
    from desk.providers import FailedWindow, Provider

PAGES_PER_WRITE = 20
"""Pages per transaction: 6,000 rows, so that the write lock is taken seldom and held for some 50 ms."""

_LISTING_MARGIN = timedelta(days=1)


class OnProgress(Protocol):
    """Told now and then how far the work is."""

    def __call__(self, share: float, note: str = "") -> None:
        """Take the share done, 0 to 1, and a few words."""
        ...


def _quiet(share: float, note: str = "") -> None:
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
    """Why it is not offered."""


def open_store(settings: Settings) -> FeatureStore:
    """Return the market store with its schema in place."""
    store = FeatureStore(settings.paths.make().market_db)
    store.migrate()
    return store


async def backfill(
    settings: Settings, product: str, span: Span, on_progress: OnProgress = _quiet, *, provider: Provider | None = None
) -> BackfillResult:
    """Fetch the missing minutes of ``span``; a killed run loses no committed page and the next asks only for the rest.

    Args:
        settings: All settings.
        product: Product id.
        span: What there should be; cut to the time since the product's listing.
        on_progress: Told after each commit.
        provider: One that is open already, and is left open; the settings' own when left out.

    Raises:
        CredentialsError: the key was refused.
        StoreError: the store cannot be written; what was committed before stays.
    """
    store = open_store(settings)
    opened = provider or open_provider(settings)
    try:
        wanted = await _listed_part(store, opened, product, span)
        if isinstance(wanted, str):
            return BackfillResult(product, "not_offered", reason=wanted)
        windows = [page for gap in store.missing_windows(product, wanted) for page in gap.pages(PAGE_MINUTES)]
        return await fetch(store, opened, product, windows, on_progress)
    finally:
        if provider is None:
            await opened.aclose()
        store.close()


async def _listed_part(store: FeatureStore, provider: Provider, product: str, span: Span) -> Span | str:
    """Cut ``span`` to the time since the product's listing, found by bisection once it is needed and then stored.

    Returns the reason instead when the product is not offered within ``span``.
    """
    known = store.listing(product)
    if known is not None and known.first_open_time is not None:
        return _since(known.first_open_time, span)
    stored = store.span_stored(product)
    if stored is not None and stored.start <= span.start:
        return span
    unsearched = Span(span.start, min(stored.start, span.end)) if stored is not None else span
    try:
        first = await provider.first_candle(product, unsearched)
    except UnknownProductError as error:
        store.record_listing(product, "not_offered", None, str(error))
        return str(error)
    if first is None and stored is not None:
        first = stored.start
    if first is None:
        reason = f"{product} has no candle within {span}"
        store.record_listing(product, "not_offered", None, reason)
        return reason
    # a first candle at the very start of what was searched says nothing about the listing
    is_listing = first - span.start > _LISTING_MARGIN
    store.record_listing(product, "offered", first if is_listing else None, "")
    return _since(first, span) if is_listing else span


def _since(listed: datetime, span: Span) -> Span | str:
    if listed >= span.end:
        return f"its first candle, {listed:%Y-%m-%d %H:%M}, is later than {span}"
    return Span(max(listed, span.start), span.end)


async def fetch(
    store: FeatureStore, provider: Provider, product: str, windows: Sequence[Span], on_progress: OnProgress = _quiet
) -> BackfillResult:
    """Ask for ``windows`` and commit the answers twenty pages at a time; failed windows are noted in the ledger."""
    totals: dict[str, Any] = {"pages": 0, "stored": 0, "revised": 0, "quarantined": 0, "empty_minutes": 0}
    batch: list[Page] = []

    def commit() -> None:
        count = store.record_pages(batch)
        for name, value in asdict(count).items():
            totals[name] += value
        batch.clear()
        on_progress(totals["pages"] / len(windows), f"{totals['stored']} candles")

    failed: Sequence[FailedWindow] = ()
    try:
        async for page in provider.pages(product, windows):
            totals["pages"] += 1
            batch.append(page)
            if len(batch) >= PAGES_PER_WRITE:
                commit()
    except WindowsFailedError as error:
        failed = error.failed
        for window in failed:
            store.record_failure(product, window.window, window.reason, provider.name)
    if batch:
        commit()
    if not failed:
        on_progress(1.0)
    state = "partial" if failed else "complete"
    return BackfillResult(product, state, **totals, failed_windows=len(failed), reason="")
