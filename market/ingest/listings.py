"""Learn since when a product has candles: asked once and stored, asked again a day after the answer was no."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from core.candles import Span
from core.errors import ListingUnknownError, UnknownProductError
from store.coverage import NOT_OFFERED, OFFERED

if TYPE_CHECKING:
    from market.providers import Provider
    from store.coverage import Listing
    from store.feature_store import FeatureStore

ASK_AGAIN_AFTER = timedelta(days=1)
"""How long a product that is not offered is left alone; a repair asks at once."""

_MARGIN = timedelta(days=1)


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
