"""Decides which messages people are owed, and words them into outbox rows.

High-tier signals, risk events, start, stop, kill switch, stale data and a day without signals each make a message;
medium and low signals wait for the digest of their hour. Every key is derived from what it tells of, so that the
same event is never owed twice.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from runtime.alerts import messages
from store.signal_rows import OutboxRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from runtime.alerts.messages import Note
    from runtime.risk.guardrails import Headroom, RiskEvent
    from store.signal_rows import DecisionRow, SignalRow

QUIET = timedelta(hours=24)
_KINDS = {"kill_switch_on": "kill_switch", "kill_switch_off": "kill_switch", "stale": "stale"}
DigestLine = tuple[datetime, str, str, str, float]


def row(key: str, at: datetime, kind: str, note: Note, *, product: str = "", signal_id: str = "") -> OutboxRow:
    """Return a message ready to be committed; its sequence is given then."""
    return OutboxRow(key, at, 0, kind, product, note.severity, note.title, note.body, signal_id)


def headroom_text(headroom: Headroom) -> str:
    """Return the line about what may still be lost today."""
    return messages.headroom_line(headroom.left_pct, headroom.resets_at)


@dataclass(slots=True)
class Announcer:
    """What was told, and what waits to be told."""

    session_id: str
    mode: str
    why_not_live: Mapping[str, str]
    """Per product why its alerts are not tradeable, empty if they are."""
    models: Mapping[str, str]
    """Per product the models behind it, with what is known of them."""
    quiet_since: datetime
    waiting: list[DigestLine] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)

    def start(self, at: datetime, products: Sequence[str], remarks: Sequence[str]) -> OutboxRow:
        """Return the message of the start."""
        key = f"start:{self.session_id}"
        models = ", ".join(sorted({text for text in self.models.values() if text}))
        return row(key, at, "start", messages.start_note(self.mode, ", ".join(products), models, key, remarks))

    def stop(self, at: datetime, reason: str, counts: Mapping[str, int]) -> OutboxRow:
        """Return the message of the end."""
        key = f"stop:{self.session_id}"
        return row(key, at, "stop", messages.stop_note(self.mode, reason, counts, key))

    def risk(self, event: RiskEvent, headroom: Headroom, *, product: str = "") -> OutboxRow:
        """Return the message of a risk event."""
        key = ":".join(part for part in (event.kind, product, f"{event.happened_at:%Y%m%dT%H%M%S}") if part)
        note = messages.risk_note(event.kind, event.detail, event.happened_at, key, headroom_text(headroom))
        return row(key, event.happened_at, _KINDS.get(event.kind, "risk"), note, product=product)

    def decided(self, decision: DecisionRow) -> None:
        """Count a decision, to explain a day without signals."""
        self.reasons[decision.reason] += 1

    def signal(self, signal: SignalRow, headroom: Headroom) -> Iterable[OutboxRow]:
        """Return the message of a high signal; keep any other for the digest."""
        self.quiet_since = signal.made_at
        self.reasons.clear()
        if signal.tier != "high":
            self.waiting.append((signal.made_at, signal.tier, signal.product, signal.direction, signal.confidence))
            return
        note = messages.signal_note(
            signal,
            signal.signal_id,
            headroom=headroom_text(headroom),
            why_not_live=self.why_not_live.get(signal.product, ""),
            models=self.models.get(signal.product, ""),
        )
        yield row(signal.signal_id, signal.made_at, "signal", note, product=signal.product, signal_id=signal.signal_id)

    def advance(self, moment: datetime) -> Iterable[OutboxRow]:
        """Return what time itself makes due: digests of hours that are over, and the alarm of a quiet day."""
        yield from self.digests(moment)
        if moment - self.quiet_since >= QUIET:
            hours = int((moment - self.quiet_since) / timedelta(hours=1))
            key = f"no_signals:{moment:%Y%m%dT%H%M}"
            yield row(key, moment, "no_signals", messages.no_signals_note(hours, self.reasons, key))
            self.quiet_since = moment
            self.reasons.clear()

    def digests(self, moment: datetime, *, is_last: bool = False) -> Iterable[OutboxRow]:
        """Return the digest of each hour that is over (or of all, at the end of the session)."""
        this_hour = _hour(moment)
        hours = sorted({_hour(line[0]) for line in self.waiting})
        for hour in hours:
            if hour >= this_hour and not is_last:
                continue
            lines = [line for line in self.waiting if _hour(line[0]) == hour]
            self.waiting = [line for line in self.waiting if _hour(line[0]) != hour]
            # an hour cut in two by a restart has two digests, told apart by their first line
            key = f"digest:{hour:%Y%m%dT%H}:{lines[0][0]:%M%S}:{len(lines)}"
            yield row(key, moment, "digest", messages.digest_note(hour, lines, key))


def _hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)
