"""Two real files as they were found: newest first, duplicates, a revised minute, open minutes saved too early."""

from __future__ import annotations

import csv
import gzip
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from desk.market import MINUTE, Candle, Page, Span
from store.feature_store import FeatureStore

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.real


def page(product: str, candles: list[Candle], known_at: datetime) -> Page:
    times = [candle.open_time for candle in candles]
    return Page(product, Span(min(times), max(times) + MINUTE), tuple(candles), known_at, "import")


def test_newest_first_file_with_duplicates_is_stored_once(recorded_candles: Path) -> None:
    with gzip.open(recorded_candles / "dirty" / "coinbase_SOL-USD_api-order-descending.csv.gz", "rt") as stream:
        rows = list(csv.DictReader(stream))
    candles = [
        Candle(
            "SOL-USD",
            datetime.fromisoformat(row["time"]).replace(tzinfo=UTC),
            *(Decimal(row[name]) for name in ("open", "high", "low", "close", "volume")),
        )
        for row in rows
    ]
    times = {candle.open_time for candle in candles}
    newest = max(times)
    with FeatureStore.in_memory() as store:
        count = store.record_pages([page("SOL-USD", candles, newest + timedelta(seconds=30))])
        assert len(candles) - len(times) == 145
        assert count.stored == len(times) - 1
        assert (count.quarantined, count.revised) == (1, 1)
        (row,) = store.coverage()
        assert (row["revised_candles"], row["last_open_time"]) == (1, newest - MINUTE)
        assert [check["check"] for check in store.quality() if check["bad_rows"]] == []
        # of the minute told twice the fuller version is the one that holds
        then = store._connection().execute("select volume from candle_revisions").fetchall()
        now = store._connection().execute(
            "select volume from candles_1m semi join candle_revisions using (product, open_time)"
        )
        assert now.fetchall() > then


def test_minutes_saved_while_open_are_suspected_and_kept(recorded_candles: Path) -> None:
    with gzip.open(recorded_candles / "dirty" / "coinbase_BTC_USD_2025-02-13.jsonl.gz", "rt") as stream:
        rows = [json.loads(line, parse_float=Decimal, parse_int=Decimal) for line in stream]
    candles = [
        Candle("BTC-USD", datetime.fromtimestamp(int(row[0]) // 1000, UTC), *(Decimal(cell) for cell in row[1:6]))
        for row in rows
    ]
    with FeatureStore.in_memory() as store:
        count = store.record_pages([page("BTC-USD", candles, candles[-1].open_time + timedelta(days=1))])
        suspected = store._connection().execute("select count(*) from dq_early_saves").fetchall()[0][0]
        (outage,) = store.gaps()
    assert count.stored == len(candles)
    assert 20 <= suspected <= 72
    assert (outage["gap_start"], outage["missing_minutes"]) == (datetime(2025, 2, 13, 16, 41, tzinfo=UTC), 24)
