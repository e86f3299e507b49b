"""Files of candles as rows: CSV, JSON lines and Parquet, plain or gzipped, found by content and read as a stream.

Numbers keep their text: CSV and JSON go to `Decimal` without a float in between, a Parquet double by its shortest
decimal form. What a column means is the business of `market.ingest.file_columns`.
"""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import BufferedReader, TextIOWrapper
from itertools import chain
from typing import IO, TYPE_CHECKING, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from core.errors import CandleFileError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

_GZIP, _PARQUET = b"\x1f\x8b", b"PAR1"
_UNREADABLE = {b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"PK\x03\x04": "zip"}
_PARQUET_ROWS = 16_384
_DELIMITERS = ",;\t|"
# a longer line is no candle; without the bound a file of one endless line would fill the memory
_LONGEST_LINE = 100_000


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file, its cells not yet understood."""

    place: int
    """Line number, or row number in Parquet, from 1."""
    cells: Sequence[object]


@dataclass(frozen=True, slots=True)
class CandleFile:
    """An open file: what it is, the names of its columns if it has any, its rows, and how far they were read."""

    path: Path
    kind: str
    """``csv``, ``jsonl`` or ``parquet``."""
    names: tuple[str, ...] | None
    """Column names; None where rows are bare lists, or may be (CSV, whose first row may or may not be a header)."""
    rows: Iterator[Row]
    share: Callable[[], float]
    """Return the share of the file that was read so far, 0 to 1."""

    @property
    def unit(self) -> str:
        """Return what a row's place counts, for messages."""
        return "row" if self.kind == "parquet" else "line"


@contextmanager
def open_candles(path: Path) -> Iterator[CandleFile]:
    """Open a file of candles; what it is decides its content, not its name.

    Raises:
        CandleFileError: it is missing, a folder, empty, damaged, or of a kind that is not read; raised while rows are
            read too, then naming the line.
    """
    require_file(path)
    try:
        raw = path.open("rb")
    except OSError as error:
        msg = f"{path} cannot be read ({error.strerror}); correct the path"
        raise CandleFileError(msg) from error
    with raw, ExitStack() as open_until_left:
        yield _opened(path, raw, open_until_left)


def require_file(path: Path) -> None:
    """Refuse what is no file.

    Raises:
        CandleFileError: ``path`` is a folder, or nothing is there.
    """
    if path.is_dir():
        msg = f"{path} is a folder; name the files in it, such as {path}/*.csv.gz"
        raise CandleFileError(msg)
    if not path.exists():
        msg = f"{path} is not there; correct the path"
        raise CandleFileError(msg)


def _opened(path: Path, raw: BufferedReader, open_until_left: ExitStack) -> CandleFile:
    size = path.stat().st_size
    start = raw.peek(8)[:8]
    for magic, name in _UNREADABLE.items():
        if start.startswith(magic):
            msg = f"{path} is packed with {name}; unpack it, or pack it with gzip"
            raise CandleFileError(msg)
    if start.startswith(_PARQUET):
        return _parquet(path, open_until_left)
    # GzipFile and BufferedReader agree in all that TextIOWrapper asks of them
    stream = cast("IO[bytes]", gzip.GzipFile(fileobj=raw)) if start.startswith(_GZIP) else raw

    def share() -> float:
        return min(raw.tell() / size, 1.0) if size else 1.0

    text = open_until_left.enter_context(TextIOWrapper(stream, encoding="utf-8-sig", newline=""))
    lines = _lines(path, text)
    first = next(lines, None)
    if first is None:
        msg = f"{path} is empty; name a file with candles in it"
        raise CandleFileError(msg)
    if first[1].lstrip()[:1] in {"[", "{"}:
        return _json_lines(path, first, lines, share)
    return CandleFile(path, "csv", None, _csv_rows(path, first, lines), share)


def _lines(path: Path, text: TextIOWrapper) -> Iterator[tuple[int, str]]:
    """Yield the lines that hold anything, with their numbers; name the last good one when the file breaks off."""
    number = 0
    try:
        while line := text.readline(_LONGEST_LINE):
            number += 1
            if len(line) == _LONGEST_LINE:
                msg = f"{path}, line {number} is longer than {_LONGEST_LINE} characters; write one candle per line"
                raise CandleFileError(msg)
            if line.strip():
                yield number, line
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        msg = f"{path} is damaged or cut off after line {number} ({error}); fetch or copy it again, then run the same command"
        raise CandleFileError(msg) from error
    except UnicodeDecodeError as error:
        msg = f"{path} is not text in UTF-8 (after line {number}: {error.reason}); it is read as CSV, JSON lines or Parquet"
        raise CandleFileError(msg) from error
    except OSError as error:
        msg = f"{path} cannot be read after line {number} ({error.strerror or error}); copy it to a sound disk"
        raise CandleFileError(msg) from error


def _csv_rows(path: Path, first: tuple[int, str], lines: Iterator[tuple[int, str]]) -> Iterator[Row]:
    delimiter = max(_DELIMITERS, key=first[1].count)
    place = 0

    def texts() -> Iterator[str]:
        nonlocal place
        for number, line in chain((first,), lines):
            place = number
            yield line

    try:
        for cells in csv.reader(texts(), delimiter=delimiter, strict=True):
            yield Row(place, cells)
    except csv.Error as error:
        msg = f"{path}, line {place} is no CSV ({error}); correct the line"
        raise CandleFileError(msg) from error


def _json_lines(
    path: Path, first: tuple[int, str], lines: Iterator[tuple[int, str]], share: Callable[[], float]
) -> CandleFile:
    value = _json(path, *first)
    names = tuple(value) if isinstance(value, dict) else None

    def rows() -> Iterator[Row]:
        yield Row(first[0], _json_cells(path, first[0], value, names))
        for number, line in lines:
            yield Row(number, _json_cells(path, number, _json(path, number, line), names))

    return CandleFile(path, "jsonl", names, rows(), share)


def _json(path: Path, number: int, line: str) -> object:
    try:
        found: object = json.loads(line, parse_float=Decimal, parse_constant=Decimal)
    except (ValueError, RecursionError) as error:
        msg = f"{path}, line {number} is no JSON of its own ({error}); write one candle per line, as an object or an array"
        raise CandleFileError(msg) from error
    return found


def _json_cells(path: Path, number: int, value: object, names: tuple[str, ...] | None) -> Sequence[object]:
    if names is not None and isinstance(value, dict):
        missing = [name for name in names if name not in value]
        if not missing:
            return [value[name] for name in names]
        msg = f"{path}, line {number} lacks {', '.join(missing)}, which the first line has; correct the line"
        raise CandleFileError(msg)
    if names is None and isinstance(value, list):
        return value
    wanted = "an array" if names is None else "an object"
    msg = f"{path}, line {number} is not {wanted} as the first line is; write every candle the same way"
    raise CandleFileError(msg)


def _parquet(path: Path, open_until_left: ExitStack) -> CandleFile:
    try:
        opened = open_until_left.enter_context(pq.ParquetFile(path))
        names = tuple(opened.schema_arrow.names)
    except (pa.ArrowException, OSError) as error:
        msg = f"{path} is a damaged Parquet file ({_first_line(error)}); fetch or copy it again"
        raise CandleFileError(msg) from error
    total, read = opened.metadata.num_rows, 0

    def rows() -> Iterator[Row]:
        nonlocal read
        try:
            for batch in opened.iter_batches(_PARQUET_ROWS):
                columns = [_cells(column) for column in batch.columns]
                for cells in zip(*columns, strict=True):
                    read += 1
                    yield Row(read, cells)
        except (pa.ArrowException, OSError) as error:
            msg = f"{path} is damaged after row {read} ({_first_line(error)}); fetch or copy it again, then run the same command"
            raise CandleFileError(msg) from error

    return CandleFile(path, "parquet", names, rows(), lambda: read / total if total else 1.0)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _cells(column: pa.Array) -> list[object]:
    """Return a column as Python values; times as aware UTC datetimes, whatever unit and zone they have."""
    if not pa.types.is_timestamp(column.type):
        return cast("list[object]", column.to_pylist())
    # a time without a zone is UTC; microseconds are finer than any candle
    micros = pc.cast(column, pa.timestamp("us", tz=column.type.tz), safe=False).cast(pa.int64()).to_pylist()
    return [None if value is None else _EPOCH + timedelta(microseconds=value) for value in micros]


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
