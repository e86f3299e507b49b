"""Feature sets: the ordered column lists that view, training, ONNX manifest and runtime agree on.

A set is a view under `sql/views`, its list here, and the hash of all SQL that makes it. A model names the set it was
trained on, and whoever serves it compares the hash. Suffixes of arrays: N rows, F features.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING

import numpy as np

from desk.errors import ConfigError
from store.queries import SQL_ROOT, load_sql, parse_header, statement

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

# a filled minute takes its close from a candle up to this much older
LONGEST_FILL_MINUTES = 60


@dataclass(frozen=True)
class FeatureSet:
    """An ordered list of model inputs and the view that computes them."""

    name: str
    version: int
    view: str
    columns: tuple[str, ...]

    @cached_property
    def views(self) -> tuple[str, ...]:
        """Every view it is built of, its own first."""
        found: list[str] = []
        waiting = [self.view]
        while waiting:
            name = waiting.pop()
            if name not in found and (SQL_ROOT / "views" / f"{name}.sql").exists():
                found.append(name)
                waiting += parse_header(load_sql(f"views/{name}")).reads
        return tuple(found)

    @property
    def warm_up_minutes(self) -> int:
        """Minutes of a segment before its first row: the longest any of its views needs, from their headers."""
        return max(parse_header(load_sql(f"views/{name}")).warm_up_minutes for name in self.views)

    @property
    def history_minutes(self) -> int:
        """Minutes of candles before a minute that decide its row; with these the row has the same bits as with all."""
        return self.warm_up_minutes + LONGEST_FILL_MINUTES + 1

    @cached_property
    def sha256(self) -> str:
        """Hash of the SQL of all its views, comments and line breaks left out, and of the column list."""
        digest = hashlib.sha256("\n".join(self.columns).encode())
        for name in sorted(self.views):
            digest.update(f"\0{name}\0{statement(load_sql(f'views/{name}'))}".encode())
        return digest.hexdigest()


FEATURE_SETS: Mapping[str, FeatureSet] = {
    "seed39": FeatureSet(
        "seed39",
        1,
        "seed39_rows",
        (
            "session_tokyo",
            "session_london",
            "session_new_york",
            "day_of_week",
            "is_weekend",
            "spread",
            "spread_pct",
            "atr",
            "spread_atr_ratio",
            "volume_ma",
            "volume_ratio",
            "volume_trend",
            "sma_7",
            "price_sma_7_ratio",
            "sma_14",
            "price_sma_14_ratio",
            "sma_21",
            "price_sma_21_ratio",
            "sma_50",
            "price_sma_50_ratio",
            "rsi",
            "macd",
            "macd_signal",
            "macd_diff",
            "bb_high",
            "bb_low",
            "bb_width",
            "bb_position",
            "volatility_low",
            "volatility_medium",
            "volatility_high",
        ),
    ),
}


def feature_set(name: str) -> FeatureSet:
    """Return a feature set by name.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in FEATURE_SETS:
        msg = f"there is no feature set {name!r}, only {', '.join(FEATURE_SETS)}; correct FEATURE_SET"
        raise ConfigError(msg)
    return FEATURE_SETS[name]


@dataclass(frozen=True, slots=True)
class FeatureBlock:
    """One product's features over consecutive rows, oldest first; rows of broken minutes are simply not there."""

    product: str
    minute_N: NDArray[np.int64]
    """Whole minutes since 1970, strictly increasing."""
    open_time_N: NDArray[np.datetime64]
    """The same as datetime64[us], UTC."""
    close_N: NDArray[np.float64]
    is_filled_N: NDArray[np.bool_]
    x_NF: NDArray[np.float32]
    """C-contiguous, columns in the order of the feature set."""

    def __len__(self) -> int:
        """Return N."""
        return len(self.minute_N)


@cache
def block_query(name: str) -> str:
    """Return the query behind `blocks`: the set's inputs as float32, for a list of products and bounds in minutes."""
    chosen = feature_set(name)
    inputs = ", ".join(f"cast({column} as float) as {column}" for column in chosen.columns)
    return (
        f"select product, minute, cast(close as double) as close, is_filled, {inputs} from {chosen.view} "  # noqa: S608  # names from our own list
        "where list_contains($products, product) and minute >= $first and minute < $last order by product, minute"
    )


def blocks(products: Sequence[str], rows: Mapping[str, NDArray[np.generic]], name: str) -> dict[str, FeatureBlock]:
    """Cut the fetched columns of `block_query` into one block a product; a product without rows has an empty one."""
    codes = np.asarray(rows["product"], dtype=object)
    x_NF = np.column_stack([rows[column] for column in feature_set(name).columns]).astype(np.float32, order="C")
    minute_N = np.asarray(rows["minute"], dtype=np.int64)
    found: dict[str, FeatureBlock] = {}
    for product in products:
        here = np.flatnonzero(codes == product)
        part = slice(here[0], here[-1] + 1) if len(here) else slice(0, 0)
        found[product] = FeatureBlock(
            product=product,
            minute_N=minute_N[part],
            open_time_N=(minute_N[part] * 60).astype("datetime64[s]").astype("datetime64[us]"),
            close_N=np.asarray(rows["close"], dtype=np.float64)[part],
            is_filled_N=np.asarray(rows["is_filled"], dtype=np.bool_)[part],
            x_NF=x_NF[part],
        )
    return found
