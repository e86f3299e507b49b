"""Decide one closed minute: settle the paper account, then say of every product whether it becomes a signal, and why not.

`decide` is pure: what was seen of a minute, the state before it and the session's rules give decisions and the state
after it. The live loop and the backtest both call it, so they cannot decide differently, and any past minute can be
decided again from what was kept of it.

Why a minute does not become a signal, in the order asked; the first that holds is recorded:

    duplicate        the minute was decided before
    stale_candle     the minute was decided too late: after an outage, or a stop of the runtime
    unanswered       the exchange gave no answer for it, for a product that its features also read, or for one that has a
                     position: the account is not known then
    no_candle        the exchange answered that it has no candle for it (a filled minute never emits)
    no_model         no model is loaded for the product
    bad_score        a loaded model gave something that is no probability: not finite, or outside 0 to 1
    warming_up       features or the input window of a loaded model are not complete
    below_threshold  the confidence is under the threshold
    halted, reducing, paused   a person stopped everything, or this product
    total_loss, daily_loss, rate_limited   a signal that was withheld
    position_open    the product has its position already
    no_headroom      what its stop would lose does not fit what may still be lost, or no leverage is left

So the last eight count exactly the signals that would have been made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING

from core.candles import MINUTE, session_of
from runtime.decision_rows import decision_row, equity_row, outcome_row, signal_row
from runtime.risk.guardrails import RiskEvent
from runtime.risk.kill_switch import ACTIVE, Stopping
from runtime.risk.signal_limits import TierRules, TierState

if TYPE_CHECKING:
    from decimal import Decimal

    from core.candles import Candle
    from runtime.risk.execution_costs import Costs
    from runtime.risk.guardrails import Guardrails, Headroom
    from runtime.risk.paper_account import Account, ClosedPosition, EquitySpan
    from runtime.risk.signal_limits import RateLimiter
    from store.signal_rows import DecisionRow, EquityRow, OutcomeRow, SignalRow

CostsFor = Callable[[str, str, datetime], "Costs"]
"""(product, session, moment) -> costs assumed."""


@dataclass(frozen=True, slots=True)
class ProductRules:
    """What differs from product to product: tier cuts, threshold and the models behind the probabilities."""

    tiers: TierRules
    emit_threshold: float
    model_ids: Mapping[str, str]
    """``lstm``, ``transformer`` and ``boosting`` -> model id, those that are loaded."""


@dataclass(frozen=True, slots=True)
class DecisionRules:
    """What holds for every minute of a session, until other models are promoted."""

    session_id: str
    mode: str
    feature_set: str
    weights: Mapping[str, float]
    """``lstm``, ``transformer`` and ``boosting`` -> weight; renormalised over what is loaded."""
    products: Mapping[str, ProductRules]
    costs_for: CostsFor


@dataclass(slots=True)
class TradingState:
    """What one minute's decisions leave for the next; all of it is restored from the signal store after a restart."""

    account: Account
    guardrails: Guardrails
    limiter: RateLimiter
    tiers: dict[str, TierState] = field(default_factory=dict)
    last_minutes: dict[str, datetime] = field(default_factory=dict)
    """Per product, the last minute decided."""
    unsettled: tuple[datetime, ...] = ()
    """Minutes that were decided while the account waited for their candles, oldest first: nothing is opened meanwhile."""
    bad_scores: frozenset[str] = frozenset()
    """Products whose last scored minute was a `bad_score`: people are told when it begins, not every minute."""

    def copy(self) -> TradingState:
        """Return a state that can change without this one."""
        return replace(
            self,
            account=self.account.copy(),
            guardrails=self.guardrails.copy(),
            limiter=self.limiter.copy(),
            tiers=dict(self.tiers),
            last_minutes=dict(self.last_minutes),
        )

    def headroom(self, moment: datetime) -> Headroom:
        """Return what may still be lost before a stop."""
        return self.guardrails.headroom(moment, self.account.equity)


@dataclass(frozen=True, slots=True)
class ProductInput:
    """What was seen of one product's minute."""

    candle: Candle | None
    """None when the exchange has none, or gave no answer."""
    decided_at: datetime
    latency_ms: float
    is_stale: bool
    probabilities: Mapping[str, float | None]
    """For each LOADED model its probability, None when its window is not complete; empty without a model."""
    is_answered: bool = True
    """Whether the exchange answered for all that this product's features read."""
    is_known: bool = True
    """Whether it answered for this product: else a position of it cannot be settled yet."""


@dataclass(frozen=True, slots=True)
class MinuteInput:
    """What was seen of one closed minute."""

    open_time: datetime
    products: Mapping[str, ProductInput]
    """Those watched, and those that have an open position; only products of the rules are decided."""
    stopping: Stopping = ACTIVE


@dataclass(frozen=True, slots=True)
class Decision:
    """What one product's minute became; the rest is there if a signal was emitted, or something went wrong."""

    row: DecisionRow
    signal: SignalRow | None = None
    headroom: Headroom | None = None
    """What may still be lost, the new signal's position included."""
    event: RiskEvent | None = None


@dataclass(frozen=True, slots=True)
class MinuteResult:
    """What one closed minute came to."""

    state: TradingState
    equity: EquityRow | None
    """The account's mark; None while it waits for candles."""
    outcomes: Sequence[OutcomeRow]
    events: Sequence[RiskEvent]
    headroom: Headroom
    """What may still be lost once the minute was settled, before its own signals."""
    decisions: Sequence[Decision]


def decide(minute: MinuteInput, state: TradingState, rules: DecisionRules) -> MinuteResult:
    """Settle the account at the minute's close, then decide every product in the order given; change nothing passed in.

    One account serves all products, so a product's signal takes room from those after it. While the exchange has not
    answered for a product that has an open position, nobody knows what the account holds: minutes are decided without a
    signal, and wait for `settle`. (Settled as if nothing had been traded, an outage of 20 minutes made -225 USD of +239.)
    """
    after = state.copy()
    if after.unsettled or not can_settle(minute, after):
        after.unsettled = (*after.unsettled, minute.open_time)
        headroom = after.headroom(minute.open_time + MINUTE)
        decisions = [
            _decide_product(minute, product, after, rules) for product in minute.products if product in rules.products
        ]
        return MinuteResult(after, None, [], [], headroom, decisions)
    settled = _settled(minute, after, rules)
    decisions = [
        _decide_product(minute, product, after, rules) for product in minute.products if product in rules.products
    ]
    return replace(settled, decisions=decisions)


def settle(minute: MinuteInput, state: TradingState, rules: DecisionRules) -> MinuteResult:
    """Settle the oldest minute that waits, now that its candles are known; it was decided before."""
    after = state.copy()
    after.unsettled = after.unsettled[1:]
    return _settled(minute, after, rules)


def can_settle(minute: MinuteInput, state: TradingState) -> bool:
    """Return whether the exchange answered for every product that has an open position."""
    held = {position.product for position in state.account.positions}
    return all(seen.is_known for product, seen in minute.products.items() if product in held)


def _settled(minute: MinuteInput, state: TradingState, rules: DecisionRules) -> MinuteResult:
    at = minute.open_time + MINUTE
    closed, events = _settle(minute, state)
    outcomes = [outcome_row(position) for position in closed]
    return MinuteResult(state, equity_row(at, state, rules), outcomes, events, state.headroom(at), [])


def _settle(minute: MinuteInput, state: TradingState) -> tuple[list[ClosedPosition], list[RiskEvent]]:
    """Mark the account, roll the firm's day, and stop out if a limit is reached."""
    at, account, guardrails, events = minute.open_time + MINUTE, state.account, state.guardrails, list[RiskEvent]()
    # two calls: a gap may hide the reset, and what closes AT the reset still belongs to the old day
    guardrails.roll(minute.open_time, account.balance, account.equity)
    candles = {product: seen.candle for product, seen in minute.products.items()}
    span: EquitySpan | None = account.equity_span(minute.open_time, candles)
    closed = account.on_minute(minute.open_time, candles)
    if guardrails.rules.day_of(at) > guardrails.day:
        # its loss is held against the day that ends, and dated in it: after the roll it would be part of the new base
        events += _stop_out(minute.open_time, at, state, closed, span)
        guardrails.roll(at, account.balance, account.equity)
        span = None
    events += _stop_out(at, at, state, closed, span)
    if minute.stopping.level == "halted":
        closed += account.close_all(at, "halted")
    events += [event for position in closed if (event := _count_loss(position, state.limiter)) is not None]
    events += guardrails.reach_target(at, account.balance, len(account.positions))
    return closed, events


def _stop_out(
    told_at: datetime, at: datetime, state: TradingState, closed: list[ClosedPosition], span: EquitySpan | None
) -> list[RiskEvent]:
    """Hold equity against the limits; when one is reached, close every position at ``at`` and add it to ``closed``."""
    account, guardrails = state.account, state.guardrails
    events = guardrails.assess(told_at, account.equity, span)
    if guardrails.blocked is not None and account.positions:
        closed += account.close_all(at, guardrails.blocked)
        events += guardrails.assess(told_at, account.equity)
    return events


def _count_loss(closed: ClosedPosition, limiter: RateLimiter) -> RiskEvent | None:
    if not closed.is_loss or not limiter.record_loss(closed.closed_at):
        return None
    rules = limiter.rules
    minutes = int(rules.loss_window.total_seconds() // 60)
    detail = f"{rules.losses_to_block} losing signals within {minutes} minutes; no signal until {limiter.blocked_until:%Y-%m-%d %H:%M} UTC"
    return RiskEvent(closed.closed_at, "loss_streak", detail)


@dataclass(slots=True)
class ProductWork:
    """One product's minute at work on the state after it."""

    product: str
    open_time: datetime
    seen: ProductInput
    state: TradingState
    rules: DecisionRules
    stopping: Stopping


def _decide_product(minute: MinuteInput, product: str, state: TradingState, rules: DecisionRules) -> Decision:
    seen, open_time = minute.products[product], minute.open_time
    work = ProductWork(product, open_time, seen, state, rules, minute.stopping)
    if open_time <= state.last_minutes.get(product, open_time - MINUTE):
        return Decision(decision_row(work, "duplicate"))
    state.last_minutes[product] = open_time
    tier = state.tiers.get(product, TierState())
    obstacle = _obstacle(seen)
    probability = None if obstacle else ensemble(seen.probabilities, rules.weights)
    event = _watch_scores(work, obstacle, probability)
    if probability is None or seen.candle is None:
        state.tiers[product] = tier.skipped()
        return Decision(decision_row(work, obstacle or "warming_up"), event=event)
    own = rules.products[product]
    confidence = max(probability, 1 - probability)
    tier = state.tiers[product] = tier.after(confidence, own.tiers)
    reason = "below_threshold" if confidence < own.emit_threshold else _withheld(work, tier.name)
    if reason is not None:
        return Decision(decision_row(work, reason, probability, tier.name))
    return _emit(work, seen.candle.close, probability, tier.name)


def _obstacle(seen: ProductInput) -> str | None:
    if seen.is_stale:
        return "stale_candle"
    if not seen.is_answered:
        return "unanswered"
    if seen.candle is None:
        return "no_candle"
    if not seen.probabilities:
        return "no_model"
    return "bad_score" if bad_scores(seen.probabilities) else None


def bad_scores(probabilities: Mapping[str, float | None]) -> dict[str, float]:
    """Return the scores that are no probability: not finite, or outside 0 to 1.

    They must be refused by name: no comparison with NaN holds, so one would pass every threshold and emit a short.
    """
    return {kind: score for kind, score in probabilities.items() if score is not None and not 0.0 <= score <= 1.0}


def _watch_scores(work: ProductWork, obstacle: str | None, probability: float | None) -> RiskEvent | None:
    """Return the event of a product whose scores have just gone bad; a good score forgets it."""
    known = work.state.bad_scores
    if probability is not None:
        work.state.bad_scores = known - {work.product}
    if obstacle != "bad_score" or work.product in known:
        return None
    work.state.bad_scores = known | {work.product}
    ids = work.rules.products[work.product].model_ids
    scores = ", ".join(
        f"{kind} {ids.get(kind, '')} scored {score:g}" for kind, score in bad_scores(work.seen.probabilities).items()
    )
    detail = f"{work.product}: {scores}, which is no probability; no signal is made of it. Serve the model before: desk models rollback SLOT"
    return RiskEvent(work.open_time + MINUTE, "bad_score", detail, work.product)


def ensemble(probabilities: Mapping[str, float | None], weights: Mapping[str, float]) -> float | None:
    """Return the weighted mean over what is loaded; None without a model or while one cannot score.

    A model that cannot score yet is not left out: the mixture behind a probability never changes in silence.
    """
    known = {kind: value for kind, value in probabilities.items() if value is not None}
    if not known or len(known) < len(probabilities):
        return None
    total = mixed = 0.0
    for kind, probability in known.items():
        total += weights[kind]
        mixed += weights[kind] * probability
    return mixed / total if total > 0 else sum(known.values()) / len(known)


def _withheld(work: ProductWork, tier: str) -> str | None:
    if (reason := work.stopping.reason(work.product)) is not None:
        return reason
    if work.state.unsettled:
        return "unanswered"
    if work.state.guardrails.blocked is not None:
        return work.state.guardrails.blocked
    if work.state.limiter.refusal(work.seen.decided_at, tier):
        return "rate_limited"
    return "position_open" if work.state.account.is_full(work.product) else None


def _emit(work: ProductWork, close: Decimal, probability: float, tier: str) -> Decision:
    at = work.open_time + MINUTE
    costs = work.rules.costs_for(work.product, session_of(work.open_time), work.seen.decided_at)
    account, side = work.state.account, 1 if probability >= 0.5 else -1
    floor = work.state.guardrails.floor
    position = account.plan(_signal_id(work), work.product, side, close, at, costs, floor)
    if position.size_usd == 0:
        return Decision(decision_row(work, "no_headroom", probability, tier))
    account.open(position)
    work.state.limiter.record_signal(work.seen.decided_at, tier)
    signal = signal_row(work, probability, tier, position)
    return Decision(decision_row(work, "emitted", probability, tier), signal, work.state.headroom(signal.made_at))


def _signal_id(work: ProductWork) -> str:
    ids = work.rules.products[work.product].model_ids
    parts = (work.product, work.open_time.isoformat(), work.rules.mode, *sorted(ids.values()))
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:16]
