"""Write the report of one day of observation: what was decided, what was signalled, and why nothing was when nothing was."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from reports.observation.gather_evidence import win_share
from reports.observation.plots import cumulative_net, equity, pace_and_confidence, price_with_signals
from reports.observation.record import observation_folder, read_extent, read_record
from reports.observation.tables import (
    alerts_table,
    drift_blocks,
    events_table,
    mean_net_text,
    outcome_table,
    products_table,
    reasons_table,
    sessions_table,
    write_pages,
)
from reports.page.document import Document, Figures, Section
from reports.page.formatting import (
    NOT_COMPUTED,
    interval_text,
    market_notice,
    milliseconds,
    percent,
    reason_in_words,
    when,
)

if TYPE_CHECKING:
    from pathlib import Path

    from core.settings import Settings
    from reports.observation.record import Record


def observation_days(settings: Settings, observation: str | None = None) -> int:
    """Return how many UTC days the newest observation has touched, or the one of this id.

    Raises:
        StoreError: nothing was decided yet, or there is no such observation.
    """
    return read_extent(settings, observation).days


def write_daily(settings: Settings, day: int, observation: str | None = None) -> Path:
    """Write ``day<N>.md``, ``day<N>.html`` and their pictures; return the Markdown file.

    Pages of the newest observation lie in `reports/observation`, those of an older one in a folder there, named by its id.

    Raises:
        StoreError: nothing was decided yet, or not on that day; the text names the days there are.
    """
    record = read_record(settings, day, observation)
    folder = observation_folder(settings, record.extent)
    return write_pages(daily_document(record, settings, day), folder, f"day{day}").markdown


def daily_document(record: Record, settings: Settings, day: int) -> Document:
    """Build the report of one day from its record."""
    notices = (market_notice(record.source_names), _silence(record))
    return Document(
        title=f"Day {day}: {record.since:%A, %d %B %Y}",
        kicker="Candledesk observation",
        lead=_lead(record),
        badge=None,
        notices=tuple(notice for notice in notices if notice),
        sections=(
            Section("At a glance", (_figures(record),)),
            Section(
                "Signals", (products_table(record), price_with_signals(record), pace_and_confidence(record, settings))
            ),
            Section("Why minutes did not become signals", (reasons_table(record),)),
            Section("Outcomes", (outcome_table(record), cumulative_net(record))),
            Section("Guardrails", (equity(record, settings), events_table(record))),
            Section("Alerts", (alerts_table(record),)),
            Section("Drift of the model inputs", drift_blocks(record)),
            Section("Sessions", (sessions_table(record),)),
        ),
    )


def _lead(record: Record) -> str:
    return (
        f"{when(record.since)} to {when(record.until)}, mode {record.mode}: {record.decided_minutes:,} of {record.expected_minutes:,} minutes "
        f"decided, {len(record.signals)} signals."
    )


def _silence(record: Record) -> str:
    """Say plainly that nothing was signalled, and why; empty when something was."""
    if record.signals:
        return ""
    totals: Counter[str] = Counter()
    for row in record.reasons:
        totals[row.reason] += row.decisions
    counted = "; ".join(
        f"{reason_in_words(reason)}: {decisions:,} decisions" for reason, decisions in totals.most_common()
    )
    repair = (
        " Promote a model first (make train, make evaluate); the gate table says what is missing."
        if "no_model" in totals
        else ""
    )
    return f"Nothing was signalled on this day. Why: {counted}.{repair}"


def _figures(record: Record) -> Figures:
    latency, closed, share = record.latency, record.closed, win_share(record.closed)
    daily = max((row.daily_used_pct for row in record.equity), default=None)
    total = max((row.total_used_pct for row in record.equity), default=None)
    reset = record.last_reset
    delivered = sum(alert.is_delivered for alert in record.alerts)
    uptime = record.decided_minutes / max(record.expected_minutes, 1)
    return Figures(
        (
            ("minutes decided", percent(uptime, 2), record.missed_note),
            ("restarts", str(record.restarts), f"clock restarted by {reset.cause}" if reset else "no crash, no alarm"),
            ("signals", str(len(record.signals)), f"{len(closed)} closed"),
            ("win rate", percent(share.value if share else None), interval_text(share)),
            ("net per signal", mean_net_text(closed), "after spread, slippage and fee"),
            ("daily limit used", NOT_COMPUTED if daily is None else f"{daily:.1f} %", "at its worst minute"),
            ("total limit used", NOT_COMPUTED if total is None else f"{total:.1f} %", "at its worst minute"),
            ("alerts delivered", f"{delivered} of {len(record.alerts)}", _pending_note(record)),
            (
                "latency, median",
                milliseconds(latency.p50_ms),
                f"95 %: {milliseconds(latency.p95_ms)}, max {milliseconds(latency.max_ms)}",
            ),
        )
    )


def _pending_note(record: Record) -> str:
    waiting = [alert for alert in record.alerts if not alert.is_delivered]
    if not waiting:
        return "none waits"
    oldest = max((record.until - alert.created_at).total_seconds() / 60 for alert in waiting)
    return f"{len(waiting)} wait, the oldest {max(oldest, 0):.0f} min"
