"""Check that a data set knows nothing learned after its cut: build it, revise its candles, build it again.

Also reads what labels and inputs are held against: candles alone, as they were known at a moment.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq

from core.candles import MINUTE, Page, Span
from models.judging.leak_canaries import Leak
from store.database import MEMORY, connect
from store.feature_sets import FEATURE_SETS
from store.feature_store import FeatureStore
from store.sql_files import SQL_ROOT, load_sql
from validation.leakage.sql_interventions import START, small_market

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from numpy.typing import NDArray

    from core.candles import Candle
    from core.dataset_files import DatasetRef
    from store.connection import Connection

    Known = Mapping[str, tuple[list[tuple[object, ...]], dict[int, str]]]
    """Candles and fingerprints at a cut, by product."""

MINUTES = 3_600
"""So long that each coin's calibration part has the 200 rows that a calibration takes."""
PRODUCTS = ("BTC-USD", "ETH-USD")
_SOURCE = "local:leak-check"


@dataclass(frozen=True, slots=True)
class AuditedDataset:
    """A small data set, what it was made of, and what became of it after candles were revised."""

    reference: DatasetRef
    candles: list[Candle]
    leaks: list[Leak]


class CutlessStore(FeatureStore):
    """Planted: a store that hands out the newest candles whatever the cut."""

    def copy_candles(self, target: Connection, product: str, span: Span, cut: datetime) -> None:
        """Copy candles as they are known today."""
        super().copy_candles(target, product, span, cut + timedelta(days=3650))


def rebuilt(
    name: str, seed: int, folder: Path, store_type: type[FeatureStore] = FeatureStore, *, twice: bool = True
) -> AuditedDataset:
    """Export a small data set of the set ``name``, revise candles behind its back, and look back at the same cut again.

    What is read at the cut is compared before and after; with ``twice`` the data set is also built a second time.
    """
    candles = small_market(seed, MINUTES, PRODUCTS)
    span = Span(START, START + MINUTES * MINUTE)
    cut = span.end + timedelta(hours=1)
    with store_type.in_memory() as store:
        store.record_pages([_page(product, candles, span, cut) for product in PRODUCTS])
        before = _read_at(store, span, cut)
        first = store.export_dataset(PRODUCTS, span, folder / "first", feature_set=name, known_at_cut=cut, threads=1)
        store.record_pages(_second_thoughts(candles, span, cut + timedelta(days=1)))
        leaks = _changes(before, _read_at(store, span, cut))
        if twice:
            again = folder / "revised"
            second = store.export_dataset(PRODUCTS, span, again, feature_set=name, known_at_cut=cut, threads=1)
            if first.digest != second.digest:
                leaks.append(Leak("revised candle", f"data set of {name}", _first(first, second)))
    return AuditedDataset(first, candles, leaks)


def _read_at(store: FeatureStore, span: Span, cut: datetime) -> Known:
    """Return what a data set is made of: every candle at the cut, and the fingerprints that say which parts are stale."""
    known: dict[str, tuple[list[tuple[object, ...]], dict[int, str]]] = {}
    for product in PRODUCTS:
        with _candles_at(store, product, span, cut) as connection:
            rows = connection.execute("select * exclude (product) from candles_1m order by open_time").fetchall()
        known[product] = (rows, store.candle_fingerprints(product, span, cut))
    return known


@contextmanager
def _candles_at(store: FeatureStore, product: str, span: Span, cut: datetime) -> Iterator[Connection]:
    """Yield a database in memory whose ``candles_1m`` is what was known of a product at ``cut``."""
    connection = connect(MEMORY, threads=1)
    try:
        connection.execute(load_sql("tables/candles_1m"))
        store.copy_candles(connection, product, span, cut)
        yield connection
    finally:
        connection.close()


def _changes(before: Known, after: Known) -> list[Leak]:
    leaks = []
    for product, (rows, prints) in before.items():
        rows_after, prints_after = after[product]
        if rows != rows_after:
            seen = f"{len(set(rows) ^ set(rows_after))} candles at the cut changed with what was learned after it"
            leaks.append(Leak("revised candle", f"{product}, candles", seen))
        if prints != prints_after:
            seen = "those of the cut changed with what was learned after it"
            leaks.append(Leak("revised candle", f"{product}, fingerprints", seen))
    return leaks


def _page(product: str, candles: Sequence[Candle], span: Span, known_at: datetime) -> Page:
    return Page(product, span, tuple(candle for candle in candles if candle.product == product), known_at, _SOURCE)


def _second_thoughts(candles: Sequence[Candle], span: Span, known_at: datetime) -> list[Page]:
    """Return every fortieth candle with another close and volume, and a candle for the first minute that had none."""
    changed = [
        replace(
            candle, close=candle.close * Decimal("1.003"), high=candle.high * Decimal("1.01"), volume=candle.volume * 2
        )
        for candle in candles[20::40]
    ]
    there = {candle.open_time for candle in candles if candle.product == PRODUCTS[0]}
    late = next(span.start + n * MINUTE for n in range(1, span.minutes) if span.start + n * MINUTE not in there)
    changed.append(replace(candles[0], open_time=late))
    return [
        Page(candle.product, Span(candle.open_time, candle.open_time + MINUTE), (candle,), known_at, _SOURCE)
        for candle in changed
    ]


def _first(before: DatasetRef, after: DatasetRef) -> str:
    """Name the first value that differs between two data sets."""
    ours, theirs = (pq.read_table(reference.path) for reference in (before, after))
    if ours.num_rows != theirs.num_rows:
        return f"{ours.num_rows} rows before the revision, {theirs.num_rows} after, at the same cut"
    for name in ours.column_names:
        if ours[name].equals(theirs[name]):
            continue
        pairs = zip(ours[name].to_pylist(), theirs[name].to_pylist(), strict=True)
        row = next(number for number, (old, new) in enumerate(pairs) if old != new)
        product, moment = ours["product"][row].as_py(), ours["open_time"][row].as_py()
        return f"{product}: {name} of {moment:%Y-%m-%d %H:%M} changed after the cut, and the data set at that cut moved"
    return "the same rows, but not the same bytes"


def planted_labels(view: str, candles: Sequence[Candle]) -> dict[str, dict[int, tuple[int, float]]]:
    """Return direction and return by product and minute, as a label view under ``sql/leaks`` has them of ``candles``."""
    with FeatureStore.in_memory() as store:
        store.upsert_candles(candles)
        connection = store._connection()
        connection.execute((SQL_ROOT / "leaks" / f"{view}.sql").read_text(encoding="utf-8"))
        query = f"select product, minute, direction_15m, return_15m from {view}"  # noqa: S608  # a file of our own
        labels: dict[str, dict[int, tuple[int, float]]] = {}
        for product, minute, direction, move in connection.execute(query).fetchall():
            labels.setdefault(product, {})[minute] = (direction, move)
    return labels


def closes_at(
    store: FeatureStore, products: Sequence[str], span: Span, cut: datetime
) -> dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Return minute and close of every candle of ``span`` as known at ``cut``, oldest first, by product."""
    query = (
        "select epoch_us(open_time) // 60000000 as minute, cast(close as double) as close from candles_1m order by 1"
    )
    closes = {}
    for product in products:
        with _candles_at(store, product, span, cut) as connection:
            rows = connection.execute(query).fetchnumpy()
        closes[product] = (np.asarray(rows["minute"], np.int64), np.asarray(rows["close"], np.float64))
    return closes


def inputs_at(
    store: FeatureStore, products: Sequence[str], end: datetime, minutes: int, name: str, cut: datetime
) -> Mapping[str, tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Return minute and inputs of the rows of the last ``minutes`` before ``end``, as one sees them who has no later candle.

    Only candles of before ``end``, as known at ``cut``, are read: a data set that holds anything else looked ahead.
    """
    start = end - minutes * MINUTE
    span = Span(start - FEATURE_SETS[name].history_minutes * MINUTE, end)
    with FeatureStore.in_memory() as scratch:
        for product in sorted(products):
            store.copy_candles(scratch._connection(), product, span, cut)
        blocks = scratch.feature_blocks(sorted(products), start, end, name)
    return {product: (block.minute_N, block.x_NF) for product, block in blocks.items()}
