"""The test part of a data set, minute by minute, through the runtime's own decision code.

What comes out is the baseline an observation is held to: tier mix, win rate, signals a day, net basis points a signal. A
data set keeps closes but no highs and lows, so here a target or stop is only touched by a close; with a stop of 1 % and 15
minutes that hardly ever matters. Filled minutes count as minutes without a candle, as they do live.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.candles import MINUTE, Candle
from core.errors import DatasetError
from runtime.drift import SHARES_FILE, Shares, training_shares, write_shares
from runtime.engine import Engine, MinuteInput
from runtime.restored_state import engine_rules, fresh_engine
from runtime.scoring import BACKTEST_WORKERS, score_products
from store.feature_sets import FeatureBlock, feature_set

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from core.settings import Settings
    from runtime.engine import CostsFor
    from runtime.loaded_models import ProductModels
    from store.signal_rows import OutcomeRow, SignalRow

BATCH_MINUTES = 720
"""Minutes scored per call: bounds memory, a window being 100 times its minute."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts and figures of one product, or of all."""

    minutes: int = 0
    scored: int = 0
    signals: int = 0
    closed: int = 0
    wins: int = 0
    win_rate: float | None = None
    signals_per_day: float = 0.0
    gross_bps: float | None = None
    """Mean per closed signal."""
    net_bps: float | None = None
    tier_mix: Mapping[str, int] = field(default_factory=dict)
    """Scored minutes in each tier."""
    signal_tiers: Mapping[str, int] = field(default_factory=dict)
    reasons: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a backtest found; written to `models/baseline.json`."""

    dataset: str
    feature_set: str
    start: datetime
    end: datetime
    mode: str
    models: Mapping[str, Mapping[str, str]]
    emit_threshold: float
    total: Tally
    products: Mapping[str, Tally]
    final_equity_usd: float

    @property
    def signals(self) -> int:
        """Signals emitted."""
        return self.total.signals

    @property
    def win_rate(self) -> float:
        """Share of closed signals whose direction was right; not a number without any."""
        return float("nan") if self.total.win_rate is None else self.total.win_rate

    def as_json(self) -> dict[str, Any]:
        """Return what the file holds: the total's figures on top, each product's under ``products``."""
        content = asdict(self)
        total = content.pop("total")
        return {**content, **total, "start": self.start.isoformat(), "end": self.end.isoformat()}


@dataclass(slots=True)
class Book:
    """What one product's minutes became while they were replayed."""

    reasons: Counter[str] = field(default_factory=Counter)
    tiers: Counter[str] = field(default_factory=Counter)
    signals: dict[str, SignalRow] = field(default_factory=dict)
    outcomes: list[OutcomeRow] = field(default_factory=list)

    def tally(self, days: float) -> Tally:
        """Return the figures of this book."""
        closed = len(self.outcomes)
        wins = sum(outcome.is_win for outcome in self.outcomes)
        return Tally(
            minutes=self.reasons.total(),
            scored=self.tiers.total(),
            signals=len(self.signals),
            closed=closed,
            wins=wins,
            win_rate=wins / closed if closed else None,
            signals_per_day=len(self.signals) / days if days else 0.0,
            gross_bps=sum(outcome.gross_bps for outcome in self.outcomes) / closed if closed else None,
            net_bps=sum(outcome.net_bps for outcome in self.outcomes) / closed if closed else None,
            tier_mix={tier: self.tiers[tier] for tier in ("high", "medium", "low")},
            signal_tiers=dict(Counter(signal.tier for signal in self.signals.values())),
            reasons=dict(self.reasons),
        )


def backtest(
    dataset: str | Path,
    scorers: Mapping[str, ProductModels],
    settings: Settings,
    *,
    costs_for: CostsFor | None = None,
    most_minutes: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Baseline:
    """Replay the test part (or its last ``most_minutes``) and write the baseline, and the training shares for drift.

    Raises:
        DatasetError: the file holds no test part of these products.
    """
    path = Path(dataset)
    part = _read(path, settings.feature_set, sorted(scorers))
    write_shares(settings.paths.home / "models" / SHARES_FILE, part.shares)
    first, last = part.first, part.last
    if most_minutes is not None:
        first = max(first, last - most_minutes + 1)
    chosen = feature_set(settings.feature_set)
    rules = engine_rules(
        settings,
        scorers,
        session_id="backtest",
        mode=settings.mode,
        feature_set=f"{chosen.name}@{chosen.sha256[:12]}",
        costs_for=costs_for,
    )
    engine = fresh_engine(settings, rules, _moment(first))
    books = replay(engine, part.blocks, scorers, first, last, settings.settle_seconds, on_progress)
    days = (last - first + 1) / 1440
    baseline = Baseline(
        dataset=path.stem,
        feature_set=rules.feature_set,
        start=_moment(first),
        end=_moment(last + 1),
        mode=settings.mode,
        models={product: loaded.model_ids for product, loaded in scorers.items()},
        emit_threshold=settings.emit_threshold,
        total=_sum(books).tally(days),
        products={product: book.tally(days) for product, book in books.items()},
        final_equity_usd=round(float(engine.account.equity), 2),
    )
    write_baseline(baseline, settings.paths.home / "models" / "baseline.json")
    return baseline


def replay(
    engine: Engine,
    blocks: Mapping[str, FeatureBlock],
    scorers: Mapping[str, ProductModels],
    first: int,
    last: int,
    settle_seconds: float = 0.0,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, Book]:
    """Drive ``engine`` over the epoch minutes ``[first, last]`` of ``blocks``; return what each product's became."""
    books = {product: Book() for product in scorers}
    closes = {product: _closes(block, first, last) for product, block in blocks.items()}
    owner: dict[str, str] = {}
    for batch in range(first, last + 1, BATCH_MINUTES):
        end = min(batch + BATCH_MINUTES - 1, last)
        cut = {
            product: _cut(blocks[product], loaded.window_minutes, batch, end)
            for product, loaded in scorers.items()
            if product in blocks
        }
        scores = score_products(cut, scorers, batch, end, BACKTEST_WORKERS)
        for minute in range(batch, end + 1):
            open_time = _moment(minute)
            candles = {product: _candle(product, open_time, closes.get(product, {}).get(minute)) for product in scorers}
            for outcome in engine.close_minute(open_time, candles).outcomes:
                books[owner[outcome.signal_id]].outcomes.append(outcome)
            for product in scorers:
                seen = _input(
                    product, open_time, candles[product], scores.get(product, {}).get(minute, {}), settle_seconds
                )
                _enter(engine, seen, books[product], owner)
        if on_progress is not None:
            on_progress(end - first + 1, last - first + 1)
    return books


def _enter(engine: Engine, minute: MinuteInput, book: Book, owner: dict[str, str]) -> None:
    verdict = engine.decide(minute, switch_is_on=False)
    book.reasons[verdict.decision.reason] += 1
    if verdict.decision.tier is not None:
        book.tiers[verdict.decision.tier] += 1
    if verdict.signal is not None:
        book.signals[verdict.signal.signal_id] = verdict.signal
        owner[verdict.signal.signal_id] = minute.product


def _input(
    product: str, open_time: datetime, candle: Candle | None, scores: Mapping[str, float | None], settle_seconds: float
) -> MinuteInput:
    return MinuteInput(
        product=product,
        open_time=open_time,
        decided_at=open_time + MINUTE + timedelta(seconds=settle_seconds),
        latency_ms=0.0,
        close=None if candle is None else candle.close,
        is_stale=False,
        probabilities=scores,
    )


def _candle(product: str, open_time: datetime, close: Decimal | None) -> Candle | None:
    return None if close is None else Candle(product, open_time, close, close, close, close, Decimal(0))


def _closes(block: FeatureBlock, first: int, last: int) -> dict[int, Decimal]:
    chosen = (block.minute_N >= first) & (block.minute_N <= last) & ~block.is_filled_N
    minutes, closes = block.minute_N[chosen].tolist(), block.close_N[chosen].tolist()
    return {minute: Decimal(repr(close)) for minute, close in zip(minutes, closes, strict=True)}


def _cut(block: FeatureBlock, window: int, first: int, last: int) -> FeatureBlock:
    start, end = np.searchsorted(block.minute_N, [first - window + 1, last + 1])
    part = slice(int(start), int(end))
    return FeatureBlock(
        product=block.product,
        minute_N=block.minute_N[part],
        open_time_N=block.open_time_N[part],
        close_N=block.close_N[part],
        is_filled_N=block.is_filled_N[part],
        x_NF=block.x_NF[part],
    )


def _moment(minute: int) -> datetime:
    return datetime.fromtimestamp(minute * 60, UTC)


def _sum(books: Mapping[str, Book]) -> Book:
    total = Book()
    for book in books.values():
        total.reasons += book.reasons
        total.tiers += book.tiers
        total.signals |= book.signals
        total.outcomes += book.outcomes
    return total


@dataclass(frozen=True, slots=True)
class _Part:
    """What a backtest reads of a data set."""

    blocks: dict[str, FeatureBlock]
    first: int
    last: int
    shares: dict[str, dict[str, Shares]]


def _read(path: Path, name: str, products: Sequence[str]) -> _Part:
    # Arrow is imported here only: the runtime never calls a backtest, and its process must stay small
    import pyarrow.compute as pc  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    if not path.exists():
        msg = f"the data set {path} does not exist; build it: make features"
        raise DatasetError(msg)
    columns = ["product", "minute", "close", "is_filled", "part", *feature_set(name).columns]
    table = pq.read_table(path, columns=columns, filters=[("product", "in", list(products))])
    test = table.filter(pc.equal(table["part"], "test"))
    if test.num_rows == 0:
        msg = f"{path.name} has no test part for {', '.join(products)}; build a data set over a longer span: make features"
        raise DatasetError(msg)
    bounds = pc.min_max(test["minute"]).as_py()
    blocks: dict[str, FeatureBlock] = {}
    shares: dict[str, dict[str, Shares]] = {}
    for product in products:
        own = table.filter(pc.equal(table["product"], product))
        blocks[product] = _block(own, product, name)
        is_train = pc.fill_null(pc.equal(own["part"], "train"), fill_value=False).to_numpy()
        shares[product] = training_shares(blocks[product].x_NF[is_train], feature_set(name).columns)
    return _Part(blocks, bounds["min"], bounds["max"], shares)


def _block(table: pa.Table, product: str, name: str) -> FeatureBlock:
    def column(title: str) -> NDArray[Any]:
        values: NDArray[Any] = table[title].to_numpy()
        return values

    minutes = column("minute").astype(np.int64)
    return FeatureBlock(
        product=product,
        minute_N=minutes,
        open_time_N=(minutes * 60).astype("datetime64[s]").astype("datetime64[us]"),
        close_N=column("close").astype(np.float64),
        is_filled_N=column("is_filled").astype(np.bool_),
        x_NF=np.column_stack([column(title) for title in feature_set(name).columns]).astype(np.float32, order="C"),
    )


def write_baseline(baseline: Baseline, path: Path) -> None:
    """Write the baseline atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    fresh.write_text(json.dumps(baseline.as_json(), indent=2, default=str), encoding="utf-8")
    fresh.replace(path)
