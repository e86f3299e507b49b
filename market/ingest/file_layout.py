"""Decide what the columns of a candle file mean: names, order, how the time is written.

Nothing is guessed that could be wrong in silence: columns come from a header, from the caller, or from the one recipe
that all first rows fit. Whether ``01/05/2024`` is in January or in May a row with a day after the twelfth tells, or the caller.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from core.errors import CandleFileError
from market.ingest.cell_values import (
    COMMA_NUMBER,
    DATE_ORDERS,
    TIME_KINDS,
    day_and_month,
    micros,
    moments,
    number,
    time_kind,
    year_first,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from market.ingest.candle_file import CandleFile, Cells, Columns

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
_ENDS = {"close_time", "closetime", "time_close", "end", "end_time", "time_period_end", "kline_close_time"}
_NO_VALUE = {"", "nan", "null", "none", "n_a", "na"}
_HEADER_LINES = 20
_MIN_VALUES = 4
"""A line above the header may hold a date or a count; four prices it does not."""


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
    dates: str = ""
    """``dmy`` or ``mdy`` where the time is written like 01/05/2024."""

    def __str__(self) -> str:
        """Return ``time,low,high,...`` in the file's order, ``-`` for columns that are not used."""
        words = dict.fromkeys(range(self.width), IGNORED) | {index: name for name, index in self.index.items()}
        time = (self.dates or "time",) if len(self.time) == 1 else (self.dates or "date", "time")
        words |= dict(zip(self.time, time, strict=True))
        return ",".join(words.values())

    def times(self, columns: Columns) -> list[int | None]:
        """Return the time of each row as microseconds since 1970, None where it has none; the rows have this width."""
        texts = columns[self.time[0]]
        if len(self.time) > 1:
            pairs = zip(texts, columns[self.time[1]], strict=True)
            texts = [_joined(str(date).strip(), str(clock).strip()) for date, clock in pairs]
        return moments([year_first(text or "", self.dates) for text in texts] if self.dates else texts)


def _joined(date: str, clock: str) -> str:
    """Return ``2024-01-05 03:49``, and of digits alone ``20240105T034900``."""
    return f"{date} {clock}" if ":" in clock or not date.isdigit() else f"{date}T{clock}"


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
        self.file, self.path = file, file.path
        self.dates = ""
        self.base, _, self.quote = product.lower().partition("-")
        self.names: list[str] | None = None
        self.skipped = 0
        if file.names is not None:
            self.names, self.data = [str(name) for name in file.names], file.head
        else:
            self._part(file.head)
        if self.names is None:
            self._require_points([cell for row in file.head for cell in row])
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
        # yfinance's ('Close', 'BTC-USD'), and what becomes of it
        for stem in (word.removesuffix(f"_{self.base}_{self.quote}"), word.removeprefix(f"{self.base}_{self.quote}_")):
            if stem != word:
                return stem
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
        self.dates = next((word for word in words if word in DATE_ORDERS), "")
        words = ["date" if word in DATE_ORDERS else word for word in words]
        unknown = [word for word in words if word != IGNORED and word not in _MEANING]
        if unknown or len(words) != self.width:
            fault = f"{', '.join(unknown)} means nothing here" if unknown else f"it names {len(words)} columns"
            msg = (
                f"--columns {','.join(order)}: {fault}, and {self.path} has {self.width}; name each of them from the left with "
                f"time (or date and time; dmy or mdy for a date like 01/05/2024), open, high, low, close, volume, or {IGNORED} for one to ignore"
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
        if missing == ["time"] and (ends := [word for word in words if word in _ENDS]):
            msg = f"{subject}: {ends[0]} is when a minute ends, and a candle is named by its start; add a column time, a minute earlier"
            raise CandleFileError(msg)
        if missing:
            msg = f"{subject}: {', '.join(missing)} is missing; name all {self.width} columns from the left with --columns, such as {self._advice(words)}"
            raise CandleFileError(msg)
        self._require_numbers(index)
        time, unit = self._time(times)
        layout = Layout(self.width, index, time, unit, recipe, tuple(self.names or ()), self.skipped)
        if any(day_and_month(row[time[0]] or "") for row in self.rows):
            return replace(layout, dates=self.dates or self._date_order(layout))
        return layout

    def _require_points(self, cells: Sequence[str | None]) -> None:
        """Refuse numbers with a comma: ``1,234`` may be more than a thousand or little more than one."""
        texts = [cell.strip(' \t"') for cell in cells if cell]
        commas = [text for text in texts if COMMA_NUMBER.fullmatch(text)]
        if 2 * len(commas) > len(texts):
            msg = f"{self.path} writes numbers with a comma, such as {commas[0]!r}; write them with a point, as 1234.56, and nothing between the thousands"
            raise CandleFileError(msg)

    def _require_numbers(self, index: dict[str, int]) -> None:
        """Refuse a column of prices or volumes in which nothing is a number: all rows would be set aside."""
        self._require_points([row[index[name]] for row in self.rows for name in PRICES])
        for name in PRICES:
            cells = [row[index[name]] for row in self.rows if self._word(row[index[name]]) not in _NO_VALUE]
            if cells and not any(number(cell).is_finite() for cell in cells):
                msg = f"{self.path}: {name} is no number, such as {cells[0]!r}; write digits and a point alone, as 1234.56"
                raise CandleFileError(msg)

    def _date_order(self, layout: Layout) -> str:
        """Return what 01/05/2024 means in this file, by its first row with a day after the twelfth."""
        column, shown = layout.time[0], ""
        texts = (
            text or ""
            for batch in self.file.batches(self.skipped, [column])
            if len(batch) == self.width
            for text in batch[column]
        )
        for text in texts:
            numbers = day_and_month(text)
            if numbers is not None:
                if max(numbers) > 12:
                    return "dmy" if numbers[0] > 12 else "mdy"
                shown = shown or text
        ways = [f"--columns {replace(layout, dates=order)}" for order in DATE_ORDERS]
        msg = f"{self.path}: no row tells whether {shown!r} names the day first or the month; say it with {ways[0]} (day first) or {ways[1]} (month first)"
        raise CandleFileError(msg)

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
        kinds = {at: time_kind([row[at] for row in self.rows]) for at in columns}
        for kind in TIME_KINDS:
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
        kinds = [time_kind([row[at] for row in self.rows]) for at, name in enumerate(order) if name in {"time", "date"}]
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
