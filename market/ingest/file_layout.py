"""Decide what the columns of a candle file mean: names, order, units of time, numbers.

Nothing is guessed that could be wrong in silence: columns come from a header, from the caller, or from the one recipe
that all first rows fit. A time's unit follows from its size, which tells the four apart for every year since 1973.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING

from core.candles import EPOCH
from core.errors import CandleFileError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from market.ingest.candle_file import CandleFile, Cells

PRICES = ("open", "high", "low", "close", "volume")
IGNORED = "-"

WORDS = {
    "time": (
        "time open_time opentime timestamp datetime date_time date_utc time_utc gmt_time utc unix unix_time unix_timestamp epoch "
        "start start_time starttime time_open time_period_start kline_open_time bar_time ts t date index index_level_0 unnamed_0"
    ),
    "open": "open o open_price price_open",
    "high": "high h high_price price_high max",
    "low": "low l low_price price_low min",
    "close": "close c close_price price_close",
    # real volume before ticks: MetaTrader has both
    "volume": "volume vol v base_volume volume_base volumefrom volume_traded vol_base",
    "product": "product product_id symbol pair market instrument ticker",
}
"""Header words, the better first; in lower case, anything but letters and digits as ``_``, a leading number left out."""

RECIPES = {
    "plain, freqtrade, TradingView": "time,open,high,low,close,volume",
    "Coinbase's API": "time,low,high,open,close,volume",
    "jesse, Bitfinex": "time,open,close,high,low,volume",
    "Kraken OHLCVT": "time,open,high,low,close,volume,-",
    "KuCoin": "time,open,close,high,low,volume,-",
    "MetaTrader": "date,time,open,high,low,close,volume",
    "Kraken's API": "time,open,high,low,close,-,volume,-",
    "MetaTrader 5": "date,time,open,high,low,close,-,volume,-",
    "OKX": "time,open,high,low,close,volume,-,-,-",
    "Binance klines": "time,open,high,low,close,volume,-,-,-,-,-,-",
}
"""Order of columns in files without a header."""

_MEANING = {word: name for name, words in WORDS.items() for word in words.split()}
_RANK = {word: rank for words in WORDS.values() for rank, word in enumerate(words.split())}
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_CLOCK = re.compile(r"[0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?|[0-9]{4}|[0-9]{6}")
_DAY_FIRST = re.compile(r"([0-9]{2})\.([0-9]{2})\.([0-9]{4})(?!\d)")
_YEAR_FIRST = re.compile(r"([0-9]{4})[./]([0-9]{2})[./]([0-9]{2})(?!\d)")
_LOOSE = ' \t"'
_COMPACT = {8, 12, 14}
"""Digits of 20240105, 202401050349 and 20240105034900: as a number since 1970 none of them is of this century."""
_NOTHING = Decimal("NaN")
# from this many of a unit on (1973) up to a thousand times as many -> microseconds in a unit, or a divisor
_UNITS = (
    (10**8, 1_000_000, "seconds"),
    (10**11, 1_000, "milliseconds"),
    (10**14, 1, "microseconds"),
    (10**17, 0, "nanoseconds"),
)
_HEADER_LINES = 20
_MIN_VALUES = 4
"""A line above the header may hold a date or a count; four prices it does not."""


def number(cell: str | None) -> Decimal:
    """Return a cell's exact number; NaN, which no quality rule lets pass, for one that holds none."""
    text = cell or ""
    # nearly every cell: three times as fast as the pattern
    if text.isascii() and text.replace(".", "", 1).isdigit():
        return Decimal(text)
    text = text.strip(_LOOSE)
    return Decimal(text) if _NUMBER.fullmatch(text) else _NOTHING


def micros(text: str) -> int | None:
    """Return a written time as microseconds since 1970, None for what is none; without a zone it is UTC."""
    is_whole = text.isascii() and text.isdigit()
    if not is_whole:
        text = text.strip(_LOOSE)
        is_whole = text.isascii() and text.isdigit()
    if is_whole and len(text) not in _COMPACT:
        return _of_unit(int(text)) if len(text) < 20 else None
    if not is_whole and _NUMBER.fullmatch(text):
        value = Decimal(text)
        return _of_unit(value) if 0 < value < 10**20 else None
    plain = text.removesuffix(" UTC").removesuffix(" GMT")
    if is_whole and len(plain) > 8:
        plain = f"{plain[:8]}T{plain[8:]}"
    plain = _YEAR_FIRST.sub(r"\1-\2-\3", _DAY_FIRST.sub(r"\3-\2-\1", plain))
    try:
        moment = datetime.fromisoformat(plain)
    except ValueError:
        return None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    past = moment - EPOCH
    return (past.days * 86_400 + past.seconds) * 1_000_000 + past.microseconds


def _of_unit(value: int | Decimal) -> int | None:
    """Return a number since 1970 in microseconds, its unit being that which makes it a time after 1973."""
    for least, factor, _ in _UNITS:
        if least <= value < 1000 * least:
            return int(value * factor) if factor else int(value) // 1000
    return None


@dataclass(frozen=True, slots=True)
class Layout:
    """Where in a row each value stands, and how its time is written."""

    width: int
    index: dict[str, int]
    """Column of each of open, high, low, close, volume, and of product where there is one."""
    time: tuple[int, ...]
    """The column of the time, or those of date and clock."""
    unit: str
    """How the time is written in the first row, for people."""
    recipe: str
    names: tuple[str, ...] = ()
    """The header's own words, where there is one."""
    skipped: int = 0
    """Lines above the first row of data."""

    def __str__(self) -> str:
        """Return ``time,low,high,...`` in the file's order, ``-`` for columns that are not used."""
        words = dict.fromkeys(range(self.width), IGNORED) | {index: name for name, index in self.index.items()}
        words |= dict(zip(self.time, ("time",) if len(self.time) == 1 else ("date", "time"), strict=True))
        return ",".join(words.values())

    def micros(self, row: Cells) -> int | None:
        """Return the row's time as microseconds since 1970; None where it has none or the row is torn."""
        if len(row) != self.width:
            return None
        if len(self.time) == 1:
            return micros(row[self.time[0]] or "")
        date, clock = (str(row[index]).strip() for index in self.time)
        return micros(f"{date} {clock if ':' in clock or not date.isdigit() else 'T' + clock}".replace(" T", "T"))


def layout_of(file: CandleFile, product: str, order: Sequence[str] | None = None) -> Layout:
    """Return what the columns of ``file`` are.

    Args:
        file: An open file.
        product: Product id; it tells the volume in the base currency from that in the quote currency.
        order: Names of all columns from the left, ``-`` for one to be ignored; from the file when left out.

    Raises:
        CandleFileError: a column is missing or nothing fits.
    """
    return _Sniffer(file, product).layout(order)


class _Sniffer:
    """The head of a file, parted into lines above the header, names, and rows of data."""

    def __init__(self, file: CandleFile, product: str) -> None:
        self.path = file.path
        self.base, _, self.quote = product.lower().partition("-")
        self.names: list[str] | None = None
        self.skipped = 0
        if file.names is not None:
            self.names, self.data = [str(name) for name in file.names], file.head
        else:
            self._part(file.head)
        if not self.data:
            what = "a header and no candle" if self.names else "no candle"
            msg = f"{self.path} holds {what}; name a file with candles in it"
            raise CandleFileError(msg)

    def _part(self, head: list[Cells]) -> None:
        """Find the header among the first lines; what lies above it, and lines like it below, are no data."""
        known = [len({_MEANING[word] for cell in row if (word := self._word(cell)) in _MEANING}) for row in head]
        best = max(range(min(len(head), _HEADER_LINES)), key=lambda at: known[at], default=0)
        first = next((at for at, row in enumerate(head) if _values(row) >= _MIN_VALUES), len(head))
        # a header below rows of data would cost these rows in silence
        if best < first and known and known[best] >= 3:
            self.names = [str(cell).strip() for cell in head[best]]
            # what holds a number or a time below the header is a row, if a bad one
            first = next((at for at, row in enumerate(head) if at > best and _values(row)), len(head))
            for row in head[best + 1 : first]:
                # Yahoo names its time in a line of its own
                for at, cell in enumerate(row[: len(self.names)]):
                    if _MEANING.get(self._word(cell)) == "time" and self._word(self.names[at]) not in _MEANING:
                        self.names[at] = str(cell)
        self.skipped = first
        self.data = [row for row in head[first:] if any(row)]
        if self.names is None and not self.data:
            # too few numbers for a candle: to be refused with their count
            self.data = [row for row in head if any(number(cell).is_finite() for cell in row)]

    def _word(self, cell: str | None) -> str:
        """Return a header's cell as `WORDS` has it: ``<DATE>`` is date, ``Volume BTC`` the volume of BTC-USD."""
        word = re.sub(r"[^a-z0-9]+", "_", (cell or "").strip().lower()).strip("_")
        word = re.sub(r"^[0-9]+_(?=[a-z])", "", word) or "index"
        for currency in (self.base, self.quote):
            stem = word.removesuffix(f"_{currency}")
            # a price is in the quote currency, a volume in the base currency
            if stem != word and (_MEANING.get(stem) == "volume") == (currency == self.base):
                return stem
        return word

    @cached_property
    def width(self) -> int:
        widths = [len(row) for row in self.data]
        named = len(self.names or ())
        # pandas leaves out the comma of an index without a name
        likely = [width for width in (named, named + 1) if named and width in widths]
        return likely[0] if likely else max(dict.fromkeys(widths), key=widths.count)

    @cached_property
    def rows(self) -> list[Cells]:
        return [row for row in self.data if len(row) == self.width]

    def layout(self, order: Sequence[str] | None) -> Layout:
        if order is not None:
            return self._ordered(order)
        if self.names is not None:
            words = [self._word(name) for name in self.names]
            if len(words) == self.width - 1:
                words.insert(0, "index")
            if len(words) != self.width:
                msg = f"{self.path} names {len(words)} columns and its rows have {self.width} cells; correct the header, or name them with --columns"
                raise CandleFileError(msg)
            return self._placed(words, "header", f"the columns of {self.path} are {','.join(self.names)}")
        return self._fitting()

    def _ordered(self, order: Sequence[str]) -> Layout:
        words = [name.strip().lower() for name in order]
        unknown = [word for word in words if word != IGNORED and word not in _MEANING]
        if unknown or len(words) != self.width:
            fault = f"{', '.join(unknown)} means nothing here" if unknown else f"it names {len(words)} columns"
            msg = (
                f"--columns {','.join(order)}: {fault}, and {self.path} has {self.width}; name each of them from the left with "
                f"time (or date and time), open, high, low, close, volume, or {IGNORED} for one to ignore"
            )
            raise CandleFileError(msg)
        return self._placed(words, "--columns", f"--columns are {','.join(order)}")

    def _placed(self, words: Sequence[str], recipe: str, subject: str) -> Layout:
        index: dict[str, int] = {}
        for at in sorted(range(len(words)), key=lambda at: _RANK.get(words[at], 0)):
            name = _MEANING.get(words[at])
            if name is None or name == "time":
                continue
            if name in index and words[index[name]] == words[at]:
                msg = f"{subject}: {name} stands there twice; say which is meant with --columns {self._advice(words)}"
                raise CandleFileError(msg)
            index.setdefault(name, at)
        times = sorted(
            (at for at, word in enumerate(words) if _MEANING.get(word) == "time"), key=lambda at: _RANK[words[at]]
        )
        missing = [name for name in PRICES if name not in index] + ([] if times else ["time"])
        if missing:
            msg = f"{subject}: {', '.join(missing)} is missing; name all {self.width} columns from the left with --columns, such as {self._advice(words)}"
            raise CandleFileError(msg)
        time, unit = self._time(times)
        return Layout(self.width, index, time, unit, recipe, tuple(self.names or ()), self.skipped)

    def _advice(self, words: Sequence[str]) -> str:
        """Return an order of as many columns as there are, with those names that are understood."""
        names = list(dict.fromkeys(_MEANING.get(word, IGNORED) for word in words if word in _MEANING))
        lacking = [name for name in ("time", *PRICES) if name not in names]
        seen: set[str] = set()
        advice = []
        for word in words:
            name = _MEANING.get(word, IGNORED)
            name = name if name not in seen and name != IGNORED else (lacking.pop(0) if lacking else IGNORED)
            seen.add(name)
            advice.append(name)
        return ",".join(advice)

    def _time(self, columns: Sequence[int]) -> tuple[tuple[int, ...], str]:
        """Choose the time among its candidates: numbers before their text twin, date and clock together."""
        kinds = {at: _time_kind([row[at] for row in self.rows]) for at in columns}
        for kind in (*(name for _, _, name in _UNITS), "date and time as text"):
            if chosen := [at for at in columns if kinds[at] == kind]:
                return (chosen[0],), kind
        dates = [at for at in columns if kinds[at] == "date"]
        clocks = [at for at in columns if kinds[at] == "clock"]
        if dates and clocks:
            return (dates[0], clocks[0]), "date and time in two columns"
        if dates:
            return (dates[0],), "date"
        cell = self.rows[0][columns[0]]
        msg = (
            f"{self.path}: the time {cell!r} is not like 2024-01-05 03:49:00 (UTC), 2024-01-05T03:49:00Z, or a number since 1970 in "
            "seconds, milli-, micro- or nanoseconds; write it so, or name the columns with --columns"
        )
        raise CandleFileError(msg)

    def _fitting(self) -> Layout:
        """Find the one recipe in which every row has its open and close between its low and its high."""
        orders = {name: order.split(",") for name, order in RECIPES.items()}
        fits = {name: order for name, order in orders.items() if len(order) == self.width and self._fits(order)}
        if len(fits) == 1:
            ((name, order),) = fits.items()
            return self._placed(order, name, f"the columns of {self.path}")
        advice = next(iter(fits.values()), ["time", *PRICES, *[IGNORED] * (self.width - 6)])
        fault = (
            f"fit more than one order ({'; '.join(fits)})"
            if fits
            else f"({self.width} columns) fit no known order of columns"
        )
        repair = f"name each column from the left with --columns {','.join(advice)}, {IGNORED} for one to ignore"
        if self.width < 6:
            repair = "a candle has a time, four prices and a volume: fetch a file that holds them"
        msg = f"{self.path} has no header and its first rows {fault}; {repair}"
        raise CandleFileError(msg)

    def _fits(self, order: Sequence[str]) -> bool:
        kinds = [
            _time_kind([row[at] for row in self.rows]) for at, name in enumerate(order) if name in {"time", "date"}
        ]
        if kinds[0] in {"", "clock"} or kinds[1:] not in ([], ["clock"]):
            return False
        at = {name: column for column, name in enumerate(order)}
        sound = 0
        for row in self.rows:
            opened, high, low, close, volume = (number(row[at[name]]) for name in PRICES)
            values = (opened, high, low, close, volume)
            if all(value.is_finite() for value in values):
                sound += 1
                if not (low <= min(opened, close) <= max(opened, close) <= high and volume >= 0):
                    return False
        return 2 * sound >= len(self.rows)


def _values(row: Cells) -> int:
    """Return how many cells of a row are numbers or times."""
    return sum(number(cell).is_finite() or micros(cell or "") is not None for cell in row)


def _time_kind(cells: Sequence[str | None]) -> str:
    """Return how most cells that are times are written: a unit's name, ``date and time as text``, ``date`` or ``clock``."""
    kinds = [kind for cell in cells if (kind := _cell_kind((cell or "").strip(_LOOSE)))]
    return max(dict.fromkeys(kinds), key=kinds.count, default="")


def _cell_kind(text: str) -> str:
    moment = micros(text)
    if moment is None:
        return "clock" if _CLOCK.fullmatch(text) else ""
    if _NUMBER.fullmatch(text) and not (text.isdigit() and len(text) in _COMPACT):
        return next(name for least, _, name in _UNITS if least <= Decimal(text) < 1000 * least)
    return "date" if len(text) <= 10 else "date and time as text"
