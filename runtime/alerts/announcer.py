"""Decide which messages people are owed, and word them: high-tier signals, risk events, start, stop, silence, digests.

Medium and low signals wait for the digest of their hour. Every key is derived from what it tells of, so that the same
event is never owed twice. Texts are plain (the sender tells Apprise so, which escapes them where a target wants HTML),
without angle brackets or control characters, shorter than Telegram's 4,096 characters even after escaping, without any
secret, and end with their key, by which a message that was sent twice after a crash is recognised.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import ROUND_FLOOR, Decimal
from typing import TYPE_CHECKING

from store.signal_rows import OutboxRow, RiskEventRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from runtime.loaded_models import ProductModels
    from runtime.risk.guardrails import Headroom, RiskEvent
    from store.signal_rows import DecisionRow, SignalRow, TickRows
    from store.signal_store import RecentSignal

MAX_CHARACTERS = 3_900
MAX_TITLE = 120
KEY_LINE = "ref "
QUIET = timedelta(hours=24)
_UNSAFE = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")
_KINDS = {
    **dict.fromkeys(("kill_switch_on", "kill_switch_reducing", "kill_switch_paused", "kill_switch_off"), "kill_switch"),
    "stale": "stale",
}
RISK_TITLES: Mapping[str, tuple[str, str]] = {
    "daily_warn_60": ("warning", "60 % of the daily loss limit used"),
    "daily_warn_80": ("warning", "80 % of the daily loss limit used"),
    "daily_loss": ("failure", "Daily loss stop: no signals until the reset"),
    "total_warn_60": ("warning", "60 % of the total loss limit used"),
    "total_warn_80": ("warning", "80 % of the total loss limit used"),
    "total_loss": ("failure", "Total loss stop: no signals any more"),
    "firm_limit": ("failure", "Beyond the firm's own limit: its account is over, no signals until re-armed"),
    "profit_target": ("success", "Profit target exceeded with all positions closed"),
    "rearmed": ("warning", "The guardrails were re-armed"),
    "account_reset": ("warning", "A new paper account begins"),
    "account_set": ("warning", "The balance was set by hand"),
    "kill_switch_on": ("failure", "Kill switch is ON: no signals, open positions are closed"),
    "kill_switch_reducing": ("failure", "Reducing: no new signals, open positions run out"),
    "kill_switch_paused": ("warning", "Products are paused"),
    "kill_switch_off": ("warning", "Kill switch was let go"),
    "loss_streak": ("warning", "Losses in a row: signals are paused"),
    "stale": ("failure", "No fresh candles"),
    "crash": ("failure", "The runtime had crashed and is back"),
    "model_switched": ("info", "Other models serve from now on"),
    "model_refused": ("failure", "Newly promoted models were refused; the last good ones go on"),
    "store_blocked": ("failure", "Decisions cannot be stored: no signals until they can"),
    "bad_score": ("failure", "A model's score is no probability: no signals of its product"),
}
"""Kind of risk event -> how loud it is, and its title."""


def message(
    kind: str, key: str, at: datetime, severity: str, title: str, lines: Iterable[str], *, product: str = ""
) -> OutboxRow:
    """Return a message that is safe to send, cut to length, closed by its key; its sequence is given at the commit.

    ``severity`` is Apprise's: info, success, warning or failure.
    """
    body = "\n".join(_plain(line) for line in lines if line)
    ending = f"\n{KEY_LINE}{key}"
    while len(html.escape(body)) > MAX_CHARACTERS - len(html.escape(ending)):
        body = body[: int(len(body) * 0.9)].rstrip() + "…"
    signal_id = key if kind == "signal" else ""
    return OutboxRow(key, at, 0, kind, product, severity, _plain(title)[:MAX_TITLE], body + ending, signal_id)


def key_of(body: str) -> str:
    """Return the key a message body ends with, empty if it has none."""
    last = body.rstrip().rpartition("\n")[2].strip()
    return last.removeprefix(KEY_LINE) if last.startswith(KEY_LINE) else ""


def _plain(text: str) -> str:
    return _UNSAFE.sub(" ", text).replace("<", "‹").replace(">", "›")


def headroom_lines(headroom: Headroom) -> tuple[str, str]:
    """Return for example ``headroom today 1.7 % left, resets 23:00 UTC`` and ``headroom in total 6.2 % left, never resets``."""
    daily, total = (_share(usd, headroom.capital) for usd in (headroom.daily_usd, headroom.total_usd))
    return (
        f"headroom today {daily} left, resets {headroom.resets_at:%H:%M} UTC",
        f"headroom in total {total} left, never resets",
    )


def _share(usd: Decimal, capital: Decimal) -> str:
    # down, never up: nobody may be told of room that is not there
    share = (100 * max(usd, Decimal(0)) / capital).quantize(Decimal("0.1"), ROUND_FLOOR)
    return f"{share} % ({max(usd, Decimal(0)):,.2f} USD)"


def signal_message(signal: SignalRow, headroom: Headroom, *, why_not_live: str, models: str) -> OutboxRow:
    """Return the alert for one signal."""
    mode = signal.mode.upper()
    lines = (
        f"{mode}: not tradeable, {why_not_live}" if why_not_live else "",
        f"tier {signal.tier}, confidence {signal.confidence:.3f}",
        f"entry {_price(signal.entry_price)}",
        f"target {_price(signal.target_price)}",
        f"stop {_price(signal.stop_price)}",
        f"reward:risk {signal.reward_risk_ratio:.2f}",
        f"size {signal.size_usd:,.0f} USD",
        f"minute {signal.open_time:%Y-%m-%d %H:%M} UTC, ends within 15 minutes",
        *headroom_lines(headroom),
        f"models {models}" if models else "",
        "Candledesk places no orders.",
    )
    title = f"{mode} {signal.tier} {signal.direction} {signal.product} at {_price(signal.entry_price)}"
    severity = "warning" if why_not_live else "success"
    return message("signal", signal.signal_id, signal.made_at, severity, title, lines, product=signal.product)


def _price(price: Decimal) -> str:
    """Return as many digits as tell entry, target and stop apart: below 1 all that are stored."""
    if price >= 100:
        return f"{price:,.2f}"
    return f"{price:,.{6 if price >= 1 else 8}f}".rstrip("0").rstrip(".")


@dataclass(slots=True)
class Announcer:
    """What people were told, and what waits to be told."""

    session_id: str
    mode: str
    models: Mapping[str, ProductModels]
    """Per product the models behind it: named in alerts, and asked whether a signal is a trade."""
    quiet_since: datetime
    waiting: list[RecentSignal | SignalRow] = field(default_factory=list)
    """Medium and low signals of which no digest told yet."""
    reasons: Counter[str] = field(default_factory=Counter)

    def start(self, at: datetime, remarks: Sequence[str]) -> OutboxRow:
        """Return the message of the start."""
        models = ", ".join(sorted({own.line for own in self.models.values() if own.line}))
        lines = (f"products {', '.join(self.models)}", f"models {models or 'none: nothing will be emitted'}", *remarks)
        return message(
            "start", f"start:{self.session_id}", at, "info", f"Candledesk started in {self.mode} mode", lines
        )

    def stop(self, at: datetime, reason: str, counts: Mapping[str, int]) -> OutboxRow:
        """Return the message of the end, with what was decided."""
        severity = "failure" if reason == "error" else "info"
        lines = (f"reason: {reason}", *(f"{name}: {count}" for name, count in counts.items()))
        return message("stop", f"stop:{self.session_id}", at, severity, f"Candledesk stopped ({self.mode})", lines)

    def tell_risk(self, event: RiskEvent, headroom: Headroom, rows: TickRows, *, session_id: str = "") -> None:
        """Keep a risk event, of this session or a crashed one, and owe people its message."""
        at = event.happened_at
        rows.risk_events.append(
            RiskEventRow(at, session_id or self.session_id, event.kind, event.severity, event.detail)
        )
        key = ":".join(part for part in (event.kind, event.product, f"{at:%Y%m%dT%H%M%S}") if part)
        severity, title = RISK_TITLES[event.kind]
        lines = (event.detail, *headroom_lines(headroom), f"at {at:%Y-%m-%d %H:%M} UTC")
        kind = _KINDS.get(event.kind, "risk")
        rows.outbox.append(message(kind, key, at, severity, title, lines, product=event.product))

    def decided(self, decision: DecisionRow) -> None:
        """Count a decision, to explain a day without signals."""
        self.reasons[decision.reason] += 1

    def signal(self, signal: SignalRow, headroom: Headroom) -> Iterable[OutboxRow]:
        """Return the message of a high signal; keep any other for the digest."""
        self.quiet_since = signal.made_at
        self.reasons.clear()
        if signal.tier != "high":
            self.waiting.append(signal)
            return
        own = self.models[signal.product]
        yield signal_message(signal, headroom, why_not_live=own.why_not_live(self.mode), models=own.line)

    def advance(self, moment: datetime) -> Iterable[OutboxRow]:
        """Return what time itself makes due: digests of hours that are over, and the alarm of a quiet day."""
        yield from self.digests(moment)
        if moment - self.quiet_since >= QUIET:
            hours = int((moment - self.quiet_since) / timedelta(hours=1))
            why = sorted(self.reasons.items(), key=lambda item: -item[1])
            lines = (
                "What the minutes since then were decided as:",
                *(f"{name}: {count} minutes" for name, count in why),
            )
            key = f"no_signals:{moment:%Y%m%dT%H%M}"
            yield message("no_signals", key, moment, "warning", f"No signal in {hours} hours", lines)
            self.quiet_since = moment
            self.reasons.clear()

    def digests(self, moment: datetime, *, is_last: bool = False) -> Iterable[OutboxRow]:
        """Return the digest of each hour that is over (or of all, at the end of the session)."""
        this_hour = _hour(moment)
        for hour in sorted({_hour(signal.made_at) for signal in self.waiting}):
            if hour >= this_hour and not is_last:
                continue
            due = [signal for signal in self.waiting if _hour(signal.made_at) == hour]
            self.waiting = [signal for signal in self.waiting if _hour(signal.made_at) != hour]
            yield _digest(hour, due, moment)


def _digest(hour: datetime, signals: Sequence[RecentSignal | SignalRow], moment: datetime) -> OutboxRow:
    # an hour cut in two by a restart has two digests, told apart by their first line
    key = f"digest:{hour:%Y%m%dT%H}:{signals[0].made_at:%M%S}:{len(signals)}"
    lines = (
        f"{signal.made_at:%H:%M} {signal.tier} {signal.direction} {signal.product} {signal.confidence:.3f}"
        for signal in signals
    )
    plural = "s" if len(signals) != 1 else ""
    title = f"{len(signals)} medium or low signal{plural}, {hour:%Y-%m-%d %H}:00 UTC"
    return message("digest", key, moment, "info", title, lines)


def _hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)
