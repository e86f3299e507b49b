"""What the columns of a candle file mean: names, order, units of time, numbers.

Nothing is guessed that could be wrong in silence: columns come from a header, from the caller, or from the one order
that all first rows fit; the unit of time is that of the first row and every later row must share it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import chain, islice
from typing import TYPE_CHECKING

from core.candles import Candle
from core.errors import CandleFileError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from market.ingest.file_reader import CandleFile, Row

PRICES = ("open", "high", "low", "close", "volume")
IGNORED = "-"
_ALIASES = {
    "time": ("time", "open_time", "timestamp", "datetime", "date", "start", "unix", "ts", "t"),
    "open": ("open", "o"),
    "high": ("high", "h"),
    "low": ("low", "l"),
    "close": ("close", "c"),
    "volume": ("volume", "vol", "v"),
    "product": ("product", "product_id", "symbol", "pair", "market"),
}
_MEANING = {alias: name for name, aliases in _ALIASES.items() for alias in aliases}
# bare lists: the order of most exports, and that of Coinbase's own answers
_ORDERS = (
    ("time", "open", "high", "low", "close", "volume"),
    ("time", "low", "high", "open", "close", "volume"),
)
_ROWS_TO_TELL = 500
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_ABSENT = {"", "nan", "null", "none", "na", "n/a"}
_NOTHING = Decimal("NaN")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# smallest value -> how many of the unit make a second; seconds from 1973 on are told apart from the rest by size alone
_UNITS = (
    (10**17, 10**9, "nanoseconds"),
    (10**14, 10**6, "microseconds"),
    (10**11, 10**3, "milliseconds"),
    (10**8, 1, "seconds"),
)
_LARGEST = 10**20


@dataclass(frozen=True, slots=True)
class Columns:
    """Where in a row each value stands, and how its time is written."""

    place: dict[str, int]
    width: int
    per_second: int = 0
    """Units of a numeric time in a second; 0 where times are text or datetimes."""

    def __str__(self) -> str:
        """Return ``time,low,high,...`` in the file's order, ``-`` for columns that are not used."""
        names = dict.fromkeys(range(self.width), IGNORED) | {index: name for name, index in self.place.items()}
        return ",".join(names.values())


def candles(file: CandleFile, product: str, order: Sequence[str] | None = None) -> tuple[Columns, Iterator[Candle]]:
    """Return what the columns of ``file`` are and its rows as candles of ``product``, in the file's order.

    A cell without a number becomes NaN, which no quality rule lets pass; text that is no number is an error.

    Args:
        file: An open file.
        product: Product id; rows that name another are refused.
        order: Names of all columns from the left, ``-`` for one to be ignored; from the file when left out.

    Raises:
        CandleFileError: a column is missing or a row cannot be understood; it names the line. Also raised while iterating.
    """
    first = next(file.rows, None)
    if first is None:
        msg = f"{file.path} holds no candle; name a file with candles in it"
        raise CandleFileError(msg)
    rows: Iterator[Row] = chain((first,), file.rows)
    names = file.names
    if names is None and file.kind == "csv" and _is_header(first):
        names = tuple(str(cell) for cell in first.cells)
        rows = file.rows
    sample = list(islice(rows, _ROWS_TO_TELL))
    if not sample:
        msg = f"{file.path} holds a header and no candle; name a file with candles in it"
        raise CandleFileError(msg)
    width = len(sample[0].cells)
    if order is not None:
        columns = _ordered(file, order, width)
    elif names is not None:
        columns = _named(file, names)
    else:
        columns = _fitting(file, sample)
    columns = replace(columns, per_second=_per_second(file, sample[0], columns))
    return columns, _candles(file, chain(sample, rows), columns, product)


def _is_header(row: Row) -> bool:
    """Whether a first CSV row holds names: none of its cells is a number and one is the name of a column."""
    texts = [str(cell).strip() for cell in row.cells]
    return not any(_NUMBER.fullmatch(text) for text in texts) and any(text.lower() in _MEANING for text in texts)


def _ordered(file: CandleFile, order: Sequence[str], width: int) -> Columns:
    names = [name.strip().lower() for name in order]
    unknown = [name for name in names if name != IGNORED and name not in _MEANING]
    if unknown or len(names) != width:
        fault = f"{', '.join(unknown)} means nothing here" if unknown else f"it names {len(names)} columns"
        msg = (
            f"--columns {','.join(order)}: {fault}, and {file.path} has {width}; name each of them from the left with "
            f"time, open, high, low, close, volume, or {IGNORED} for one to ignore"
        )
        raise CandleFileError(msg)
    return _placed(names, "--columns")


def _named(file: CandleFile, names: Sequence[str]) -> Columns:
    return _placed([name.strip().lower() for name in names], f"the columns of {file.path}")


def _placed(names: Sequence[str], where: str) -> Columns:
    place: dict[str, int] = {}
    for index, name in enumerate(names):
        meaning = _MEANING.get(name)
        if meaning is None:
            continue
        if meaning in place:
            msg = f"{where} name {meaning} twice ({names[place[meaning]]} and {name}); say which with --columns"
            raise CandleFileError(msg)
        place[meaning] = index
    missing = [name for name in ("time", *PRICES) if name not in place]
    if missing:
        msg = f"{where} are {','.join(names)}: {', '.join(missing)} is missing; name all columns from the left with --columns time,open,high,low,close,volume"
        raise CandleFileError(msg)
    return Columns(place, len(names))


def _fitting(file: CandleFile, sample: Sequence[Row]) -> Columns:
    """Find the one known order in which every row has its open and close between its low and its high."""
    width = len(sample[0].cells)
    fits = [order for order in _ORDERS if len(order) == width and all(_fits(file, row, order) for row in sample)]
    if len(fits) == 1:
        return _placed(fits[0], "the columns found")
    found = "fit more than one order of columns" if fits else f"({width} columns) fit no known order of columns"
    msg = f"{file.path} has no header and its first rows {found}; name them with --columns time,open,high,low,close,volume"
    raise CandleFileError(msg)


def _fits(file: CandleFile, row: Row, order: Sequence[str]) -> bool:
    columns = Columns({name: index for index, name in enumerate(order)}, len(order))
    opened, high, low, close, _ = (_number(file, row, columns, name) for name in PRICES)
    values = (opened, high, low, close)
    return not all(value.is_finite() for value in values) or low <= min(opened, close) <= max(opened, close) <= high


def _per_second(file: CandleFile, row: Row, columns: Columns) -> int:
    """Return how many units of a numeric time make a second, found from the size of the first; 0 where it is text."""
    cell = row.cells[columns.place["time"]]
    if isinstance(cell, datetime) or (isinstance(cell, str) and not _NUMBER.fullmatch(cell.strip())):
        return 0
    value = _plain(file, row, "time", cell)
    for least, per_second, _ in _UNITS:
        if value.is_finite() and least <= value < _LARGEST:
            return per_second
    msg = f"{_where(file, row)}: the time {cell} is no time since 1970 in seconds, milli-, micro- or nanoseconds; name the columns with --columns"
    raise CandleFileError(msg)


def _candles(file: CandleFile, rows: Iterator[Row], columns: Columns, product: str) -> Iterator[Candle]:
    at = columns.place.get("product")
    for row in rows:
        if len(row.cells) != columns.width:
            msg = f"{_where(file, row)} has {len(row.cells)} cells, the first has {columns.width}; correct it"
            raise CandleFileError(msg)
        if at is not None and _product(row.cells[at]) != product:
            msg = f"{_where(file, row)} is of {row.cells[at]}, not of {product}; name the right one with --product, or split the file"
            raise CandleFileError(msg)
        numbers = (_number(file, row, columns, name) for name in PRICES)
        yield Candle(product, _time(file, row, columns), *numbers)


def _product(cell: object) -> str:
    return str(cell).strip().upper().replace("/", "-").replace("_", "-")


def _number(file: CandleFile, row: Row, columns: Columns, name: str) -> Decimal:
    return _plain(file, row, name, row.cells[columns.place[name]])


def _plain(file: CandleFile, row: Row, name: str, cell: object) -> Decimal:
    """Return a cell's exact number; NaN for one that holds none.

    A double's shortest decimal form is what was written before it became one.
    """
    if isinstance(cell, str):
        text = cell.strip()
        if _NUMBER.fullmatch(text):
            return Decimal(text)
        if text.lower() in _ABSENT:
            return _NOTHING
    elif isinstance(cell, Decimal):
        return cell
    elif isinstance(cell, float):
        return Decimal(repr(cell))
    elif isinstance(cell, int) and not isinstance(cell, bool):
        return Decimal(cell)
    elif cell is None:
        return _NOTHING
    msg = f"{_where(file, row)}: {name} is {cell!r}, not a number; correct the {file.unit}, or name the columns with --columns"
    raise CandleFileError(msg)


def _time(file: CandleFile, row: Row, columns: Columns) -> datetime:
    cell = row.cells[columns.place["time"]]
    if isinstance(cell, datetime):
        return cell
    if columns.per_second == 0:
        return _written_time(file, row, cell)
    value = _plain(file, row, "time", cell)
    least = next(least for least, per_second, _ in _UNITS if per_second == columns.per_second)
    if not (value.is_finite() and least <= value < 1000 * least):
        name = next(name for _, per_second, name in _UNITS if per_second == columns.per_second)
        msg = f"{_where(file, row)}: the time {cell} is not in {name} since 1970 as the first one is; correct it"
        raise CandleFileError(msg)
    return _EPOCH + timedelta(microseconds=int(value * 1_000_000 / columns.per_second))


def _written_time(file: CandleFile, row: Row, cell: object) -> datetime:
    try:
        moment = datetime.fromisoformat(str(cell).strip().removesuffix(" UTC"))
    except ValueError:
        msg = f"{_where(file, row)}: the time {cell!r} is not like 2024-01-05 03:49:00 (UTC) or 2024-01-05T03:49:00Z; correct the {file.unit}, or name the columns with --columns"
        raise CandleFileError(msg) from None
    # a time without a zone is UTC: every exchange's files are
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _where(file: CandleFile, row: Row) -> str:
    return f"{file.path}, {file.unit} {row.place}"
