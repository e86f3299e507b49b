"""Fetch the newest minutes of several products at the same time; a product that fails does not hold up the others."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from core.errors import ProviderError, UnknownProductError
from market.providers.base import PAGE_MINUTES, FetchFailedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from core.candles import Page, Span
    from market.providers.base import Provider

FETCH_TIMEOUT_SECONDS = 20.0
"""The provider's own tries go on for minutes; a tick that waits so long would hold up the products that answer. Two of
them and the follower's five seconds after each fit into a minute."""


@dataclass(slots=True)
class LiveAnswer:
    """What one product's request brought."""

    pages: list[Page] = field(default_factory=list)
    """What was answered, also before a failure."""
    failure: str = ""
    """Why not all was answered; empty when it was."""
    error: ProviderError | UnknownProductError | None = None
    """What the failure was, for callers that end on a refused key or leave out a product that is not offered."""


async def fetch_live(
    provider: Provider, spans: Mapping[str, Span], timeout: float | None = None
) -> dict[str, LiveAnswer]:
    """Fetch the span of each product at the same time; failures are returned, never raised.

    Args:
        provider: Who is asked; it is left open.
        spans: Products and what is wanted of each.
        timeout: Seconds after which a product's request is given up; None leaves that to the provider's own tries.
    """
    answers = await asyncio.gather(*(_fetch(provider, product, span, timeout) for product, span in spans.items()))
    return dict(zip(spans, answers, strict=True))


async def _fetch(provider: Provider, product: str, span: Span, seconds: float | None) -> LiveAnswer:
    answer = LiveAnswer()
    try:
        async with asyncio.timeout(seconds):
            # page by page: what was answered before a failure is kept
            async for page in provider.pages(product, list(span.pages(PAGE_MINUTES))):
                answer.pages.append(page)
    except TimeoutError:
        answer.failure = f"no answer within {seconds:g} s"
    except FetchFailedError as error:
        answer.failure, answer.error = error.failed[0].cause, error
    except (ProviderError, UnknownProductError) as error:
        answer.failure, answer.error = str(error), error
    return answer
