"""Make the data page of the facts that `reports.data.facts` gathers."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from reports.data import plots
from reports.page.document import Cell, Document, Figures, Section, Table, Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reports.data.facts import DataFacts, Sample
    from reports.page.document import Block

_MAX_LINES = 12
_EPOCH = date(1970, 1, 1)


def document(facts: DataFacts) -> Document:
    """Make the page."""
    return Document(
        title=", ".join(facts.products),
        kicker="Candledesk data",
        lead=_lead(facts),
        badge=None,
        notices=_notices(facts),
        sections=(
            Section("Coverage", (_figures(facts), plots.coverage_calendar(facts.days), _coverage_table(facts))),
            Section(
                "Quality", (_flags_table(facts), Text("The longest holes:"), _gaps_table(facts), *_kept_out(facts))
            ),
            Section("Prices and volume", (plots.prices(facts.bars, facts.bar_minutes),)),
            Section("Features", _feature_blocks(facts)),
            Section("Labels", (plots.label_rates(facts.rates, facts.bucket),)),
            Section("Newest data set", _dataset_blocks(facts)),
        ),
    )


def _lead(facts: DataFacts) -> str:
    ends = [row for row in facts.coverage if row["first_open_time"]]
    if not ends:
        return "No candle is stored yet."
    first = min(row["first_open_time"] for row in ends).astimezone(UTC)
    last = max(row["last_open_time"] for row in ends).astimezone(UTC)
    stored = sum(row["stored_minutes"] for row in ends)
    return f"{stored:,} one-minute candles from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC."


def _notices(facts: DataFacts) -> tuple[str, ...]:
    notices = []
    simulated = [source for source in facts.sources if source.startswith(("local:", "synthetic"))]
    if simulated:
        notices.append(f"These prices are not a market's: source {', '.join(simulated)}.")
    if facts.left_out:
        notices.append(
            f"The first {len(facts.products)} products are shown; left out: {', '.join(facts.left_out)}. "
            "Name others: desk data docs --products A,B"
        )
    notices.append(f"Made from the read copy published {facts.published_at:%Y-%m-%d %H:%M} UTC. All times are UTC.")
    return tuple(notices)


def _figures(facts: DataFacts) -> Figures:
    def total(name: str) -> int:
        return sum(row[name] or 0 for row in facts.coverage)

    span = total("span_minutes") or 1
    return Figures(
        (
            (
                "stored",
                f"{total('stored_minutes'):,}",
                f"minutes, {100 * total('stored_minutes') / span:.2f} % of those asked for",
            ),
            ("proved empty", f"{total('empty_minutes'):,}", "minutes the exchange has nothing for"),
            ("quarantined", f"{total('quarantined_minutes'):,}", "minutes of which only bad rows came"),
            ("failed", f"{total('failed_minutes'):,}", "minutes that could not be fetched so far"),
            ("not asked", f"{total('unasked_minutes'):,}", "minutes nobody asked for"),
            ("revised", f"{total('revised_candles'):,}", "candle versions replaced later"),
        )
    )


def _number(value: float) -> Cell:
    return Cell(f"{value:,}", "number")


def _time(moment: datetime | None) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}" if moment else ""


def _coverage_table(facts: DataFacts) -> Table:
    names = ("stored", "empty", "quarantined", "failed", "unasked")
    rows = tuple(
        (
            row["product"],
            row["listing"] or "",
            _time(row["first_open_time"]),
            _time(row["last_open_time"]),
            *(_number(row[f"{name}_minutes"]) for name in names),
        )
        for row in facts.coverage
    )
    columns = (
        "product",
        "listing",
        "first candle",
        "last candle",
        "stored",
        "empty",
        "quarantined",
        "failed",
        "not asked",
    )
    return Table(columns, rows)


def _flags_table(facts: DataFacts) -> Table:
    rows = tuple((row["product"], row["flag"], _number(row["found"]), _time(row["latest"])) for row in facts.flags)
    return Table(
        ("product", "what", "how many", "newest (UTC)"), rows, empty="nothing is flagged, quarantined or revised"
    )


def _gaps_table(facts: DataFacts) -> Table:
    rows = tuple(
        (
            row["product"],
            _time(row["gap_start"]),
            _time(row["gap_end"]),
            _number(row["missing_minutes"]),
            _number(row["empty_minutes"]),
        )
        for row in facts.gaps[:_MAX_LINES]
    )
    columns = ("product", "from (UTC)", "next candle (UTC)", "minutes", "of them proved empty")
    return Table(columns, rows, empty="no minute is missing between the first and the last candle")


def _kept_out(facts: DataFacts) -> tuple[Block, ...]:
    quarantine = tuple(
        (row["product"], row["reason"], row["source"], _number(row["rows_kept_out"]), _time(row["last_open_time"]))
        for row in facts.quarantine[:_MAX_LINES]
    )
    revisions = tuple(
        (
            row["product"],
            _time(row["open_time"]),
            row["changed"],
            _time(row["changed_at"]),
            Cell(f"{row['close_bps'] or 0:+.2f}", "number"),
        )
        for row in facts.revisions[:_MAX_LINES]
    )
    return (
        Text("Rows kept out, by reason:"),
        Table(("product", "reason", "source", "rows", "newest (UTC)"), quarantine, empty="no row was kept out"),
        Text("Candles that came back different, the largest changes of the close first:"),
        Table(
            ("product", "minute (UTC)", "changed", "learned (UTC)", "close, bps"),
            revisions,
            empty="no candle came back different",
        ),
    )


def _feature_blocks(facts: DataFacts) -> tuple[Block, ...]:
    sample = facts.sample
    words = tuple(f"{which} {_days_of(days)}" for which, days in (("first", sample.early), ("last", sample.late)))
    shifts = tuple((name, Cell(f"{index:.2f}", "number")) for name, index in sample.shifts()[:8])
    missing = 1 - sample.real_rows / sample.expected if sample.expected else 0.0
    return (
        Text(
            f"Feature set {facts.feature_set}: {sample.rows:,} minutes of {_sampled(sample)}{_thinned(sample)}. {100 * max(missing, 0.0):.2f} % of "
            "the stored minutes there have no features: history is warming up after the beginning or a hole of over an hour. "
            "A minute has all features or none."
        ),
        Table(("largest shifts", "psi"), shifts, empty="too little history to compare first and last days"),
        plots.feature_histograms(
            sample.rows_of(sample.early), sample.rows_of(sample.late), sample.columns, (words[0], words[1])
        ),
        plots.correlation(sample.x_NF, sample.columns),
    )


def _days_of(days: Sequence[int]) -> str:
    if not days:
        return "days"
    first, last = (date.fromordinal(_EPOCH.toordinal() + day) for day in (days[0], days[-1]))
    return f"{len(days)} days ({first} to {last})"


def _sampled(sample: Sample) -> str:
    if len(sample.days) == sample.of_days:
        return f"all {sample.of_days} days"
    return (
        f"{len(sample.days)} of {sample.of_days} days, a sample: {len(sample.early)} of the first thirty days, "
        f"{len(sample.late)} of the last thirty, the others spread evenly"
    )


def _thinned(sample: Sample) -> str:
    return "" if sample.step == 1 else f"; the pictures show every {sample.step}th of these minutes"


def _dataset_blocks(facts: DataFacts) -> tuple[Block, ...]:
    picture, made = plots.dataset_parts(facts.manifest), facts.manifest
    if made is None:
        return (picture,)
    features = f"feature set {made.feature_set.name} version {made.feature_set.version}"
    known = f", candles as known at {made.known_at_cut:%Y-%m-%d %H:%M} UTC" if made.known_at_cut else ""
    return (Text(f"{made.digest[:16]}: {features}, {', '.join(made.products)}{known}."), picture)


def terminal_lines(facts: DataFacts) -> list[str]:
    """Return the page in a few lines for a terminal."""
    lines = [_lead(facts)]
    for row in facts.coverage:
        total = row["span_minutes"] or 1
        own = {flag["flag"]: flag["found"] for flag in facts.flags if flag["product"] == row["product"]}
        flags = ", ".join(f"{times:,} x {flag}" for flag, times in own.items()) or "nothing flagged"
        lines.append(f"{row['product']}: {100 * row['stored_minutes'] / total:.2f} % stored; {flags}")
    lines += [f"largest shift: {name}, psi {index:.2f}" for name, index in facts.sample.shifts()[:1]]
    return lines
