"""The report of one day of observation: what was decided, what was signalled, and why nothing was when nothing was."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports.observation.evidence import win_rate
from reports.observation.plots import cumulative_net, equity, pace_and_confidence, price_with_signals
from reports.observation.record import read_extent, read_record
from reports.observation.tables import (
    alerts_table,
    coins_table,
    drift_blocks,
    events_table,
    missed_note,
    outcome_table,
    reasons_table,
    sessions_table,
)
from reports.page.document import Document, Figures, Section
from reports.page.formatting import (
    NOT_COMPUTED,
    interval_text,
    market_notice,
    milliseconds,
    percent,
    reason_in_words,
    sources_of,
    when,
)

if TYPE_CHECKING:
    from pathlib import Path

    from core.settings import Settings
    from reports.observation.record import Record, Rows
    from reports.page.document import Block


def observation_days(settings: Settings) -> int:
    """Return how many UTC days the observation has touched.

    Raises:
        StoreError: nothing was decided yet.
    """
    return read_extent(settings).days


def write_daily(settings: Settings, day: int) -> Path:
    """Write ``day<N>.md``, ``day<N>.html`` and their pictures; return the Markdown file.

    Raises:
        StoreError: nothing was decided yet, or not on that day; the text names the days there are.
    """
    document = daily_document(read_record(settings, day), settings, day)
    folder = settings.paths.observation
    pictures = folder / "plots"
    pictures.mkdir(parents=True, exist_ok=True)
    for picture in document.pictures:
        (pictures / f"day{day}_{picture.name}.png").write_bytes(picture.png)
    (folder / f"day{day}.html").write_text(document.html(), encoding="utf-8")
    path = folder / f"day{day}.md"
    path.write_text(document.markdown(lambda picture: f"plots/day{day}_{picture.name}.png"), encoding="utf-8")
    return path


def daily_document(record: Record, settings: Settings, day: int) -> Document:
    """Build the report of one day from its record."""
    notices = (market_notice(sources_of(record["sources"])), _silence(record))
    return Document(
        title=f"Day {day}: {record.since:%A, %d %B %Y}",
        kicker="Candledesk observation",
        lead=_lead(record),
        badge=None,
        notices=tuple(notice for notice in notices if notice),
        sections=(
            Section("At a glance", (_figures(record),)),
            Section("Signals", _signal_blocks(record, settings)),
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
        f"decided, {len(record['signals'])} signals."
    )


def _silence(record: Record) -> str:
    """Say plainly that nothing was signalled, and why; empty when something was."""
    if record["signals"]:
        return ""
    totals: dict[str, int] = {}
    for row in record["reasons"]:
        totals[row["reason"]] = totals.get(row["reason"], 0) + row["decisions"]
    counted = "; ".join(
        f"{reason_in_words(reason)}: {decisions:,} decisions"
        for reason, decisions in sorted(totals.items(), key=lambda item: -item[1])
    )
    repair = (
        " Promote a model first (make train, make evaluate); the gate table says what is missing."
        if "no_model" in totals
        else ""
    )
    return f"Nothing was signalled on this day. Why: {counted}.{repair}"


def _figures(record: Record) -> Figures:
    latency = record["latency"][0] if record["latency"] else {}
    alerts, delivered = len(record["alerts"]), sum(bool(row["is_delivered"]) for row in record["alerts"])
    closed = [row for row in record["signals"] if row["is_win"] is not None]
    uptime = record.decided_minutes / max(record.expected_minutes, 1)
    share = win_rate(closed)
    daily = max((row["daily_used_pct"] for row in record["equity"]), default=None)
    total = max((row["total_used_pct"] for row in record["equity"]), default=None)
    return Figures(
        (
            (
                "minutes decided",
                percent(uptime, 2),
                missed_note(record),
            ),
            ("restarts", str(record.restarts), _reset_note(record)),
            ("signals", str(len(record["signals"])), f"{len(closed)} closed"),
            (
                "win rate",
                percent(share.value if share else None),
                interval_text(share),
            ),
            ("net per signal", _mean_net(closed), "after spread, slippage and fee"),
            ("daily limit used", NOT_COMPUTED if daily is None else f"{daily:.1f} %", "at its worst minute"),
            ("total limit used", NOT_COMPUTED if total is None else f"{total:.1f} %", "at its worst minute"),
            ("alerts delivered", f"{delivered} of {alerts}", _pending_note(record)),
            (
                "latency, median",
                milliseconds(latency.get("p50_ms")),
                f"95 %: {milliseconds(latency.get('p95_ms'))}, max {milliseconds(latency.get('max_ms'))}",
            ),
        )
    )


def _mean_net(closed: Rows) -> str:
    return f"{sum(row['net_bps'] for row in closed) / len(closed):+.1f} bps" if closed else NOT_COMPUTED


def _reset_note(record: Record) -> str:
    reset = record.last_reset
    return f"clock restarted by {reset.cause}" if reset else "no crash, no alarm"


def _pending_note(record: Record) -> str:
    waiting = [row for row in record["alerts"] if not row["is_delivered"]]
    if not waiting:
        return "none waits"
    oldest = max((record.until - row["created_at"]).total_seconds() / 60 for row in waiting)
    return f"{len(waiting)} wait, the oldest {max(oldest, 0):.0f} min"


def _signal_blocks(record: Record, settings: Settings) -> tuple[Block, ...]:
    return (coins_table(record), price_with_signals(record), pace_and_confidence(record, settings))
