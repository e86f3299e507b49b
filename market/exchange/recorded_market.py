"""Serve recorded candles as a market: Parquet files of real minutes, read once, served as they are.

Shapes: _N minutes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pyarrow import ArrowException, parquet

from core.candles import Span, minute_start, require_product
from core.errors import ConfigError
from market.exchange.simulated_market import CandleRows, Integers, Market

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

COLUMNS = ("time", "open", "high", "low", "close", "volume")
_PLACES = 8


class RecordedMarket(Market):
    """One product's recorded minutes."""

    kind = "recorded"

    def __init__(self, rows: CandleRows) -> None:
        """Serve ``rows``, which must be sorted and not empty."""
        self.product = rows.product
        self._rows = rows
        self.first_minute = int(rows.minute_N[0])
        self.end_minute = int(rows.minute_N[-1]) + 1

    @property
    def span(self) -> Span:
        """From the first recorded minute to the end of the last."""
        return Span(minute_start(self.first_minute), minute_start(self.end_minute))

    def rows(self, first_minute: int, end_minute: int) -> CandleRows:
        """Return the candles of epoch minutes ``[first_minute, end_minute)``."""
        return self._rows.slice(first_minute, end_minute)


def file_name(product: str) -> str:
    """Return the name a product's file must have."""
    return f"coinbase_{product}_1m.parquet"


def recorded_markets(folder: Path, products: Sequence[str] = ()) -> dict[str, RecordedMarket]:
    """Read the files of ``products``, or of every product in ``folder``.

    Raises:
        ConfigError: the folder or a product's file is missing, or a file is not what it should be.
    """
    wanted = list(products) or sorted(
        path.name.removeprefix("coinbase_").removesuffix("_1m.parquet") for path in folder.glob(file_name("*"))
    )
    if not wanted:
        msg = f"no recorded candles in {folder}; expected files named such as {file_name('BTC-USD')} (option --data)"
        raise ConfigError(msg)
    return {product: _read(folder, require_product(product)) for product in wanted}


def _read(folder: Path, product: str) -> RecordedMarket:
    file = folder / file_name(product)
    if not file.is_file():
        names = ", ".join(sorted(path.name for path in folder.glob("*.parquet"))) or "no Parquet file"
        msg = f"no recorded candles of {product} in {folder}: expected {file.name}, found {names}"
        raise ConfigError(msg)
    try:
        table = parquet.read_table(file, columns=list(COLUMNS))
        columns = {name: table.column(name).to_numpy() for name in COLUMNS}
    except (ArrowException, KeyError) as error:
        msg = f"{file} is not a Parquet file with the columns {', '.join(COLUMNS)}; replace it"
        raise ConfigError(msg) from error
    seconds_N = columns["time"].astype("datetime64[s]").astype(np.int64)  # noqa: N806  # shape suffix
    if not seconds_N.size or (seconds_N % 60).any() or (np.diff(seconds_N) <= 0).any():
        msg = f"{file} must hold minutes in rising order, each once; sort it by time and drop what is double"
        raise ConfigError(msg)
    prices = [_whole(columns[name]) for name in COLUMNS[1:5]]
    volume = _whole(columns["volume"])
    return RecordedMarket(
        CandleRows(product, seconds_N // 60, prices[0], prices[1], prices[2], prices[3], volume, _PLACES, _PLACES)
    )


def _whole(value_N: np.ndarray) -> Integers:  # noqa: N803  # shape suffix
    return np.asarray(np.rint(value_N * 10**_PLACES), dtype=np.int64)
