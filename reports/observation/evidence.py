"""From the record of an observation to the evidence its verdict rests on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from models.statistics.proportions import Share, clustered_share
from reports.observation.plots import TIERS
from reports.observation.verdict import AlertCount, Evidence, LimitProof, Standing
from reports.page.formatting import as_float

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from reports.observation.record import Record, Rows

_OUTCOME_CLUSTER_MINUTES = 15
_TIER_CLUSTER_HOURS = 4


def gather(
    record: Record,
    standings: Sequence[Standing],
    baseline: Mapping[str, Any] | None,
    proofs: Sequence[LimitProof] | None,
) -> Evidence:
    """Compute the evidence; ``baseline`` is ``models/baseline.json`` as it stands."""
    closed = [row for row in counted_signals(record) if row["is_win"] is not None]
    hours = max(record.clean_minutes / 60, 1 / 60)
    return Evidence(
        mode=record.mode,
        clean_minutes=record.clean_minutes,
        reset_cause=record.last_reset.cause if record.last_reset else "",
        standings=tuple(standings),
        proofs=tuple(proofs) if proofs is not None else None,
        alerts=count_alerts(record),
        wins=win_rate(closed),
        expected_win_rate=expected_win_rate(baseline, closed),
        tiers=tier_shares(record["tiers"]),
        expected_tiers=expected_tiers(baseline, record["tiers"]),
        signals_per_hour=len(closed) / hours,
    )


def counted_signals(record: Record) -> Rows:
    """Return the signals a verdict counts: all of a shadow observation, otherwise none made in shadow."""
    is_shadow = record.mode == "shadow"
    return [row for row in record["signals"] if (row["mode"] == "shadow") == is_shadow]


def win_rate(closed: Iterable[Mapping[str, Any]]) -> Share | None:
    """Return the share of closed signals whose direction was right, clustered by quarter of an hour."""
    return clustered_share(
        (_quarter(row["open_time"]), float(row["is_win"]), 1) for row in closed if row["is_win"] is not None
    )


def _quarter(moment: datetime) -> int:
    return int(moment.timestamp()) // (60 * _OUTCOME_CLUSTER_MINUTES)


def tier_shares(rows: Rows) -> dict[str, Share]:
    """Return each tier's share of scored minutes, clustered by four hours; empty when nothing was scored."""
    shares = {tier: clustered_share(_tier_clusters(rows, tier)) for tier in TIERS}
    return {tier: share for tier, share in shares.items() if share is not None}


def _tier_clusters(rows: Rows, tier: str) -> list[tuple[int, float, int]]:
    width = 3600 * _TIER_CLUSTER_HOURS
    return [
        (int(row["hour"].timestamp()) // width, float(row[tier]), sum(int(row[name]) for name in TIERS)) for row in rows
    ]


def count_alerts(record: Record) -> AlertCount:
    """Count the high-tier alerts owed and delivered; alerts of shadow signals inform, and are not counted."""
    owed = [
        row
        for row in record["alerts"]
        if row["kind"] == "signal" and row["tier"] in {"high", None} and row["mode"] != "shadow"
    ]
    waiting = [row for row in owed if not row["is_delivered"]]
    oldest = max(((record.until - row["created_at"]).total_seconds() / 60 for row in waiting), default=0.0)
    return AlertCount(
        owed=len(owed),
        delivered=len(owed) - len(waiting),
        unannounced=len(record["unannounced"]),
        oldest_pending_minutes=max(oldest, 0.0),
        is_running=record.is_open,
        last_detail=next((str(row["last_detail"]) for row in waiting if row["last_detail"]), ""),
    )


def expected_win_rate(baseline: Mapping[str, Any] | None, closed: Rows) -> float | None:
    """Return the baseline's win rate, each product weighted as often as it signalled; None without one."""
    if not baseline:
        return None
    weights = {product: sum(1 for row in closed if row["product"] == product) for product in _products(baseline)}
    parts = [(weight, as_float(_products(baseline)[product].get("win_rate"))) for product, weight in weights.items()]
    known = [(weight, rate) for weight, rate in parts if rate is not None and weight]
    if not known:
        return as_float(baseline.get("win_rate"))
    total = sum(weight for weight, _ in known)
    return sum(weight * rate for weight, rate in known) / total


def expected_tiers(baseline: Mapping[str, Any] | None, rows: Rows) -> dict[str, float] | None:
    """Return the baseline's tier shares, each product weighted by its scored minutes; None without one."""
    if not baseline:
        return None
    weights: dict[str, float] = {}
    for row in rows:
        weights[row["product"]] = weights.get(row["product"], 0.0) + sum(int(row[tier]) for tier in TIERS)
    known = [
        (weight, shares)
        for product, weight in weights.items()
        if weight and (shares := _shares(_products(baseline).get(product, {}))) is not None
    ]
    if not known:
        return _shares(baseline)
    total = sum(weight for weight, _ in known)
    return {tier: sum(weight * shares[tier] for weight, shares in known) / total for tier in TIERS}


def _products(baseline: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    found = baseline.get("products", {})
    return found if isinstance(found, dict) else {}


def _shares(entry: Mapping[str, Any]) -> dict[str, float] | None:
    """Return tier shares that add up to 1 from shares or counts; None when the entry has none."""
    mix = entry.get("tier_mix") or entry.get("tiers")
    if not isinstance(mix, dict):
        return None
    values = {tier: as_float(mix.get(tier)) or 0.0 for tier in TIERS}
    total = sum(values.values())
    return {tier: value / total for tier, value in values.items()} if total > 0 else None
