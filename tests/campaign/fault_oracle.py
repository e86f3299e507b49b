"""Hold a store against the truth: the market's own numbers against the store's, minute by minute; count what a campaign did.

Shapes: _N minutes; _NK minutes by number (open, high, low, close, volume in units of 1e-8).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from core.candles import Span, epoch_minute, minute_start
from market.exchange.simulated_market import simulated_market
from store.database import connect, write_lock

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from pathlib import Path

    import duckdb

    from store.feature_store import FeatureStore

Minutes = NDArray[np.int64]
_NUMBERS = ("open", "high", "low", "close", "volume")
_ROWS = (
    "select epoch_us(open_time) // 60000000 as minute, "
    + ", ".join(f"cast(cast({name} as decimal(38, 8)) * 100000000 as bigint) as {name}" for name in _NUMBERS)
    + " from {} order by minute"
)


@dataclass(frozen=True)
class Truth:
    """Every candle that the exchange has of one product over one span."""

    product: str
    span: Span
    minute_N: Minutes
    value_NK: Minutes

    @classmethod
    def of(cls, kind: str, product: str, span: Span, seed: int = 7, listed_at: datetime | None = None) -> Truth:
        """Make it from the simulation itself, past the exchange and its wire."""
        market = simulated_market(kind, product, seed, listed_at=listed_at)
        rows = market.rows(epoch_minute(span.start), epoch_minute(span.end))
        price, volume = 10 ** (8 - rows.price_places), 10 ** (8 - rows.volume_places)
        prices = [column_N * price for column_N in (rows.open_N, rows.high_N, rows.low_N, rows.close_N)]
        value_NK = np.stack([*prices, rows.volume_N * volume], axis=1)
        return cls(product, span, np.asarray(rows.minute_N), value_NK)

    def equals(self, minute_N: Minutes, value_NK: Minutes) -> bool:
        """Whether these are the same minutes with the same numbers, and no others."""
        return np.array_equal(self.minute_N, minute_N) and np.array_equal(self.value_NK, value_NK)

    @property
    def offered(self) -> Span:
        """The part of the span from its first candle on."""
        return Span(minute_start(self.first_minute), self.span.end)

    @cached_property
    def first_minute(self) -> int:
        """The first candle's, from which on there is something to fetch."""
        return int(self.minute_N[0])


@dataclass(frozen=True)
class Untrue:
    """Candles that an injected fault told wrong (``revised``) or left out (``late_hole``), by product."""

    revised: dict[str, set[int]]
    holes: dict[str, set[int]]

    @classmethod
    def of(cls, notes: Sequence[Sequence[Any]]) -> Untrue:
        """Read the exchange's own notes."""
        untrue = cls({}, {})
        for kind, product, minute in notes:
            (untrue.revised if kind == "revised" else untrue.holes).setdefault(product, set()).add(int(minute))
        return untrue

    def windows(self, product: str, span: Span) -> list[Span]:
        """Return the minutes to ask again, each a window of its own."""
        low, high = epoch_minute(span.start), epoch_minute(span.end)
        minutes = self.revised.get(product, set()) | self.holes.get(product, set())
        return [
            Span(minute_start(minute), minute_start(minute + 1)) for minute in sorted(minutes) if low <= minute < high
        ]


@dataclass(frozen=True)
class Differences:
    """How a store differs from the truth; all zero is what is promised."""

    lost: int = 0
    """Minutes of the truth that are not there although the ledger, or an acknowledgement, says they were fetched."""
    doubled: int = 0
    invented: int = 0
    """Minutes stored that the exchange never had."""
    different: int = 0
    unasked: int = 0
    """Minutes that the ledger calls missing."""
    unacknowledged: int = 0
    """Minutes whose page was acknowledged, and that the ledger calls missing."""

    def __add__(self, other: Differences) -> Differences:
        """Add counts up over products."""
        return Differences(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))

    @property
    def is_clean(self) -> bool:
        """Whether nothing at all differs."""
        return self == Differences()


def stored(path: Path, product: str) -> tuple[Minutes, Minutes]:
    """Return minutes and numbers of a product as they are in the live file, under its lock."""
    with write_lock(path):
        connection = connect(path)
        try:
            return _fetched(connection, "candles_1m where product = $1", product)
        finally:
            connection.close()


def exported(file: Path) -> tuple[Minutes, Minutes]:
    """Return minutes and numbers of a raw export."""
    connection = connect(":memory:")
    try:
        return _fetched(connection, "read_parquet($1)", str(file))
    finally:
        connection.close()


def _fetched(connection: duckdb.DuckDBPyConnection, source: str, parameter: str) -> tuple[Minutes, Minutes]:
    rows = connection.execute(_ROWS.format(source), [parameter]).fetchnumpy()
    columns = [np.asarray(rows[name], dtype=np.int64) for name in _NUMBERS]
    return np.asarray(rows["minute"], dtype=np.int64), np.stack(columns, axis=1)


def judge(
    store: FeatureStore, truth: Truth, untrue: Untrue | None = None, acknowledged: Iterable[Span] = (), *, whole: bool
) -> Differences:
    """Compare the store with the truth.

    Args:
        store: One that is a file.
        truth: Of one product.
        untrue: What faults are known to have spoiled, and nothing has mended yet.
        acknowledged: Windows whose commit the worker was told of.
        whole: Whether the work is said to be finished, so that no minute may be missing in the ledger.
    """
    assert store.path is not None
    minute_N, value_NK = stored(store.path, truth.product)
    missing_N = minutes_of(store.missing_windows(truth.product, truth.span))
    untrue = untrue or Untrue({}, {})
    holes_N, revised_N = (_array(minutes.get(truth.product, ())) for minutes in (untrue.holes, untrue.revised))

    unique_N, first_N = np.unique(minute_N, return_index=True)
    common_N, mine_N, theirs_N = np.intersect1d(unique_N, truth.minute_N, return_indices=True)
    is_other_N = (value_NK[first_N[mine_N]] != truth.value_NK[theirs_N]).any(axis=1)
    absent_N = np.setdiff1d(np.setdiff1d(truth.minute_N, unique_N), missing_N)
    return Differences(
        lost=np.setdiff1d(absent_N, holes_N).size,
        doubled=minute_N.size - unique_N.size,
        invented=unique_N.size - common_N.size,
        different=np.setdiff1d(common_N[is_other_N], revised_N).size,
        unasked=int((missing_N >= truth.first_minute).sum()) if whole else 0,
        unacknowledged=np.intersect1d(minutes_of(acknowledged), missing_N).size,
    )


def minutes_of(spans: Iterable[Span]) -> Minutes:
    """Return every epoch minute of ``spans``."""
    parts = [np.arange(epoch_minute(span.start), epoch_minute(span.end)) for span in spans]
    return np.concatenate(parts) if parts else _array(())


def _array(minutes: Iterable[int]) -> Minutes:
    return np.array(sorted(minutes), dtype=np.int64)


@dataclass
class CampaignCounts:
    """Everything the campaign counted."""

    kills: Counter[str] = field(default_factory=Counter)
    """By place."""
    ends: Counter[str] = field(default_factory=Counter)
    """Lives that ended otherwise: finished, partial, refused for a full disk."""
    faults: Counter[str] = field(default_factory=Counter)
    episodes: int = 0
    minutes: int = 0
    """Minutes of truth held against the store at the ends of episodes."""
    checks: int = 0
    """Comparisons after a kill."""
    requests: int = 0
    needed: int = 0
    retried: int = 0
    """Requests that met a fault and had to be made again."""
    thrown_away: list[int] = field(default_factory=list)
    """By death: requests whose answers were not stored; the few that look for a listing are among them."""
    acknowledged: int = 0
    """Pages acknowledged before a kill, each found in the store after it."""
    reads: int = 0
    differences: Differences = field(default_factory=Differences)
    findings: list[str] = field(default_factory=list)

    @property
    def killed(self) -> int:
        """How often a process was killed."""
        return sum(self.kills.values())

    def as_json(self) -> dict[str, Any]:
        """Return all counts for a file."""
        counters = {name: dict(getattr(self, name)) for name in ("kills", "ends", "faults")}
        return vars(self) | counters | {"verdict": asdict(self.differences), "killed": self.killed}
