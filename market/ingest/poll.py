"""Ask for the newest minutes of one followed product, and fill a long gap of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from core.candles import MINUTE, Page, Span
from core.errors import CredentialsError, ProviderError, UnknownProductError
from market.ingest.backfill import fetch
from market.ingest.followed_product import united
from market.providers import PAGE_MINUTES, WindowsFailedError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from datetime import datetime
    from typing import Any

    from market.ingest.followed_product import Coin
    from market.providers import Provider
    from store.feature_store import FeatureStore

T = TypeVar("T")

ASK_TIMEOUT_SECONDS = 20.0
"""The provider's own tries go on for minutes; a tick that waits so long would hold up the products that answer."""


async def unless_stopped(work: Coroutine[Any, Any, T], stop: asyncio.Event) -> T | None:
    """Return what ``work`` gives, or None when ``stop`` is set first; then it is cancelled."""
    task, stopped = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        for one in (task, stopped):
            one.cancel()
        await asyncio.gather(task, stopped, return_exceptions=True)


async def ask_one(provider: Provider, coin: Coin, span: Span) -> list[Page]:
    """Return what is answered of ``span``; why it was not answered whole is noted with the coin.

    Raises:
        CredentialsError: the key was refused.
    """
    pages: list[Page] = []
    coin.failure = ""
    try:
        async with asyncio.timeout(ASK_TIMEOUT_SECONDS):
            # one by one: what was answered before a failure is kept
            async for page in provider.pages(coin.product, list(span.pages(PAGE_MINUTES))):
                pages.append(page)  # noqa: PERF401
    except CredentialsError:
        raise
    except UnknownProductError as error:
        coin.is_offered = False
        coin.failure = str(error)
    except WindowsFailedError as error:
        coin.failure = error.failed[0].reason
    except TimeoutError:
        coin.failure = f"no answer within {ASK_TIMEOUT_SECONDS:g} s"
    except ProviderError as error:
        coin.failure = str(error)
    return pages


async def ask_all(provider: Provider, coins: Sequence[Coin], spans: Sequence[Span | None]) -> list[list[Page]]:
    """Ask for each product's span at the same time; no span, no question."""

    async def ask(coin: Coin, span: Span | None) -> list[Page]:
        return await ask_one(provider, coin, span) if span is not None else []

    return await asyncio.gather(*(ask(coin, span) for coin, span in zip(coins, spans, strict=True)))


def owed_windows(store: FeatureStore, coin: Coin, span: Span) -> list[Span]:
    """Return the parts of ``span`` that nobody answered, that only trades vouch for, or that had not settled."""
    owed = [*store.missing_windows(coin.product, span), *store.unconfirmed_windows(coin.product, span)]
    if coin.newest is not None and span.start <= coin.newest < span.end:
        owed.append(Span(max(span.start, coin.settled_until), max(coin.newest, coin.settled_until) + MINUTE))
    return [Span(max(one.start, span.start), min(one.end, span.end)) for one in united(owed)]


async def fill_gap(store: FeatureStore, provider: Provider, coin: Coin, end: datetime) -> int:
    """Fetch what is owed from the coin's place up to ``end``, committed page by page; return the candles stored.

    Raises:
        CredentialsError: the key was refused.
        StoreError: the store cannot be written.
    """
    windows = await asyncio.to_thread(owed_windows, store, coin, Span(coin.settled_until, end))
    coin.gap_failure = ""
    try:
        result = await fetch(
            store, provider, coin.product, [page for window in windows for page in window.pages(PAGE_MINUTES)]
        )
    except CredentialsError:
        raise
    except UnknownProductError as error:
        coin.is_offered, coin.failure = False, str(error)
        return 0
    except ProviderError as error:
        coin.gap_failure = str(error)
        return 0
    if result.failed_windows:
        coin.gap_failure = f"{result.failed_windows} windows of the gap were not answered"
    else:
        coin.settled_until = max(coin.settled_until, end)
    return result.stored
