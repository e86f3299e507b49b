"""The decision core: one minute in, one decision and perhaps a signal out. No input or output of its own.

The live loop and the backtest both drive this class, so they cannot decide differently. Per minute: `close_minute`
settles the paper account and holds it against the guardrails, then `decide` is asked for every product.

Why a minute does not become a signal, in the order asked; the first that holds is recorded:

    duplicate        the minute was decided before
    stale_candle     the minute's candle came too late, or the exchange could not be asked
    no_candle        the exchange has no candle for it (a filled minute never emits)
    no_model         no model is loaded for the product
    warming_up       features or the input window of a loaded model are not complete
    below_threshold  the confidence is under the threshold
    kill_switch, total_loss, daily_loss, rate_limited   a signal that was withheld

So the last four count exactly the signals that would have been made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from core.candles import MINUTE
from runtime.risk.execution_costs import Costs
from runtime.risk.guardrails import RiskEvent
from store.signal_rows import DecisionRow, EquityRow, OutcomeRow, SignalRow

if TYPE_CHECKING:
    from decimal import Decimal

    from core.candles import Candle
    from runtime.risk.guardrails import Guardrails
    from runtime.risk.paper_account import Account, Closed, Position
    from runtime.risk.signal_limits import RateLimiter
    from runtime.tiers import TierRules, TierTracker

CostsFor = Callable[[str, str, datetime], Costs]
"""(product, session, moment) -> costs assumed."""


def session_of(moment: datetime) -> str:
    """Return the session of a UTC moment: tokyo 0-7, london 8-15, new_york 16-23 hours."""
    return ("tokyo", "london", "new_york")[moment.hour // 8]


@dataclass(frozen=True, slots=True)
class ProductRules:
    """What differs from coin to coin: tier cuts, threshold and the models behind the probabilities."""

    tiers: TierRules
    emit_threshold: float
    model_ids: Mapping[str, str]
    """``lstm``, ``transformer`` and ``boosting`` -> model id, those that are loaded."""


@dataclass(frozen=True, slots=True)
class EngineRules:
    """What is the same for a whole session."""

    session_id: str
    mode: str
    feature_set: str
    weights: Mapping[str, float]
    """``lstm``, ``transformer`` and ``boosting`` -> weight; renormalised over what is loaded."""
    products: Mapping[str, ProductRules]
    costs_for: CostsFor


@dataclass(frozen=True, slots=True)
class MinuteInput:
    """All the engine is told about one product's minute."""

    product: str
    open_time: datetime
    decided_at: datetime
    latency_ms: float
    close: Decimal | None
    """None when the exchange has no candle."""
    is_stale: bool
    probabilities: Mapping[str, float | None]
    """For each LOADED model its probability, None when its window is not complete; empty without a model."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One decision; ``signal`` is there if one was emitted."""

    decision: DecisionRow
    signal: SignalRow | None = None


@dataclass(frozen=True, slots=True)
class Closing:
    """What the close of one minute did to the account."""

    equity: EquityRow
    outcomes: Sequence[OutcomeRow]
    events: Sequence[RiskEvent]


def ensemble(probabilities: Mapping[str, float | None], weights: Mapping[str, float]) -> float | None:
    """Return the weighted mean over what is loaded; None without a model or while one cannot score.

    A model that cannot score yet is not left out: the mixture behind a probability never changes in silence.
    """
    total = mixed = 0.0
    for name, probability in probabilities.items():
        if probability is None:
            return None
        total += weights[name]
        mixed += weights[name] * probability
    if total > 0:
        return mixed / total
    known = [value for value in probabilities.values() if value is not None]
    return sum(known) / len(known) if known else None


@dataclass(slots=True)
class Engine:
    """The state that decisions depend on."""

    rules: EngineRules
    account: Account
    guardrails: Guardrails
    limiter: RateLimiter
    trackers: dict[str, TierTracker]
    last_minutes: dict[str, datetime] = field(default_factory=dict)

    def close_minute(self, open_time: datetime, candles: Mapping[str, Candle | None]) -> Closing:
        """Settle the account at the close of a minute; roll the day, assess, and stop out if a limit is reached."""
        at = open_time + MINUTE
        # two calls: a gap may hide the midnight, and what closes AT midnight still belongs to the old day
        self.guardrails.roll(open_time, self.account.balance)
        done = self.account.on_minute(open_time, candles)
        self.guardrails.roll(at, self.account.balance)
        events = self.guardrails.assess(at, self.account.equity)
        if self.guardrails.blocked is not None and self.account.positions:
            done += self.account.close_all(at, self.guardrails.blocked)
            events += self.guardrails.assess(at, self.account.equity)
        events += [event for closed in done if (event := self._count_loss(closed)) is not None]
        return Closing(self._equity_row(at), [outcome_row(closed) for closed in done], events)

    def _count_loss(self, closed: Closed) -> RiskEvent | None:
        if not closed.is_loss or not self.limiter.record_loss(closed.closed_at):
            return None
        until = self.limiter.blocked_until
        detail = f"{self.limiter.rules.losses_to_block} losing signals within {int(self.limiter.rules.loss_window.total_seconds() // 60)} minutes; no signal until {until:%Y-%m-%d %H:%M} UTC"
        return RiskEvent(closed.closed_at, "loss_streak", detail)

    def _equity_row(self, at: datetime) -> EquityRow:
        account, rules = self.account, self.guardrails.rules
        equity = account.equity
        return EquityRow(
            marked_at=at,
            session_id=self.rules.session_id,
            balance_usd=float(account.balance),
            equity_usd=round(float(equity), 2),
            day_start_balance_usd=float(self.guardrails.day_start_balance),
            open_positions=len(account.positions),
            daily_used_pct=float(self.guardrails.used_pct(rules.daily, equity)),
            total_used_pct=float(self.guardrails.used_pct(rules.total, equity)),
        )

    def decide(self, minute: MinuteInput, *, switch_is_on: bool) -> Verdict:
        """Decide one product's minute; the account is settled by `close_minute` before."""
        if minute.open_time <= self.last_minutes.get(minute.product, minute.open_time - MINUTE):
            return Verdict(self._decision(minute, "duplicate"))
        self.last_minutes[minute.product] = minute.open_time
        tracker = self.trackers[minute.product]
        obstacle = _obstacle(minute)
        probability = None if obstacle else ensemble(minute.probabilities, self.rules.weights)
        if probability is None or minute.close is None:
            tracker.skip()
            return Verdict(self._decision(minute, obstacle or "warming_up"))
        tier = tracker.update(max(probability, 1 - probability))
        reason = self._withheld(minute, probability, tier, switch_is_on=switch_is_on)
        if reason is not None:
            return Verdict(self._decision(minute, reason, probability, tier))
        return self._emit(minute, minute.close, probability, tier)

    def _withheld(self, minute: MinuteInput, probability: float, tier: str, *, switch_is_on: bool) -> str | None:
        if max(probability, 1 - probability) < self.rules.products[minute.product].emit_threshold:
            return "below_threshold"
        if switch_is_on:
            return "kill_switch"
        if self.guardrails.blocked is not None:
            return self.guardrails.blocked
        return "rate_limited" if self.limiter.refusal(minute.decided_at, tier) else None

    def _emit(self, minute: MinuteInput, close: Decimal, probability: float, tier: str) -> Verdict:
        side = 1 if probability >= 0.5 else -1
        costs = self.rules.costs_for(minute.product, session_of(minute.open_time), minute.decided_at)
        at = minute.open_time + MINUTE
        position = self.account.plan(self._signal_id(minute), minute.product, side, close, at, costs)
        self.account.open(position)
        self.limiter.record_signal(minute.decided_at, tier)
        signal = self._signal(minute, probability, tier, position)
        return Verdict(self._decision(minute, "emitted", probability, tier), signal)

    def _signal_id(self, minute: MinuteInput) -> str:
        ids = self.rules.products[minute.product].model_ids
        parts = (minute.product, minute.open_time.isoformat(), self.rules.mode, *sorted(ids.values()))
        return hashlib.sha256("|".join(parts).encode()).hexdigest()[:16]

    def _decision(
        self, minute: MinuteInput, reason: str, probability: float | None = None, tier: str | None = None
    ) -> DecisionRow:
        return DecisionRow(
            product=minute.product,
            open_time=minute.open_time,
            session_id=self.rules.session_id,
            decided_at=minute.decided_at,
            mode=self.rules.mode,
            close=minute.close,
            probability=probability,
            p_lstm=None if probability is None else minute.probabilities.get("lstm"),
            p_transformer=None if probability is None else minute.probabilities.get("transformer"),
            direction=None if probability is None else _direction(probability),
            confidence=None if probability is None else max(probability, 1 - probability),
            tier=tier,
            is_emitted=reason == "emitted",
            reason=reason,
            latency_ms=minute.latency_ms,
            p_boosting=None if probability is None else minute.probabilities.get("boosting"),
        )

    def _signal(self, minute: MinuteInput, probability: float, tier: str, position: Position) -> SignalRow:
        ids = self.rules.products[minute.product].model_ids
        return SignalRow(
            signal_id=position.signal_id,
            session_id=self.rules.session_id,
            made_at=minute.decided_at,
            product=minute.product,
            open_time=minute.open_time,
            direction=_direction(probability),
            confidence=max(probability, 1 - probability),
            tier=tier,
            probability=probability,
            p_lstm=minute.probabilities.get("lstm"),
            p_transformer=minute.probabilities.get("transformer"),
            entry_price=position.entry_price,
            target_price=position.target_price,
            stop_price=position.stop_price,
            reward_risk_ratio=position.reward_risk_ratio,
            size_usd=float(position.size_usd),
            session=session_of(minute.open_time),
            mode=self.rules.mode,
            lstm_model_id=ids.get("lstm"),
            transformer_model_id=ids.get("transformer"),
            feature_set=self.rules.feature_set,
            latency_ms=minute.latency_ms,
            spread_bps=float(position.costs.spread_bps),
            slippage_bps=float(position.costs.slippage_bps),
            p_boosting=minute.probabilities.get("boosting"),
            boosting_model_id=ids.get("boosting"),
        )


def _obstacle(minute: MinuteInput) -> str | None:
    if minute.is_stale:
        return "stale_candle"
    if minute.close is None:
        return "no_candle"
    if not minute.probabilities:
        return "no_model"
    return None


def _direction(probability: float) -> str:
    return "long" if probability >= 0.5 else "short"


def outcome_row(closed: Closed) -> OutcomeRow:
    """Return the row that keeps how a signal ended."""
    return OutcomeRow(
        signal_id=closed.position.signal_id,
        closed_at=closed.closed_at,
        exit_price=closed.exit_price,
        exit_reason=closed.exit_reason,
        gross_bps=float(closed.gross_bps),
        net_bps=float(closed.net_bps),
        pnl_usd=float(closed.pnl_usd),
        is_win=closed.is_win,
    )
