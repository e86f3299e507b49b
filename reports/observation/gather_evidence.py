"""Compute the evidence a verdict rests on, from the record of an observation, the judged models and the baseline."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from core.candles import HORIZON_MINUTES, epoch_minute
from models.registry import Registry
from models.registry.baseline import TIER_BLOCK_MINUTES, TierBlock
from models.statistics.sequential import interval, one_at_a_time
from reports.observation.exit_evidence import AlertCount, ExitEvidence, LimitProof, Sides, Standing
from reports.observation.plots import TIERS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from core.settings import Settings
    from models.registry.baseline import Baseline
    from models.statistics.sequential import Share
    from reports.models.model_card import ModelCard
    from reports.observation.record import Record
    from reports.observation.record_rows import ObservedSignal, RegistryLine, TierHour

_LEAST_SCORED = 60
"""Scored minutes that make four hours of tiers count: the first and last few of a session say nothing of a share."""


def gather(
    record: Record, standings: Sequence[Standing], baseline: Baseline | None, proofs: Sequence[LimitProof]
) -> ExitEvidence:
    """Compute the evidence; no ``proofs`` says that the loss simulation was not run."""
    closed = counted_signals(record, is_closed=True)
    wins = independent_signals((epoch_minute(own.open_time), float(bool(own.is_win))) for own in closed)
    hours = max(record.decided_minutes / 60, 1 / 60)
    products = {signal.product for signal in closed} or set(record.extent.products)
    live_tiers, baseline_tiers = _tier_values(_blocks(record.tiers)), _tier_values(_baseline_blocks(baseline, record))
    return ExitEvidence(
        mode=record.mode,
        clean_minutes=record.clean_minutes,
        reset_cause=record.last_reset.cause if record.last_reset else "",
        standings=tuple(standings),
        proofs=tuple(proofs),
        alerts=count_alerts(record),
        wins=Sides(wins, baseline_wins(baseline, products)),
        win_share=win_share(closed),
        net_bps=independent_signals((epoch_minute(own.open_time), own.net_bps or 0.0) for own in closed),
        tiers={tier: Sides(live_tiers[tier], baseline_tiers[tier]) for tier in TIERS},
        tier_shares=tier_shares(record.tiers),
        signals_per_hour=len(wins) / hours,
    )


def independent_signals(rows: Iterable[tuple[int, float]]) -> tuple[float, ...]:
    """Return the values of signals, given as (epoch minute, value), that share no minute of their 15."""
    return one_at_a_time(rows, HORIZON_MINUTES)


def win_share(signals: Iterable[ObservedSignal]) -> Share | None:
    """Return the share of closed signals whose direction was right, with an interval that holds at every look."""
    closed = [own for own in signals if own.is_win is not None]
    wins = independent_signals((epoch_minute(own.open_time), float(own.is_win or False)) for own in closed)
    return interval(wins, len(closed))


def baseline_wins(baseline: Baseline | None, products: Collection[str]) -> tuple[float, ...]:
    """Return the wins of the backtest's independent signals of these products; none without a baseline that keeps them."""
    own = baseline.products if baseline else {}
    return independent_signals(
        (outcome.minute, float(outcome.is_win))
        for product in products
        if product in own
        for outcome in own[product].outcomes
    )


def counted_signals(record: Record, *, is_closed: bool = False) -> list[ObservedSignal]:
    """Return the signals a verdict counts: all of a shadow observation, otherwise none made in shadow."""
    is_shadow = record.mode == "shadow"
    signals = record.closed if is_closed else record.signals
    return [signal for signal in signals if (signal.mode == "shadow") == is_shadow]


def tier_shares(hours: Sequence[TierHour]) -> dict[str, Share]:
    """Return each tier's share of the scored minutes; empty when no four hours were scored."""
    scored = sum(sum(row.counts.values()) for row in hours)
    shares = {tier: interval(values, scored) for tier, values in _tier_values(_blocks(hours)).items()}
    return {tier: share for tier, share in shares.items() if share is not None}


def _blocks(hours: Sequence[TierHour]) -> Iterable[TierBlock]:
    return (TierBlock(epoch_minute(row.hour) // TIER_BLOCK_MINUTES, row.high, row.medium, row.low) for row in hours)


def _baseline_blocks(baseline: Baseline | None, record: Record) -> Iterable[TierBlock]:
    """Return the backtest's blocks of the products that were scored."""
    scored = {row.product for row in record.tiers}
    own = baseline.products if baseline else {}
    return (block for product in sorted(scored or own) if product in own for block in own[product].tier_blocks)


def _tier_values(rows: Iterable[TierBlock]) -> dict[str, tuple[float, ...]]:
    """Return each tier's share of every four hours, over all products together."""
    blocks: dict[int, Counter[str]] = {}
    for row in rows:
        blocks.setdefault(row.block, Counter()).update({tier: getattr(row, tier) for tier in TIERS})
    whole = [counts for _, counts in sorted(blocks.items()) if counts.total() >= _LEAST_SCORED]
    return {tier: tuple(counts[tier] / counts.total() for counts in whole) for tier in TIERS}


def count_alerts(record: Record) -> AlertCount:
    """Count the high-tier alerts owed and delivered; alerts of shadow signals inform, and are not counted."""
    owed = [
        alert
        for alert in record.alerts
        if alert.kind == "signal" and alert.tier in {"high", None} and alert.mode != "shadow"
    ]
    waiting = [alert for alert in owed if not alert.is_delivered]
    oldest = max(((record.until - alert.created_at).total_seconds() / 60 for alert in waiting), default=0.0)
    return AlertCount(
        owed=len(owed),
        delivered=len(owed) - len(waiting),
        unannounced=record.unannounced,
        oldest_pending_minutes=max(oldest, 0.0),
        is_running=record.is_open,
        last_detail=next((alert.last_detail for alert in waiting if alert.last_detail), ""),
    )


def promoted_slots(settings: Settings, events: Sequence[RegistryLine]) -> dict[str, str]:
    """Return slot -> promoted model id, from the registry file, or replayed from its published history without one.

    Raises:
        ModelError: the registry file is damaged; the text says what to do.
    """
    if settings.paths.registry.exists():
        return {slot: item.model_id for slot, item in Registry(settings.paths.registry).current().items()}
    served = {event.slot: event.model_id for event in events if event.kind in {"promotion", "rollback"}}
    return {slot: model for slot, model in served.items() if model}


def served_models(promoted: Mapping[str, str], products: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return product -> kind -> model id, from slot -> model id."""
    slots = [(kind, product, model) for slot, model in promoted.items() for kind, _, product in [slot.partition(":")]]
    return {own: {kind: model for kind, product, model in slots if product == own} for own in products}


def standings(
    products: Sequence[str], cards: Sequence[ModelCard], promoted: Mapping[str, str], events: Sequence[RegistryLine]
) -> tuple[Standing, ...]:
    """Say of each product which models serve it, and which gates refused the others."""
    return tuple(_standing(product, cards, promoted, events) for product in products)


def _standing(
    product: str, cards: Sequence[ModelCard], promoted: Mapping[str, str], events: Sequence[RegistryLine]
) -> Standing:
    serving = tuple(dict.fromkeys(model for slot, model in promoted.items() if slot.endswith(f":{product}")))
    refused = {
        model.model_id: card.failed
        for model in cards
        for card in model.cards
        if card.product == product and not card.is_accepted and model.model_id not in serving
    }
    # without passports the registry's history still names the gates
    return Standing(
        product,
        serving,
        refused
        or {
            event.model_id: tuple(event.why.rpartition("refused by ")[2].split(", "))
            for event in events
            if event.kind == "refusal" and event.slot.endswith(f":{product}") and event.model_id not in serving
        },
    )
