"""Name the feature sets: the ordered column lists that view, training, ONNX manifest and runtime agree on.

A set is a view under `sql/views`, whose columns are the list, and the hash of list and SQL: adding one is adding SQL and a
line in `FEATURE_SETS`. A model names the set it was trained on, and whoever serves it compares the hash. Suffixes of
arrays: N rows, F features.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache, cached_property
from graphlib import TopologicalSorter
from pathlib import Path  # noqa: TC003  # dataclasses look their field types up
from typing import TYPE_CHECKING

import numpy as np

from core.errors import ConfigError
from store.sql_files import Header, all_columns, parse_header, read_folder, statement, statements

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
    crosses_products: bool = False
    """Whether a product's row also depends on the candles of the other products of the same order."""
    folder: Path | None = None
    """Where SQL of its own lies that is not under `sql/views`: a set on trial; `own_sql` makes its views in a database."""

    @property
    def identity(self) -> str:
        """Name and the beginning of the hash, as sessions and baselines record it: `feature_set` takes it back."""
        return f"{self.name}@{self.sha256[:12]}"

    @cached_property
    def _own(self) -> dict[str, str]:
        return read_folder(self.folder) if self.folder else {}

    @cached_property
    def _texts(self) -> dict[str, str]:
        return statements("views") | self._own

    @cached_property
    def views(self) -> tuple[str, ...]:
        """Every view it is built of, each after those it reads, so its own last."""
        graph: dict[str, list[str]] = {}
        waiting = [self.view]
        while waiting:
            name = waiting.pop()
            if name not in graph and name in self._texts:
                graph[name] = [read for read in self._header(name).reads if read in self._texts]
                waiting += graph[name]
        return tuple(TopologicalSorter(graph).static_order())

    @property
    def own_sql(self) -> tuple[str, ...]:
        """Return the SQL of its views that lie outside `sql/views`, in the order to run it."""
        return tuple(self._own[name] for name in self.views if name in self._own)

    @cached_property
    def warm_up_minutes(self) -> int:
        """Minutes of a segment before its first row: the longest any of its views needs, from their headers."""
        return max(self._header(name).warm_up_minutes for name in self.views)

    @cached_property
    def history_minutes(self) -> int:
        """Minutes of candles before a minute that decide its row; with these the row has the same bits as with all."""
        return max(self._header(name).history_minutes for name in self.views) + LONGEST_FILL_MINUTES + 1

    @cached_property
    def sha256(self) -> str:
        """Hash of the SQL of all its views, comments and line breaks left out, and of the column list."""
        digest = hashlib.sha256("\n".join(self.columns).encode())
        for name in sorted(self.views):
            digest.update(f"\0{name}\0{statement(self._texts[name])}".encode())
        return digest.hexdigest()

    def _header(self, name: str) -> Header:
        return parse_header(self._texts[name])


# what a set's view has besides inputs: keys, the candle, and words
_NO_INPUTS = frozenset(
    [
        "product",
        "open_time",
        "minute",
        "is_filled",
        "segment_start",
        "minute_of_segment",
        "open",
        "high",
        "low",
        "close",
        "volume",
        "session",
        "volatility_regime",
    ]
)


def inputs_of(view: str) -> tuple[str, ...]:
    """Return the model inputs among the columns of a view under `sql/views`, in its order."""
    return tuple(column for column in all_columns("views", view) if column not in _NO_INPUTS)


FEATURE_SETS: Mapping[str, FeatureSet] = {
    "seed39": FeatureSet("seed39", 1, "seed39_rows", inputs_of("seed39_rows")),
    "flow": FeatureSet("flow", 1, "flow", inputs_of("flow"), crosses_products=True),
}


def feature_set(name: str) -> FeatureSet:
    """Return a feature set by name, or by what was recorded of it: the name, ``@`` and the beginning of its hash.

    Raises:
        ConfigError: there is none of that name, or its SQL or columns are no longer those recorded; names those there are.
    """
    plain, _, recorded = name.partition("@")
    if plain not in FEATURE_SETS:
        msg = f"there is no feature set {plain!r}, only {_those_there_are()}; correct FEATURE_SET"
        raise ConfigError(msg)
    chosen = FEATURE_SETS[plain]
    if not chosen.sha256.startswith(recorded):
        msg = (
            f"feature set {plain} is recorded with hash {recorded[:12]}, but its SQL and columns now are another; "
            f"there are {_those_there_are()}. Build the data set and train again (make features, make train), "
            "or go back to the version of Candledesk that recorded it"
        )
        raise ConfigError(msg)
    return chosen


def recorded_set(name: str, sha256: str, wanted: str) -> FeatureSet:
    """Return the set a data set was built with, if it is the one wanted and its SQL still computes the same.

    Raises:
        ConfigError: it is another one, unknown, or stale; names those there are.
    """
    if name != wanted:
        msg = (
            f"the data set is of feature set {name}, FEATURE_SET is {wanted}; build one of {wanted}: make features, "
            f"or set FEATURE_SET={name}. There are {_those_there_are()}"
        )
        raise ConfigError(msg)
    return feature_set(f"{name}@{sha256}")


def _those_there_are() -> str:
    return ", ".join(f"{chosen.name} version {chosen.version} ({chosen.identity})" for chosen in FEATURE_SETS.values())


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
def block_query(chosen: FeatureSet) -> str:
    """Return the query behind `blocks`: the set's inputs as float32, for a list of products and bounds in minutes."""
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
    by_product: dict[str, FeatureBlock] = {}
    for product in products:
        here = np.flatnonzero(codes == product)
        part = slice(here[0], here[-1] + 1) if len(here) else slice(0, 0)
        by_product[product] = FeatureBlock(
            product=product,
            minute_N=minute_N[part],
            open_time_N=(minute_N[part] * 60).astype("datetime64[s]").astype("datetime64[us]"),
            close_N=np.asarray(rows["close"], dtype=np.float64)[part],
            is_filled_N=np.asarray(rows["is_filled"], dtype=np.bool_)[part],
            x_NF=x_NF[part],
        )
    return by_product
