"""Make the tables that day reports and the verdict's page share, and write both kinds of page."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.files import write_bytes, write_text
from models.statistics.stability import SHIFTED
from reports.models.tables import interval
from reports.observation.gather_evidence import win_share
from reports.observation.plots import TIERS
from reports.page.document import Cell, Table, Text
from reports.page.formatting import NOT_COMPUTED, count, number, reason_in_words, share_text, when

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from reports.models.model_card import ModelCard
    from reports.observation.exit_evidence import Standing
    from reports.observation.record import Record
    from reports.observation.record_rows import ObservedSignal
    from reports.page.document import Block, Document, Picture

_DRIFT_ROWS = 8
_SEVERITY = {1: Cell("1 alarm", "bad"), 2: Cell("2 blocks", "wait"), 3: Cell("3 informs", "plain")}


def products_table(record: Record) -> Table:
    """Return signals by tier and the confidence distribution, one row per product."""
    rows: list[tuple[Cell | str, ...]] = []
    for own in record.products:
        made = Counter(signal.tier for signal in record.signals if signal.product == own.product)
        confidence = (own.confidence_p50, own.confidence_p95, own.confidence_max)
        rows.append(
            (
                own.product,
                count(own.decided),
                count(own.scored),
                *(count(made[tier]) for tier in TIERS),
                *(number(value, 3) for value in confidence),
            )
        )
    columns = ("product", "decided", "scored", "high", "medium", "low", "confidence median", "95 %", "largest")
    return Table(columns, tuple(rows), "no minute was decided")


def reasons_table(record: Record) -> Table:
    """Return how often each reason decided, by product."""
    products = record.extent.products
    counts = Counter({(row.product, row.reason): row.decisions for row in record.reasons})
    totals: Counter[str] = Counter()
    for row in record.reasons:
        totals[row.reason] += row.decisions
    rows: tuple[tuple[Cell | str, ...], ...] = tuple(
        (Cell(reason, "code"), reason_in_words(reason), *(count(counts[product, reason]) for product in products))
        for reason in sorted(totals, key=lambda reason: (-totals[reason], reason))
    )
    return Table(("reason", "meaning", *products), rows, "no minute was decided")


def mean_net_text(closed: Sequence[ObservedSignal]) -> str:
    """Return the mean result of closed signals after costs, in basis points."""
    net = [signal.net_bps for signal in closed if signal.net_bps is not None]
    return f"{sum(net) / len(net):+.1f} bps" if net else NOT_COMPUTED


def outcome_table(record: Record) -> Table:
    """Return how closed signals ended, by product and in all."""
    rows: list[tuple[Cell | str, ...]] = []
    for group in (*record.extent.products, "all"):
        closed = [signal for signal in record.closed if group in {signal.product, "all"}]
        if closed:
            exits = Counter(signal.exit_reason for signal in closed).most_common()
            rows.append(
                (
                    group,
                    count(len(closed)),
                    Cell(share_text(win_share(closed)), "number"),
                    number(sum(signal.gross_bps or 0.0 for signal in closed) / len(closed)),
                    number(sum(signal.net_bps or 0.0 for signal in closed) / len(closed)),
                    number(sum(signal.pnl_usd or 0.0 for signal in closed), 0),
                    ", ".join(f"{name} {times}" for name, times in exits),
                )
            )
    columns = (
        "product",
        "closed",
        "win rate (95 % interval)",
        "gross bps, mean",
        "net bps, mean",
        "paper result, USD",
        "exits",
    )
    return Table(columns, tuple(rows), "no signal has closed")


def alerts_table(record: Record) -> Table:
    """Return messages owed and delivered, by kind."""
    rows = []
    for kind in dict.fromkeys(alert.kind for alert in record.alerts):
        owed = [alert for alert in record.alerts if alert.kind == kind]
        waiting = [alert for alert in owed if not alert.is_delivered]
        refusal = next((alert.last_detail for alert in waiting if alert.last_detail), "")
        state = Cell(f"{len(waiting)} wait", "bad") if waiting else Cell("all delivered", "good")
        tries = sum(alert.tries for alert in owed)
        rows.append((kind, count(len(owed)), count(len(owed) - len(waiting)), count(tries), state, refusal))
    columns = ("kind", "owed", "delivered", "tries", "state", "last refusal")
    return Table(columns, tuple(rows), "no message was owed")


def events_table(record: Record) -> Table:
    """Return warnings, blocks and alarms with their severity."""
    rows = tuple(
        (when(event.happened_at), _SEVERITY.get(event.severity, str(event.severity)), event.kind, event.detail)
        for event in record.risk_events
    )
    return Table(("when", "severity", "event", "detail"), rows, "no warning, block or alarm")


def drift_blocks(record: Record) -> tuple[Block, ...]:
    """Return the model inputs that moved furthest from training."""
    rows = tuple(
        (
            row.product,
            Cell(row.feature, "code"),
            number(row.psi, 3),
            Cell("shifted", "bad") if row.psi > SHIFTED else Cell("steady", "good"),
        )
        for row in record.drift[:_DRIFT_ROWS]
    )
    table = Table(("product", "input", "PSI", "state"), rows, "drift was not computed for this day")
    if not rows:
        return (table,)
    shifted = sum(row.psi > SHIFTED for row in record.drift)
    summary = f"{shifted} of {len(record.drift)} (product, input) pairs have a population stability index above {SHIFTED:g}, live against training; the largest come first."
    return Text(summary), table


def sessions_table(record: Record) -> Table:
    """Return every start of the runtime up to the end of the span."""
    rows = []
    for session in record.sessions:
        if session.started_at >= record.until:
            continue
        if session.reason:
            ended = Cell(session.reason, "bad" if session.reason == "error" else "plain")
        else:
            is_last = session is record.sessions[-1]
            ended = Cell("still running", "wait") if is_last else Cell("crashed", "bad")
        rows.append(
            (
                Cell(session.session_id[:12], "code"),
                when(session.started_at),
                when(session.ended_at),
                session.mode,
                session.clock,
                count(session.decisions),
                ended,
                session.detail or "",
            )
        )
    columns = ("session", "started", "ended", "mode", "clock", "decisions", "end", "detail")
    return Table(columns, tuple(rows), "no session")


def overview_table(cards: Sequence[ModelCard], standings: Sequence[Standing]) -> Table:
    """Return one row per model and product: state and the figures that matter most."""
    serving = {(item.product, model) for item in standings for model in item.promoted}
    rows = []
    for model in cards:
        for card in model.cards:
            state = (
                Cell("promoted", "good") if (card.product, model.model_id) in serving else _refusal(card.is_accepted)
            )
            failed = ", ".join(card.failed) or ("none" if card.gates else NOT_COMPUTED)
            rows.append(
                (
                    card.product,
                    Cell(model.model_id, "code"),
                    state,
                    Cell(interval(card.metric("accuracy"), 100, 1, " %"), "number"),
                    Cell(interval(card.metric("ece_mass"), 1, 3), "number"),
                    Cell(interval(card.metric("brier_skill"), 1, 3), "number"),
                    failed,
                )
            )
    columns = (
        "product",
        "model",
        "state",
        "accuracy (95 %)",
        "calibration error",
        "Brier skill (95 %)",
        "failing gates",
    )
    return Table(
        columns,
        tuple(sorted(rows, key=lambda row: str(row[0]))),
        "no model was judged; run: make train, then make evaluate",
    )


def _refusal(is_accepted: bool) -> Cell:
    return Cell("passed, not in use", "wait") if is_accepted else Cell("refused", "bad")


@dataclass(frozen=True, slots=True)
class PageFiles:
    """Where one report lies in both forms."""

    html: Path
    markdown: Path


def write_pages(document: Document, folder: Path, name: str) -> PageFiles:
    """Write ``<name>.html``, ``<name>.md`` and the pictures the Markdown shows, under ``plots``, each file whole."""
    for picture in document.pictures:
        write_bytes(folder / picture_path(name, picture), picture.png)
    files = PageFiles(folder / f"{name}.html", folder / f"{name}.md")
    write_text(files.html, document.html())
    write_text(files.markdown, document.markdown(lambda picture: picture_path(name, picture)))
    return files


def picture_path(name: str, picture: Picture) -> str:
    """Return where a report's picture lies, seen from its Markdown."""
    return f"plots/{name}_{picture.name}.png"
