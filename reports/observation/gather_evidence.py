"""Compute the evidence a verdict rests on, from the record of an observation, the judged models and the baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.candles import epoch_minute
from models.registry import Registry
from models.statistics.proportions import Share, clustered_share
from reports.observation.exit_criteria import AlertCount, ExitEvidence, LimitProof, Standing
from reports.observation.plots import TIERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from core.settings import Settings
    from models.registry.baseline import Baseline
    from reports.models.model_card import ModelCard
    from reports.observation.record import Record
    from reports.observation.record_rows import ObservedSignal, RegistryLine, TierHour

_OUTCOME_CLUSTER_MINUTES = 15
"""Outcomes of one quarter of an hour count as one observation: their 15-minute horizons overlap."""
_TIER_CLUSTER_MINUTES = 240
"""Tiers move with volatility, which is alike for hours: minutes apart are no independent rows."""


def gather(
    record: Record, standings: Sequence[Standing], baseline: Baseline | None, proofs: Sequence[LimitProof]
) -> ExitEvidence:
    """Compute the evidence; no ``proofs`` says that the loss simulation was not run."""
    closed = counted_signals(record, is_closed=True)
    hours = max(record.clean_minutes / 60, 1 / 60)
    return ExitEvidence(
        mode=record.mode,
        clean_minutes=record.clean_minutes,
        reset_cause=record.last_reset.cause if record.last_reset else "",
        standings=tuple(standings),
        proofs=tuple(proofs),
        alerts=count_alerts(record),
        wins=win_rate(closed),
        expected_win_rate=expected_win_rate(baseline, [signal.product for signal in closed]),
        tiers=tier_shares(record.tiers),
        expected_tiers=expected_tiers(baseline, record.tiers),
        signals_per_hour=len(closed) / hours,
    )


def counted_signals(record: Record, *, is_closed: bool = False) -> list[ObservedSignal]:
    """Return the signals a verdict counts: all of a shadow observation, otherwise none made in shadow."""
    is_shadow = record.mode == "shadow"
    signals = record.closed if is_closed else record.signals
    return [signal for signal in signals if (signal.mode == "shadow") == is_shadow]


def win_rate(signals: Iterable[ObservedSignal]) -> Share | None:
    """Return the share of closed signals whose direction was right, clustered by quarter of an hour."""
    return clustered_share(
        (epoch_minute(signal.open_time) // _OUTCOME_CLUSTER_MINUTES, float(signal.is_win), 1)
        for signal in signals
        if signal.is_win is not None
    )


def tier_shares(hours: Sequence[TierHour]) -> dict[str, Share]:
    """Return each tier's share of scored minutes, clustered by four hours; empty when nothing was scored."""
    shares = {
        tier: clustered_share(
            (epoch_minute(row.hour) // _TIER_CLUSTER_MINUTES, float(row.counts[tier]), sum(row.counts.values()))
            for row in hours
        )
        for tier in TIERS
    }
    return {tier: share for tier, share in shares.items() if share is not None}


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


def expected_win_rate(baseline: Baseline | None, products: Sequence[str]) -> float | None:
    """Return the baseline's win rate, each product weighted as often as it stands in ``products``; None without one."""
    if baseline is None:
        return None
    rates = [own.win_rate for product in products if (own := baseline.products.get(product)) is not None]
    known = [rate for rate in rates if rate is not None]
    return sum(known) / len(known) if known else baseline.win_rate


def expected_tiers(baseline: Baseline | None, hours: Sequence[TierHour]) -> Mapping[str, float] | None:
    """Return the baseline's tier shares, each product weighted by its scored minutes; None without one."""
    if baseline is None:
        return None
    weights: dict[str, int] = {}
    for row in hours:
        weights[row.product] = weights.get(row.product, 0) + sum(row.counts.values())
    known = [
        (weight, shares)
        for product, weight in weights.items()
        if weight and (own := baseline.products.get(product)) is not None and (shares := own.tier_shares) is not None
    ]
    if not known:
        return baseline.tier_shares
    total = sum(weight for weight, _ in known)
    return {tier: sum(weight * shares.get(tier, 0.0) for weight, shares in known) / total for tier in TIERS}


def promoted_slots(settings: Settings, events: Sequence[RegistryLine]) -> dict[str, str]:
    """Return slot -> promoted model id, from the registry file, or replayed from its published history without one.

    Raises:
        ModelError: the registry file is damaged; the text says what to do.
    """
    if settings.paths.registry.exists():
        return {slot: item.model_id for slot, item in Registry(settings.paths.registry).current().items()}
    served = {event.slot: event.model_id for event in events if event.kind in {"promotion", "rollback"}}
    return {slot: model for slot, model in served.items() if model}


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
