"""Say what an observation is of: whatever decides. Evidence of other models, rules or code is not evidence of these."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.risk.firm_rules import fee_bps, rules_from
from store.signal_rows import ObservationRow

if TYPE_CHECKING:
    from datetime import datetime

    from core.settings import Settings
    from runtime.decision import DecisionRules

_TERMS = (
    "ensemble_lstm_weight",
    "ensemble_transformer_weight",
    "ensemble_boosting_weight",
    "emit_threshold",
    "tiers",
    "tier_high",
    "tier_medium",
    "tier_margin",
    "stale_after_seconds",
    "signals_per_hour",
    "high_signals_per_hour",
    "losses_to_block",
    "loss_window_minutes",
    "loss_block_minutes",
    "initial_capital_usd",
    "risk_per_trade_pct",
    "stop_pct",
    "target_pct",
    "max_leverage",
    "max_positions_per_product",
    "spread_bps",
    "slippage_bps",
)
"""The settings that decide whether a signal is made, of what size, and what it earns."""
_CODE = ("runtime/decision*.py", "runtime/inputs.py", "runtime/risk/*.py", "models/serving/scorer.py")
"""The files that decide; the SQL of the features has its own hash in the id of the feature set."""
_COMPARED = ("mode", "models", "feature_set", "terms", "code")


def observed(
    settings: Settings, rules: DecisionRules, began_at: datetime, last: ObservationRow | None
) -> ObservationRow:
    """Return the observation that goes on at ``began_at``: the ``last`` one, or a new one with what has changed."""
    models = ",".join(
        f"{product}/{kind}={model}"
        for product, own in sorted(rules.products.items())
        for kind, model in sorted(own.model_ids.items())
    )
    terms = json.dumps(
        {name: str(getattr(settings, name)) for name in _TERMS}
        | rules_from(settings).terms()
        | {"fee_bps": str(fee_bps(settings))}
    )
    now = ObservationRow("", began_at, rules.mode, models, rules.feature_set, terms, _code_hash(), "the first start")
    if last is None:
        return with_id(now)
    changed = [name for name in _COMPARED if getattr(now, name) != getattr(last, name)]
    return with_id(replace(now, why=_in_words(last, now, changed))) if changed else last


def capital_of(row: ObservationRow) -> float | None:
    """Return the capital that was set, None in records of older code."""
    text = json.loads(row.terms).get("initial_capital_usd")
    return None if text is None else float(text)


def with_id(row: ObservationRow) -> ObservationRow:
    """Return the row with the id that its content gives it."""
    text = "|".join((row.began_at.isoformat(), row.why, *(getattr(row, name) for name in _COMPARED)))
    return replace(row, observation_id=hashlib.sha256(text.encode()).hexdigest()[:8])


def of_older_code(began_at: datetime) -> ObservationRow:
    """Return the observation that holds whatever was recorded before observations were kept apart."""
    return with_id(ObservationRow("", began_at, "", "", "", "{}", "", "recorded before observations were kept apart"))


def _in_words(last: ObservationRow, now: ObservationRow, changed: list[str]) -> str:
    words = []
    for name in changed:
        if name == "terms":
            before, after = json.loads(last.terms), json.loads(now.terms)
            words += [
                f"{key.upper()} {before.get(key, 'unknown')} -> {value}"
                for key, value in after.items()
                if before.get(key) != value
            ]
        elif name == "mode":
            words.append(f"mode {last.mode or 'unknown'} -> {now.mode}")
        else:
            words.append({"models": "other models", "feature_set": "another feature set", "code": "other code"}[name])
    return "changed: " + ", ".join(words)


@cache
def _code_hash() -> str:
    root = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for pattern in _CODE:
        for path in sorted(root.glob(pattern)):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
