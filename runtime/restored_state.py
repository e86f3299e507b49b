"""Build the rules and the state a session begins with: fresh, or taken up where the last committed minute left off."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.candles import MINUTE, floor_minute
from runtime.decision import CostsFor, DecisionRules, ProductRules, TradingState
from runtime.risk.execution_costs import Costs, costs_from, exact, to_cents
from runtime.risk.firm_rules import AccountMarks, fee_bps, rules_from
from runtime.risk.guardrails import Guardrails
from runtime.risk.paper_account import Account, Position, sizing_from
from runtime.risk.signal_limits import RateLimiter, TierRules, TierState, rate_rules_from

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from core.settings import Settings
    from runtime.loaded_models import ProductModels
    from store.signal_store import AccountState, OpenSignal, RestoredState


def decision_rules(
    settings: Settings,
    models: Mapping[str, ProductModels],
    *,
    session_id: str,
    mode: str,
    feature_set: str,
    costs_for: CostsFor | None = None,
) -> DecisionRules:
    """Return the session's rules; costs come from the settings unless ``costs_for`` knows better."""
    flat = costs_from(settings)
    return DecisionRules(
        session_id=session_id,
        mode=mode,
        feature_set=feature_set,
        weights=ensemble_weights(settings),
        products={product: product_rules(settings, own) for product, own in models.items()},
        costs_for=costs_for or (lambda _product, _session, _at: flat),
    )


def ensemble_weights(settings: Settings) -> dict[str, float]:
    """Return the weight of each kind of model; they are renormalised over what is loaded."""
    return {
        "lstm": settings.ensemble_lstm_weight,
        "transformer": settings.ensemble_transformer_weight,
        "boosting": settings.ensemble_boosting_weight,
    }


def product_rules(settings: Settings, loaded: ProductModels) -> ProductRules:
    """Return one product's cuts: fixed ones, or with `TIERS=coverage` the model's own quantiles.

    The quantiles are those of the model with the largest ensemble weight; the threshold follows the high cut.
    """
    weights = ensemble_weights(settings)
    by_weight = sorted(loaded.models.values(), key=lambda model: (-weights[model.kind], model.kind))
    cuts = next((model.cuts for model in by_weight if {"high", "medium"} <= set(model.cuts)), None)
    if settings.tiers != "coverage" or cuts is None:
        fixed = TierRules(settings.tier_high, settings.tier_medium, settings.tier_margin)
        return ProductRules(fixed, settings.emit_threshold, loaded.model_ids)
    high, medium = cuts["high"].confidence, cuts["medium"].confidence
    # a margin made for cuts of 0.75 and 0.65 would exceed the distance between these; keep its proportion
    margin = settings.tier_margin * (high - medium) / max(settings.tier_high - settings.tier_medium, 1e-9)
    return ProductRules(TierRules(high, medium, margin), min(settings.emit_threshold, high), loaded.model_ids)


def fresh_state(settings: Settings, moment: datetime) -> TradingState:
    """Return a state without a past: what a backtest and a first start use."""
    return TradingState(
        account=Account.fresh(sizing_from(settings)),
        guardrails=Guardrails.fresh(rules_from(settings), moment),
        limiter=RateLimiter(rate_rules_from(settings)),
    )


def restored_state(
    settings: Settings, rules: DecisionRules, stored: RestoredState, now: datetime, next_open: datetime | None = None
) -> TradingState:
    """Return the state after the last committed minute.

    Minutes before ``next_open`` (by default the one after the last decided) that nobody will decide any more, and in which
    a position was open, wait to be settled.
    """
    state = fresh_state(settings, now)
    if stored.equity is not None:
        state.account.balance = to_cents(exact(stored.equity.balance_usd))
        state.guardrails = Guardrails.fresh(
            state.guardrails.rules, stored.equity.marked_at, account_marks(stored.equity)
        )
    state.guardrails.restore(stored.risk_events)
    order = list(rules.products)
    signals = sorted(
        stored.open_signals,
        key=lambda own: (own.open_time, order.index(own.product) if own.product in order else len(order), own.product),
    )
    state.account.positions = [_position(settings, signal) for signal in signals]
    state.account.prices = {held.product: held.reference_price for held in state.account.positions} | stored.prices
    state.limiter.restore([(signal.made_at, signal.tier) for signal in stored.signals], stored.losses)
    state.tiers = {product: TierState.restored(stored.tiers.get(product)) for product in rules.products}
    state.last_minutes = {
        product: stored.last_minutes[product] for product in rules.products if product in stored.last_minutes
    }
    state.unsettled = _unsettled(state, stored, next_open)
    return state


def _unsettled(state: TradingState, stored: RestoredState, next_open: datetime | None) -> tuple[datetime, ...]:
    """Return the minutes decided while the account waited, or skipped by a long stop, as long as a position was open."""
    if stored.equity is None or not state.account.positions:
        return ()
    first = floor_minute(stored.equity.marked_at)
    until = max(position.expires_at for position in state.account.positions)
    decided = max((last + MINUTE for last in stored.last_minutes.values()), default=first)
    count = (min(next_open or decided, until) - first) // MINUTE
    return tuple(first + number * MINUTE for number in range(count))


def account_marks(last: AccountState) -> AccountMarks:
    """Return what the limits of an account are measured from."""
    balance = to_cents(exact(last.day_start_balance_usd))
    return AccountMarks(balance, last.day_start_equity_usd, last.highest_day_start_usd, last.highest_equity_usd)


def _position(settings: Settings, signal: OpenSignal) -> Position:
    return Position(
        signal_id=signal.signal_id,
        product=signal.product,
        side=1 if signal.direction == "long" else -1,
        reference_price=signal.reference_price,
        entry_price=signal.entry_price,
        target_price=signal.target_price,
        stop_price=signal.stop_price,
        size_usd=to_cents(exact(signal.size_usd)),
        opened_at=signal.open_time + MINUTE,
        costs=Costs.of(signal.spread_bps, signal.slippage_bps, fee_bps(settings)),
    )
