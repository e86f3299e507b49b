"""Read files of candles as batches of rows of text: CSV, JSON, Parquet and Feather, plain or packed, found by content.

Arrow's readers do the reading, in batches, so that no file has to fit into memory. Numbers stay the text they are: a float
column becomes its shortest text, of float32 the shortest float32. `market.ingest.file_layout` knows what a column means.
"""

from __future__ import annotations

import codecs
import csv
import json
import lzma
import re
import sys
import zipfile
import zlib
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.ipc
import pyarrow.parquet as pq

from core.errors import CandleFileError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

Cells = tuple[str | None, ...]
"""One row; a row that could not be parted into cells is one cell with its text."""
Columns = Sequence[Sequence[str | None]]
"""A batch of rows, of one number of cells, as columns."""

_PACKED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bz2",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zXZ": "xz",
    b"PK\x03\x04": "zip",
}
_REFUSED = {
    b"7z\xbc\xaf": "packed with 7z; unpack it, or pack it with gzip",
    b"\xd0\xcf\x11\xe0": "a spreadsheet; save it as CSV",
    b"\x89HDF": "HDF5; write it as Parquet or CSV",
    b"SQLite f": "a database of SQLite; write its table as CSV",
    b"FEA1": "Feather of version 1; write it as version 2, or as Parquet",
    b"\xff\xff\xff\xff": "a stream of Arrow; write it as Feather or Parquet",
}
_TABLES = {b"PAR1": "Parquet", b"ARROW1": "Feather"}
# of two signs that part the lines alike the comma is the one inside numbers, and the blank the one behind commas
_DELIMITERS = ";\t|, "
_BLOCK = 1 << 20
"""Bytes read at once; a line longer than a quarter is no candle."""
_HEAD_LINES = 100
_ROWS_AT_ONCE = 4_096
"""Cells as text take a hundred bytes each: four times as many rows took 12 MB more and no less time."""
_LINE_END = re.compile(r"\r\n|\n|\r")
_JSON_ROW = re.compile(r"\[[^\[\]{}]*\]|\{[^\[\]{}]*\}")
_JSON_BETWEEN = re.compile(r"[\s,:\[\]{}]+")


@dataclass(frozen=True, slots=True)
class CandleFile:
    """An open file: the rows at its head that may hold names, and its rows."""

    path: Path
    head: list[Cells]
    """First rows; headers and lines above them too where ``names`` is None."""
    names: Cells | None
    """Column names where the format has them (Parquet, Feather, JSON objects)."""
    read: Callable[[int, Collection[int]], Iterator[Columns]]
    """Return all rows in batches, without so many of ``head``; rows that are torn have batches of another width."""

    def batches(self, skipped: int, wanted: Collection[int]) -> Iterator[Columns]:
        """Yield the rows after the first ``skipped``, some at a time; the cells of columns that are not ``wanted`` may be None.

        Raises:
            CandleFileError: the file is damaged.
        """
        with _readable(self.path):
            for columns in self.read(skipped, wanted):
                if columns and columns[0]:
                    yield columns


def open_candles(path: Path) -> CandleFile:
    """Open a file of candles; what it is decides its content, not its name.

    Raises:
        CandleFileError: it is missing, a folder, empty, damaged, or of a kind that is not read.
    """
    require_file(path)
    with _readable(path):
        with path.open("rb") as raw:
            start = raw.read(8)
        for magic, what in _REFUSED.items():
            if start.startswith(magic):
                msg = f"{path} is {what}"
                raise CandleFileError(msg)
        if start.startswith(b"PAR1"):
            return _table(
                path, pq.ParquetFile(path).schema_arrow, lambda: pq.ParquetFile(path).iter_batches(_ROWS_AT_ONCE)
            )
        if start.startswith(b"ARROW1"):
            table = pyarrow.ipc.open_file(pa.memory_map(str(path)))
            return _table(path, table.schema, lambda: map(table.get_batch, range(table.num_record_batches)))
        return _text(path, next((name for magic, name in _PACKED.items() if start.startswith(magic)), None))


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn what goes wrong while reading into one line."""
    try:
        yield
    except UnicodeError as error:
        msg = f"{path} is no text in UTF-8 ({error}), and no table that is read here; save it as CSV in UTF-8, or as Parquet"
        raise CandleFileError(msg) from error
    except (pa.ArrowException, OSError, EOFError, lzma.LZMAError, zipfile.BadZipFile, zlib.error) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        msg = f"{path} cannot be read to its end, it is damaged or cut off ({reason}); fetch or copy it again, then run the same command"
        raise CandleFileError(msg) from error


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


def _table(path: Path, schema: pa.Schema, batches: Callable[[], Iterable[pa.RecordBatch]]) -> CandleFile:
    def read(_skipped: int, wanted: Collection[int]) -> Iterator[Columns]:
        for batch in batches():
            for start in range(0, batch.num_rows, _ROWS_AT_ONCE):
                yield _columns(batch.slice(start, _ROWS_AT_ONCE), wanted)

    every = range(len(schema.names))
    head = next((_columns(batch.slice(0, _HEAD_LINES), every) for batch in batches() if batch.num_rows), [])
    return CandleFile(path, list(zip(*head, strict=True)), tuple(schema.names), read)


def _columns(batch: pa.RecordBatch, wanted: Collection[int]) -> Columns:
    # text of cells that nobody looks at would be a tenth of the time of an import
    return [_texts(column) if at in wanted else [None] * len(column) for at, column in enumerate(batch.columns)]


def _by_width(rows: Iterable[Cells]) -> Iterator[Columns]:
    """Yield rows as columns, those of one number of cells together."""
    widths: dict[int, list[Cells]] = {}
    for row in rows:
        widths.setdefault(len(row), []).append(row)
    for alike in widths.values():
        yield list(zip(*alike, strict=True))


def _texts(column: pa.Array) -> list[str | None]:
    """Return a column as text; times as microseconds since 1970, one without a zone being UTC."""
    if pa.types.is_timestamp(column.type):
        # microseconds are finer than any candle
        column = pc.cast(column, pa.timestamp("us", tz=column.type.tz), safe=False).cast(pa.int64())
    try:
        return cast("list[str | None]", pc.cast(column, pa.string()).to_pylist())
    except pa.ArrowException:
        # lists and the like: no column of a candle
        return [None] * len(column)


def _text(path: Path, packing: str | None) -> CandleFile:
    begun = b"".join(_chunks(path, packing, _BLOCK))
    inside = [name for magic, name in (_TABLES | _PACKED).items() if packing and begun.startswith(magic)]
    if inside:
        msg = f"{path} is packed with {packing}, and what lies inside is {inside[0]}; unpack it"
        raise CandleFileError(msg)
    has_mark = begun.startswith((b"\xff\xfe", b"\xfe\xff"))
    encoding = "utf-16" if has_mark else "utf-16-le" if begun[1:2] == b"\x00" else "utf-8-sig"
    # the last character may be cut in two
    text = codecs.getincrementaldecoder(encoding)().decode(begun, len(begun) < _BLOCK)
    if not text.strip():
        msg = f"{path} is empty; name a file with candles in it"
        raise CandleFileError(msg)
    if text.lstrip()[0] in "[{":
        return _json(path, text, lambda: codecs.iterdecode(_chunks(path, packing), encoding))
    return _csv(path, text, encoding, packing)


def _chunks(path: Path, packing: str | None, most: int = sys.maxsize) -> Iterator[bytes]:
    """Yield the content from its begin, ``most`` bytes of it."""
    with _stream(path, packing) as stream:
        while most > 0 and (more := stream.read(min(_BLOCK, most))):
            yield more
            most -= len(more)


def _stream(path: Path, packing: str | None) -> pa.NativeFile:
    """Open the content as it was before it was packed."""
    if packing == "xz":
        return pa.PythonFile(lzma.open(path), mode="r")
    if packing == "zip":
        return pa.PythonFile(_only_member(path), mode="r")
    return pa.input_stream(str(path), compression=packing)


def _only_member(path: Path) -> IO[bytes]:
    """Open the one file in a zip archive.

    Raises:
        CandleFileError: it holds several, or none that can be unpacked here.
    """
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX/")]
        if "[Content_Types].xml" in names:
            msg = f"{path} is a spreadsheet; save it as CSV"
            raise CandleFileError(msg)
        if len(names) != 1:
            msg = f"{path} holds {len(names)} files ({', '.join(names[:3])} ...); unpack it and name the files in it"
            raise CandleFileError(msg)
        try:
            # it stays open when the archive is closed
            return archive.open(names[0])
        except RuntimeError as error:
            # a password, or a method that zipfile does not know
            msg = f"{path} cannot be unpacked here ({error}); unpack it and name the file in it"
            raise CandleFileError(msg) from error


def _csv(path: Path, text: str, encoding: str, packing: str | None) -> CandleFile:
    lines = _LINE_END.split(text)[:_HEAD_LINES]
    parted = {delimiter: [_split(line, delimiter) for line in lines] for delimiter in _DELIMITERS}
    # the delimiter that parts most lines into the same number of cells, five of them with something in it at least
    widths = {
        sign: Counter(len(row) for row in rows if sum(map(bool, row)) >= 5).most_common(1)
        for sign, rows in parted.items()
    }
    delimiter = (
        max(_DELIMITERS, key=lambda sign: widths[sign][0][1] if widths[sign] else 0) if any(widths.values()) else ","
    )
    width = widths[delimiter][0][0] if widths[delimiter] else max(len(row) for row in parted[","])
    # a quote without its twin is a fault of its line, not the begin of a cell over many lines
    quotes = [line.count('"') for line in lines]
    is_quoted = any(quotes) and not any(count % 2 for count in quotes)

    def read(skipped: int, wanted: Collection[int]) -> Iterator[Columns]:
        torn: list[str | None] = []

        def set_aside(row: pacsv.InvalidRow) -> str:
            torn.extend(line for line in _LINE_END.split(row.text) if line)
            return "skip"

        names = [str(number) for number in range(width)]
        stream = _stream(path, packing)
        reader = pacsv.open_csv(
            stream,
            pacsv.ReadOptions(
                use_threads=False,
                block_size=_BLOCK // 4,
                column_names=names,
                skip_rows=skipped,
                encoding="utf8" if encoding == "utf-8-sig" else encoding,
            ),
            pacsv.ParseOptions(
                delimiter=delimiter,
                quote_char='"' if is_quoted else False,
                invalid_row_handler=set_aside,
            ),
            pacsv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False),
        )
        with stream:
            for batch in reader:
                has_line_end = is_quoted and any(pc.any(pc.match_substring(column, "\n")).as_py() for column in batch)
                if has_line_end:
                    yield from _by_width(_parted(_columns(batch, range(width))))
                else:
                    yield _columns(batch, wanted)
        yield [torn]

    return CandleFile(path, parted[delimiter], None, read)


def _parted(columns: Columns) -> list[Cells]:
    """Give each line that a quote without its twin drew into a cell back as a torn row of its own."""
    rows, parted = list(zip(*columns, strict=True)), list[Cells]()
    for row in rows:
        further = [(line,) for cell in row if cell for line in _LINE_END.split(cell)[1:]]
        parted += [(row[0],), *further] if further else [row]
    return parted


def _split(line: str, delimiter: str) -> Cells:
    try:
        return tuple(next(csv.reader([line], delimiter=delimiter), ()))
    except csv.Error:
        # a line too long, or one that holds a line end: no row of a candle
        return (line,)


def _json(path: Path, text: str, chunks: Callable[[], Iterator[str]]) -> CandleFile:
    """Take each innermost array or object for a row, whatever lies around it: lines, one array, an exchange's answer."""
    begun = [value for value in map(_json_value, _JSON_ROW.findall(text)[:_HEAD_LINES]) if value]
    names = tuple(begun[0]) if begun and isinstance(begun[0], dict) else None
    head = [_json_cells(value, names) for value in begun]

    def read(_skipped: int, _wanted: Collection[int]) -> Iterator[Columns]:
        left, has_begun = "", False
        for chunk in chunks():
            left += chunk
            batch: list[Cells] = []
            end = 0
            for match in _JSON_ROW.finditer(left):
                between = _JSON_BETWEEN.sub("", left[end : match.start()])
                if between and has_begun:
                    batch.append((between,))
                end = match.end()
                if len(match.group()) > 2:
                    value = _json_value(match.group())
                    batch.append(_json_cells(value, names) if value else (match.group(),))
                    has_begun = True
            left = left[end:]
            if len(left) > 2 * _BLOCK:
                msg = f"{path} holds no candles as JSON; write each as an array or an object"
                raise CandleFileError(msg)
            yield from _by_width(batch)
        rest = left.lstrip(" \t\r\n,]}")
        yield [[rest]] if rest[:1] in {"[", "{"} else []

    return CandleFile(path, head, names, read)


def _json_value(text: str) -> list[object] | dict[str, object] | None:
    try:
        value = json.loads(text, parse_float=str, parse_int=str, parse_constant=str)
    except ValueError:
        return None
    return cast("list[object] | dict[str, object]", value)


def _json_cells(value: list[object] | dict[str, object], names: Cells | None) -> Cells:
    if isinstance(value, dict) and names is not None:
        cells = [value.get(str(name)) for name in names]
    elif isinstance(value, list) and names is None:
        cells = value
    else:
        return (json.dumps(value),)
    return tuple(None if cell is None else str(cell) for cell in cells)
