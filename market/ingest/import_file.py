"""Import a file of candles into the store: quality rules, quarantine, revisions and ledger as for fetched pages.

What a file may prove is written down in `store.file_import`. Of its newest minute nobody can tell whether it was over when
the file was written, so by default that row is set aside in quarantine (reason ``last_of_file``) and left for the exchange.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from core.candles import require_product
from core.errors import CandleFileError
from market.ingest.backfill import quiet
from market.ingest.file_columns import candles
from market.ingest.file_reader import open_candles, require_file
from store.file_import import ImportCount
from store.raw_export import exported_pages, read_manifest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from core.candles import Candle
    from market.ingest.backfill import OnProgress
    from store.feature_store import FeatureStore

ROWS_PER_WRITE = 20_000
"""Rows per transaction: bounds the memory and how long the write lock is held (about half a second)."""

LAST_OF_FILE = "last_of_file"
_QUOTES = "USD|USDT|USDC|EUR|GBP|BTC|ETH"
_PRODUCT = re.compile(rf"(?<![A-Za-z0-9])([A-Z0-9]{{2,10}})[-_]({_QUOTES})(?![A-Za-z0-9])")


@dataclass(frozen=True, slots=True)
class ImportOrder:
    """What to import, and how to read it."""

    path: Path
    product: str
    source: str
    """``import:<name>``, what the candles carry."""
    columns: tuple[str, ...] | None = None
    """Names of all columns from the left; from the file when None."""
    replace: bool = False
    """Believe the file against the exchange's earlier answers."""
    last_is_closed: bool = False
    """The newest minute was over when the file was written."""


@dataclass(slots=True)
class ImportResult:
    """What an import did."""

    product: str
    source: str
    sha256: str
    columns: str = ""
    first_open_time: datetime | None = None
    last_open_time: datetime | None = None
    count: ImportCount = field(default_factory=ImportCount)


def import_order(
    path: Path,
    product: str | None = None,
    source: str | None = None,
    columns: Sequence[str] | None = None,
    *,
    replace: bool = False,
    last_is_closed: bool = False,
) -> ImportOrder:
    """Return what is to be done with ``path``; the product comes from its name unless it is told.

    Raises:
        CandleFileError: it is no file; no product is told and the name shows none, or another one than is told.
        UnknownProductError: the product told is not of the form BASE-QUOTE.
    """
    require_file(path)
    shown = product_in_name(path.name)
    if product is None and shown is None:
        msg = f"the name {path.name} does not show one product; name it with --product, such as --product BTC-USD"
        raise CandleFileError(msg)
    if product is not None and shown not in {None, require_product(product)}:
        msg = f"the name {path.name} shows {shown}, --product says {product}; leave --product out, or rename the file"
        raise CandleFileError(msg)
    name = source or path.name
    return ImportOrder(
        path,
        product or str(shown),
        f"import:{name}",
        tuple(columns) if columns else None,
        replace=replace,
        last_is_closed=last_is_closed,
    )


def product_in_name(name: str) -> str | None:
    """Return the one product a file name shows, as ``BTC-USD`` or ``BTC_USD``; None for none or several."""
    found = {f"{base}-{quote}" for base, quote in _PRODUCT.findall(name)}
    return found.pop() if len(found) == 1 else None


def import_file(store: FeatureStore, order: ImportOrder, on_progress: OnProgress = quiet) -> ImportResult:
    """Store every row of a file, ``ROWS_PER_WRITE`` at a time; doing it again changes nothing.

    Killed or refused half-way, whole batches are stored and the same command goes on.

    Raises:
        CandleFileError: the file or a row of it cannot be understood.
        StoreError: the store cannot be written.
    """
    started_at = datetime.now(UTC)
    with open_candles(order.path) as file:
        result = ImportResult(order.product, order.source, _sha256(order.path))
        columns, rows = candles(file, order.product, order.columns)
        result.columns = str(columns)
        newest: list[Candle] = []
        for batch in _batches(_noted(rows, result)):
            ready = batch if order.last_is_closed else _held_back(batch, newest)
            result.count.add(store.import_rows(ready, order.source, replace=order.replace))
            on_progress(file.share(), f"{result.count.rows} rows")
    if newest:
        result.count.rows += len(newest)
        result.count.quarantined[LAST_OF_FILE] += store.quarantine(newest, LAST_OF_FILE, order.source)
    store.record_import(_record(result, started_at))
    on_progress(1.0)
    return result


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


def _record(result: ImportResult, started_at: datetime) -> dict[str, object]:
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
        "finished_at": datetime.now(UTC),
    }


def _noted(rows: Iterable[Candle], result: ImportResult) -> Iterator[Candle]:
    """Pass rows on and note the first and last minute."""
    for candle in rows:
        moment = candle.open_time
        result.first_open_time = min(result.first_open_time or moment, moment)
        result.last_open_time = max(result.last_open_time or moment, moment)
        yield candle


def _batches(rows: Iterator[Candle]) -> Iterator[list[Candle]]:
    batch: list[Candle] = []
    for candle in rows:
        batch.append(candle)
        if len(batch) == ROWS_PER_WRITE:
            yield batch
            batch = []
    if batch:
        yield batch


def _held_back(batch: Sequence[Candle], newest: list[Candle]) -> list[Candle]:
    """Return the batch without rows of the newest minute so far, which gather in ``newest``, and with those it overtook."""
    latest = max(candle.open_time for candle in (*batch, *newest))
    together = [*newest, *batch]
    newest[:] = [candle for candle in together if candle.open_time == latest]
    return [candle for candle in together if candle.open_time != latest]


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
