"""Files of candles as they come: kinds, columns, times, numbers; and what cannot be understood is one clear error."""

from __future__ import annotations

import gzip
import json
import lzma
import re
import zipfile
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, strategies
from hypothesis import settings as examples
from pyarrow import feather

from core.candles import EPOCH
from core.errors import CandleFileError
from market.ingest.candle_file import open_candles
from market.ingest.cell_values import numbers
from market.ingest.file_layout import PRICES, layout_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


T0 = datetime(2024, 1, 5, 3, 48, tzinfo=UTC)
ROWS = [
    (T0, "100.6", "100.93", "100.5", "100.63", "0.12345678"),
    (T0.replace(minute=49), "100.63", "100.68", "100.57", "100.59", "822.5"),
]
HEADER = "time,open,high,low,close,volume"


Row = tuple[datetime | None, Decimal, Decimal, Decimal, Decimal, Decimal]


def read(path: Path, order: Sequence[str] | None = None, product: str = "SOL-USD") -> tuple[str, list[Row]]:
    file = open_candles(path)
    layout = layout_of(file, product, order)
    rows: list[Row] = []
    for columns in file.batches(layout.skipped, range(layout.width)):
        if len(columns) != layout.width:
            rows += [(None, *numbers([None] * 5))] * len(columns[0])
            continue
        times = [None if at is None else EPOCH + timedelta(microseconds=at) for at in layout.times(columns)]
        rows += zip(times, *(numbers(columns[layout.index[name]]) for name in PRICES), strict=True)
    return str(layout), rows


def sound(row: Row) -> bool:
    return row[0] is not None and all(value.is_finite() for value in row[1:])


def written(path: Path, lines: Sequence[str]) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def as_told(rows: Sequence[Row]) -> list[tuple[object, ...]]:
    return [(row[0], *(str(value) for value in row[1:])) for row in rows]


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
    assert [row[5] for row in found] == [Decimal("0.12345678"), Decimal("822.5")]
    assert [row[0] for row in found] == [moment for moment, *_ in ROWS]


@pytest.mark.parametrize("cell", ["", "nan", "NULL", "N/A"])
def test_cell_without_a_number_is_kept_for_the_quality_rules(tmp_path: Path, cell: str) -> None:
    path = written(tmp_path / "a.csv", [HEADER, "2024-01-05 03:48,1,2,1,2,3", f"2024-01-05 03:49,1,2,1,{cell},3"])
    assert not read(path)[1][1][4].is_finite()


GOOD = "2024-01-05 03:48,1,2,1,2,3"
ODD_ROWS = {
    "word": "2024-01-05 03:49,1,2,1,abc,3",
    "thousands_separator": '2024-01-05 03:49,"1,5",2,1,2,3',
    "underscore": "2024-01-05 03:49,1_0,2,1,2,3",
    "infinite": "2024-01-05 03:49,1,2,1,inf,3",
    "beyond_decimal": "2024-01-05 03:49,1,2,1,1e9999999999999999999,3",
    "too_few_cells": "2024-01-05 03:49,1,2",
    "too_many_cells": "2024-01-05 03:49,1,2,1,2,3,4",
    "no_time": "yesterday,1,2,1,2,3",
    "header_again": HEADER,
    "empty_cells": ",,,,,",
}


@pytest.mark.parametrize("odd", ["1,2", "2024-01-05 03:48,n/a,,,,", "yesterday,1,2,x,y,z"])
def test_odd_row_right_below_the_header_is_no_header(tmp_path: Path, odd: str) -> None:
    _, rows = read(written(tmp_path / "a.txt", [HEADER, odd, GOOD]))
    assert sorted(sound(row) for row in rows) == [False, True]


@pytest.mark.parametrize("case", ODD_ROWS)
def test_odd_row_is_kept_apart_from_its_neighbours(tmp_path: Path, case: str) -> None:
    path = written(tmp_path / "a.txt", [HEADER, GOOD, ODD_ROWS[case], GOOD])
    _, rows = read(path)
    assert [row[0] for row in rows].count(T0) == 2
    assert sum(not sound(row) for row in rows) == 1
    assert len(rows) == 3


def test_quote_without_its_twin_swallows_no_neighbour(tmp_path: Path) -> None:
    _, rows = read(written(tmp_path / "a.txt", [HEADER, GOOD, f'"{GOOD}', GOOD]))
    assert [sound(row) for row in rows] == [True, True, True]


@pytest.mark.parametrize(
    "row",
    [
        "[1704426540, 1, 3, 0.5, true, 3]",
        "[1704426540, 1, 3, 0.5, 1e9999999999999999999, 3]",
        "[1704426540, 1, 3, 0.5, NaN, 3]",
        "[1704426540, 1, 2]",
        '{"time": 1704426540}',
        "[1704426540, 1, 2, 1, x, 3]",
        "nonsense",
    ],
)
def test_odd_json_row_is_kept_apart_from_its_neighbours(tmp_path: Path, row: str) -> None:
    good = "[1704426480,1,3,0.5,2,3]"
    _, rows = read(written(tmp_path / "a.jsonl", [good, row, good]))
    assert sorted(sound(row) for row in rows) == [False, True, True]


REFUSED = {
    "time_of_no_unit": ([HEADER, "17,1,2,1,2,3"], r"the time '17' is not like"),
    "missing_column": (["time,open,high,low,volume", "1704426480,1,2,1,3"], r"close is missing.*--columns"),
    "column_twice": (["time,open,open,high,low,close,volume", "1704426480,1,1,1,1,1,1"], r"open stands there twice"),
    "header_alone": ([HEADER], "holds a header and no candle"),
    "no_known_order": (["1704426480,1,2"], r"\(3 columns\) fit no known order"),
    "json_without_close": (['{"time": 1704426480, "open": 1', "}"], r"high, low, close, volume is missing"),
    "time_of_the_end": (
        ["close_time,open,high,low,close,volume", "1704426480,1,1,1,1,1"],
        r"close_time is when a minute ends.*add a column time",
    ),
    "currency_signs": ([HEADER, "1704426480,$1,$2,$1,$2,3"], r"open is no number, such as '\$1'; write digits"),
    "blanks_inside": ([HEADER, "1704426480,42 280,42 281,42 279,42 280,3"], r"open is no number, such as '42 280'"),
    "quote_volume_only": (
        ["unix,open,high,low,close,Volume USD", "1704426480,1,1,1,1,1"],
        r"volume is missing",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_file_that_cannot_be_understood_is_refused(tmp_path: Path, case: str) -> None:
    lines, words = REFUSED[case]
    with pytest.raises(CandleFileError, match=words):
        read(written(tmp_path / "a.txt", lines))


BODY = "{o},{h},{low},{c},{v}"
STAMP = "{m:%Y-%m-%d %H:%M:%S}"


def lines_of(template: str, *above: str) -> list[str]:
    """Return the lines above, and each row in its place in ``template``; t is its unix second, e its last one, n its number."""
    rows = enumerate(ROWS)
    return [
        *above,
        *(
            template.format(n=n, m=m, t=int(m.timestamp()), e=int(m.timestamp()) + 59, o=o, h=h, low=low, c=c, v=v)
            for n, (m, o, h, low, c, v) in rows
        ),
    ]


OBJECT = '{{"start": "{t}", "low": "{low}", "high": "{h}", "open": "{o}", "close": "{c}", "volume": "{v}"}}'
"""The files people have, written as their makers write them: lines, and the recipe or ``header`` they are read by."""
FILES = {
    "coinbase_api": (lines_of("{t},{low},{h},{o},{c},{v}"), "Coinbase's API"),
    "cryptodatadownload": (
        lines_of(
            "{t}," + STAMP + ",SOL/USD," + BODY + ",99.5",
            "https://www.CryptoDataDownload.com",
            "unix,date,symbol,open,high,low,close,Volume SOL,Volume USD",
        ),
        "header",
    ),
    "cryptodatadownload_quote_first": (
        lines_of(
            "{t}000," + STAMP + ",SOLUSD,{o},{h},{low},{c},99.5,{v},7",
            "https://www.CryptoDataDownload.com",
            "Unix,Date,Symbol,Open,High,Low,Close,Volume USD,Volume SOL,tradecount",
        ),
        "header",
    ),
    "kraken_ohlcvt": (lines_of("{t}," + BODY + ",7"), "Kraken OHLCVT"),
    "binance_klines_ms_and_us": (
        [
            lines_of("{t}000," + BODY + ",{e}999,99.5,7,1.5,2.5,0")[0],
            lines_of("{t}000000," + BODY + ",{e}999999,99.5,7,1.5,2.5,0")[1],
        ],
        "Binance klines",
    ),
    "binance_with_header": (
        lines_of(
            "{t}000," + BODY + ",{e}999,9,7,1,2,0",
            "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore",
        ),
        "header",
    ),
    "yahoo_three_headers": (
        lines_of(
            STAMP + "+00:00,{c},{h},{low},{o},{v}",
            "Price,Close,High,Low,Open,Volume",
            "Ticker,SOL-USD,SOL-USD,SOL-USD,SOL-USD,SOL-USD",
            "Datetime,,,,,",
        ),
        "header",
    ),
    "yahoo_one_header": (
        lines_of(STAMP + "+00:00,1,{c},{h},{low},{o},{v}", "Datetime,Adj Close,Close,High,Low,Open,Volume"),
        "header",
    ),
    "freqtrade_json": (["[" + ",".join(lines_of("[{t}000," + BODY + "]")) + "]"], "plain, freqtrade, TradingView"),
    "coinbase_answer": (
        json.dumps({"candles": [json.loads(row) for row in lines_of(OBJECT)]}, indent=1).splitlines(),
        "header",
    ),
    "gekko": (
        lines_of("{n},{t},{o},{h},{low},{c},1.5,{v},7", "id,start,open,high,low,close,vwp,volume,trades"),
        "header",
    ),
    "jesse": (
        lines_of(
            "a-{n},{t}000,{o},{c},{h},{low},{v},Coinbase,SOL-USD,1m",
            "id,timestamp,open,close,high,low,volume,exchange,symbol,timeframe",
        ),
        "header",
    ),
    "jesse_bare": (lines_of("{t}000,{o},{c},{h},{low},{v}"), "jesse, Bitfinex"),
    "tradingview": (
        lines_of("{m:%Y-%m-%dT%H:%M:%SZ},{o},{h},{low},{c},1,{v},5", "time,open,high,low,close,Plot,Volume,Volume MA"),
        "header",
    ),
    "metatrader_4": (lines_of("{m:%Y.%m.%d},{m:%H:%M}," + BODY), "MetaTrader"),
    "metatrader_5": (
        lines_of(
            "{m:%Y.%m.%d}\t{m:%H:%M:%S}\t{o}\t{h}\t{low}\t{c}\t7\t{v}\t1",
            "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>",
        ),
        "header",
    ),
    "date_and_time_apart": (
        lines_of("{m:%Y-%m-%d},{m:%H:%M}," + BODY, "Date,Time,Open,High,Low,Close,Volume"),
        "header",
    ),
    "compact_date_and_time": (
        lines_of("{m:%Y%m%d},{m:%H%M%S}," + BODY, "date,time,open,high,low,close,volume"),
        "header",
    ),
    "histdata": (lines_of("{m:%Y%m%d %H%M%S};{o};{h};{low};{c};{v}"), "plain, freqtrade, TradingView"),
    "dukascopy": (lines_of("{m:%d.%m.%Y %H:%M:%S}.000," + BODY, "Gmt time,Open,High,Low,Close,Volume"), "header"),
    "pandas_index": (lines_of(STAMP + "," + BODY, ",open,high,low,close,volume"), "header"),
    "pandas_range_index": (lines_of("{n}," + STAMP + "," + BODY, ",time,open,high,low,close,volume"), "header"),
    "yahoo_flattened": (
        lines_of(
            STAMP + ",{c},{h},{low},{o},{v}",
            "Datetime,Close_SOL-USD,High_SOL-USD,Low_SOL-USD,Open_SOL-USD,Volume_SOL-USD",
        ),
        "header",
    ),
    "yahoo_pairs_of_two_products": (
        lines_of(
            "{t},7,{c},{h},{low},{o},{v},8",
            "\"('Datetime', '')\",\"('Close', 'BTC-USD')\",\"('Close', 'SOL-USD')\",\"('High', 'SOL-USD')\","
            "\"('Low', 'SOL-USD')\",\"('Open', 'SOL-USD')\",\"('Volume', 'SOL-USD')\",\"('Volume', 'BTC-USD')\"",
        ),
        "header",
    ),
    "blanks_between": (lines_of("{t} {o} {h} {low} {c} {v}"), "plain, freqtrade, TradingView"),
    "blanks_between_and_in_the_time": (lines_of(STAMP + " {o} {h} {low} {c} {v}"), "MetaTrader"),
    "units_below_the_header": (lines_of("{t}," + BODY, HEADER, "UTC,USD,USD,USD,USD,SOL"), "header"),
    "coinapi": (
        lines_of(
            "{m:%Y-%m-%dT%H:%M:%S}.0000000Z;x;{o};{h};{low};{c};{v};7",
            "time_period_start;time_period_end;price_open;price_high;price_low;price_close;volume_traded;trades_count",
        ),
        "header",
    ),
    "comment_and_blank_above": (
        lines_of("{t}," + BODY, "# exported by hand", "", "Symbol: SOL-USD", HEADER),
        "header",
    ),
}


@pytest.mark.parametrize("case", FILES)
def test_files_people_have_give_the_same_candles(tmp_path: Path, case: str) -> None:
    lines, recipe = FILES[case]
    path = written(tmp_path / "a.txt", lines)
    assert as_told(read(path)[1]) == ROWS
    assert layout_of(open_candles(path), "SOL-USD").recipe == recipe


def test_header_below_rows_of_data_costs_no_row(tmp_path: Path) -> None:
    rows = lines_of("{t}," + BODY)
    _, read_rows = read(written(tmp_path / "a.csv", [rows[0], HEADER, rows[1]]))
    assert [row[0] for row in read_rows] == [T0, None, ROWS[1][0]]


ADVICE = {
    "flat_six": (["1704426480,5,5,5,5,1", "1704426540,5,5,5,5,1"], None),
    "flat_seven": (["1704426480,5,5,5,5,1,7", "1704426540,5,5,5,5,1,7"], None),
    "unknown_order_of_eight": (
        ["9,1704426480,1,3,0.5,2,3,8", "9,1704426540,1,3,0.5,2,3,8"],
        "-,time,open,high,low,close,volume,-",
    ),
    "word_not_known": (["when,open,high,low,close,volume", "1704426480,1,3,0.5,2,3"], None),
    "volume_of_the_quote": (["unix,open,high,low,close,Volume USD", "1704426480,1,3,0.5,2,3"], None),
    "open_twice": (["time,open,open,high,low,close,volume", "1704426480,1,1,3,0.5,2,3"], None),
}


@pytest.mark.parametrize("case", ADVICE)
def test_columns_that_a_refusal_names_work_when_followed(tmp_path: Path, case: str) -> None:
    lines, right = ADVICE[case]
    path = written(tmp_path / "a.csv", lines)
    with pytest.raises(CandleFileError, match="--columns") as refused:
        read(path)
    order = re.search(r"(?:--columns |such as )([a-z-]+(?:,[a-z-]+)+)", str(refused.value))
    assert order is not None
    _, rows = read(path, (right or order.group(1)).split(","))
    assert all(sound(row) for row in rows if row[0] is not None) and any(row[0] == T0 for row in rows)


def frame(kind: pa.DataType) -> dict[str, pa.Array]:
    return {name: pa.array([float(row[at]) for row in ROWS], kind) for at, name in enumerate(HEADER.split(",")) if at}


def test_feather_of_freqtrade_is_read(tmp_path: Path) -> None:
    moments = pa.array([moment for moment, *_ in ROWS], pa.timestamp("ms", tz="UTC"))
    feather.write_feather(pa.table({"date": moments, **frame(pa.float64())}), tmp_path / "a.feather", compression="lz4")
    assert as_told(read(tmp_path / "a.feather")[1]) == ROWS


@pytest.mark.parametrize("name", ["__index_level_0__", "Datetime", "index"])
def test_parquet_of_backtesting_with_its_index_is_read(tmp_path: Path, name: str) -> None:
    moments = pa.array([moment.replace(tzinfo=None) for moment, *_ in ROWS], pa.timestamp("ns"))
    columns = {word.title(): values for word, values in frame(pa.float64()).items()}
    pq.write_table(pa.table({**columns, name: moments}), tmp_path / "a.parquet")
    assert as_told(read(tmp_path / "a.parquet")[1]) == ROWS


@pytest.mark.parametrize("value", ["42280.01", "3.1", "0.0000013279", "1e-9", "123456.7", "16777216"])
def test_float32_becomes_its_shortest_text(tmp_path: Path, value: str) -> None:
    moments = pa.array([T0], pa.timestamp("us", tz="UTC"))
    prices = {name: pa.array([float(value)], pa.float32()) for name in HEADER.split(",")[1:]}
    pq.write_table(pa.table({"time": moments, **prices}), tmp_path / "a.parquet")
    ((_, *numbers),) = read(tmp_path / "a.parquet")[1]
    assert set(numbers) == {Decimal(value)}


@pytest.mark.parametrize("packing", ["gzip", "bz2", "zstd", "xz", "zip"])
@pytest.mark.parametrize("form", ["cryptodatadownload", "freqtrade_json"])
def test_packed_files_are_read(tmp_path: Path, packing: str, form: str) -> None:
    content = "\n".join(FILES[form][0]).encode()
    if packing == "zip":
        zip_of(tmp_path / "a", {"__MACOSX/._candles.csv": b"x", "2024/": b"", "2024/candles.csv": content})
    elif packing == "xz":
        (tmp_path / "a").write_bytes(lzma.compress(content))
    else:
        with pa.output_stream(str(tmp_path / "a"), compression=packing) as stream:
            stream.write(content)
    assert as_told(read(tmp_path / "a")[1]) == ROWS


def zip_of(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"a.csv": b"1", "b.csv": b"2"}, r"holds 2 files \(a.csv, b.csv ...\); unpack it"),
        ({"2024/": b""}, "holds 0 files"),
        ({"[Content_Types].xml": b"", "xl/workbook.xml": b""}, "is a spreadsheet; save it as CSV"),
        ({"a.parquet": b"PAR1...."}, "what lies inside is Parquet; unpack it"),
        ({"a.csv.gz": gzip.compress(b"1")}, "what lies inside is gzip; unpack it"),
    ],
)
def test_archive_of_anything_but_one_text_is_refused(tmp_path: Path, members: dict[str, bytes], words: str) -> None:
    with pytest.raises(CandleFileError, match=words):
        read(zip_of(tmp_path / "a.zip", members))


@pytest.mark.parametrize("spoil", ["password", "byte"])
def test_archive_that_cannot_be_unpacked_is_one_line(tmp_path: Path, spoil: str) -> None:
    path = zip_of(tmp_path / "a.zip", {"a.csv": "\n".join(FILES["kraken_ohlcvt"][0]).encode()})
    content = bytearray(path.read_bytes())
    if spoil == "password":
        # the flag of encryption, in the member's own header and in the directory
        content[6] |= 1
        content[content.index(b"PK\x01\x02") + 8] |= 1
    else:
        content[content.index(b"a.csv") + 20] ^= 255
    path.write_bytes(content)
    with pytest.raises(CandleFileError, match=r"unpack it and name the file|damaged or cut off"):
        read(path)


@pytest.mark.parametrize("head", ["", '"'])
@pytest.mark.parametrize("odd", ['"', '"2024-01-05 03:48', '2024-01-05 03:49,1,2,1,2,"3'])
def test_quote_far_below_the_head_swallows_no_row_in_silence(tmp_path: Path, head: str, odd: str) -> None:
    rows = [f"{head}{T0 + timedelta(minutes=number):%Y-%m-%d %H:%M}{head},1,2,1,2,3" for number in range(300)]
    _, found = read(written(tmp_path / "a.csv", [HEADER, *rows[:150], odd, *rows[150:]]))
    # a quote that stays open to the end makes of the last line end a row
    assert len(found) in {301, 302 if head else 301}
    # in a file without quotes each row stands for itself
    assert sum(map(sound, found)) >= 300 or head


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le"])
def test_utf_16_file_is_read(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a").write_bytes("\n".join(FILES["metatrader_5"][0]).encode(encoding))
    assert as_told(read(tmp_path / "a")[1]) == ROWS


@given(
    junk=strategies.lists(
        strategies.one_of(
            strategies.text(max_size=30), strategies.sampled_from(["[", "{", '"', ",,,,,", "1,2,3,4", "[1]"])
        ),
        max_size=5,
    ),
    form=strategies.sampled_from(["kraken_ohlcvt", "cryptodatadownload", "freqtrade_json", "metatrader_5"]),
)
@examples(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_junk_around_candles_is_no_traceback_and_loses_none(tmp_path: Path, junk: list[str], form: str) -> None:
    path = tmp_path / "a.txt"
    path.write_text("\n".join([*FILES[form][0], *junk]), encoding="utf-8", errors="replace")
    try:
        _, rows = read(path)
    except CandleFileError:
        return
    assert [row[0] for row in rows if row[0] in {T0, ROWS[1][0]}][:2] == [T0, ROWS[1][0]]


@given(content=strategies.binary(max_size=300))
@examples(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_bytes_are_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(CandleFileError):
        read(tmp_path / "a")


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
        b"PK\x03\x04....": "damaged or cut off",
        b"\xfd7zXZ\x00 and no more": "damaged or cut off",
        b"7z\xbc\xaf\x27\x1c": "packed with 7z; unpack it",
        b"\xd0\xcf\x11\xe0\xa1": "a spreadsheet; save it as CSV",
        b"\x89HDF\r\n": "HDF5; write it as Parquet or CSV",
        b"SQLite format 3": "a database of SQLite",
        b"\x28\xb5\x2f\xfd....": "damaged or cut off",
        b"PAR1 and no more": "damaged or cut off",
        b"ARROW1 and no more": "damaged or cut off",
        b"\x80\x81\x82": "no text in UTF-8 .*save it as CSV in UTF-8",
        "time,öpen\n".encode("latin-1"): "no text in UTF-8",
        b"FEA1....": "Feather of version 1",
        b"\xff\xff\xff\xff....": "a stream of Arrow",
        b"1" * 200_000: "no known order",
        b"[1, 2" * 1_000_000: "no candle",
    }.items():
        (tmp_path / "bad").write_bytes(content)
        with pytest.raises(CandleFileError, match=words):
            read(tmp_path / "bad")


def test_gzip_cut_off_is_said_at_its_end(tmp_path: Path) -> None:
    lines = [
        HEADER,
        *(f"{1704426480 + 60 * number},{number + 1},{number + 3},1,2,{number}.5" for number in range(5000)),
    ]
    whole = gzip.compress("\n".join(lines).encode())
    (tmp_path / "a.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CandleFileError, match=r"damaged or cut off .*fetch or copy it again"):
        read(tmp_path / "a.csv.gz")


def test_parquet_cut_off_is_refused_before_a_row_is_read(tmp_path: Path) -> None:
    pq.write_table(pa.table({"time": [1, 2, 3]}), tmp_path / "a.parquet")
    content = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(content[:-10])
    with pytest.raises(CandleFileError, match="damaged or cut off"):
        read(tmp_path / "a.parquet")
