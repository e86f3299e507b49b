"""Make the rows that keep what was decided: decisions, signals, outcomes and the account's mark."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.candles import session_of
from store.signal_rows import DecisionRow, EquityRow, OutcomeRow, SignalRow

if TYPE_CHECKING:
    from datetime import datetime

    from runtime.decision import DecisionRules, ProductWork, TradingState
    from runtime.risk.paper_account import ClosedPosition, Position


def equity_row(at: datetime, state: TradingState, rules: DecisionRules) -> EquityRow:
    """Return the account's mark at ``at``."""
    account, guardrails = state.account, state.guardrails
    equity = account.equity
    return EquityRow(
        marked_at=at,
        session_id=rules.session_id,
        balance_usd=float(account.balance),
        equity_usd=round(float(equity), 2),
        day_start_balance_usd=float(guardrails.marks.day_start_balance),
        open_positions=len(account.positions),
        daily_used_pct=float(guardrails.used_pct(guardrails.rules.daily_loss, equity)),
        total_used_pct=float(guardrails.used_pct(guardrails.rules.total_loss, equity)),
        day_start_equity_usd=guardrails.marks.day_start_equity,
        highest_day_start_usd=guardrails.marks.highest_day_start_balance,
        highest_equity_usd=guardrails.marks.highest_equity,
    )


def decision_row(
    work: ProductWork, reason: str, probability: float | None = None, tier: str | None = None
) -> DecisionRow:
    """Return what became of one product's minute."""
    is_scored = probability is not None
    scores = work.seen.probabilities if is_scored else {}
    return DecisionRow(
        product=work.product,
        open_time=work.open_time,
        session_id=work.rules.session_id,
        decided_at=work.seen.decided_at,
        mode=work.rules.mode,
        close=None if work.seen.candle is None else work.seen.candle.close,
        probability=probability,
        p_lstm=scores.get("lstm"),
        p_transformer=scores.get("transformer"),
        direction=None if probability is None else _direction(probability),
        confidence=None if probability is None else max(probability, 1 - probability),
        tier=tier,
        is_emitted=reason == "emitted",
        reason=reason,
        latency_ms=work.seen.latency_ms,
        p_boosting=scores.get("boosting"),
    )


def signal_row(work: ProductWork, probability: float, tier: str, position: Position) -> SignalRow:
    """Return the signal that opens ``position``."""
    ids, scores = work.rules.products[work.product].model_ids, work.seen.probabilities
    return SignalRow(
        signal_id=position.signal_id,
        session_id=work.rules.session_id,
        made_at=work.seen.decided_at,
        product=work.product,
        open_time=work.open_time,
        direction=_direction(probability),
        confidence=max(probability, 1 - probability),
        tier=tier,
        probability=probability,
        p_lstm=scores.get("lstm"),
        p_transformer=scores.get("transformer"),
        entry_price=position.entry_price,
        target_price=position.target_price,
        stop_price=position.stop_price,
        reward_risk_ratio=position.reward_risk_ratio,
        size_usd=float(position.size_usd),
        session=session_of(work.open_time),
        mode=work.rules.mode,
        lstm_model_id=ids.get("lstm"),
        transformer_model_id=ids.get("transformer"),
        feature_set=work.rules.feature_set,
        latency_ms=work.seen.latency_ms,
        spread_bps=float(position.costs.spread_bps),
        slippage_bps=float(position.costs.slippage_bps),
        p_boosting=scores.get("boosting"),
        boosting_model_id=ids.get("boosting"),
    )


def _direction(probability: float) -> str:
    return "long" if probability >= 0.5 else "short"


def outcome_row(closed: ClosedPosition) -> OutcomeRow:
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
