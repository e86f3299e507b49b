"""Format figures for people: one function for each kind, and "not computed" for a missing one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reports.page.document import Cell

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from models.statistics.sequential import Share

NOT_COMPUTED = "not computed"
_REASONS = {
    "emitted": "became a signal",
    "no_model": "no promoted model for the product",
    "no_candle": "the exchange has no candle for the minute (no trade)",
    "unanswered": "the exchange gave no answer for the minute",
    "stale_candle": "the minute was decided too late",
    "bad_score": "a model's score was no probability (not finite, or outside 0 to 1)",
    "warming_up": "the features' windows were not full yet",
    "below_threshold": "confidence below the emit threshold",
    "rate_limited": "signal rate limit, or a pause after losses",
    "halted": "the kill switch was on",
    "kill_switch": "the kill switch was on",
    "reducing": "no new positions were to be opened",
    "paused": "the product was paused",
    "daily_loss": "the daily loss stop was reached",
    "total_loss": "the total loss stop was reached",
    "position_open": "the product had its position already",
    "no_headroom": "what its stop would lose did not fit what could still be lost",
    "duplicate": "the same signal was already made",
}


def reason_in_words(reason: str) -> str:
    """Return what a decision's reason means."""
    return _REASONS.get(reason, reason)


def percent(value: float | None, digits: int = 1) -> str:
    """Return a share as ``61.2 %``."""
    return NOT_COMPUTED if value is None else f"{100 * value:.{digits}f} %"


def share_text(share: Share | None) -> str:
    """Return ``61.2 % (55.0 to 67.1) of 240``, which share no minute."""
    if share is None:
        return NOT_COMPUTED
    return f"{100 * share.value:.1f} % ({100 * share.low:.1f} to {100 * share.high:.1f}) of {share.effective:.0f}"


def interval_text(share: Share | None) -> str:
    """Return ``95 %: 55.0 to 67.1``."""
    return "no closed signal" if share is None else f"95 %: {100 * share.low:.1f} to {100 * share.high:.1f}"


def number(value: float | None, digits: int = 1, unit: str = "") -> Cell:
    """Return a right-aligned figure."""
    text = "" if value is None else f"{value:,.{digits}f}"
    return Cell(f"{text} {unit}".rstrip() if text else NOT_COMPUTED, "number")


def count(value: float) -> Cell:
    """Return a right-aligned whole number."""
    return Cell(f"{value:,.0f}", "number")


def when(moment: datetime | None) -> str:
    """Return ``2025-03-03 00:00 UTC``."""
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M} UTC"


def milliseconds(value: float | None) -> str:
    """Return a latency, in seconds from one second on."""
    if value is None:
        return NOT_COMPUTED
    return f"{value / 1000:.1f} s" if value >= 1000 else f"{value:.0f} ms"


def market_notice(sources: Iterable[str]) -> str:
    """Return a sentence that names a market which is not the exchange's own; empty for a real one."""
    names = sorted({_market(source) for source in sources} - {""})
    return f"The market is {' and '.join(names)}: no figure here says anything about real money." if names else ""


def market_name(sources: Iterable[str]) -> str:
    """Return ``planted (simulated)``, ``coinbase``, or several of them."""
    return ", ".join(sorted({_market(source) or source for source in sources})) or "unknown"


def _market(source: str) -> str:
    if source.startswith("local:recorded"):
        return "recorded (replayed from stored candles)"
    if source.startswith("local:"):
        return f"{source.removeprefix('local:')} (simulated)"
    return "synthetic (simulated)" if source.startswith("synthetic") else ""


def as_float(value: Any) -> float | None:  # noqa: ANN401 - whatever a JSON file holds
    """Return a number from a JSON value, None for anything else."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
