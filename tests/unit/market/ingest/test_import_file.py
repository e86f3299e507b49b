"""`desk import`: what a file may prove, which row wins, what is set aside, and that doing it again changes nothing."""

from __future__ import annotations

import asyncio
import gzip
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, strategies
from hypothesis import settings as examples

from core.candles import MINUTE, Candle, Page, Span
from core.errors import CandleFileError, UnknownProductError
from market.ingest.import_file import LAST_OF_FILE, ImportOrder, import_file, import_order, product_in_name
from market.ingest.repair import repair
from store.feature_store import FeatureStore
from store.sql_files import load_sql

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from pathlib import Path

    from core.settings import Settings

T0 = datetime(2024, 3, 1, tzinfo=UTC)
HEADER = "time,open,high,low,close,volume"


@pytest.fixture
def store() -> Iterator[FeatureStore]:
    with FeatureStore.in_memory() as made:
        yield made


@pytest.fixture
def batches_of_four(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("market.ingest.import_file"), "ROWS_PER_WRITE", 4)


def line(candle: Candle) -> str:
    numbers = (candle.open, candle.high, candle.low, candle.close, candle.volume)
    return ",".join((f"{candle.open_time:%Y-%m-%d %H:%M:%S}", *map(str, numbers)))


def file_of(path: Path, rows: Sequence[Candle]) -> Path:
    path.write_text("\n".join((HEADER, *map(line, rows))), encoding="utf-8")
    return path


def minute(number: int, close: str = "100", volume: str = "1") -> Candle:
    price = Decimal(close)
    return Candle("BTC-USD", T0 + number * MINUTE, price, price, price, price, Decimal(volume))


def rows_of(store: FeatureStore, table: str, what: str = "*") -> list[tuple[Any, ...]]:
    return store._connection().execute(f"select {what} from {table} order by all").fetchall()


def whole(path: Path, **how: Any) -> ImportOrder:
    return import_order(path, "BTC-USD", last_is_closed=True, **how)


def told_by_exchange(candles: Sequence[Candle], start: int, end: int) -> Page:
    span = Span(T0 + start * MINUTE, T0 + end * MINUTE)
    return Page("BTC-USD", span, tuple(candles), T0 + timedelta(days=1), "coinbase")


@pytest.mark.parametrize(
    ("name", "product"),
    [
        ("coinbase_BTC-USD_1m.parquet", "BTC-USD"),
        ("coinbase_BTC_USD_2025-02-13.jsonl.gz", "BTC-USD"),
        ("coinbase_SOL-USD_api-order-descending.csv.gz", "SOL-USD"),
        ("BTC-USD_1m_2023-11-10_2025-11-10.parquet", "BTC-USD"),
        ("1INCH-USD.csv", "1INCH-USD"),
        ("ETH-BTC.csv", "ETH-BTC"),
        ("candles.csv", None),
        ("BTC-USD_and_ETH-USD.csv", None),
        ("BTC-USDX.csv", None),
    ],
)
def test_product_is_read_from_an_obvious_name_only(name: str, product: str | None) -> None:
    assert product_in_name(name) == product


def test_order_without_or_with_two_products_is_an_error(tmp_path: Path) -> None:
    for name in ("candles.csv", "ETH-USD.csv"):
        (tmp_path / name).touch()
    with pytest.raises(CandleFileError, match="does not show one product; name it with --product"):
        import_order(tmp_path / "candles.csv")
    with pytest.raises(CandleFileError, match="shows ETH-USD, --product says BTC-USD"):
        import_order(tmp_path / "ETH-USD.csv", "BTC-USD")
    with pytest.raises(UnknownProductError):
        import_order(tmp_path / "candles.csv", "btc")


def test_hole_of_a_file_is_not_proved_empty(store: FeatureStore, tmp_path: Path) -> None:
    import_file(store, whole(file_of(tmp_path / "a.csv", [minute(0), minute(1), minute(5)])))
    (row,) = store.coverage()
    assert (row["stored_minutes"], row["empty_minutes"], row["unasked_minutes"]) == (3, 0, 3)
    asked = Span(T0 - 2 * MINUTE, T0 + 8 * MINUTE)
    assert [(gap.start, gap.minutes) for gap in store.missing_windows("BTC-USD", asked)] == [
        (asked.start, 2),
        (T0 + 2 * MINUTE, 3),
        (T0 + 6 * MINUTE, 2),
    ]
    assert [check for check in store.quality() if check["bad_rows"]] == []


def test_newest_row_is_set_aside_in_any_order(store: FeatureStore, tmp_path: Path, batches_of_four: None) -> None:
    rows = [minute(number) for number in range(10)]
    random.Random(3).shuffle(rows)
    result = import_file(store, import_order(file_of(tmp_path / "a.csv", rows), "BTC-USD"))
    assert (result.count.rows, result.count.stored, dict(result.count.quarantined)) == (10, 9, {LAST_OF_FILE: 1})
    assert store.last_open_time("BTC-USD") == T0 + 8 * MINUTE
    assert rows_of(store, "candle_quarantine", "reason, open_time")[0][0] == LAST_OF_FILE


def test_bad_rows_go_to_quarantine_and_leave_their_minutes_to_be_asked_for(store: FeatureStore, tmp_path: Path) -> None:
    lines = [
        HEADER,
        line(minute(0)),
        "2024-03-01 00:01:00,1,2,1,,3",
        "2024-03-01 00:02:30,1,2,1,2,3",
        "2024-03-01 00:03:00,1,2,3,2,3",
        "2024-03-01 00:04:00,-1,2,-1,2,3",
        "2024-03-01 00:05:00,1,2,1,2,-3",
        "2999-03-01 00:06:00,1,2,1,2,3",
    ]
    path = tmp_path / "a.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    result = import_file(store, whole(path))
    assert dict(result.count.quarantined) == {
        "not_finite": 1,
        "off_grid": 1,
        "ohlc_order": 1,
        "non_positive_price": 1,
        "negative_volume": 1,
        "still_open": 1,
    }
    assert result.count.stored == 1
    assert store.missing_windows("BTC-USD", Span(T0, T0 + 6 * MINUTE)) == [Span(T0 + MINUTE, T0 + 6 * MINUTE)]


@pytest.mark.parametrize("fuller_first", [True, False])
@pytest.mark.parametrize("apart", [0, 7])
def test_conflicting_rows_the_one_with_more_volume_wins_and_both_stay(
    store: FeatureStore, tmp_path: Path, batches_of_four: None, fuller_first: bool, apart: int
) -> None:
    pair = [minute(0, "101", "5"), minute(0, "100", "2")]
    between = [minute(number) for number in range(1, apart + 1)]
    first, second = pair if fuller_first else pair[::-1]
    path = file_of(tmp_path / "a.csv", [first, *between, second, first])
    result = import_file(store, whole(path))
    assert (result.count.stored, result.count.revised) == (apart + 1, 1)
    assert rows_of(store, "candles_1m", "close, volume")[-1] == (Decimal(101), Decimal(5))
    assert rows_of(store, "candle_revisions", "close, volume") == [(Decimal(100), Decimal(2))]
    before = rows_of(store, "candles_1m"), rows_of(store, "candle_revisions"), rows_of(store, "ledger")
    again = import_file(store, whole(path))
    assert (again.count.stored, again.count.revised, again.count.known) == (0, 0, apart + 3)
    assert (rows_of(store, "candles_1m"), rows_of(store, "candle_revisions"), rows_of(store, "ledger")) == before
    assert [check for check in store.quality() if check["bad_rows"]] == []


@given(data=strategies.data())
@examples(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_order_duplicates_and_batches_end_in_the_same_candles(
    data: strategies.DataObject, store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for table in ("candles_1m", "candle_revisions", "ledger"):
        store._connection().execute(f"delete from {table}")
    kinds = strategies.sampled_from([(number, volume) for number in range(6) for volume in ("1", "2", "3")])
    rows = [
        minute(number, str(100 + int(volume)), volume)
        for number, volume in data.draw(strategies.lists(kinds, min_size=1, max_size=20))
    ]
    monkeypatch.setattr(
        import_module("market.ingest.import_file"), "ROWS_PER_WRITE", data.draw(strategies.integers(1, 7))
    )
    path = file_of(tmp_path / "a.csv", rows)
    for _ in range(2):
        import_file(store, whole(path))
    found = {row[0]: row[1] for row in rows_of(store, "candles_1m", "open_time, volume")}
    kept = rows_of(store, "candle_revisions", "open_time, volume")
    assert store._connection().execute(load_sql("checks/revisions_pointless")).fetchall() == []
    told: dict[datetime, set[Decimal]] = {}
    for row in rows:
        told.setdefault(row.open_time, set()).add(row.volume)
    assert found == {moment: max(volumes) for moment, volumes in told.items()}
    assert set(kept) == {(moment, volume) for moment, volumes in told.items() for volume in volumes - {max(volumes)}}
    assert len(kept) == len(set(kept))


def test_row_that_contradicts_the_exchange_is_set_aside(store: FeatureStore, tmp_path: Path) -> None:
    store.record_pages([told_by_exchange([minute(0), minute(1)], 0, 3)])
    ledger = rows_of(store, "ledger")
    path = file_of(tmp_path / "a.csv", [minute(0), minute(1, "101", "9"), minute(2), minute(3)])
    result = import_file(store, whole(path))
    assert (result.count.stored, result.count.known, result.count.revised) == (1, 1, 0)
    assert dict(result.count.quarantined) == {"contradicts_exchange": 2}
    assert rows_of(store, "candle_revisions") == []
    assert rows_of(store, "ledger")[0] == ledger[0]


def test_replace_believes_the_file_and_keeps_the_exchange_version(store: FeatureStore, tmp_path: Path) -> None:
    store.record_pages([told_by_exchange([minute(0), minute(1)], 0, 3)])
    path = file_of(tmp_path / "a.csv", [minute(1, "101", "9"), minute(2)])
    result = import_file(store, whole(path, replace=True))
    assert (result.count.stored, result.count.revised) == (1, 1)
    assert rows_of(store, "candle_revisions", "source, close") == [("coinbase", Decimal(100))]
    assert rows_of(store, "candles_1m", "source, close")[1:] == [
        ("import:a.csv", Decimal(100)),
        ("import:a.csv", Decimal(101)),
    ]


def test_exchange_told_later_wins_over_a_file(store: FeatureStore, tmp_path: Path) -> None:
    import_file(store, whole(file_of(tmp_path / "a.csv", [minute(0, "101", "9")])))
    later = Page("BTC-USD", Span(T0, T0 + MINUTE), (minute(0),), datetime.now(UTC) + timedelta(days=1), "coinbase")
    store.record_pages([later])
    assert rows_of(store, "candles_1m", "source, close") == [("coinbase", Decimal(100))]
    # and the same file again does not bring its version back
    assert import_file(store, whole(tmp_path / "a.csv")).count.known == 1
    assert rows_of(store, "candles_1m", "source, close") == [("coinbase", Decimal(100))]


def test_of_two_files_the_one_imported_later_wins(store: FeatureStore, tmp_path: Path) -> None:
    import_file(store, whole(file_of(tmp_path / "a.csv", [minute(0, "101", "9")])))
    import_file(store, whole(file_of(tmp_path / "b.csv", [minute(0, "102", "3")])))
    import_file(store, whole(tmp_path / "a.csv"))
    assert rows_of(store, "candles_1m", "source, close") == [("import:b.csv", Decimal(102))]
    assert rows_of(store, "candle_revisions", "source, close") == [("import:a.csv", Decimal(101))]


def test_prices_of_another_product_are_refused(store: FeatureStore, tmp_path: Path) -> None:
    store.record_pages([told_by_exchange([minute(number, "60000") for number in range(5)], 0, 5)])
    path = file_of(tmp_path / "a.csv", [minute(number, "100") for number in range(3, 9)])
    with pytest.raises(CandleFileError, match=r"0.00167 times those stored of BTC-USD.*--product"):
        import_file(store, whole(path))
    assert len(rows_of(store, "candles_1m")) == 5


def test_damaged_file_keeps_whole_batches_and_the_mended_one_goes_on(
    store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_module("market.ingest.import_file"), "ROWS_PER_WRITE", 500)
    dice = random.Random(5)
    rows = [minute(number, "100", str(dice.random())) for number in range(4000)]
    content = gzip.compress("\n".join((HEADER, *map(line, rows))).encode(), mtime=0)
    path = tmp_path / "a.csv.gz"
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(CandleFileError, match="cut off after line"):
        import_file(store, whole(path))
    stored = len(rows_of(store, "candles_1m"))
    assert 0 < stored < 4000
    assert stored % 500 == 0
    assert rows_of(store, "imports") == []
    path.write_bytes(content)
    result = import_file(store, whole(path))
    assert (result.count.stored, result.count.known) == (4000 - stored, stored)
    assert len(rows_of(store, "imports")) == 1


def test_bad_row_stores_nothing_of_its_batch(store: FeatureStore, tmp_path: Path, batches_of_four: None) -> None:
    path = file_of(tmp_path / "a.csv", [minute(number) for number in range(7)])
    path.write_text(path.read_text(encoding="utf-8") + "\n2024-03-01 00:07:00,1,2,1,x,3\n", encoding="utf-8")
    with pytest.raises(CandleFileError, match="line 9: close is 'x'"):
        import_file(store, whole(path))
    assert len(rows_of(store, "candles_1m")) == 4


def test_finished_import_is_noted_with_the_hash_of_its_file(store: FeatureStore, tmp_path: Path) -> None:
    result = import_file(store, whole(file_of(tmp_path / "a.csv", [minute(0)]), source="archive"))
    (row,) = rows_of(store, "imports", "product, source, sha256, columns, row_count, stored, revised, quarantined")
    assert row == ("BTC-USD", "import:archive", result.sha256, HEADER, 1, 1, 0, 0)
    assert len(result.sha256) == 64


def test_suspected_early_save_is_asked_for_until_the_exchange_has_answered(
    store: FeatureStore, tmp_path: Path, walk: Callable[..., list[Candle]]
) -> None:
    rows = walk("BTC-USD", 90, start=T0)
    early = rows[40]
    rows[41] = Candle(
        "BTC-USD", rows[41].open_time, Decimal(120), Decimal(120), rows[41].low, rows[41].close, rows[41].volume
    )
    rows[40] = Candle("BTC-USD", early.open_time, early.open, early.open, early.open, early.open, Decimal("0.0001"))
    import_file(store, whole(file_of(tmp_path / "a.csv", rows)))
    span = Span(T0, T0 + 90 * MINUTE)
    suspected = Span(early.open_time, early.open_time + MINUTE)
    before, flags = store.early_saves("BTC-USD", span), store.flag_counts("BTC-USD", span)["early_saves"]
    assert suspected in before
    assert len(before) == flags
    store.record_pages([Page("BTC-USD", suspected, (rows[40],), datetime.now(UTC) + MINUTE, "coinbase")])
    assert store.early_saves("BTC-USD", span) == [one for one in before if one != suspected]
    assert store.flag_counts("BTC-USD", span)["early_saves"] == flags


class Exchange:
    """Answers every window from the candles it knows."""

    name = "coinbase"

    def __init__(self, candles: Sequence[Candle]) -> None:
        self.candles = candles
        self.asked: list[Span] = []

    async def pages(self, product: str, windows: Sequence[Span]) -> AsyncIterator[Page]:
        for window in windows:
            self.asked.append(window)
            inside = tuple(one for one in self.candles if window.start <= one.open_time < window.end)
            yield Page(product, window, inside, datetime.now(UTC), self.name)


def test_repair_asks_for_suspected_early_saves_once_and_keeps_both_versions(
    settings: Settings, tmp_path: Path, walk: Callable[..., list[Candle]]
) -> None:
    truth = walk("BTC-USD", 90, start=T0)
    rows = list(truth)
    cut = Candle("BTC-USD", rows[40].open_time, *(rows[40].open - Decimal("0.50"),) * 4, Decimal("0.0001"))
    rows[40] = cut
    exchange = Exchange(truth)
    with FeatureStore(settings.paths.market_db) as store:
        import_file(store, whole(file_of(tmp_path / "a.csv", rows)))
        first = asyncio.run(repair(settings, "BTC-USD", provider=exchange))
        second = asyncio.run(repair(settings, "BTC-USD", provider=exchange))
        late = store._rows(
            "queries/candles_as_of",
            product="BTC-USD",
            since=cut.open_time,
            until=cut.open_time + MINUTE,
            cut=datetime.now(UTC),
        )
    assert dict(first.asked_minutes)["suspected"] >= 1
    assert first.revised == 1
    assert (late[0]["close"], late[0]["source"]) == (truth[40].close, "coinbase")
    assert second.asked_minutes == ()
    assert len(exchange.asked) == 1
