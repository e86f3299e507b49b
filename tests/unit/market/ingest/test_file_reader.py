"""Files of candles as they come: kinds, columns, times, numbers; and what cannot be understood is one clear error."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.errors import CandleFileError
from market.ingest.file_columns import candles
from market.ingest.file_reader import open_candles

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from core.candles import Candle

T0 = datetime(2024, 1, 5, 3, 48, tzinfo=UTC)
ROWS = [
    (T0, "100.6", "100.93", "100.5", "100.63", "0.12345678"),
    (T0.replace(minute=49), "100.63", "100.68", "100.57", "100.59", "822.5"),
]
HEADER = "time,open,high,low,close,volume"


def read(path: Path, order: Sequence[str] | None = None, product: str = "SOL-USD") -> tuple[str, list[Candle]]:
    with open_candles(path) as file:
        columns, rows = candles(file, product, order)
        return str(columns), list(rows)


def written(path: Path, lines: Sequence[str]) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def as_told(found: Sequence[Candle]) -> list[tuple[object, ...]]:
    return [
        (one.open_time, *(str(value) for value in (one.open, one.high, one.low, one.close, one.volume)))
        for one in found
    ]


TIMES = {
    "seconds": lambda moment: str(int(moment.timestamp())),
    "milliseconds": lambda moment: str(int(moment.timestamp()) * 1000),
    "microseconds": lambda moment: str(int(moment.timestamp()) * 10**6),
    "nanoseconds": lambda moment: str(int(moment.timestamp()) * 10**9),
    "seconds_as_float": lambda moment: f"{moment.timestamp():.1f}",
    "iso_naive_is_utc": lambda moment: f"{moment:%Y-%m-%d %H:%M:%S}",
    "iso_z": lambda moment: f"{moment:%Y-%m-%dT%H:%M:%SZ}",
    "iso_offset": lambda moment: f"{moment.replace(hour=5):%Y-%m-%dT%H:%M:%S}+02:00",
    "iso_utc_word": lambda moment: f"{moment:%Y-%m-%d %H:%M} UTC",
}


@pytest.mark.parametrize("form", TIMES)
def test_csv_times_in_every_form_mean_the_same(tmp_path: Path, form: str) -> None:
    lines = [",".join((TIMES[form](moment), *rest)) for moment, *rest in ROWS]
    _, found = read(written(tmp_path / "a.csv", [HEADER, *lines]))
    assert as_told(found) == ROWS


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("packed", [False, True])
def test_csv_delimiters_plain_and_gzipped(tmp_path: Path, delimiter: str, packed: bool) -> None:
    lines = [HEADER, *(",".join((f"{moment:%Y-%m-%d %H:%M}", *rest)) for moment, *rest in ROWS), ""]
    content = "\ufeff" + "\r\n".join(lines).replace(",", delimiter)
    path = tmp_path / "candles.data"
    path.write_bytes(gzip.compress(content.encode()) if packed else content.encode())
    assert as_told(read(path)[1]) == ROWS


def test_csv_header_names_any_order_and_ignores_the_rest(tmp_path: Path) -> None:
    lines = ["Volume,Product_ID,Close,Low,High,Open,Trades,Timestamp"]
    lines += [f"{v},SOL/USD,{c},{low},{h},{o},7,{t:%Y-%m-%dT%H:%MZ}" for t, o, h, low, c, v in ROWS]
    columns, found = read(written(tmp_path / "a.csv", lines))
    assert as_told(found) == ROWS
    assert columns == "volume,product,close,low,high,open,-,time"


def test_csv_without_header_takes_the_one_order_that_fits(tmp_path: Path) -> None:
    ours = [f"{t.timestamp():.0f},{o},{h},{low},{c},{v}" for t, o, h, low, c, v in ROWS]
    api = [f"{t.timestamp():.0f},{low},{h},{o},{c},{v}" for t, o, h, low, c, v in ROWS]
    assert read(written(tmp_path / "a.csv", ours))[0] == HEADER
    columns, found = read(written(tmp_path / "b.csv", api))
    assert (columns, as_told(found)) == ("time,low,high,open,close,volume", ROWS)


def test_csv_without_header_that_fits_two_orders_asks_for_columns(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", ["1704426480,5,5,5,5,1", "1704426540,5,5,5,5,1"])
    with pytest.raises(CandleFileError, match=r"fit more than one order.*--columns"):
        read(path)
    assert len(read(path, ["time", "low", "high", "open", "close", "volume"])[1]) == 2


def test_json_lines_as_arrays_and_objects_keep_every_digit(tmp_path: Path) -> None:
    arrays = [f"[{int(t.timestamp())}, {o}, {h}, {low}, {c}, {v}]" for t, o, h, low, c, v in ROWS]
    objects = [
        json.dumps({"start": str(int(t.timestamp())), "low": low, "high": h, "open": o, "close": c, "volume": v})
        for t, o, h, low, c, v in ROWS
    ]
    assert as_told(read(written(tmp_path / "a.jsonl", arrays))[1]) == ROWS
    assert as_told(read(written(tmp_path / "b.jsonl", objects))[1]) == ROWS


@pytest.mark.parametrize(
    ("unit", "zone"), [("s", "UTC"), ("ms", None), ("us", "UTC"), ("ns", None), ("us", "Europe/Prague")]
)
def test_parquet_doubles_become_their_shortest_decimals(tmp_path: Path, unit: str, zone: str | None) -> None:
    moments = [moment if zone else moment.replace(tzinfo=None) for moment, *_ in ROWS]
    columns = {name: [float(row[place]) for row in ROWS] for place, name in enumerate(HEADER.split(",")) if place}
    table = pa.table({"open_time": pa.array(moments, pa.timestamp(unit, tz=zone)), **columns})
    pq.write_table(table, tmp_path / "a.parquet")
    assert as_told(read(tmp_path / "a.parquet")[1]) == ROWS


def test_parquet_decimals_and_whole_numbers_are_taken_as_they_are(tmp_path: Path) -> None:
    columns = {
        name: pa.array([Decimal(row[place]) for row in ROWS], pa.decimal128(28, 8))
        for place, name in enumerate(HEADER.split(","))
        if place
    }
    seconds = pa.array([int(moment.timestamp()) for moment, *_ in ROWS], pa.int64())
    pq.write_table(pa.table({"t": seconds, **columns}), tmp_path / "a.parquet")
    _, found = read(tmp_path / "a.parquet")
    assert [one.volume for one in found] == [Decimal("0.12345678"), Decimal("822.5")]
    assert [one.open_time for one in found] == [moment for moment, *_ in ROWS]


@pytest.mark.parametrize("cell", ["", "nan", "NULL", "N/A"])
def test_cell_without_a_number_is_kept_for_the_quality_rules(tmp_path: Path, cell: str) -> None:
    path = written(tmp_path / "a.csv", [HEADER, "2024-01-05 03:48,1,2,1,2,3", f"2024-01-05 03:49,1,2,1,{cell},3"])
    assert not read(path)[1][1].close.is_finite()


GOOD = "2024-01-05 03:48,1,2,1,2,3"
BAD_LINES = {
    "text_for_a_number": ([HEADER, GOOD, "2024-01-05 03:49,1,2,1,abc,3"], r"line 3: close is 'abc', not a number"),
    "thousands_separator": ([HEADER.replace(",", ";"), "2024-01-05 03:49;1,5;2;1;2;3"], r"line 2: open is '1,5'"),
    "underscored_number": ([HEADER, GOOD, "2024-01-05 03:49,1_0,2,1,2,3"], r"line 3: open is '1_0'"),
    "infinite": ([HEADER, GOOD, "2024-01-05 03:49,1,2,1,inf,3"], r"line 3: close is 'inf'"),
    "too_few_cells": ([HEADER, GOOD, "", "2024-01-05 03:49,1,2"], r"line 4 has 3 cells, the first has 6"),
    "no_time": ([HEADER, GOOD, "yesterday,1,2,1,2,3"], r"line 3: the time 'yesterday' is not like"),
    "other_unit": (
        [HEADER, "1704426480,1,2,1,2,3", "1704426540000,1,2,1,2,3"],
        r"line 3: the time 1704426540000 is not in seconds",
    ),
    "time_of_no_unit": ([HEADER, "17,1,2,1,2,3"], r"line 2: the time 17 is no time since 1970"),
    "missing_column": (["time,open,high,low,volume", "1704426480,1,2,1,3"], r"close is missing.*--columns"),
    "column_twice": (["time,unix,open,high,low,close,volume", "1,1,1,1,1,1,1"], r"name time twice \(time and unix\)"),
    "other_product": (["symbol," + HEADER, "ETH-USD,1704426480,1,2,1,2,3"], r"line 2 is of ETH-USD, not of SOL-USD"),
    "header_alone": ([HEADER], "holds a header and no candle"),
    "no_known_order": (["1704426480,1,2"], r"\(3 columns\) fit no known order"),
    "broken_json": (['{"time": 1704426480, "open": 1', "}"], r"line 1 is no JSON of its own"),
    "mixed_json": (["[1704426480,1,2,1,2,3]", '{"time": 1}'], r"line 2 is not an array as the first line is"),
    "json_key_missing": (
        ['{"time":1704426480,"open":1,"high":2,"low":1,"close":2,"volume":3}', '{"time":1704426540}'],
        r"line 2 lacks open, high",
    ),
    "json_true": (["[1704426480,1,2,1,2,3]", "[1704426540,1,2,1,true,3]"], r"line 2: close is True, not a number"),
    "unclosed_quote": ([HEADER, GOOD, '"2024-01-05 03:49,1,2,1,2,3'], r"line 3 is no CSV"),
}


@pytest.mark.parametrize("case", BAD_LINES)
def test_row_that_cannot_be_understood_is_named_with_its_line(tmp_path: Path, case: str) -> None:
    lines, words = BAD_LINES[case]
    with pytest.raises(CandleFileError, match=words):
        read(written(tmp_path / "a.txt", lines))


def test_columns_told_must_name_each_and_be_known(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", ["1704426480,1,2,1,2,3,9"])
    with pytest.raises(CandleFileError, match=r"it names 6 columns, and .* has 7"):
        read(path, HEADER.split(","))
    with pytest.raises(CandleFileError, match="price means nothing here"):
        read(path, [*HEADER.split(","), "price"])
    assert read(path, [*HEADER.split(","), "-"])[0] == HEADER + ",-"


def test_file_that_is_none_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(CandleFileError, match="is a folder; name the files in it"):
        read(tmp_path)
    with pytest.raises(CandleFileError, match="is not there; correct the path"):
        read(tmp_path / "nowhere.csv")
    for content, words in {
        b"": "is empty",
        gzip.compress(b""): "is empty",
        b"PK\x03\x04....": "packed with zip",
        b"\x28\xb5\x2f\xfd....": "packed with zstd",
        b"PAR1 and no more": "damaged Parquet",
        b"\xff\xfe\x00\x01\x02": "not text in UTF-8",
        b"1" * 200_000: "longer than",
    }.items():
        (tmp_path / "bad").write_bytes(content)
        with pytest.raises(CandleFileError, match=words):
            read(tmp_path / "bad")


def test_gzip_cut_off_names_the_last_line_read(tmp_path: Path) -> None:
    lines = [
        HEADER,
        *(f"{1704426480 + 60 * number},{number + 1},{number + 3},1,2,{number}.5" for number in range(5000)),
    ]
    whole = gzip.compress("\n".join(lines).encode())
    (tmp_path / "a.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CandleFileError, match=r"cut off after line \d+ .*fetch or copy it again"):
        read(tmp_path / "a.csv.gz")


def test_parquet_cut_off_is_refused_before_a_row_is_read(tmp_path: Path) -> None:
    pq.write_table(pa.table({"time": [1, 2, 3]}), tmp_path / "a.parquet")
    content = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(content[:-10])
    with pytest.raises(CandleFileError, match="damaged Parquet file"):
        read(tmp_path / "a.parquet")
