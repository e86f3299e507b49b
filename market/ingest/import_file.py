"""Import a file of candles into the store: quality rules, quarantine, revisions and ledger as for fetched pages.

A file is read twice: once to learn what it holds (columns, interval, first and last minute), so that a file of hours, of
another product or with a time cut to the day is refused before a row is stored; once to store it. What a file may prove is
written down in `store.file_import`. Of its newest minute nobody can tell whether it was over when the file was written, so
by default that row is set aside in quarantine (reason ``last_of_file``) and left for the exchange.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import compress, islice
from typing import TYPE_CHECKING

import numpy as np

from core.candles import EPOCH, Candle, Span, require_product
from core.errors import CandleFileError
from core.integrity import sha256_of
from market.ingest.backfill import quiet
from market.ingest.candle_file import open_candles, require_file
from market.ingest.cell_values import numbers
from market.ingest.file_layout import PRICES, layout_of
from market.ingest.file_minutes import FileMinutes
from store.candle_rules import fault
from store.file_import import ImportCount
from store.raw_export import exported_pages, read_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from market.ingest.backfill import OnProgress
    from market.ingest.candle_file import CandleFile, Columns
    from market.ingest.file_layout import Layout
    from store.feature_store import FeatureStore

ROWS_PER_WRITE = 20_000
"""Rows per transaction: bounds the memory and how long the write lock is held (about half a second)."""

LAST_OF_FILE, NO_TIME, TORN_ROW = "last_of_file", "no_time", "torn_row"
ANY_TIME = Span(EPOCH, datetime(9999, 1, 1, tzinfo=UTC))

_QUOTES = "USD|USDT|USDC|EUR|GBP|BTC|ETH"
_NO_BASE = (
    "COINBASE|COINBASEPRO|GDAX|CB|BINANCE|BINANCEUS|KRAKEN|BITSTAMP|BITFINEX|GEMINI|KUCOIN|OKX|OKEX|BYBIT|HUOBI|BITMEX|POLONIEX|YAHOO|"
    "OHLC|OHLCV|OHLCVT|CANDLE|CANDLES|KLINE|KLINES|DATA|SPOT|PERP|HIST|HISTORY|PRICE|PRICES|EXPORT|MINUTE|MINUTES|AND|[0-9]{4,}"
)
# the surer first: BTC-USD, then BTC_USD, then BTCUSD; overlapping, so that COINBASE_BTC does not hide BTC-USD
_PRODUCTS = tuple(
    re.compile(rf"(?<![A-Z0-9])(?=(?!(?:{_NO_BASE})[-_])([A-Z0-9]{{2,10}}){mark}({_QUOTES})(?![A-Z0-9]))")
    for mark in ("-", "_", "")
)
_KRAKEN_NAMES = {"XBT": "BTC", "XDG": "DOGE"}


@dataclass(frozen=True, slots=True)
class ImportOrder:
    """What to import, and how to read it."""

    path: Path
    product: str | None
    """Product id; None where neither the caller nor the name says it, and a column of the file has to."""
    source: str
    """``import:<name>``, what the candles carry."""
    columns: tuple[str, ...] | None = None
    """Names of all columns from the left; from the file when None."""
    replace: bool = False
    """Believe the file against the exchange's earlier answers."""
    last_is_closed: bool = False
    """The newest minute was over when the file was written."""
    trust_prices: bool = False
    """The prices are of this product however far they are from those stored around then."""
    sparse: bool = False
    """The rows are minutes, though no two of them follow one another."""


@dataclass(frozen=True, slots=True)
class Examined:
    """What a file holds, learned by reading it once; nothing is stored."""

    product: str
    layout: Layout
    rows: int
    minutes: int
    """Different minutes."""
    interval_minutes: int
    """Greatest common divisor of the distances between them, 0 for a single one."""
    first: datetime
    last: datetime
    """The newest minute that has begun."""
    other_products: Counter[str] = field(default_factory=Counter)
    """Rows of other products in the same file, which are left out."""


@dataclass(slots=True)
class ImportResult:
    """What an import did."""

    product: str
    source: str
    sha256: str
    columns: str
    first_open_time: datetime
    last_open_time: datetime
    other_products: Counter[str]
    count: ImportCount = field(default_factory=ImportCount)


def import_order(
    path: Path,
    product: str | None = None,
    source: str | None = None,
    columns: Sequence[str] | None = None,
    **options: bool,
) -> ImportOrder:
    """Return what is to be done with ``path``; a product that is named wins over what the name of the file shows.

    Args:
        path: The file.
        product: Product id; from the file's name, or else from a column of it, when left out.
        source: What the candles carry as source; the file's name when left out.
        columns: Names of all columns from the left; from the file when left out.
        options: ``replace``, ``last_is_closed``, ``trust_prices`` and ``sparse`` of `ImportOrder`.

    Raises:
        CandleFileError: it is no file.
        UnknownProductError: the product is not of the form BASE-QUOTE.
    """
    require_file(path)
    named = require_product(product) if product else product_in_name(path.name)
    return ImportOrder(path, named, f"import:{source or path.name}", tuple(columns) if columns else None, **options)


def product_in_name(name: str) -> str | None:
    """Return the one product a file name shows, as ``BTC-USD``, ``BTC_USD`` or ``BTCUSD``; None for none or several."""
    for text in (name, name.upper()):
        for pattern in _PRODUCTS:
            matches = {f"{_KRAKEN_NAMES.get(base, base)}-{quote}" for base, quote in pattern.findall(text)}
            if matches:
                return matches.pop() if len(matches) == 1 else None
    return None


def examine(order: ImportOrder, now: datetime | None = None) -> Examined:
    """Read the file once and return what it holds.

    Raises:
        CandleFileError: no row can be understood, no product is named or the file is of another one, its candles are not
            of one minute, or its times repeat.
    """
    times, opens, others, rows = array("q"), array("d"), Counter[str](), 0
    file = open_candles(order.path)
    layout = layout_of(file, order.product or "-", order.columns)
    product = order.product or _named_product(file, layout)
    for columns in _batches_of(file, layout, product, others, [*layout.time, layout.index["open"]]):
        rows += len(columns[0])
        if len(columns) == layout.width:
            for moment, value in zip(layout.times(columns), numbers(columns[layout.index["open"]]), strict=True):
                if moment is not None:
                    times.append(moment)
                    opens.append(float(value))
    _require_product(order, product, rows, others)
    minutes = FileMinutes(
        order.path, np.frombuffer(times, dtype=np.int64), np.frombuffer(opens), now or datetime.now(UTC)
    )
    interval = minutes.interval(sparse=order.sparse)
    minutes.require_once()
    first, last = (EPOCH + timedelta(microseconds=int(minutes.unique[at])) for at in (0, -1))
    return Examined(product, layout, rows, len(minutes.unique), interval, first, last, others)


def _named_product(file: CandleFile, layout: Layout) -> str:
    """Return the one product that the file's own column names."""
    at = layout.index.get("product")
    cells = {str(row[at]) for row in file.head[layout.skipped :] if at is not None and len(row) == layout.width}
    products = {product for cell in cells if (product := product_in_name(cell.rpartition(":")[2].replace("/", "-")))}
    if len(products) == 1:
        return products.pop()
    msg = f"neither the name nor a column of {file.path} shows one product; name it with --product, such as --product BTC-USD"
    raise CandleFileError(msg)


def _batches_of(
    file: CandleFile, layout: Layout, product: str, others: Counter[str], wanted: Sequence[int]
) -> Iterator[Columns]:
    """Yield the rows of ``product``, and torn ones, with the ``wanted`` columns in them; count those that name another."""
    at = layout.index.get("product")
    named = _plain(product)
    for columns in file.batches(layout.skipped, [*wanted, *([] if at is None else [at])]):
        if at is None or len(columns) != layout.width:
            yield columns
            continue
        symbols = columns[at]
        foreign = {symbol for symbol in set(symbols) if symbol and _plain(symbol) != named}
        others.update(symbol for symbol in symbols if symbol in foreign)
        is_ours = [symbol not in foreign for symbol in symbols]
        if any(is_ours):
            yield [list(compress(column, is_ours)) for column in columns]


def _plain(product: str) -> str:
    """Return a product without exchange, separators and local names: ``COINBASE:BTC/USD``, ``XBTUSD``, ``tBTCUSD`` are one."""
    text = product.rpartition(":")[2].strip()
    text = re.sub(r"[^A-Z0-9]", "", (text[1:] if re.match(r"t[A-Z]", text) else text).upper())
    base = next((kraken for kraken in _KRAKEN_NAMES if text.startswith(kraken)), "")
    return _KRAKEN_NAMES.get(base, "") + text[len(base) :]


def _require_product(order: ImportOrder, product: str, rows: int, others: Counter[str]) -> None:
    if rows or not others:
        return
    symbol = others.most_common(1)[0][0]
    right = product_in_name(symbol.rpartition(":")[2].replace("/", "-")) or "BASE-QUOTE"
    msg = (
        f"{order.path} holds no row of {product}, its rows are of {symbol}; import it as what it is: --product {right}"
    )
    raise CandleFileError(msg)


def import_file(
    store: FeatureStore,
    order: ImportOrder,
    on_progress: OnProgress = quiet,
    *,
    seen: Examined | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> ImportResult:
    """Store every row of a file, ``ROWS_PER_WRITE`` at a time; doing it again changes nothing.

    Killed half-way, whole batches are stored and the same command goes on.

    Args:
        store: Where to.
        order: What, and how to read it.
        on_progress: Called after each batch.
        seen: What `examine` has found in it, where that was done before.
        now: The clock: each batch is learned at its present.

    Raises:
        CandleFileError: the file is refused, see `examine`; or its prices are of another product.
        StoreError: the store cannot be written.
    """
    started_at = now()
    seen = seen or examine(order, started_at)
    result = ImportResult(
        seen.product, order.source, sha256_of(order.path), str(seen.layout), seen.first, seen.last, seen.other_products
    )
    rows = _candles(order, seen)
    while batch := list(islice(rows, ROWS_PER_WRITE)):
        good = [candle for candle, reason in batch if reason is None]
        if good:
            count = store.import_rows(good, order.source, now(), replace=order.replace, trust_prices=order.trust_prices)
            result.count.add(count)
        for why in {reason for _, reason in batch if reason is not None}:
            aside = [candle for candle, reason in batch if reason == why]
            result.count.rows += len(aside)
            result.count.quarantined[why] += store.quarantine(aside, why, order.source, now())
        on_progress(result.count.rows / seen.rows, f"{result.count.rows} rows")
    store.record_import(_record(result, started_at, now()))
    on_progress(1.0)
    return result


def faults_of(order: ImportOrder, seen: Examined, now: datetime | None = None) -> Counter[str]:
    """Return how many rows would be set aside for which reason, whatever the store holds; nothing is stored."""
    reasons = Counter[str]()
    present = now or datetime.now(UTC)
    for candle, reason in _candles(order, seen):
        why = reason or fault(candle, ANY_TIME, present)
        if why is not None:
            reasons[why] += 1
    return reasons


def _candles(order: ImportOrder, seen: Examined) -> Iterator[tuple[Candle, str | None]]:
    """Yield each row as a candle, with the reason where the file itself says that it is none to be stored.

    A row without a time, or with too few or too many cells, claims 1970.
    """
    layout = seen.layout
    nothing = Candle(seen.product, EPOCH, *numbers([None] * 5))
    wanted = [*layout.time, *(layout.index[name] for name in PRICES)]
    for columns in _batches_of(open_candles(order.path), layout, seen.product, Counter(), wanted):
        if len(columns) != layout.width:
            yield from [(nothing, TORN_ROW)] * len(columns[0])
            continue
        values = [numbers(columns[layout.index[name]]) for name in PRICES]
        for moment, *prices in zip(layout.times(columns), *values, strict=True):
            open_time = EPOCH if moment is None else EPOCH + timedelta(microseconds=moment)
            is_held = open_time == seen.last and not order.last_is_closed
            candle = Candle(seen.product, open_time, *prices)
            yield candle, NO_TIME if moment is None else LAST_OF_FILE if is_held else None


def restore_file(store: FeatureStore, path: Path, on_progress: OnProgress = quiet) -> int:
    """Put the rows of an export back, each with its source and its time of learning; return how many were missing.

    Raises:
        CandleFileError: the file is not what the manifest beside it says, or has none.
        StoreError: the store cannot be written.
    """
    rows = read_manifest(path.with_suffix(".json")).rows
    done = stored = 0
    for pages in exported_pages(path):
        stored += store.record_pages(pages).stored
        done += sum(len(page.candles) for page in pages)
        on_progress(done / rows, f"{stored} rows put back")
    return stored


def _record(result: ImportResult, started_at: datetime, finished_at: datetime) -> dict[str, object]:
    count = result.count
    return {
        "product": result.product,
        "source": result.source,
        "sha256": result.sha256,
        "columns": result.columns,
        "row_count": count.rows,
        "stored": count.stored,
        "revised": count.revised,
        "quarantined": count.quarantined.total(),
        "started_at": started_at,
        "finished_at": finished_at,
    }
