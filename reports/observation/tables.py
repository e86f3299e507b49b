"""The tables that day reports and the summary share."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from models.statistics.stability import SHIFTED
from reports.models.tables import interval
from reports.observation.evidence import win_rate
from reports.observation.plots import TIERS
from reports.page.document import Cell, Table, Text
from reports.page.formatting import NOT_COMPUTED, count, number, reason_in_words, share_text, when

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reports.models.model_card import ModelCard
    from reports.observation.record import Record
    from reports.observation.verdict import Standing
    from reports.page.document import Block

_DRIFT_ROWS = 8
_SEVERITY = {1: Cell("1 alarm", "bad"), 2: Cell("2 blocks", "wait"), 3: Cell("3 informs", "plain")}


def coins_table(record: Record) -> Table:
    """Return signals by tier and the confidence distribution, one row per product."""
    rows = []
    for coin in record["coins"]:
        made = [row["tier"] for row in record["signals"] if row["product"] == coin["product"]]
        rows.append(
            (
                coin["product"],
                count(coin["decided"]),
                count(coin["scored"]),
                *(count(made.count(tier)) for tier in TIERS),
                *(number(coin[name], 3) for name in ("confidence_p50", "confidence_p95", "confidence_max")),
            )
        )
    columns = ("product", "decided", "scored", "high", "medium", "low", "confidence median", "95 %", "largest")
    return Table(columns, tuple(rows), "no minute was decided")


def reasons_table(record: Record) -> Table:
    """Return how often each reason decided, by product."""
    products = record.extent.products
    counts = {(row["product"], row["reason"]): row["decisions"] for row in record["reasons"]}
    reasons = sorted(
        {reason for _, reason in counts}, key=lambda reason: -sum(counts.get((name, reason), 0) for name in products)
    )
    rows: tuple[tuple[Cell | str, ...], ...] = tuple(
        (
            Cell(reason, "code"),
            reason_in_words(reason),
            *(count(counts.get((product, reason), 0)) for product in products),
        )
        for reason in reasons
    )
    return Table(("reason", "meaning", *products), rows, "no minute was decided")


def outcome_table(record: Record) -> Table:
    """Return how closed signals ended, by product and in all."""
    groups = [*record.extent.products, "all"]
    rows: list[tuple[Cell | str, ...]] = []
    for group in groups:
        closed = [row for row in record["signals"] if row["is_win"] is not None and group in {row["product"], "all"}]
        if closed:
            gross = sum(row["gross_bps"] for row in closed) / len(closed)
            net = sum(row["net_bps"] for row in closed) / len(closed)
            money = sum(row["pnl_usd"] for row in closed)
            exits = ", ".join(
                f"{name} {times}" for name, times in Counter(row["exit_reason"] for row in closed).most_common()
            )
            rows.append(
                (
                    group,
                    count(len(closed)),
                    Cell(share_text(win_rate(closed)), "number"),
                    number(gross),
                    number(net),
                    number(money, 0),
                    exits,
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
    for kind in dict.fromkeys(row["kind"] for row in record["alerts"]):
        owed = [row for row in record["alerts"] if row["kind"] == kind]
        delivered = sum(bool(row["is_delivered"]) for row in owed)
        waiting = len(owed) - delivered
        said = next((row["last_detail"] for row in owed if not row["is_delivered"] and row["last_detail"]), "")
        state = Cell(f"{waiting} wait", "bad") if waiting else Cell("all delivered", "good")
        rows.append((kind, count(len(owed)), count(delivered), count(sum(row["tries"] for row in owed)), state, said))
    columns = ("kind", "owed", "delivered", "tries", "state", "last refusal")
    return Table(columns, tuple(rows), "no message was owed")


def events_table(record: Record) -> Table:
    """Return warnings, blocks and alarms with their severity."""
    rows = tuple(
        (when(row["happened_at"]), _SEVERITY.get(row["severity"], str(row["severity"])), row["kind"], row["detail"])
        for row in record["risk_events"]
    )
    return Table(("when", "severity", "event", "detail"), rows, "no warning, block or alarm")


def drift_blocks(record: Record) -> tuple[Block, ...]:
    """Return the model inputs that moved furthest from training."""
    rows = tuple(
        (
            row["product"],
            Cell(row["feature"], "code"),
            number(row["psi"], 3),
            Cell("shifted", "bad") if row["psi"] > SHIFTED else Cell("steady", "good"),
        )
        for row in record["drift"][:_DRIFT_ROWS]
    )
    shifted = sum(row["psi"] > SHIFTED for row in record["drift"])
    told = f"{shifted} of {len(record['drift'])} (product, input) pairs have a population stability index above {SHIFTED:g}, live against training; the largest come first."
    table = Table(("product", "input", "PSI", "state"), rows, "drift was not computed for this day")
    return (Text(told), table) if rows else (table,)


def sessions_table(record: Record) -> Table:
    """Return every start of the runtime up to the end of the span."""
    rows = []
    for place, row in enumerate(record.sessions):
        is_last = place == len(record.sessions) - 1
        if row["started_at"] >= record.until:
            continue
        ended = (
            Cell(row["reason"], "bad" if row["reason"] == "error" else "plain")
            if row["reason"]
            else _unended(is_last=is_last)
        )
        rows.append(
            (
                Cell(str(row["session_id"])[:12], "code"),
                when(row["started_at"]),
                when(row["ended_at"]),
                row["mode"],
                row["clock"],
                count(row["decisions"]),
                ended,
                row["detail"] or "",
            )
        )
    return Table(
        ("session", "started", "ended", "mode", "clock", "decisions", "end", "detail"), tuple(rows), "no session"
    )


def _unended(*, is_last: bool) -> Cell:
    return Cell("still running", "wait") if is_last else Cell("crashed", "bad")


def missed_note(record: Record) -> str:
    """Return how many minutes were not decided, and how many of those only too late."""
    if not record.blind_minutes:
        return f"{record.missed_minutes:,} missed"
    return f"{record.missed_minutes:,} missed, {record.blind_minutes:,} of them written too late"


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
