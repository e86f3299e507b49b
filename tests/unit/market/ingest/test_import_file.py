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
from market.ingest.import_file import (
    LAST_OF_FILE,
    ImportOrder,
    examine,
    faults_of,
    import_file,
    import_order,
    product_in_name,
)
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


def minute(number: int, close: str = "100", volume: str = "1", opened: str | None = None) -> Candle:
    """Of two tellings of one minute that differ in ``close`` the first trade is the same where ``opened`` is."""
    first, last = Decimal(opened or close), Decimal(close)
    return Candle("BTC-USD", T0 + number * MINUTE, first, max(first, last), min(first, last), last, Decimal(volume))


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
        ("COINBASE_BTC-USD_1m.csv", "BTC-USD"),
        ("20240101_ETH-USD.csv", "ETH-USD"),
        ("OHLCV_ETH_USD.csv", "ETH-USD"),
        ("BINANCE_BTC_USDT_2024.csv", "BTC-USDT"),
        ("1m_SOL-USD_20240101-20240201.csv", "SOL-USD"),
        ("GDAX-BTC-USD.csv", "BTC-USD"),
        ("00-USD.csv", "00-USD"),
        ("BTCUSDT-1m-2024-01.csv", "BTC-USDT"),
        ("XBTUSD_1.csv", "BTC-USD"),
        ("BTC_USDT-1m.feather", "BTC-USDT"),
        ("eth-usd.csv", "ETH-USD"),
        ("BTC_ETH_USD.csv", None),
        ("BTC-USD-ETH-USD.csv", None),
    ],
)
def test_product_is_read_from_an_obvious_name_only(name: str, product: str | None) -> None:
    assert product_in_name(name) == product


def test_product_that_is_named_wins_over_the_name_of_the_file(store: FeatureStore, tmp_path: Path) -> None:
    for name in ("ETH-USD.csv", "BTC-USD_and_ETH-USD.csv", "candles.csv"):
        path = file_of(tmp_path / name, [minute(0), minute(1)])
        assert import_file(store, import_order(path, "BTC-USD")).product == "BTC-USD"
    with pytest.raises(CandleFileError, match=r"shows one product; name it with --product, such as --product BTC-USD"):
        import_file(store, import_order(tmp_path / "candles.csv"))
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
    pair = [minute(0, "101", "5", "100"), minute(0, "100", "2", "100")]
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
        minute(number, str(100 + int(volume)), volume, "100")
        for number, volume in data.draw(strategies.lists(kinds, min_size=1, max_size=20))
    ]
    monkeypatch.setattr(
        import_module("market.ingest.import_file"), "ROWS_PER_WRITE", data.draw(strategies.integers(1, 7))
    )
    path = file_of(tmp_path / "a.csv", rows)
    for _ in range(2):
        import_file(store, whole(path, sparse=True))
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
    with pytest.raises(CandleFileError, match=r"0.00167 times those stored of BTC-USD.*--product.*--trust-prices"):
        import_file(store, whole(path))
    assert len(rows_of(store, "candles_1m")) == 5


@pytest.mark.parametrize("fall", ["0.2", "0.33", "5", "0.0001"])
@pytest.mark.parametrize("later_first", [False, True])
def test_crash_between_two_files_gets_one_answer_in_either_order(
    store: FeatureStore, tmp_path: Path, later_first: bool, fall: str
) -> None:
    before = file_of(tmp_path / "before.csv", [minute(number, "1.0") for number in range(5)])
    after = file_of(tmp_path / "after.csv", [minute(number, fall) for number in range(30, 35)])
    first, second = (after, before) if later_first else (before, after)
    import_file(store, whole(first))
    with pytest.raises(CandleFileError, match="--trust-prices"):
        import_file(store, whole(second))
    assert import_file(store, whole(second, trust_prices=True)).count.stored == 5


def test_crash_inside_one_file_is_no_other_product(store: FeatureStore, tmp_path: Path, batches_of_four: None) -> None:
    rows = [minute(number, "1.0" if number < 4 else "0.2") for number in range(9)]
    assert import_file(store, whole(file_of(tmp_path / "a.csv", rows))).count.stored == 9


def test_damaged_file_stores_nothing_and_the_mended_one_goes_in(store: FeatureStore, tmp_path: Path) -> None:
    dice = random.Random(5)
    rows = [minute(number, "100", str(dice.random())[:9]) for number in range(4000)]
    content = gzip.compress("\n".join((HEADER, *map(line, rows))).encode(), mtime=0)
    path = tmp_path / "a.csv.gz"
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(CandleFileError, match="damaged or cut off"):
        import_file(store, whole(path))
    assert rows_of(store, "candles_1m") == rows_of(store, "imports") == []
    path.write_bytes(content)
    assert import_file(store, whole(path)).count.stored == 4000


def test_killed_import_goes_on_from_whole_batches(
    store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batches_of_four: None
) -> None:
    path = file_of(tmp_path / "a.csv", [minute(number) for number in range(10)])

    def killed(_share: float, _note: str = "") -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_file(store, whole(path), killed)
    assert (len(rows_of(store, "candles_1m")), rows_of(store, "imports")) == (4, [])
    result = import_file(store, whole(path))
    assert (result.count.stored, result.count.known) == (6, 4)
    assert len(rows_of(store, "imports")) == 1


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


def every(minutes: int, count: int, start: int = 0) -> list[Candle]:
    return [minute(start + number * minutes, str(100 + number)) for number in range(count)]


INTERVALS = {
    "hour": (every(60, 30), "1 hour"),
    "hour_with_a_hole": (every(60, 3) + every(60, 3, 600), "1 hour"),
    "five_minutes_newest_first": (every(5, 40)[::-1], "5 minutes"),
    "day": (every(1440, 3), "1 day"),
    "two_rows": (every(240, 2), "4 hours"),
    "hours_and_the_one_that_is_not_over": ([*every(60, 8), minute(7 * 60 + 37)], "1 hour"),
    "quarters_with_a_stray_minute": ([*every(15, 12), minute(31)], "15 minutes"),
    "hours_then_minutes": (every(60, 24) + every(1, 500, 24 * 60), "1 hour among minutes"),
    "minutes_then_quarters": (every(1, 500) + every(15, 30, 510), "15 minutes among minutes"),
}


@pytest.mark.parametrize("case", INTERVALS)
def test_candles_of_another_interval_are_refused_and_named(store: FeatureStore, tmp_path: Path, case: str) -> None:
    rows, words = INTERVALS[case]
    with pytest.raises(CandleFileError, match=f"of {words}.*--sparse"):
        import_file(store, whole(file_of(tmp_path / "BTC-USD_1m.csv", rows)))
    assert rows_of(store, "candles_1m") == []
    assert import_file(store, whole(tmp_path / "BTC-USD_1m.csv", sparse=True)).count.stored == len(rows)


@pytest.mark.parametrize("share", [0.02, 0.2, 0.5])
def test_minutes_of_a_thin_product_are_minutes(
    store: FeatureStore, tmp_path: Path, walk: Callable[..., list[Candle]], share: float
) -> None:
    rows = walk("BTC-USD", 3000, start=T0, missing=1 - share)
    assert import_file(store, whole(file_of(tmp_path / "a.csv", rows))).count.stored == len(rows)


@pytest.mark.parametrize("form", ["%Y-%m-%d", "%Y-%m-%d %H:00", "%Y.%m.%d 00:00"])
def test_file_whose_times_repeat_is_refused_and_never_collapsed(store: FeatureStore, tmp_path: Path, form: str) -> None:
    rows = [f"{T0 + number * MINUTE:{form}},{100 + number},200,50,100,1" for number in range(3)]
    path = tmp_path / "a.csv"
    path.write_text("\n".join((HEADER, *rows)), encoding="utf-8")
    with pytest.raises(CandleFileError, match=r"1 of 1 minutes stand there more than once.*--columns"):
        import_file(store, whole(path))
    assert rows_of(store, "candles_1m") == rows_of(store, "candle_revisions") == []


def test_milliseconds_that_a_spreadsheet_has_rounded_are_refused(store: FeatureStore, tmp_path: Path) -> None:
    rows = [f"{(T0 + number * MINUTE).timestamp() * 1000:.5E},{100 + number},200,50,100,1" for number in range(30)]
    path = tmp_path / "a.csv"
    path.write_text("\n".join((HEADER, *rows)), encoding="utf-8")
    with pytest.raises(CandleFileError, match=r"at the start of a minute|more than once"):
        import_file(store, whole(path))


def test_local_times_with_an_hour_that_comes_twice_are_refused(store: FeatureStore, tmp_path: Path) -> None:
    path = file_of(tmp_path / "a.csv", [*every(1, 3000), *every(1, 60, 1000)])
    with pytest.raises(CandleFileError, match=r"(59|60) of 3000 minutes"):
        import_file(store, whole(path))


@pytest.mark.parametrize("close", ["0.0000013279", "0.000008123456", "1.123456789", "42280.010000001"])
def test_price_with_more_decimals_than_are_kept_is_set_aside(store: FeatureStore, tmp_path: Path, close: str) -> None:
    path = file_of(tmp_path / "a.csv", [minute(0, close), minute(1, close), minute(2, "1.12345678")])
    result = import_file(store, whole(path))
    assert (result.count.stored, dict(result.count.quarantined)) == (1, {"too_many_decimals": 2})
    assert rows_of(store, "candle_quarantine", "close")[0][0] == float(close)


@pytest.mark.parametrize(
    ("close", "volume", "rounded"),
    [
        ("42280.010000000002", "1", 0),
        ("0.30000000000000004", "1", 0),
        ("1.10000000", "0.123456780", 0),
        ("1", "1234.567890123", 1),
        ("1", "999999999999.12345678", 0),
    ],
)
def test_noise_of_a_double_is_no_digit_and_a_rounded_volume_is_counted(
    store: FeatureStore, tmp_path: Path, close: str, volume: str, rounded: int
) -> None:
    result = import_file(store, whole(file_of(tmp_path / "a.csv", [minute(0, close, volume)])))
    assert (result.count.stored, result.count.rounded) == (1, rounded)


def test_volume_that_eight_decimals_would_change_is_set_aside(store: FeatureStore, tmp_path: Path) -> None:
    result = import_file(store, whole(file_of(tmp_path / "a.csv", [minute(0, "1", "0.000000012345"), minute(1)])))
    assert dict(result.count.quarantined) == {"too_many_decimals": 1}


def with_symbols(path: Path, *symbols: str) -> Path:
    rows = [f"{symbol},{line(minute(number))}" for number, symbol in enumerate(symbols)]
    path.write_text("\n".join((f"symbol,{HEADER}", *rows)), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "symbol", ["BTCUSD", "BTC/USD", "btc-usd", "COINBASE:BTCUSD", "XBTUSD", "XBT/USD", "tBTCUSD", "BTC_USD"]
)
def test_symbol_column_is_compared_without_separators(store: FeatureStore, tmp_path: Path, symbol: str) -> None:
    path = with_symbols(tmp_path / "candles.csv", symbol, symbol)
    assert import_file(store, whole(path)).count.stored == 2


@pytest.mark.parametrize(
    ("symbol", "right"), [("BTCUSDT", "BTC-USDT"), ("BINANCE:ETHUSDT", "ETH-USDT"), ("SOL/USD", "SOL-USD")]
)
def test_rows_of_another_product_are_refused_and_the_advice_works(
    store: FeatureStore, tmp_path: Path, symbol: str, right: str
) -> None:
    path = with_symbols(tmp_path / "BTC-USD.csv", symbol, symbol)
    with pytest.raises(CandleFileError, match=f"import it as what it is: --product {right}$"):
        import_file(store, import_order(path))
    assert import_file(store, import_order(path, right, last_is_closed=True)).count.stored == 2
    nameless = with_symbols(tmp_path / "candles.csv", symbol, symbol)
    assert import_file(store, import_order(nameless)).product == right


def test_rows_of_other_products_in_one_file_are_left_out_and_counted(store: FeatureStore, tmp_path: Path) -> None:
    result = import_file(store, whole(with_symbols(tmp_path / "all.csv", "BTCUSD", "ETHUSD", "BTCUSD", "BTCUSD")))
    assert (result.count.stored, dict(result.other_products)) == (3, {"ETHUSD": 1})


def test_every_row_is_stored_known_or_set_aside(store: FeatureStore, tmp_path: Path) -> None:
    rows = [line(minute(number)) for number in range(5)]
    odd = ["yesterday,1,2,1,2,3", "1,2,3", HEADER, line(minute(3)), "2024-03-01 00:05:00,1,2,1,1e9999999999999999999,3"]
    path = tmp_path / "a.csv"
    path.write_text("\n".join((HEADER, *rows, *odd)), encoding="utf-8")
    order = import_order(path, "BTC-USD")
    seen = examine(order)
    count = import_file(store, order).count
    assert count.rows == seen.rows == 10
    assert count.stored + count.known + count.revised + count.quarantined.total() == 10
    assert dict(count.quarantined) == dict(faults_of(order, seen))
    assert len(rows_of(store, "candle_quarantine")) == len(set(rows_of(store, "candle_quarantine")))


def test_moment_of_learning_is_the_clock_that_was_handed_in(store: FeatureStore, tmp_path: Path) -> None:
    early = T0 + 2 * MINUTE
    result = import_file(store, whole(file_of(tmp_path / "a.csv", every(1, 5))), now=lambda: early)
    assert (result.count.stored, dict(result.count.quarantined)) == (2, {"still_open": 3})
    assert {moment.astimezone(UTC) for (moment,) in rows_of(store, "candles_1m", "known_at")} == {early}


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
