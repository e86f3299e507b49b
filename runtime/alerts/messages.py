"""The texts people get, made from plain values; no input, no output, no secrets.

Every text is plain (the sender tells Apprise so, which escapes it where a target wants HTML), without angle brackets
or control characters of its own, shorter than Telegram's 4,096 characters even after escaping, and ends with its key,
by which a message that was sent twice after a crash is recognised.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from decimal import Decimal

    from store.signal_rows import SignalRow

MAX_CHARACTERS = 3_900
MAX_TITLE = 120
KEY_LINE = "ref "
_UNSAFE = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Note:
    """One message: how loud it is and what it says. ``severity`` is info, success, warning or failure."""

    severity: str
    title: str
    body: str


def note(severity: str, title: str, lines: Sequence[str], key: str) -> Note:
    """Return a message that is safe to send, cut to length, closed by its key."""
    body = "\n".join(_plain(line) for line in lines if line)
    ending = f"\n{KEY_LINE}{key}"
    while len(html.escape(body)) > MAX_CHARACTERS - len(html.escape(ending)):
        body = body[: int(len(body) * 0.9)].rstrip() + "…"
    return Note(severity, _plain(title)[:MAX_TITLE], body + ending)


def key_of(body: str) -> str:
    """Return the key a message body ends with, empty if it has none."""
    last = body.rstrip().rpartition("\n")[2].strip()
    return last.removeprefix(KEY_LINE) if last.startswith(KEY_LINE) else ""


def _plain(text: str) -> str:
    return _UNSAFE.sub(" ", text).replace("<", "‹").replace(">", "›")


def headroom_line(left_pct: Decimal, resets_at: datetime) -> str:
    """Return for example ``headroom today 1.8 % left, resets 23:00 UTC``."""
    return f"headroom today {left_pct:.1f} % left, resets {resets_at:%H:%M} UTC"


def signal_note(signal: SignalRow, key: str, *, headroom: str, why_not_live: str, models: str) -> Note:
    """Return the alert for one signal."""
    mode = signal.mode.upper()
    lines = [
        f"{mode}: not tradeable, {why_not_live}" if why_not_live else "",
        f"tier {signal.tier}, confidence {signal.confidence:.3f}",
        f"entry {_price(signal.entry_price)}",
        f"target {_price(signal.target_price)}",
        f"stop {_price(signal.stop_price)}",
        f"reward:risk {signal.reward_risk_ratio:.2f}",
        f"minute {signal.open_time:%Y-%m-%d %H:%M} UTC, ends within 15 minutes",
        headroom,
        f"models {models}" if models else "",
        "Candledesk places no orders.",
    ]
    title = f"{mode} {signal.tier} {signal.direction} {signal.product} at {_price(signal.entry_price)}"
    return note("warning" if why_not_live else "success", title, lines, key)


def _price(price: Decimal) -> str:
    return f"{price:,.2f}" if price >= 100 else f"{price:,.6f}".rstrip("0").rstrip(".")


_RISK_TITLES: Mapping[str, tuple[str, str]] = {
    "daily_warn_60": ("warning", "60 % of the daily loss limit used"),
    "daily_warn_80": ("warning", "80 % of the daily loss limit used"),
    "daily_loss": ("failure", "Daily loss stop: no signals until the reset"),
    "total_warn_60": ("warning", "60 % of the total loss limit used"),
    "total_warn_80": ("warning", "80 % of the total loss limit used"),
    "total_loss": ("failure", "Total loss stop: no signals any more"),
    "kill_switch_on": ("failure", "Kill switch is ON: no signals"),
    "kill_switch_off": ("warning", "Kill switch was let go"),
    "loss_streak": ("warning", "Losses in a row: signals are paused"),
    "stale": ("failure", "No fresh candles"),
    "crash": ("failure", "The runtime had crashed and is back"),
    "model_switched": ("info", "Other models serve from now on"),
    "model_refused": ("failure", "Newly promoted models were refused; the last good ones go on"),
}


def risk_note(kind: str, detail: str, happened_at: datetime, key: str, headroom: str = "") -> Note:
    """Return the alert for something the guardrails, the switch or the data said."""
    severity, title = _RISK_TITLES[kind]
    return note(severity, title, [detail, headroom, f"at {happened_at:%Y-%m-%d %H:%M} UTC"], key)


def start_note(mode: str, products: str, models: str, key: str, remarks: Sequence[str] = ()) -> Note:
    """Return the message that the runtime has started."""
    lines = [f"products {products}", f"models {models or 'none: nothing will be emitted'}", *remarks]
    return note("info", f"Candledesk started in {mode} mode", lines, key)


def stop_note(mode: str, reason: str, counts: Mapping[str, int], key: str) -> Note:
    """Return the message that the runtime has ended, with what it decided."""
    lines = [f"reason: {reason}", *(f"{name}: {count}" for name, count in counts.items())]
    return note("info" if reason != "error" else "failure", f"Candledesk stopped ({mode})", lines, key)


def no_signals_note(hours: int, reasons: Mapping[str, int], key: str) -> Note:
    """Return the message that nothing was emitted for a day, and why."""
    why = [f"{reason}: {count} minutes" for reason, count in sorted(reasons.items(), key=lambda item: -item[1])]
    return note("warning", f"No signal in {hours} hours", ["What the minutes since then were decided as:", *why], key)


def digest_note(hour: datetime, signals: Sequence[tuple[datetime, str, str, str, float]], key: str) -> Note:
    """Return the hourly digest of medium and low signals: (made_at, tier, product, direction, confidence)."""
    lines = [
        f"{made_at:%H:%M} {tier} {direction} {product} {confidence:.3f}"
        for made_at, tier, product, direction, confidence in signals
    ]
    title = f"{len(signals)} medium or low signal{'s' if len(signals) != 1 else ''}, {hour:%Y-%m-%d %H}:00 UTC"
    return note("info", title, lines, key)


def test_note(key: str, mode: str) -> Note:
    """Return the message of `alerts test`."""
    return note("info", "Candledesk test message", [f"mode {mode}", "If you read this, alerts arrive."], key)
