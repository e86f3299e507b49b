"""Dates whose day and month may be exchanged, twelve-hour clocks, numbers with a comma: taken, or refused with what to say."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from core.candles import EPOCH, MINUTE
from core.errors import CandleFileError
from market.ingest.cell_values import micros
from market.ingest.import_file import examine, faults_of, import_order

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from market.ingest.import_file import Examined

NUMBERS = "100.5,101,100,100.6,3"
FORMS = {
    "month_first": "{m:%m/%d/%Y %H:%M}",
    "day_first": "{m:%d/%m/%Y %H:%M:%S}",
    "excel_us": "{m.month}/{m.day}/{m.year} {m.hour}:{m:%M}",
    "excel_us_twelve": "{m.month}/{m.day}/{m.year} {m:%I:%M:%S %p}",
    "excel_uk": "{m:%d/%m/%Y} {m.hour}:{m:%M}",
    "dashes": "{m:%d-%m-%Y %H:%M}",
    "comma_between": '"{m:%m/%d/%Y, %I:%M %p}"',
    "zone": "{m:%d/%m/%Y %H:%M}+00:00",
}


def seen(
    path: Path, times: Sequence[str], columns: str = "", header: str = "date,open,high,low,close,volume"
) -> Examined:
    path.write_text("\n".join([header, *(f"{text},{NUMBERS}" for text in times)]), encoding="utf-8")
    order = import_order(path, "BTC-USD", columns=columns.split(",") if columns else None, last_is_closed=True)
    found = examine(order)
    assert not faults_of(order, found)
    return found


def times(form: str, start: datetime) -> list[str]:
    return [form.format(m=start + number * MINUTE) for number in range(200)]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("day", [12, 28])
def test_date_that_a_row_makes_plain_is_taken(tmp_path: Path, form: str, day: int) -> None:
    # of the twelfth the rows before midnight leave it open, those behind it do not
    start = datetime(2024, 3, day, 22, 0, tzinfo=UTC)
    found = seen(tmp_path / "a.csv", times(FORMS[form], start))
    assert (found.first, found.last) == (start, start + 199 * MINUTE)


@pytest.mark.parametrize("form", FORMS)
def test_date_that_no_row_makes_plain_is_refused_and_each_advice_works(tmp_path: Path, form: str) -> None:
    start = datetime(2024, 5, 1, 10, 0, tzinfo=UTC)
    rows = times(FORMS[form], start)
    with pytest.raises(CandleFileError, match="names the day first or the month") as refused:
        seen(tmp_path / "a.csv", rows)
    ways = re.findall(r"--columns ([a-z,-]+) \((day|month) first\)", str(refused.value))
    assert [order for _, order in ways] == ["day", "month"]
    firsts = {seen(tmp_path / "a.csv", rows, columns).first for columns, _ in ways}
    assert firsts == {start, datetime(2024, 1, 5, 10, 0, tzinfo=UTC)}


def test_date_and_clock_in_two_columns_may_be_of_either_order(tmp_path: Path) -> None:
    header = "Date,Time,Open,High,Low,Close,Volume"
    start = datetime(2024, 3, 28, 11, 0, tzinfo=UTC)
    assert seen(tmp_path / "a.csv", times("{m:%d/%m/%Y},{m:%I:%M %p}", start), header=header).first == start
    early = start.replace(day=2)
    rows = times("{m:%d/%m/%Y},{m:%H:%M}", early)
    with pytest.raises(CandleFileError, match=r"--columns dmy,time,open,high,low,close,volume \(day first\)"):
        seen(tmp_path / "a.csv", rows, header=header)
    assert seen(tmp_path / "a.csv", rows, "dmy,time,open,high,low,close,volume", header).first == early


@pytest.mark.parametrize(
    ("text", "hour"),
    [
        ("2024-01-05 12:00 AM", 0),
        ("2024-01-05 12:59 PM", 12),
        ("2024-01-05 3:49 pm", 15),
        ("2024-01-05 11:00:00 AM", 11),
    ],
)
def test_clock_of_twelve_hours_is_read(text: str, hour: int) -> None:
    moment = micros(text)
    assert moment is not None
    assert (EPOCH + timedelta(microseconds=moment)).hour == hour


@pytest.mark.parametrize(
    "text", ["2024-01-05 13:00 PM", "2024-01-05 0:10 AM", "2024-01-05 3 PM", "5/13/24 10:00", "m", ""]
)
def test_time_that_is_none_stays_none(text: str) -> None:
    assert micros(text) is None


COMMAS = {
    "semicolons": "time;open;high;low;close;volume\n{t};100,6;100,93;100,5;100,63;0,5",
    "semicolons_without_header": "{t};100,6;100,93;100,5;100,63;0,5",
    "quoted": 'time,open,high,low,close,volume\n{t},"100,6","100,93","100,5","100,63","0,5"',
    "thousands": 'time,open,high,low,close,volume\n{t},"42,280","42,281","42,279","42,280","1"',
    "both": "time;open;high;low;close;volume\n{t};42.280,5;42.281,0;42.279,9;42.280,5;3,25",
    "tabs": "{t}\t100,6\t100,93\t100,5\t100,63\t0,5",
    "text_time": "date;open;high;low;close;volume\n05.01.2024 03:48;100,6;100,93;100,5;100,63;0,5",
}


@pytest.mark.parametrize("case", COMMAS)
def test_numbers_with_a_comma_are_refused_with_what_to_write(tmp_path: Path, case: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(COMMAS[case].format(t=1704426480), encoding="utf-8")
    with pytest.raises(
        CandleFileError, match=r"numbers with a comma, such as '[0-9.]+,[0-9]+'; write them with a point"
    ):
        examine(import_order(path, "BTC-USD"))


@pytest.mark.parametrize("case", ["semicolons", "semicolons_without_header", "tabs", "text_time"])
def test_numbers_written_with_a_point_as_advised_are_read(tmp_path: Path, case: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(COMMAS[case].format(t=1704426480).replace(",", "."), encoding="utf-8")
    assert examine(import_order(path, "BTC-USD")).minutes == 1


def test_comma_in_a_column_that_is_not_read_is_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f'time,open,high,low,close,volume,turnover\n1704426480,{NUMBERS},"1,5"', encoding="utf-8")
    assert examine(import_order(path, "BTC-USD")).rows == 1
