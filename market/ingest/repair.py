"""Ask again for minutes that may have an answer after all: failed ones at once, empty and quarantined ones ever more rarely.

How long a minute without a candle is left alone grows with its tries (`store.ledger.REASK_AFTER`); after the last of
them it is believed. So a repair may be run as often as one likes: it asks for what is due and says what is not.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from core.candles import MINUTE, Span, floor_minute
from core.errors import UnknownProductError
from market.ingest.backfill import fetch, listed_part, not_offered, pack_into_requests, quiet
from market.providers import PAGE_MINUTES, open_provider
from store.feature_store import FeatureStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from core.settings import Settings
    from market.ingest.backfill import OnProgress
    from market.providers import Provider
    from store.coverage_store import DoubtfulWindow


@dataclass(frozen=True, slots=True)
class RepairResult:
    """What one product's repair asked for again, and what came of it."""

    product: str
    state: str
    """complete, partial (some windows failed again), not_offered or never_asked."""
    asked_minutes: tuple[tuple[str, int], ...] = ()
    """Minutes asked again: (failed, n), (empty, n), (quarantined, n), (suspected, n); those of n = 0 left out."""
    requests: int = 0
    recovered: int = 0
    """Minutes that have a candle now."""
    revised: int = 0
    """Candles between them that came back different."""
    left_minutes: tuple[tuple[str, int], ...] = ()
    """Minutes without a candle now, by state."""
    waiting_minutes: int = 0
    """Of them, those that are asked for again at ``next_due`` or later."""
    given_up_minutes: int = 0
    """Of them, those that were asked for often enough."""
    next_due: datetime | None = None
    reason: str = ""
    """Why it is not offered."""

    def __str__(self) -> str:
        """Return one line for a person."""
        if self.state in {"not_offered", "never_asked"}:
            return f"{self.product}: nothing to repair, {self.reason}"
        parts = ["nothing was due"]
        if self.requests:
            parts = [f"asked again for {_counted(self.asked_minutes)} in {self.requests} requests"]
            parts.append(f"{self.recovered} candles found, {self.revised} revised")
        parts.append(f"left: {_counted(self.left_minutes)}")
        if self.next_due is not None:
            parts.append(f"{self.waiting_minutes} of them due again from {self.next_due:%Y-%m-%d %H:%M}")
        if self.given_up_minutes:
            parts.append(f"{self.given_up_minutes} asked for often enough")
        return f"{self.product}: " + "; ".join(parts)


def _counted(minutes: Sequence[tuple[str, int]]) -> str:
    return " + ".join(f"{count} {state} minutes" for state, count in minutes) or "nothing"


async def repair(
    settings: Settings, product: str, on_progress: OnProgress = quiet, *, provider: Provider | None = None
) -> RepairResult:
    """Ask again for all minutes of ``product`` that are due; a killed run loses no committed page.

    Args:
        settings: All settings.
        product: Product id.
        on_progress: Called after each commit.
        provider: One that is open already, and is left open; the settings' own when left out.

    Raises:
        CredentialsError: the key was refused.
        StoreError: the store cannot be written; what was committed before stays.
    """
    store = FeatureStore(settings.paths.market_db)
    opened = provider or open_provider(settings)
    try:
        return await _repaired(store, opened, product, on_progress)
    except UnknownProductError as error:
        return RepairResult(product, "not_offered", reason=not_offered(store, product, str(error)))
    finally:
        if provider is None:
            await opened.aclose()
        store.close()


async def _repaired(store: FeatureStore, provider: Provider, product: str, on_progress: OnProgress) -> RepairResult:
    span = store.span_asked(product)
    if span is None:
        return await _unasked(store, provider, product)
    before = store.repair_windows(product, span)
    now = datetime.now(UTC)
    due = [window for window in before if window.due_at is not None and window.due_at <= now]
    # minutes with a candle from a file that looks cut off; the exchange's answer settles it, whatever it is
    suspected = store.early_saves(product, span)
    requests = pack_into_requests(sorted([*(window.span for window in due), *suspected]))
    done = await fetch(store, provider, product, requests, on_progress) if requests else None
    after = store.repair_windows(product, span)
    waiting = [window for window in after if window.due_at is not None]
    return RepairResult(
        product,
        done.state if done else "complete",
        asked_minutes=_minutes(due) + ((("suspected", len(suspected)),) if suspected else ()),
        requests=len(requests),
        recovered=done.stored if done else 0,
        revised=done.revised if done else 0,
        left_minutes=_minutes(after),
        waiting_minutes=sum(window.span.minutes for window in waiting),
        given_up_minutes=sum(window.span.minutes for window in after if window.due_at is None),
        next_due=min((window.due_at for window in waiting if window.due_at is not None), default=None),
    )


async def _unasked(store: FeatureStore, provider: Provider, product: str) -> RepairResult:
    """Ask once more for a product of which nothing is stored, if a backfill noted that it is not offered."""
    known = store.listing(product)
    if known is None:
        return RepairResult(product, "never_asked", reason="it was never asked for; run: make backfill")
    if known.searched_from is not None and known.searched_until is not None:
        searched = Span(known.searched_from, known.searched_until)
    else:
        end = floor_minute(await provider.server_time())
        searched = Span(end - PAGE_MINUTES * MINUTE, end)
    recovered = await listed_part(store, provider, product, searched, again=True)
    if isinstance(recovered, str):
        return RepairResult(product, "not_offered", reason=recovered)
    return RepairResult(product, "never_asked", reason="it is offered now; run: make backfill")


def _minutes(windows: Iterable[DoubtfulWindow]) -> tuple[tuple[str, int], ...]:
    counted: Counter[str] = Counter()
    for window in windows:
        counted[window.state] += window.span.minutes
    return tuple((state, counted[state]) for state in ("failed", "empty", "quarantined") if counted[state])
