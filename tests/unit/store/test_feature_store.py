"""FeatureStore on a file: pages in, ledger, revisions, quarantine, reads."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from core.candles import MINUTE, Candle, Page, Span
from core.errors import DatasetError, StoreError
from store.feature_store import TRIMS_PER_REBUILD, FeatureStore
from store.registry_mirror import record_history

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T0 = datetime(2024, 3, 1, tzinfo=UTC)
SPAN = Span(T0, T0 + 600 * MINUTE)
KNOWN = T0 + timedelta(days=2)


def page(candles: list[Candle], *, known_at: datetime = KNOWN, span: Span = SPAN) -> Page:
    return Page("BTC-USD", span, tuple(candles), known_at, "coinbase")


def test_record_pages_stores_once_and_counts(store: FeatureStore, walk: Callable[..., list[Candle]]) -> None:
    candles = walk("BTC-USD", 600, start=T0, missing=0.1)
    first, again = store.record_pages([page(candles)]), store.record_pages([page(candles)])
    assert (first.stored, first.empty_minutes) == (len(candles), 600 - len(candles))
    assert (again.stored, again.revised) == (0, 0)
    assert store.span_stored("BTC-USD") == Span(candles[0].open_time, candles[-1].open_time + MINUTE)


def test_record_pages_keeps_every_decimal(store: FeatureStore) -> None:
    price = Decimal("0.00001234")
    store.record_pages([page([Candle("BTC-USD", T0, price, price, price, price, Decimal("123456789.12345678"))])])
    with store._reading() as connection:
        rows = connection.execute("select close, volume from candles_1m").fetchall()
    assert rows == [(price, Decimal("123456789.12345678"))]


def test_record_pages_changed_candle_is_a_revision(store: FeatureStore, walk: Callable[..., list[Candle]]) -> None:
    candle = walk("BTC-USD", 1, start=T0)[0]
    changed = replace(candle, volume=candle.volume + 1)
    store.record_pages([page([candle])])
    count = store.record_pages([page([changed], known_at=KNOWN + MINUTE)])
    assert count.revised == 1
    with store._reading() as connection:
        now = connection.execute("select volume from candles_1m").fetchall()
        then = connection.execute(
            "select volume, epoch_us(superseded_at) - epoch_us(known_at) from candle_revisions"
        ).fetchall()
    assert now == [(changed.volume,)]
    assert then == [(candle.volume, 60_000_000)]


def test_record_pages_several_versions_in_one_batch_are_kept_in_order(
    store: FeatureStore, walk: Callable[..., list[Candle]]
) -> None:
    candle = walk("BTC-USD", 1, start=T0)[0]
    versions = [page([replace(candle, volume=Decimal(n))], known_at=KNOWN + n * MINUTE) for n in (3, 1, 2)]
    count = store.record_pages(versions)
    assert (count.stored, count.revised) == (1, 2)
    with store._reading() as connection:
        assert connection.execute("select volume from candles_1m").fetchall() == [(Decimal(3),)]
        assert connection.execute("select count(*) from candle_revisions").fetchall() == [(2,)]


def test_record_pages_bad_row_is_quarantined_with_its_reason(
    store: FeatureStore, walk: Callable[..., list[Candle]]
) -> None:
    good, bad = walk("BTC-USD", 2, start=T0)
    upside_down = replace(bad, high=bad.low, low=bad.high)
    count = store.record_pages([page([good, upside_down])])
    assert (count.stored, count.quarantined) == (1, 1)
    assert store.record_pages([page([good, upside_down])]).quarantined == 0
    with store._reading() as connection:
        assert connection.execute("select reason from candle_quarantine").fetchall() == [("ohlc_order",)]


def test_record_pages_not_a_number_is_quarantined(store: FeatureStore, walk: Callable[..., list[Candle]]) -> None:
    candle = replace(walk("BTC-USD", 1, start=T0)[0], close=Decimal("NaN"))
    assert store.record_pages([page([candle])]).quarantined == 1


def test_record_pages_nothing_is_fine(store: FeatureStore) -> None:
    assert store.record_pages([]).stored == 0
    assert store.record_pages([page([])]).empty_minutes == 600


def test_missing_windows_asks_only_for_what_is_missing(
    store: FeatureStore, walk: Callable[..., list[Candle]], as_pages: Callable[..., list[Page]]
) -> None:
    pages = as_pages(walk("BTC-USD", 600, start=T0), SPAN, 100)
    assert store.missing_windows("BTC-USD", SPAN) == [SPAN]
    store.record_pages([pages[0], pages[1], pages[4]])
    wanted = [Span(pages[2].window.start, pages[3].window.end), pages[5].window]
    assert store.missing_windows("BTC-USD", SPAN) == wanted
    store.record_failure("BTC-USD", pages[2].window, "503", "coinbase")
    assert store.missing_windows("BTC-USD", SPAN) == wanted
    store.record_pages(pages)
    assert store.missing_windows("BTC-USD", SPAN) == []
    assert store.missing_windows("ETH-USD", SPAN) == [SPAN]


def test_repair_windows_are_the_minutes_without_a_candle_each_with_its_due_time(
    store: FeatureStore, walk: Callable[..., list[Candle]]
) -> None:
    candles = walk("BTC-USD", 600, start=T0)
    hole = Span(T0 + 10 * MINUTE, T0 + 15 * MINUTE)
    kept = [candle for candle in candles if not hole.start <= candle.open_time < hole.end]
    store.record_pages([page(kept)])
    (found,) = store.repair_windows("BTC-USD", SPAN)
    assert (found.span, found.state, found.tries, found.due_at) == (hole, "empty", 1, KNOWN + timedelta(hours=1))
    store.record_pages([page([], span=hole, known_at=KNOWN + timedelta(hours=2))])
    (found,) = store.repair_windows("BTC-USD", SPAN)
    assert (found.span, found.tries, found.due_at) == (hole, 2, KNOWN + timedelta(hours=26))
    assert store.repair_windows("BTC-USD", Span(SPAN.start, hole.start)) == []


def test_coverage_tells_what_became_of_every_minute(store: FeatureStore, walk: Callable[..., list[Candle]]) -> None:
    candles = walk("BTC-USD", 600, start=T0, missing=0.2)
    store.record_pages([page(candles)])
    store.record_failure("BTC-USD", Span(SPAN.end, SPAN.end + 50 * MINUTE), "busy", "coinbase")
    store.record_listing("BNB-USD", "not_offered", None, "unknown product")
    other, row = store.coverage()
    assert (other["product"], other["listing"], other["stored_minutes"]) == ("BNB-USD", "not_offered", 0)
    assert (row["asked_minutes"], row["stored_minutes"]) == (600, len(candles))
    assert (row["empty_minutes"], row["failed_minutes"], row["unasked_minutes"]) == (600 - len(candles), 50, 0)


def test_gaps_say_what_the_exchange_proved(store: FeatureStore, walk: Callable[..., list[Candle]]) -> None:
    candles = walk("BTC-USD", 600, start=T0)
    store.record_pages(
        [
            page(candles[:100], span=Span(T0, T0 + 110 * MINUTE)),
            page(candles[120:], span=Span(T0 + 120 * MINUTE, SPAN.end)),
        ]
    )
    (gap,) = store.gaps()
    assert (gap["gap_start"], gap["missing_minutes"], gap["empty_minutes"]) == (T0 + 100 * MINUTE, 20, 10)


def test_quality_good_candles_break_no_rule(store: FeatureStore, walk: Callable[..., list[Candle]]) -> None:
    store.record_pages([page(walk("BTC-USD", 600, start=T0))])
    found = store.quality()
    assert len(found) >= 8
    assert [row["check"] for row in found if row["bad_rows"]] == []


@pytest.mark.parametrize(
    ("check", "change"),
    [
        ("candles_duplicate", "insert into candles_1m select * from candles_1m limit 1"),
        ("candles_off_grid", "update candles_1m set open_time = open_time + interval '1 second'"),
        ("candles_ohlc_order", "update candles_1m set low = high + 1"),
        ("candles_not_positive", "update candles_1m set low = 0"),
        ("candles_known_too_early", "update candles_1m set known_at = open_time"),
        ("candles_unasked", "delete from ledger"),
        ("ledger_adds_up", "update ledger set state = 'quarantined'"),
        ("ledger_adds_up", "insert into ledger select * from ledger"),
        ("ledger_adds_up", "insert into candles_1m select * from candles_1m limit 1"),
        (
            "revisions_out_of_order",
            "insert into candle_revisions by name "
            "select * replace (close + 1 as close, known_at + interval '1 hour' as known_at), "
            "known_at as superseded_at from candles_1m limit 1",
        ),
        ("ledger_overlap", "insert into ledger select * from ledger"),
        (
            "revisions_pointless",
            "insert into candle_revisions by name select *, known_at as superseded_at from candles_1m limit 1",
        ),
    ],
)
def test_quality_each_check_finds_its_fault(
    store: FeatureStore, walk: Callable[..., list[Candle]], check: str, change: str
) -> None:
    store.record_pages([page(walk("BTC-USD", 600, start=T0))])
    with store._writing() as connection:
        connection.execute(change)
    assert {row["check"]: row["bad_rows"] for row in store.quality()}[check] > 0


def test_listing_is_replaced_and_read_back(store: FeatureStore) -> None:
    assert store.listing("BTC-USD") is None
    store.record_listing("BTC-USD", "offered", T0, "")
    store.record_listing("BTC-USD", "offered", T0 + MINUTE, "")
    found = store.listing("BTC-USD")
    assert found is not None
    assert (found.state, found.first_open_time) == ("offered", T0 + MINUTE)


def test_registry_and_metrics_rows_are_appended_once(store: FeatureStore) -> None:
    event = {
        "event_id": "e1",
        "happened_at": T0,
        "kind": "trial",
        "slot": "transformer",
        "model_id": "m",
        "who": "a",
        "why": "",
    }
    metric = {"model_id": "m", "product": "BTC-USD", "slice": "all", "metric": "auc", "value": 0.5, "row_count": 9}
    for _ in range(2):
        record_history(store, [event], [metric])
    with store._reading() as connection:
        assert connection.execute("select count(*) from registry_events").fetchall() == [(1,)]
        assert connection.execute("select value, low_95 from model_metrics").fetchall() == [(0.5, None)]


def test_migrate_twice_does_nothing_the_second_time(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "market.duckdb")
    assert store.migrate()
    assert not store.migrate()


def test_reading_a_file_that_is_not_there_makes_none(tmp_path: Path) -> None:
    path = tmp_path / "market.duckdb"
    for read in (
        FeatureStore(path).coverage,
        lambda: FeatureStore(path).feature_blocks(["BTC-USD"], T0, SPAN.end, "seed39")["BTC-USD"],
    ):
        with pytest.raises(StoreError, match="make backfill"):
            read()
    assert not path.exists()


def test_trim_a_file_is_refused(store: FeatureStore) -> None:
    with pytest.raises(StoreError, match="history"):
        store.trim(T0)


def test_latest_dataset_without_any_names_the_command(store: FeatureStore) -> None:
    with pytest.raises(DatasetError, match="make features"):
        store.latest_dataset()


def test_in_memory_upsert_and_trim(walk: Callable[..., list[Candle]]) -> None:
    candles = walk("BTC-USD", 20, start=T0)
    with FeatureStore.in_memory() as store:
        store.upsert_candles(candles)
        store.upsert_candles([replace(candles[-1], volume=Decimal(5))])
        store.trim(T0 + 5 * MINUTE)
        assert store.span_stored("BTC-USD") == Span(T0 + 5 * MINUTE, T0 + 20 * MINUTE)
        assert store.last_open_time("ETH-USD") is None


def test_trim_often_keeps_the_rows_and_their_order(walk: Callable[..., list[Candle]]) -> None:
    candles = walk("BTC-USD", TRIMS_PER_REBUILD + 10, start=T0)
    with FeatureStore.in_memory() as store:
        store.upsert_candles(candles)
        for number in range(TRIMS_PER_REBUILD + 1):
            store.trim(T0 + number * MINUTE)
        rows = store._connection().execute("select open_time, close from candles_1m").fetchall()
    kept = candles[TRIMS_PER_REBUILD:]
    assert rows == [(candle.open_time, candle.close) for candle in kept]


def test_feature_store_imports_neither_arrow_nor_polars() -> None:
    code = "import sys, store.feature_store, store.signal_store; print([m for m in ('pyarrow', 'polars', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
