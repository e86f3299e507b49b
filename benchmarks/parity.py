"""Are features live and in history the same, bit for bit? Counted over real candles, or planted ones.

Run: ``python -m benchmarks.parity``, with ``--data FOLDER`` of ``coinbase_<PRODUCT>_1m.parquet`` files for real candles. Each question
is answered in cells compared (a minute's value of an input, as a double); the first that differs ends it with status 1:

* live: every hour of a week and random minutes, from an in-memory store that holds only the last minutes, as the runtime's does;
  how many is what the headers of the views say (`FeatureSet.history_minutes`).
* future cut off: the candles end at a random minute; every row up to it must stay.
* order: the candles are stored in random order.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.surroundings import console, show
from core.candles import epoch_minute
from market.exchange.simulated_market import EPOCH, simulated_market
from store.feature_sets import feature_set
from store.feature_store import FeatureStore

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = dict[str, NDArray[np.generic]]
    Histories = dict[str, pa.Table]

PRODUCTS = ("BTC-USD", "ETH-USD", "SOL-USD")
WEEK_MINUTES = 7 * 1440
SEED = 11
_TOGETHER = 250


class DifferenceError(AssertionError):
    """Some value is not the same, bit for bit."""


def candle_table(product: str, data: Path | None, minutes: int) -> pa.Table:
    """Return the newest ``minutes`` candles of a recorded product, or planted ones."""
    if data is not None:
        table = pq.read_table(data / f"coinbase_{product}_1m.parquet")
        table = table.slice(max(0, table.num_rows - minutes))
        return table.rename_columns(["open_time", *table.column_names[1:]])
    first = epoch_minute(EPOCH)
    rows = simulated_market("planted", product).rows(first, first + minutes)
    prices = {
        name: values / 100 for name, values in zip(("open", "high", "low", "close"), rows.columns[1:5], strict=True)
    }
    times = pa.array(rows.minute_N * 60_000_000, pa.timestamp("us", tz="UTC"))
    return pa.table({"open_time": times, **prices, "volume": rows.volume_N / 1e8})


def load(store: FeatureStore, product: str, candles: pa.Table) -> None:
    """Store candles in the order they come."""
    connection = store._connection()
    connection.register("coming", candles)
    connection.execute(
        "insert into candles_1m select $product, open_time, open, high, low, close, volume, 'parity', open_time + interval 1 minute from coming",
        {"product": product},
    )
    connection.unregister("coming")


def rows(store: FeatureStore, name: str) -> dict[str, Rows]:
    """Return per product the columns of every row, doubles as they are, sorted by minute."""
    chosen = feature_set(name)
    inputs = ", ".join(f"cast({column} as double) as {column}" for column in chosen.columns)
    table = (
        store._connection()
        .sql(
            f"select product, minute, is_filled, cast(close as double) as close, {inputs} from {chosen.view} order by all"
        )
        .to_arrow_table()
    )
    found: dict[str, Rows] = {}
    names = table["product"].to_numpy()
    for product in sorted(set(names)):
        part = table.filter(pa.array(names == product))
        found[product] = {column: part[column].to_numpy() for column in table.column_names[1:]}
    return found


def compared(expected: Rows, found: Rows) -> int:
    """Return how many cells of ``found`` are the same as those of its minutes in ``expected``.

    Raises:
        DifferenceError: one is not, or its minute is not there; it names the first.
    """
    places = np.minimum(expected["minute"].searchsorted(found["minute"]), len(expected["minute"]) - 1)
    for column, values in found.items():
        wish = expected[column][places]
        if wish.tobytes() != values.tobytes():
            where = int(
                np.flatnonzero([one.tobytes() != other.tobytes() for one, other in zip(wish, values, strict=True)])[0]
            )
            msg = f"{column} of minute {found['minute'][where]}: {values[where]!r}, in the full history {wish[where]!r}"
            raise DifferenceError(msg)
    return len(found) * len(found["minute"])


def live(histories: Histories, full: dict[str, Rows], minutes: list[int], name: str) -> tuple[int, int]:
    """Ask for each minute from a store that holds the last minutes alone; return rows and cells compared.

    A minute without a trade has a row in history only: live nobody knows yet that it stays without one.

    Raises:
        DifferenceError: a value is not the same, or a row is there that should not be, or the other way round.
    """
    count = cells = 0
    # coins that do not see each other may be asked about many minutes at once, each under a name of its own
    together = 1 if feature_set(name).crosses_products else _TOGETHER
    for first in range(0, len(minutes), together):
        asked = minutes[first : first + together]
        answers = _answers(histories, asked, name)
        for (product, minute), newest in answers.items():
            known = full[product]
            place = int(known["minute"].searchsorted(minute))
            wanted = place < len(known["minute"]) and known["minute"][place] == minute and not known["is_filled"][place]
            if (bool(newest) and newest["minute"][0] == minute) != wanted:
                msg = f"{product} minute {minute} has {'a' if wanted else 'no'} row in the full history, live the opposite"
                raise DifferenceError(msg)
            if wanted:
                count, cells = count + 1, cells + compared(known, newest)
    return count, cells


def _answers(histories: Histories, minutes: list[int], name: str) -> dict[tuple[str, int], Rows]:
    """Return the newest row of every product at every minute, each from its own last minutes; empty where there is none."""
    history = feature_set(name).history_minutes
    alone = feature_set(name).crosses_products
    with FeatureStore.in_memory() as store:
        for minute in minutes:
            for product, table in histories.items():
                load(store, product if alone else f"{product}@{minute}", between(table, minute - history, minute + 1))
        found = rows(store, name)
    return {
        (product, minute): {
            column: values[-1:] for column, values in found.get(product if alone else f"{product}@{minute}", {}).items()
        }
        for minute in minutes
        for product in histories
    }


def cut_off(histories: Histories, full: dict[str, Rows], cuts: list[int], name: str) -> tuple[int, int]:
    """End the candles at each of ``cuts``; return rows and cells compared, of the three days before it."""
    count = cells = 0
    for cut in cuts:
        early = cut - 3 * 1440
        with FeatureStore.in_memory() as store:
            for product, table in histories.items():
                load(store, product, between(table, early - feature_set(name).history_minutes, cut))
            for product, found in rows(store, name).items():
                late = {column: values[found["minute"] >= early] for column, values in found.items()}
                count, cells = count + len(late["minute"]), cells + compared(full[product], late)
    return count, cells


def shuffled(histories: Histories, full: dict[str, Rows], dice: random.Random, name: str) -> tuple[int, int]:
    """Store everything in random order; return rows and cells compared."""
    count = cells = 0
    with FeatureStore.in_memory() as store:
        for product, table in histories.items():
            load(store, product, table.take(dice.sample(range(table.num_rows), table.num_rows)))
        for product, found in rows(store, name).items():
            if len(found["minute"]) != len(full[product]["minute"]):
                msg = f"{product} has {len(found['minute'])} rows, in order {len(full[product]['minute'])}"
                raise DifferenceError(msg)
            count, cells = count + len(found["minute"]), cells + compared(full[product], found)
    return count, cells


def between(candles: pa.Table, first: int, end: int) -> pa.Table:
    """Return the candles of the minutes ``[first, end)``."""
    minute = candles["open_time"].cast(pa.int64()).to_numpy() // 60_000_000
    low, high = minute.searchsorted([first, end])
    return candles.slice(low, high - low)


def measure(histories: Histories, name: str, asked: int, seed: int = SEED) -> list[tuple[object, ...]]:
    """Ask the questions; return question, rows and cells compared, none of them different.

    Raises:
        DifferenceError: a value is not the same.
    """
    dice = random.Random(seed)
    with FeatureStore.in_memory() as store:
        for product, table in histories.items():
            load(store, product, table)
        full = rows(store, name)
    # recorded products need not cover the same months
    first = min(int(each["minute"][0]) for each in full.values())
    last = max(int(each["minute"][-1]) for each in full.values())
    week = list(range(last - WEEK_MINUTES, last + 1, 60))[:168]
    chance = sorted({int(dice.choice(full[dice.choice(sorted(full))]["minute"])) for _ in range(asked)})
    cuts = [dice.randrange(first + 1440, last) for _ in range(max(2, asked // 20))]
    return [
        ("live: every hour of the last week", len(week), *live(histories, full, week, name)),
        ("live: random minutes", len(chance), *live(histories, full, chance, name)),
        ("future cut off at random minutes", len(cuts), *cut_off(histories, full, cuts, name)),
        ("candles in random order", 1, *shuffled(histories, full, dice, name)),
    ]


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parity", description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of recorded candles; planted ones without it")
    parser.add_argument("--minutes", type=int, default=130_000, help="candles of each product, the newest")
    parser.add_argument("--asked", type=int, default=500, help="random minutes to ask for")
    parser.add_argument("--feature-set", default="seed39")
    asked = parser.parse_args([] if sys.argv[0].endswith("benchmarks/__main__.py") else None)
    histories = {product: candle_table(product, asked.data, asked.minutes) for product in PRODUCTS}
    try:
        found = measure(histories, asked.feature_set, asked.asked)
    except DifferenceError as error:
        console.print(f"not the same: {error}")
        return 1
    history = feature_set(asked.feature_set).history_minutes
    title = f"parity of {asked.feature_set}: {', '.join(histories)}, the last {history} minutes against all"
    show(title, ("question", "times", "rows compared", "cells compared, none different"), found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
