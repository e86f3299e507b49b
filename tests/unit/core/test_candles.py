from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.candles import MINUTE, Span, floor_minute, require_product
from core.errors import SpanError, UnknownProductError

START = datetime(2025, 1, 1, tzinfo=UTC)


def test_span_end_before_start_names_both() -> None:
    with pytest.raises(SpanError, match=r"ends at 2025-01-01.*exchange them"):
        Span(START + MINUTE, START)


def test_span_naive_time_is_refused() -> None:
    with pytest.raises(SpanError, match="no time zone"):
        Span(START.replace(tzinfo=None), START)


def test_span_off_grid_time_is_refused() -> None:
    with pytest.raises(SpanError, match="leave out the seconds"):
        Span(START, START + timedelta(seconds=90))


@given(minutes=st.integers(1, 5000), page=st.integers(1, 350))
def test_span_pages_cover_it_exactly_once(minutes: int, page: int) -> None:
    span = Span(START, START + minutes * MINUTE)
    pages = list(span.pages(page))
    assert sum(part.minutes for part in pages) == minutes
    assert all(part.minutes <= page for part in pages)
    assert pages[0].start == span.start
    assert pages[-1].end == span.end
    assert all(left.end == right.start for left, right in itertools.pairwise(pages))


def test_floor_minute_turns_any_zone_into_utc() -> None:
    prague = timezone(timedelta(hours=1))
    assert floor_minute(datetime(2025, 1, 1, 1, 0, 59, tzinfo=prague)) == START


@pytest.mark.parametrize("name", ["btc-usd", "BTCUSD", "BTC/USD", "", "BTC-"])
def test_require_product_refuses_other_forms(name: str) -> None:
    with pytest.raises(UnknownProductError, match="BTC-USD"):
        require_product(name)
