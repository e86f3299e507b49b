"""Compute the features of chosen days from the published copy: what a page of distributions needs, in bounded time.

The views compute a whole history at once. Here only the candles that decide the chosen days are copied into an in-memory
store, so that the cost is that of those days, whatever lies between them. Suffixes of arrays: N rows, F features.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from core.errors import StoreError
from store.feature_sets import LONGEST_FILL_MINUTES, block_query, blocks, feature_set
from store.feature_store import FeatureStore
from store.splits import MINUTES_OF_DAY
from store.sql_files import load_sql

if TYPE_CHECKING:
    from collections.abc import Sequence

    from store.feature_sets import FeatureBlock
    from store.reader import Reader


def features_of_days(
    reader: Reader, products: Sequence[str], days: Sequence[int], name: str, *, memory_mb: int = 2_048
) -> dict[str, FeatureBlock]:
    """Return each product's features on the UTC ``days`` (whole days since 1970), with the bits of the full history.

    A set that reads other coins reads those among ``products``.

    Raises:
        ConfigError: there is no such feature set.
        StoreError: no candle is published yet.
    """
    chosen = feature_set(name)
    if "market" not in reader.databases:
        msg = "no candle is published yet; run: make backfill"
        raise StoreError(msg)
    windows = _windows(sorted(set(days)), chosen.history_minutes)
    with FeatureStore.in_memory(memory_mb=memory_mb, spill=reader.home) as scratch:
        target = scratch._connection()  # the same floor: the store's own second reader
        parameters = {"products": list(products), "windows": windows}
        copied = reader.connection.sql(load_sql("queries/docs_candles"), params=parameters).to_arrow_table()
        target.register("copied", copied)
        target.execute("insert into candles_1m by name select * from copied")
        target.unregister("copied")
        query = f"select * from ({block_query(chosen)}) where list_contains($days, minute // {MINUTES_OF_DAY})"  # noqa: S608  # our own text
        first, last = (min(days) * MINUTES_OF_DAY, (max(days) + 1) * MINUTES_OF_DAY) if days else (0, 0)
        rows = target.execute(
            query, {"products": list(products), "days": sorted(set(days)), "first": first, "last": last}
        ).fetchnumpy()
    return blocks(products, {column: np.asarray(values) for column, values in rows.items()}, name)


def _windows(days: Sequence[int], history_minutes: int) -> list[list[int]]:
    """Return the minutes that decide ``days``: neighbouring days as one window, each with the history before it."""
    windows: list[list[int]] = []
    for _, run in groupby(enumerate(days), key=lambda placed: placed[1] - placed[0]):
        members = [day for _, day in run]
        # the candle after a last minute without a trade is what shows that it is empty
        opening = members[0] * MINUTES_OF_DAY - history_minutes
        end = (members[-1] + 1) * MINUTES_OF_DAY + LONGEST_FILL_MINUTES + 1
        if windows and opening <= windows[-1][1]:
            windows[-1][1] = end
        else:
            windows.append([opening, end])
    return windows
