"""Replay the test part of a data set, minute by minute, through the runtime's own decision code.

What comes out is the baseline an observation is held to: tier mix, win rate, signals a day, net basis points a signal. A
data set keeps closes but no highs and lows, so here a target or stop is only touched by a close; with a stop of 1 % and 15
minutes that hardly ever matters. Filled minutes count as minutes without a candle, as they do live.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from core.candles import MINUTE, Candle, epoch_minute, minute_start
from core.errors import DatasetError
from models.registry.baseline import TIER_BLOCK_MINUTES, BacktestFigures, Baseline, Outcome, TierBlock
from runtime.decision import DecisionRules, MinuteInput, ProductInput, TradingState, decide
from runtime.drift import SHARES_FILE, FeatureShares, training_shares, write_shares
from runtime.inputs import score_products
from runtime.restored_state import decision_rules, fresh_state
from store.feature_sets import FeatureBlock, blocks, feature_set

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from core.settings import Settings
    from runtime.decision import CostsFor, Decision
    from runtime.loaded_models import ProductModels
    from store.signal_rows import OutcomeRow, SignalRow

BATCH_MINUTES = 720
"""Minutes scored per call: bounds memory, a window being 100 times its minute."""
WORKERS = 2
"""Products scored at once: a backtest has the cores and the memory that the serving loop must leave alone."""


@dataclass(slots=True)
class Book:
    """What one product's minutes became while they were replayed."""

    reasons: Counter[str] = field(default_factory=Counter)
    tiers: Counter[str] = field(default_factory=Counter)
    tier_blocks: defaultdict[int, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    signals: dict[str, SignalRow] = field(default_factory=dict)
    outcomes: list[OutcomeRow] = field(default_factory=list)

    def enter(self, decision: Decision) -> None:
        """Count one decision."""
        self.reasons[decision.row.reason] += 1
        if decision.row.tier is not None:
            self.tiers[decision.row.tier] += 1
            self.tier_blocks[epoch_minute(decision.row.open_time) // TIER_BLOCK_MINUTES][decision.row.tier] += 1
        if decision.signal is not None:
            self.signals[decision.signal.signal_id] = decision.signal

    def own_figures(self, days: float) -> BacktestFigures:
        """Return the figures of one product's book, with all that a test needs of them."""
        outcomes = [
            Outcome(epoch_minute(self.signals[own.signal_id].open_time), own.is_win, round(own.net_bps, 4))
            for own in self.outcomes
        ]
        blocks = [
            TierBlock(block, own["high"], own["medium"], own["low"]) for block, own in sorted(self.tier_blocks.items())
        ]
        return replace(self.figures(days), outcomes=outcomes, tier_blocks=blocks)

    def figures(self, days: float) -> BacktestFigures:
        """Return the figures of this book."""
        closed = len(self.outcomes)
        wins = sum(outcome.is_win for outcome in self.outcomes)
        return BacktestFigures(
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

    def __add__(self, other: Book) -> Book:
        """Return both books as one, but for the blocks, which are of one product."""
        return Book(
            reasons=self.reasons + other.reasons,
            tiers=self.tiers + other.tiers,
            signals=self.signals | other.signals,
            outcomes=self.outcomes + other.outcomes,
        )


@dataclass(frozen=True, slots=True)
class ReplayInput:
    """What a backtest reads of a data set: the test part, and what training saw."""

    blocks: Mapping[str, FeatureBlock]
    first: int
    """First epoch minute of the test part, of any product."""
    last: int
    shares: Mapping[str, Mapping[str, FeatureShares]]


def backtest(
    dataset: str | Path,
    models: Mapping[str, ProductModels],
    settings: Settings,
    *,
    costs_for: CostsFor | None = None,
    max_minutes: int | None = None,
) -> Baseline:
    """Replay the test part (or its last ``max_minutes``) and write the baseline, and the training shares for drift.

    Raises:
        DatasetError: the file holds no test part of these products.
    """
    path = Path(dataset)
    part = _read(path, settings.feature_set, sorted(models))
    write_shares(settings.paths.home / "models" / SHARES_FILE, part.shares)
    first = part.first if max_minutes is None else max(part.first, part.last - max_minutes + 1)
    rules = decision_rules(
        settings,
        models,
        session_id="backtest",
        mode=settings.mode,
        feature_set=feature_set(settings.feature_set).identity,
        costs_for=costs_for,
    )
    state = fresh_state(settings, minute_start(first))
    state, books = replay(state, rules, replace(part, first=first), models, settings.settle_seconds)
    days = (part.last - first + 1) / 1440
    total = sum(books.values(), Book()).figures(days)
    baseline = Baseline(
        **{own.name: getattr(total, own.name) for own in fields(total)},
        dataset=path.stem,
        feature_set=rules.feature_set,
        start=minute_start(first),
        end=minute_start(part.last + 1),
        mode=settings.mode,
        models={product: own.model_ids for product, own in models.items()},
        emit_threshold=settings.emit_threshold,
        products={product: book.own_figures(days) for product, book in books.items()},
        final_equity_usd=round(float(state.account.equity), 2),
    )
    baseline.write(settings)
    return baseline


def replay(
    state: TradingState,
    rules: DecisionRules,
    part: ReplayInput,
    models: Mapping[str, ProductModels],
    settle_seconds: float = 0.0,
) -> tuple[TradingState, dict[str, Book]]:
    """Decide the part's minutes one after the other; return the state after the last, and what each product's became."""
    books = {product: Book() for product in models}
    closes = {product: _closes(block, part.first, part.last) for product, block in part.blocks.items()}
    owner: dict[str, Book] = {}
    for batch in range(part.first, part.last + 1, BATCH_MINUTES):
        end = min(batch + BATCH_MINUTES - 1, part.last)
        blocks = {name: _cut(block, models[name].window_minutes, batch, end) for name, block in part.blocks.items()}
        scores = score_products(blocks, models, batch, end, WORKERS)
        for minute in range(batch, end + 1):
            open_time = minute_start(minute)
            at = open_time + MINUTE + timedelta(seconds=settle_seconds)
            seen = {
                product: ProductInput(
                    candle=_candle(product, open_time, closes.get(product, {}).get(minute)),
                    decided_at=at,
                    latency_ms=0.0,
                    is_stale=False,
                    probabilities=scores.get(product, {}).get(minute, {}),
                )
                for product in models
            }
            result = decide(MinuteInput(open_time, seen), state, rules)
            state = result.state
            for outcome in result.outcomes:
                owner[outcome.signal_id].outcomes.append(outcome)
            for decision in result.decisions:
                book = books[decision.row.product]
                book.enter(decision)
                if decision.signal is not None:
                    owner[decision.signal.signal_id] = book
    return state, books


def _candle(product: str, open_time: datetime, close: Decimal | None) -> Candle | None:
    return None if close is None else Candle(product, open_time, close, close, close, close, Decimal(0))


def _closes(block: FeatureBlock, first: int, last: int) -> dict[int, Decimal]:
    chosen = (block.minute_N >= first) & (block.minute_N <= last) & ~block.is_filled_N
    minutes, closes = block.minute_N[chosen].tolist(), block.close_N[chosen].tolist()
    return {minute: Decimal(repr(close)) for minute, close in zip(minutes, closes, strict=True)}


def _cut(block: FeatureBlock, window: int, first: int, last: int) -> FeatureBlock:
    start, end = np.searchsorted(block.minute_N, [first - window + 1, last + 1])
    arrays = {own.name: getattr(block, own.name)[start:end] for own in fields(block) if own.name != "product"}
    return replace(block, **arrays)


def _read(path: Path, name: str, products: Sequence[str]) -> ReplayInput:
    # Arrow is imported here only: the serving loop never runs a backtest, and its process must stay small
    import pyarrow.compute as pc  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    if not path.exists():
        msg = f"the data set {path} does not exist; build it: make features"
        raise DatasetError(msg)
    inputs = feature_set(name).columns
    columns = ["product", "minute", "close", "is_filled", "part", *inputs]
    table = pq.read_table(path, columns=columns, filters=[("product", "in", list(products))])
    test = table.filter(pc.equal(table["part"], "test"))
    if test.num_rows == 0:
        msg = f"{path.name} has no test part for {', '.join(products)}; build a data set over a longer span: make features"
        raise DatasetError(msg)
    bounds = pc.min_max(test["minute"]).as_py()
    by_product: dict[str, FeatureBlock] = {}
    shares: dict[str, dict[str, FeatureShares]] = {}
    for product in products:
        own = table.filter(pc.equal(table["product"], product))
        by_product |= blocks(
            [product], {column: own[column].to_numpy() for column in columns if column != "part"}, name
        )
        is_train = pc.fill_null(pc.equal(own["part"], "train"), fill_value=False).to_numpy()
        shares[product] = training_shares(by_product[product].x_NF[is_train], inputs)
    return ReplayInput(by_product, bounds["min"], bounds["max"], shares)
