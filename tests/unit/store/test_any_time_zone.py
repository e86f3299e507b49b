"""Every view and macro gives a plain DuckDB client the same answer, whatever the time zone of its session."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from core.candles import MINUTE, Span
from store.feature_store import FeatureStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from core.candles import Candle, Page

# New York's clocks went forward at 07:00 UTC of the 9th
START = datetime(2025, 3, 8, 6, tzinfo=UTC)
SPAN = Span(START, START + 2 * 1440 * MINUTE)
ZONES = ("UTC", "America/New_York", "Asia/Kolkata")
VIEWS = (
    "candles_5m candles_15m candles_1h candles_1d candles_dense coverage coverage_daily coverage_windows gaps dq_spikes dq_early_saves "
    "features_session seed39 flow labels_15m"
)
MACROS = (
    "candles('BTC', '1d')",
    "candles('BTC', '1w')",
    "candles('BTC', '4h')",
    "candles('BTC', interval '90 minutes')",
    "coverage_of('BTC', '2025-03-09')",
    "coverage_of('BTC', date '2025-03-09')",
    "coverage_of('BTC', timestamptz '2025-03-09 02:00+00')",
    "features_at('BTC', '2025-03-09 12:00')",
    "features_at('BTC', '2025-03-09')",
    "features_at('BTC', '2025-03-09T08:00:00-04:00')",
    "features_at('BTC', '2025-03-09 12:00Z')",
    "features_at('BTC', timestamp '2025-03-09 12:00')",
    "features_at('BTC', timestamptz '2025-03-09 12:00+00')",
    "flow_at('BTC', '2025-03-09 12:00')",
    "gaps_of('BTC')",
    "features_at('BTC', '2025-03-09 12:00 America/New_York')",
    "returns('BTC', 60)",
    "session_stats('BTC')",
)


@pytest.fixture(scope="module")
def read_copy(
    tmp_path_factory: pytest.TempPathFactory, walk: Callable[..., list[Candle]], as_pages: Callable[..., list[Page]]
) -> Path:
    """A published copy with two days around the change of clocks."""
    folder = tmp_path_factory.mktemp("zones")
    with FeatureStore(folder / "market.duckdb") as store:
        store.migrate()
        for product in ("BTC-USD", "ETH-USD"):
            store.record_pages(as_pages(walk(product, SPAN.minutes, start=START, missing=0.02), SPAN))
        return store.publish(folder / "market_read.duckdb")


def answer(copy: Path, zone: str, asked: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(copy, read_only=True) as connection:
        connection.execute(f"set TimeZone = '{zone}'")
        return connection.execute(f"select * from {asked} order by all").fetchall()


@pytest.mark.parametrize("asked", [*VIEWS.split(), *MACROS])
def test_answer_is_the_same_in_any_session_time_zone(read_copy: Path, asked: str) -> None:
    first, *others = (answer(read_copy, zone, asked) for zone in ZONES)
    assert first or asked.startswith("dq_")
    assert all(other == first for other in others)


def test_values_around_the_change_of_clocks_are_those_of_utc(read_copy: Path) -> None:
    zone = "America/New_York"
    days = answer(read_copy, zone, "candles('BTC', '1d')")
    assert [(row[1].astimezone(UTC), row[2].astimezone(UTC).hour) for row in days] == [
        (datetime(2025, 3, day, tzinfo=UTC), 0) for day in (8, 9, 10)
    ]
    assert sum(row[3] for row in answer(read_copy, zone, "coverage_of('BTC', '2025-03-09')")) == 1440
    weeks = answer(read_copy, zone, "candles('BTC', '1w')")
    assert [row[1].astimezone(UTC).date() for row in weeks] == [date(2025, 3, 3), date(2025, 3, 10)]
    (row,) = answer(read_copy, zone, "features_at('BTC', '2025-03-09 12:00')")
    assert row[1].astimezone(UTC) == datetime(2025, 3, 9, 11, 59, tzinfo=UTC)
