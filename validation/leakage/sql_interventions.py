"""Find out by intervention whether a feature set looks forward: change the future of a small market, see which rows move.

Reading SQL finds the leaks one thought of; an intervention finds the others too. A market of three coins with holes goes
into an in-memory store, the set's own query is asked, one thing is changed (a candle, all candles after a minute, when they
were learned), and it is asked again. No row before the change may differ by a bit. `validation.leakage.leak_list` names what does.

Shapes: N rows, F columns of the set, K touched rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Self

import numpy as np

from core.candles import MINUTE, Candle, epoch_minute
from store.feature_sets import FeatureSet, block_query
from store.feature_store import FeatureStore
from store.sql_files import SQL_ROOT, headers
from validation.leakage.leak_list import ROW, Influence, Where, name_leaks, plants

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from models.judging.leak_canaries import Leak
    from store.connection import Connection

PRODUCTS = ("BTC-USD", "ETH-USD", "SOL-USD")
# neither the market nor its second segment begins with a bar of any length, so that the two can be told apart
START = datetime(2024, 3, 4, 18, 13, tzinfo=UTC)
MINUTES = 1_100
FIRST = epoch_minute(START)
MIDDLES = (FIRST + 564, FIRST + 646)
"""Two minutes far from any hole, 03:37 and the last of an hour: where the shape of an influence is read."""
_HOLE = range(700, 795)
_FILLED = range(600, 608)
_WHOLE = range(470, 700)
_MISSING = 0.04
_KEY = 1 << 40


@dataclass(frozen=True, slots=True)
class Intervention:
    """One intervention: what is done to the candles, and from which minute on rows may differ."""

    kind: str
    """``candle`` (one is changed), ``cut`` (all after it are removed), ``other`` (all after it are others), ``learned``."""
    product: str
    minute: int
    """The minute that is changed, or the last that is not; minutes since 1970."""
    sql: str

    @property
    def first_free(self) -> int:
        """Rows before this minute may not differ."""
        return self.minute if self.kind == "candle" else self.minute + 1


@dataclass(frozen=True, slots=True)
class FeatureRows:
    """What a feature set answered, by product and minute."""

    key_N: NDArray[np.int64]
    """Product's number times 2^40, plus the minute; strictly increasing."""
    filled_N: NDArray[np.bool_]
    x_NF: NDArray[np.float32]

    @property
    def minutes(self) -> NDArray[np.int64]:
        """Minutes since 1970."""
        return self.key_N % _KEY

    @property
    def coins(self) -> NDArray[np.int64]:
        """Number of the product."""
        return self.key_N // _KEY

    def only(self, chosen_N: NDArray[np.bool_]) -> FeatureRows:
        """Return some of the rows."""
        return FeatureRows(self.key_N[chosen_N], self.filled_N[chosen_N], self.x_NF[chosen_N])


@dataclass(frozen=True, slots=True)
class Probed:
    """What the interventions on one feature set came to."""

    interventions: int
    rows: int
    leaks: list[Leak] = field(default_factory=list)


def small_market(seed: int = 0, minutes: int = MINUTES, products: Sequence[str] = PRODUCTS) -> list[Candle]:
    """Return coins whose history lacks single minutes, eight in a row, and 95, which end a segment."""
    candles = []
    for coin, product in enumerate(products):
        generator = np.random.default_rng([seed, coin])
        shock_N = generator.normal(size=(minutes, 4))
        missing_N = generator.random(minutes) < _MISSING
        close_N = 100.0 * 7**coin * np.exp(np.cumsum(1e-3 * shock_N[:, 0]))
        open_N = close_N * np.exp(2e-4 * shock_N[:, 1])
        reach_N = 1 + 5e-4 * np.abs(shock_N[:, 2])
        volume_N = np.exp(shock_N[:, 3])
        for number in range(minutes):
            if number in _HOLE or number in _FILLED or (missing_N[number] and number not in _WHOLE and number):
                continue
            high = max(open_N[number], close_N[number]) * reach_N[number]
            low = min(open_N[number], close_N[number]) / reach_N[number]
            prices = (Decimal(f"{value:.4f}") for value in (open_N[number], high, low, close_N[number]))
            candles.append(
                Candle(product, START + number * MINUTE, *prices, Decimal(f"{volume_N[number]:.6f}"))  # type: ignore[call-arg]
            )
    return candles


def planted_sets() -> dict[str, FeatureSet]:
    """Return the leaking sets under ``sql/leaks``; none of them is ever made in a database that is kept."""
    folder = SQL_ROOT / "leaks"
    keys = ("product", "open_time", "minute", "is_filled", "close")
    return {
        name: FeatureSet(name, 1, name, tuple(column for column in header.columns if column not in keys), folder=folder)
        for name, header in headers("leaks").items()
        if name in plants(Where.SQL)
    }


class Bench:
    """A small market in memory, on which one feature set after the other is probed."""

    def __init__(self, candles: Sequence[Candle]) -> None:
        """Store ``candles``, which are those of `small_market` or like them."""
        self._store = FeatureStore.in_memory()
        self.load(candles)

    def load(self, candles: Sequence[Candle]) -> None:
        """Take these candles in the place of those there are."""
        self._store.trim(START.replace(year=START.year + 100))
        self._store.upsert_candles(candles)
        self._products = sorted({candle.product for candle in candles})
        self._length = 1 + max((candle.open_time - START) // MINUTE for candle in candles)
        self._candles: Mapping[str, NDArray[np.int64]] = {
            product: np.array(
                [epoch_minute(candle.open_time) for candle in candles if candle.product == product], np.int64
            )
            for product in self._products
        }

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Forget the market."""
        self._store.close()

    @property
    def connection(self) -> Connection:
        """The in-memory database."""
        return self._store._connection()

    def probe(self, features: FeatureSet) -> Probed:
        """Intervene on everything, and name what of the set moved that should not have.

        Raises:
            duckdb.Error: the set's SQL cannot be run.
        """
        for own in features.own_sql:
            self.connection.execute(own)
        base = self.rows(features)
        sweeps, spikes = self.sweeps(), self.spikes()
        influences = [each for change in sweeps for each in self._influences(features, base, change)]
        if influences:
            # all that a spike moves a sweep has moved already; spikes show the shape, by which a leak is named
            influences += [each for change in spikes for each in self._influences(features, base, change)]
        count = len(sweeps) + (len(spikes) if influences else 0)
        minutes = {product: base.minutes[base.coins == coin] for coin, product in enumerate(self._products)}
        return Probed(count, len(base.key_N), name_leaks(features.name, influences, minutes, MIDDLES))

    def sweeps(self) -> list[Intervention]:
        """Return changes of all that comes after a minute: in a warm-up, a segment, at a gap's end, across the hole."""
        middle, hour_end = MIDDLES
        cuts = (middle, FIRST + _HOLE.stop + 12)
        changes = [Intervention("cut", "", minute, f"delete from candles_1m where {_after(minute)}") for minute in cuts]  # noqa: S608
        for minute in (FIRST + 12, FIRST + _FILLED.stop - 1, hour_end - 1, FIRST + _HOLE.stop - 1):
            text = f"update candles_1m set {_OTHER} where {_after(minute)}"  # noqa: S608  # our own numbers, as above
            changes.append(Intervention("other", "", minute, text))
        # when a candle was learned may move no row at all
        learned = f"update candles_1m set {_LEARNED}"  # noqa: S608
        return [*changes, Intervention("learned", "", FIRST + self._length, learned)]

    def spikes(self) -> list[Intervention]:
        """Return changes of one candle each, far out of line."""
        middle, hour_end = MIDDLES
        bitcoin, ether, solana = self._products
        candles = (
            (bitcoin, middle),
            (ether, hour_end),
            (solana, FIRST + _FILLED.stop),
            (ether, self._candle_at(ether, FIRST + 10)),
            (bitcoin, self._candle_at(bitcoin, FIRST + _HOLE.stop + 10)),
            (solana, self._candle_at(solana, FIRST + _HOLE.stop)),
        )
        return [Intervention("candle", product, minute, _spike(product, minute)) for product, minute in candles]

    def rows(self, features: FeatureSet) -> FeatureRows:
        """Return the set's answer over the whole market, asked as data sets and the runtime ask it."""
        bounds = {"products": self._products, "first": FIRST - 1, "last": FIRST + self._length + 1}
        answer = self.connection.execute(block_query(features), bounds).fetchnumpy()
        codes = np.searchsorted(np.array(self._products, dtype=object), np.asarray(answer["product"], dtype=object))
        columns = [np.ma.filled(np.ma.asarray(answer[name]).astype(np.float32), np.nan) for name in features.columns]
        x_NF = np.column_stack(columns) if columns else np.empty((len(codes), 0), np.float32)
        key_N = codes.astype(np.int64) * _KEY + np.asarray(answer["minute"], np.int64)
        order = np.argsort(key_N, kind="stable")
        return FeatureRows(key_N[order], np.asarray(answer["is_filled"], np.bool_)[order], x_NF[order])

    def _influences(self, features: FeatureSet, base: FeatureRows, change: Intervention) -> list[Influence]:
        connection = self.connection
        connection.execute("begin")
        try:
            connection.execute(change.sql)
            other = self.rows(features)
        finally:
            connection.execute("rollback")
        before = self._settled(base, change) if change.kind == "cut" else base
        return list(self._touched(features, before, other, change))

    def _settled(self, base: FeatureRows, change: Intervention) -> FeatureRows:
        """Leave out filled minutes after a coin's last candle: that nobody traded is known when the next candle comes."""
        kept_N = np.ones(len(base.key_N), dtype=bool)
        for coin, product in enumerate(self._products):
            known = self._candles[product][self._candles[product] <= change.minute]
            last = known[-1] if len(known) else 0
            kept_N &= ~((base.coins == coin) & base.filled_N & (base.minutes > last))
        return base.only(kept_N)

    def _touched(
        self, features: FeatureSet, base: FeatureRows, other: FeatureRows, change: Intervention
    ) -> list[Influence]:
        _, ours, theirs = np.intersect1d(base.key_N, other.key_N, assume_unique=True, return_indices=True)
        differs_NF = base.x_NF[ours].view(np.int32) != other.x_NF[theirs].view(np.int32)
        differs_NF &= ~(np.isnan(base.x_NF[ours]) & np.isnan(other.x_NF[theirs]))
        alone = np.setxor1d(base.key_N, other.key_N, assume_unique=True)
        influences = [
            self._influence(name, base.key_N[ours[differs_NF[:, column]]], base, change)
            for column, name in enumerate(features.columns)
        ]
        influences.append(self._influence(ROW, alone, base, change))
        return [each for each in influences if len(each.minute_K)]

    def _influence(self, column: str, key_K: NDArray[np.int64], base: FeatureRows, change: Intervention) -> Influence:
        coin_K, minute_K = key_K // _KEY, key_K % _KEY
        own_K = np.array([self._products[coin] == change.product for coin in coin_K.tolist()], dtype=bool)
        later_K = minute_K >= change.first_free
        reach = int((minute_K[own_K & later_K] - change.first_free).max(initial=0))
        early_K = ~later_K
        filled_K = np.isin(key_K, base.key_N[base.filled_N])
        return Influence(
            column,
            change.kind,
            change.product,
            change.first_free,
            tuple(self._products[coin] for coin in coin_K[early_K].tolist()),
            minute_K[early_K],
            filled_K[early_K],
            reach,
        )

    def _candle_at(self, product: str, minute: int) -> int:
        """Return the first minute from ``minute`` on that has a candle."""
        minutes = self._candles[product]
        return int(minutes[minutes.searchsorted(minute)])


# a candle far out of line in every column, so that a maximum, a minimum, a mean and a last value all see it
_FAR = "open = open * 1.3, high = high * 1.9, low = low * 0.4, close = close * 1.2, volume = volume * 9"
# another factor each minute: ratios of later minutes must not survive
_FACTOR = "(0.6 + 0.003 * (epoch_us(open_time) // 60000000 * 37 % 101))"
_OTHER = (
    ", ".join(f"{price} = {price} * {_FACTOR}" for price in ("open", "high", "low", "close")) + ", volume = volume * 3"
)
_LEARNED = "source = 'another', known_at = known_at + interval '1 minute' * (7 + epoch_us(open_time) // 60000000 % 41)"


def _spike(product: str, minute: int) -> str:
    return f"update candles_1m set {_FAR} where product = '{product}' and {_at(minute)}"  # noqa: S608  # our own names


def _at(minute: int) -> str:
    return f"epoch_us(open_time) = {minute * 60_000_000}"


def _after(minute: int) -> str:
    return f"epoch_us(open_time) > {minute * 60_000_000}"
