"""Feed the importer files, and the page parser answers, with odd rows around a sound core, and count what became of each row.

Run: ``python -m tests.campaign.import_fuzz --examples 10000 --seed 1``; the everyday run takes some hundreds of both kinds.
What is promised: no traceback but a `CandleFileError` of one line, which has stored nothing; no row lost in silence (rows in =
stored + revised + equal + set aside, and as many rows as the file has lines); no sound row of the core that is not stored.
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import json
import lzma
import sys
import tempfile
import time
import zipfile
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, Phase, given, seed, strategies
from hypothesis import settings as examples
from pyarrow import feather

from core.candles import MINUTE, Page, Span
from core.errors import CandleFileError
from market.ingest.import_file import import_file, import_order
from market.providers.base import TryAgainError
from market.providers.bounded_body import json_object
from market.providers.coinbase_wire import candles_in
from store.feature_store import FeatureStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T0 = datetime(2024, 3, 28, 23, 50, tzinfo=UTC)
"""So that the date changes inside the core, and is after the twelfth of its month."""
NOW = T0 + timedelta(days=400)
NAMES = ("open", "high", "low", "close", "volume")

ODD_CELLS = (
    *(
        "",
        " ",
        "nan",
        "NULL",
        "-1",
        "0",
        "inf",
        "abc",
        "1e9999999999999999999",
        "1e-12",
        "99999999999",
        "1,5",
        "1_0",
        '"',
        "'",
        "[",
        "{",
    ),
    *("true", "2024-03-28", "1711670400", "9" * 40, "0.0000013279", "42280.010000000002", "\ufeff", "\x00", "é", "１"),
)
ODD_LINES = (
    '"',
    '""',
    ",,,,,",
    "1,2,3,4",
    "[1]",
    "{}",
    "]",
    "[",
    "{",
    "# end",
    "time,open,high,low,close,volume",
    "\x00",
    "a" * 300,
)

Row = list[str]


@dataclass(frozen=True)
class OddFile:
    """A file whose rows are known."""

    name: str
    content: bytes
    sound: dict[datetime, tuple[Decimal, ...]]
    """Candles of the core."""
    rows: int | None
    """Rows of data in it, None where only its reader can tell."""


def _texts() -> strategies.SearchStrategy[str]:
    anything = strategies.text(strategies.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=20)
    return strategies.one_of(strategies.sampled_from(ODD_LINES), anything)


def _core(count: int) -> list[Row]:
    """Return so many sound rows: unix seconds, open, high, low, close, volume."""
    rows = []
    for number in range(count):
        opened, closed = Decimal(10000 + 7 * number) / 100, Decimal(10000 + 7 * (number + 1)) / 100
        numbers = (opened, closed + Decimal("0.03"), opened - Decimal("0.02"), closed, Decimal(number * 3 + 1) / 8)
        rows.append([str(int((T0 + number * MINUTE).timestamp())), *map(str, numbers)])
    return rows


@strategies.composite
def _odd_rows(draw: strategies.DrawFn, core: list[Row]) -> list[tuple[int, Row]]:
    """Return rows of the core with some cells changed, each with the place where it is put in; most tell of later minutes."""
    rows = []
    for number in range(draw(strategies.integers(0, 4))):
        row = list(core[draw(strategies.integers(0, len(core) - 1))])
        is_again = draw(strategies.sampled_from([False, False, False, True]))
        row[0] = row[0] if is_again else str(int((T0 + (len(core) + number) * MINUTE).timestamp()))
        for at in draw(strategies.lists(strategies.integers(0, 5), min_size=not is_again, max_size=3)):
            row[at] = draw(strategies.one_of(strategies.sampled_from(ODD_CELLS), _texts()))
        rows.append((draw(strategies.integers(0, len(core))), row))
    return rows


def _merged(core: list[Row], odd: Sequence[tuple[int, Any]]) -> list[Any]:
    rows: list[Any] = list(core)
    for at, row in sorted(odd, key=lambda pair: -pair[0]):
        rows.insert(at, row)
    return rows


def _stamp(text: str, form: str) -> str:
    return (
        f"{datetime.fromtimestamp(int(text), UTC):{form}}"
        if text.isdecimal() and text.isascii() and len(text) < 11
        else text
    )


def _zipped(content: bytes) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("candles", content)
    return buffer.getvalue()


_ORDERS = {
    # name -> header, sign between cells, form of the time, order of a row's cells
    "plain": ("time,open,high,low,close,volume", ",", "", (0, 1, 2, 3, 4, 5)),
    "coinbase": ("", ",", "", (0, 3, 2, 1, 4, 5)),
    "german": ("Zeit;time;open;high;low;close;volume", ";", "%d.%m.%Y %H:%M", (0, 0, 1, 2, 3, 4, 5)),
    "slashes": ("date,open,high,low,close,volume", ",", "%m/%d/%Y %H:%M", (0, 1, 2, 3, 4, 5)),
    "kraken": ("", ",", "", (0, 1, 2, 3, 4, 5, 5)),
    "tabs": ("open\tclose\thigh\tlow\tvolume\ttimestamp", "\t", "%Y-%m-%dT%H:%M:%SZ", (1, 4, 2, 3, 5, 0)),
}
_PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "": lambda content: content,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zip": _zipped,
}


def _sound(core: list[Row]) -> dict[datetime, tuple[Decimal, ...]]:
    return {datetime.fromtimestamp(int(row[0]), UTC): tuple(map(Decimal, row[1:])) for row in core}


@strategies.composite
def odd_files(draw: strategies.DrawFn) -> OddFile:
    """A file of any kind: text, JSON, Parquet, Feather, plain or packed, or bytes that are none."""
    core = _core(draw(strategies.integers(4, 9)))
    odd = draw(_odd_rows(core))
    kind = draw(strategies.sampled_from([*_ORDERS, "json", "jsonl", "parquet", "feather", "bytes"]))
    if kind == "bytes":
        return OddFile("BTC-USD", draw(strategies.binary(max_size=200)), {}, None)
    rows = _merged(core, odd)
    if kind in {"parquet", "feather"}:
        return OddFile("BTC-USD", _table(kind, rows), _sound(core), len(rows))
    packing = draw(strategies.sampled_from(list(_PACKINGS)))
    if kind in {"json", "jsonl"}:
        # what is odd in JSON is a value: text between the rows may be no JSON at all
        lines = [json.dumps([int(row[0]) if row[0].isdecimal() else row[0], *row[1:]]) for row in rows]
        text = "[" + ",".join(lines) + "]" if kind == "json" else "\n".join(lines)
        is_known = not any(sign in cell for row in rows for cell in row for sign in "[]{}")
        return OddFile(
            f"BTC-USD{packing}", _PACKINGS[packing](text.encode()), _sound(core), len(rows) if is_known else None
        )
    header, sign, form, order = _ORDERS[kind]
    lines = [sign.join(_stamp(row[at], form) if form and at == 0 else row[at] for at in order) for row in rows]
    sound = {line for line, row in zip(lines, rows, strict=True) if row in core}
    lines = _merged(
        lines,
        [(draw(strategies.integers(0, len(lines))), line) for line in draw(strategies.lists(_texts(), max_size=3))],
    )
    whole = [*([header] if header else []), *lines]
    text = draw(strategies.sampled_from(["\n", "\r\n"])).join(whole)
    # a line may look like a header, or like the twin of a quote: there the reader's own count is compared
    data = [line for line in lines if line]
    while data and not any(sign in "0123456789" for sign in data[0]):
        # what holds no number right below the header belongs to it
        del data[0]
    is_known = bool(header) and data[0] in sound and not any('"' in line or "time" in line for line in data)
    count = len(data) if is_known else None
    # a header that came in by chance names the columns of a file that had none
    is_named = not header and any("time" in line for line in lines)
    return OddFile(f"BTC-USD{packing}", _PACKINGS[packing](text.encode()), {} if is_named else _sound(core), count)


def _table(kind: str, rows: list[Row]) -> bytes:
    def value(text: str) -> float | None:
        try:
            return float(text)
        except ValueError:
            return None

    times = [int(row[0]) if row[0].isdecimal() and row[0].isascii() and len(row[0]) < 19 else None for row in rows]
    columns = {name: pa.array([value(row[at]) for row in rows], pa.float64()) for at, name in enumerate(NAMES, 1)}
    table = pa.table({"time": pa.array(times, pa.int64()), **columns})
    buffer = BytesIO()
    if kind == "parquet":
        pq.write_table(table, buffer)
    else:
        feather.write_feather(table, buffer, compression="lz4")
    return buffer.getvalue()


class ImportChecker:
    """Imports one file after the other into an empty store, and asserts what is promised."""

    def __init__(self, folder: Path) -> None:
        """Keep files in ``folder``."""
        self.folder = folder
        self.store = FeatureStore.in_memory()
        self.counts: Counter[str] = Counter()

    def check(self, odd: OddFile) -> None:
        """Import ``odd``.

        Raises:
            AssertionError: a promise is broken.
        """
        connection = self.store._connection()
        for table in ("candles_1m", "candle_revisions", "candle_quarantine", "ledger"):
            connection.execute(f"delete from {table}")
        path = self.folder / odd.name
        path.write_bytes(odd.content)
        self.counts["files"] += 1
        order = import_order(path, "BTC-USD", last_is_closed=True, sparse=True, trust_prices=True)
        try:
            count = import_file(self.store, order, now=lambda: NOW).count
        except CandleFileError as error:
            refusal = str(error)
        else:
            refusal = ""
        if refusal:
            assert "\n" not in refusal
            assert connection.execute("select count(*) from candles_1m").fetchall() == [(0,)]
            self.counts["files refused in one line"] += 1
            return
        aside = count.quarantined.total()
        assert count.rows == count.stored + count.revised + count.known + aside
        assert odd.rows is None or count.rows == odd.rows, (count, odd.rows)
        rows = connection.execute("select open_time, open, high, low, close, volume from candles_1m").fetchall()
        assert len(rows) == count.stored
        stored = {row[0].astimezone(UTC): row[1:] for row in rows}
        lost = [moment for moment, values in odd.sound.items() if moment not in stored]
        assert not lost, lost
        changed = sum(stored[moment] != values for moment, values in odd.sound.items())
        # only a row that tells the same minute otherwise may win over one of the core
        assert changed <= count.revised
        self.counts += Counter({"rows": count.rows, "stored": count.stored, "revised": count.revised})
        self.counts += Counter({"equal": count.known, "set aside": aside})


def _json_values() -> strategies.SearchStrategy[Any]:
    odd = strategies.sampled_from([*ODD_CELLS, None, True, False, 0, -1, 1.5, 10**30, [], {}, [1], {"a": 1}])
    return strategies.one_of(odd, strategies.integers(), strategies.floats(), strategies.text(max_size=8))


@strategies.composite
def odd_answers(draw: strategies.DrawFn) -> tuple[dict[str, Any], int]:
    """An answer with some of its rows changed, left out or of no shape at all, and how many sound rows it has."""
    size = draw(strategies.integers(1, 8))
    rows: list[Any] = [dict(zip(("start", *NAMES), row, strict=True)) for row in _core(size)]
    for at in draw(strategies.lists(strategies.integers(0, size - 1), max_size=4, unique=True)):
        change = draw(strategies.sampled_from(["value", "key", "shape", "twice"]))
        name = draw(strategies.sampled_from(["start", *NAMES]))
        if change == "value":
            rows[at] = {**rows[at], name: draw(_json_values())}
        elif change == "key":
            rows[at] = {key: value for key, value in rows[at].items() if key != name}
        elif change == "shape":
            rows[at] = draw(_json_values())
        else:
            rows.append(dict(rows[at]))
    return {"candles": draw(strategies.permutations(rows))}, size


class PageChecker:
    """Stores one answer after the other, and asserts what is promised of a page."""

    def __init__(self) -> None:
        """Begin with an empty store."""
        self.store = FeatureStore.in_memory()
        self.counts: Counter[str] = Counter()

    def check(self, answer: dict[str, Any], size: int) -> None:
        """Parse and store ``answer``, asked for the ``size`` minutes of the core.

        Raises:
            AssertionError: a promise is broken.
        """
        connection = self.store._connection()
        for table in ("candles_1m", "candle_revisions", "candle_quarantine", "ledger"):
            connection.execute(f"delete from {table}")
        self.counts["answers"] += 1
        window = Span(T0, T0 + size * MINUTE)
        content = json_object(json.dumps(answer).encode()) or {}
        core = {row["start"]: row for row in (dict(zip(("start", *NAMES), row, strict=True)) for row in _core(size))}
        sound = [key for key, row in core.items() if row in answer["candles"]]
        try:
            candles = candles_in(content, "BTC-USD", window, NOW)
        except TryAgainError:
            candles = None
        if candles is None:
            assert not sound
            self.counts["answers refused"] += 1
            return
        count = self.store.record_pages([Page("BTC-USD", window, candles, NOW, "coinbase")])
        assert count.stored + count.quarantined == len(candles)
        stored = connection.execute(
            "select epoch(open_time), open, high, low, close, volume from candles_1m"
        ).fetchall()
        by_start = {str(int(row[0])): row[1:] for row in stored}
        for key in sound:
            told = [row for row in answer["candles"] if isinstance(row, dict) and str(row.get("start")) == key]
            assert key in by_start
            assert len(told) > 1 or by_start[key] == tuple(Decimal(core[key][name]) for name in NAMES)
        # what was lost is set aside or asked for again, never taken for proved empty
        kept = connection.execute("select count(distinct open_time) from candle_quarantine").fetchall()[0][0]
        unreadable = size - len(sound)
        assert count.stored + kept >= size or all(_has_minute(row) for row in answer["candles"]), unreadable
        self.counts += Counter({"rows": len(answer["candles"]), "stored": count.stored, "set aside": count.quarantined})


def _has_minute(row: object) -> bool:
    try:
        # one outside the window is not of this page; one of another day is no time at all
        return isinstance(row, dict) and abs(int(row["start"]) - T0.timestamp()) < 80_000
    except (KeyError, TypeError, ValueError, OverflowError):
        return False


def how(count: int, number: int) -> Callable[[Any], Any]:
    how = examples(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    return lambda test: seed(number)(how(test))


def check_files(count: int, number: int, folder: Path) -> Counter[str]:
    """Check ``count`` files, all decided by the seed ``number``; return what became of their rows.

    Raises:
        AssertionError: a promise is broken; hypothesis shows the smallest example it found.
    """
    checker = ImportChecker(folder)
    how(count, number)(given(odd_files())(checker.check))()
    return checker.counts


def check_answers(count: int, number: int) -> Counter[str]:
    """Check ``count`` answers of an exchange, as `check_files` does files."""
    checker = PageChecker()
    how(count, number)(given(odd_answers())(lambda drawn: checker.check(*drawn)))()
    return checker.counts


def main() -> int:
    """Run and print the counts."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaign.import_fuzz", description=__doc__)
    parser.add_argument("--examples", type=int, default=10_000, help="files, and answers (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="decides every example (default %(default)s)")
    options = parser.parse_args()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="candledesk-fuzz-") as folder:
        files = check_files(options.examples, options.seed, Path(folder))
    for counts in (files, check_answers(options.examples, options.seed)):
        print(", ".join(f"{count} {what}" for what, count in counts.items()))
    print(f"no promise broken, {time.perf_counter() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
