"""Builds the decision core, taking up again what earlier sessions left in the signal store."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from core.candles import MINUTE
from runtime.engine import CostsFor, Engine, EngineRules, ProductRules
from runtime.risk.execution_costs import Costs, costs_from, exact, to_cents
from runtime.risk.guardrails import Guardrails, rules_from
from runtime.risk.paper_account import Account, Position, sizing_from
from runtime.risk.signal_limits import RateLimiter, rate_rules_from
from runtime.tiers import TierRules, TierTracker

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta

    from core.settings import Settings
    from runtime.loaded_models import ProductModels
    from store.signal_store import OpenSignal, RestoredState


def engine_rules(
    settings: Settings,
    scorers: Mapping[str, ProductModels],
    *,
    session_id: str,
    mode: str,
    feature_set: str,
    costs_for: CostsFor | None = None,
) -> EngineRules:
    """Return the session's rules; costs come from the settings unless ``costs_for`` knows better."""
    flat = costs_from(settings)
    return EngineRules(
        session_id=session_id,
        mode=mode,
        feature_set=feature_set,
        weights=ensemble_weights(settings),
        products={product: product_rules(settings, loaded) for product, loaded in scorers.items()},
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
    """Return one coin's cuts: fixed ones, or with `TIERS=coverage` the model's own quantiles.

    The quantiles are those of the model with the largest ensemble weight; the threshold follows the high cut.
    """
    cuts = _coverage_cuts(settings, loaded) if settings.tiers == "coverage" else None
    if cuts is None:
        fixed = TierRules(settings.tier_high, settings.tier_medium, settings.tier_margin)
        return ProductRules(fixed, settings.emit_threshold, loaded.model_ids)
    high, medium = cuts
    # a margin made for cuts of 0.75 and 0.65 would exceed the distance between these; keep its proportion
    margin = settings.tier_margin * (high - medium) / max(settings.tier_high - settings.tier_medium, 1e-9)
    return ProductRules(TierRules(high, medium, margin), min(settings.emit_threshold, high), loaded.model_ids)


def _coverage_cuts(settings: Settings, loaded: ProductModels) -> tuple[float, float] | None:
    weights = ensemble_weights(settings)
    for kind in sorted(loaded.models, key=lambda kind: -weights[kind]):
        passport = loaded.models[kind].passport
        cuts = passport.cuts(loaded.product) if passport else {}
        if "high" in cuts and "medium" in cuts:
            return cuts["high"].confidence, cuts["medium"].confidence
    return None


def fresh_engine(settings: Settings, rules: EngineRules, moment: datetime) -> Engine:
    """Return an engine without a past: what a backtest and a first start use."""
    return Engine(
        rules=rules,
        account=Account.fresh(sizing_from(settings)),
        guardrails=Guardrails.fresh(rules_from(settings), moment),
        limiter=RateLimiter(rate_rules_from(settings)),
        trackers={product: TierTracker(own.tiers) for product, own in rules.products.items()},
    )


def restored_engine(settings: Settings, rules: EngineRules, state: RestoredState, now: datetime) -> Engine:
    """Return an engine that continues where the last committed minute left off."""
    engine = fresh_engine(settings, rules, now)
    if state.equity is not None:
        engine.account.balance = to_cents(exact(state.equity.balance_usd))
        base = to_cents(exact(state.equity.day_start_balance_usd))
        engine.guardrails = Guardrails.fresh(engine.guardrails.rules, state.equity.marked_at, base)
    engine.guardrails.restore(state.risk_events)
    engine.account.positions = [_position(settings, signal) for signal in state.open_signals]
    engine.account.prices = {held.product: held.reference_price for held in engine.account.positions}
    engine.limiter.restore([(signal.made_at, signal.tier) for signal in state.signals], state.losses)
    for product, own in rules.products.items():
        engine.trackers[product] = TierTracker.restored(own.tiers, state.tiers.get(product))
    engine.last_minutes = {
        product: state.last_minutes[product] for product in rules.products if product in state.last_minutes
    }
    return engine


def _position(settings: Settings, signal: OpenSignal) -> Position:
    return Position(
        signal_id=signal.signal_id,
        product=signal.product,
        side=1 if signal.direction == "long" else -1,
        reference_price=signal.reference_price,
        entry_price=signal.entry_price,
        target_price=signal.target_price,
        stop_price=signal.stop_price,
        size_usd=Decimal(int(signal.size_usd)),
        opened_at=signal.open_time + MINUTE,
        costs=Costs.of(signal.spread_bps, signal.slippage_bps, settings.fee_bps),
    )


def limiter_memory(settings: Settings) -> timedelta:
    """Return how far back the limiter and the hourly digest look."""
    return rate_rules_from(settings).memory
