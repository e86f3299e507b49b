"""The summary of an observation: go, no-go or need more, with everything it rests on, in one page."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from core.errors import StoreError
from core.version import commit
from reports.models.model_card import read_cards
from reports.models.plots import coverage, reliability
from reports.models.tables import baseline_table, gates_table
from reports.observation.evidence import counted_signals, gather
from reports.observation.plots import cumulative_net, equity, pace_and_confidence, price_with_signals, tier_mix
from reports.observation.record import read_record
from reports.observation.standings import promoted_slots, standings
from reports.observation.tables import (
    alerts_table,
    coins_table,
    drift_blocks,
    events_table,
    missed_note,
    outcome_table,
    overview_table,
    reasons_table,
    sessions_table,
)
from reports.observation.verdict import Criterion, LimitProof, Standing, Verdict, judge_observation
from reports.page.document import Cell, Code, Document, Figures, Section, Table, Text
from reports.page.formatting import NOT_COMPUTED, interval_text, market_name, market_notice, percent, sources_of, when
from runtime.risk.loss_simulation import simulate_loss

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from core.settings import Settings
    from reports.models.model_card import ModelCard
    from reports.observation.record import Record
    from reports.observation.verdict import Evidence
    from reports.page.document import Block, Picture

ARTIFACT_BYTES = 1_400_000
"""Largest Markdown with embedded pictures; Prefect's server keeps it in its database."""

_TONES = {"pass": "good", "fail": "bad", "not yet": "wait", "GO": "good", "NO-GO": "bad", "NEED MORE": "wait"}

QUERIES = (
    (
        "Why did minutes not become signals?",
        "select product, reason, count(*) as decisions from decisions group by all order by product, decisions desc",
    ),
    (
        "What did signals earn, by product and session?",
        "select product, session, count(*) as closed, avg(is_win::int) as win_rate, avg(net_bps) as net_bps "
        "from signals join outcomes using (signal_id) group by all order by product, session",
    ),
    (
        "Which decisions were the most confident, and what happened next?",
        "select d.product, d.open_time, d.direction, d.confidence, d.reason, o.gross_bps from decisions as d "
        "left join signals as s using (product, open_time) left join outcomes as o using (signal_id) "
        "where d.confidence is not null order by d.confidence desc limit 20",
    ),
)


@dataclass(frozen=True, slots=True)
class Summary:
    """The verdict and where its report lies."""

    verdict: Verdict
    market: str
    mode: str
    html: Path
    markdown: Path
    json: Path
    artifact_markdown: Path
    """The Markdown with its pictures inside, for a place that holds no second file."""

    @property
    def queries(self) -> tuple[str, ...]:
        """SQL worth trying on what was observed."""
        return tuple(query for _, query in QUERIES)

    @property
    def headline(self) -> str:
        """The verdict in one line; a simulated market is named in it."""
        return f"{self.verdict.word}: {self.verdict.headline} (market: {self.market}, mode: {self.mode})"

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every file of the summary."""
        return self.html, self.markdown, self.json, self.artifact_markdown


def write_summary(settings: Settings, proofs: Sequence[LimitProof] | None = None) -> Summary:
    """Judge the observation so far and write ``summary.html``, ``.md``, ``.json`` and an artifact's Markdown.

    Args:
        settings: Where the published databases, passports and baseline lie.
        proofs: What the loss simulation showed; it is run now when left out.

    Raises:
        StoreError: nothing was decided yet.
    """
    record = read_record(settings)
    promoted = promoted_slots(settings, record["registry"])
    cards = read_cards(settings, promoted)
    standing = standings(record.extent.products, cards, promoted, record["registry"])
    baseline = read_json(settings.paths.home / "models" / "baseline.json")
    evidence = gather(record, standing, baseline, _drilled(settings) if proofs is None else proofs)
    verdict = judge_observation(evidence)
    summary = _summary(settings, verdict, market_name(sources_of(record["sources"])), record.mode)
    _write(summary, _document(summary, record, cards, evidence, settings), record, evidence)
    return summary


def _drilled(settings: Settings) -> list[LimitProof]:
    return [LimitProof(drill.limit, drill.is_blocked, drill.detail) for drill in simulate_loss(settings)]


def read_summary(settings: Settings) -> Summary:
    """Read the last summary written.

    Raises:
        StoreError: none was written yet.
    """
    path = settings.paths.observation / "summary.json"
    content = read_json(path)
    if content is None:
        msg = f"{path} is missing or damaged; run: make observe-daily"
        raise StoreError(msg)
    criteria = tuple(Criterion(**item) for item in content["criteria"])
    products = tuple(
        Standing(
            item["product"], tuple(item["promoted"]), {model: tuple(gates) for model, gates in item["refused"].items()}
        )
        for item in content["products"]
    )
    verdict = Verdict(
        content["verdict"],
        content["headline"],
        tuple(content["reasons"]),
        criteria,
        products,
        content["hours_needed"],
        content["signals_needed"],
    )
    return _summary(settings, verdict, content["market"], content["mode"])


def read_json(path: Path) -> dict[str, Any] | None:
    """Read a JSON object; None when it is missing or is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _summary(settings: Settings, verdict: Verdict, market: str, mode: str) -> Summary:
    folder = settings.paths.observation
    names = ("summary.html", "summary.md", "summary.json", "summary_artifact.md")
    return Summary(verdict, market, mode, *(folder / name for name in names))


def _write(summary: Summary, document: Document, record: Record, evidence: Evidence) -> None:
    pictures = summary.html.parent / "plots"
    pictures.mkdir(parents=True, exist_ok=True)
    for picture in document.pictures:
        (pictures / f"summary_{picture.name}.png").write_bytes(picture.png)
    summary.html.write_text(document.html(), encoding="utf-8")
    summary.markdown.write_text(
        document.markdown(lambda picture: f"plots/summary_{picture.name}.png"), encoding="utf-8"
    )
    summary.artifact_markdown.write_text(_embedded(document), encoding="utf-8")
    content = json.dumps(_as_json(summary, record, evidence), indent=1, default=str)
    summary.json.write_text(content + "\n", encoding="utf-8")


def _embedded(document: Document) -> str:
    """Return Markdown with pictures inside; from the first that no longer fits on, their names only."""
    room = ARTIFACT_BYTES - len(document.markdown(lambda picture: f"plots/summary_{picture.name}.png").encode())
    inside: set[str] = set()
    for picture in document.pictures:
        room -= len(picture.data_uri)
        if room < 0:
            break
        inside.add(picture.name)

    def source(picture: Picture) -> str:
        return picture.data_uri if picture.name in inside else f"plots/summary_{picture.name}.png"

    return document.markdown(source)


def _as_json(summary: Summary, record: Record, evidence: Evidence) -> dict[str, Any]:
    return {
        "verdict": summary.verdict.word,
        "headline": summary.verdict.headline,
        "reasons": summary.verdict.reasons,
        "hours_needed": summary.verdict.hours_needed,
        "signals_needed": summary.verdict.signals_needed,
        "market": summary.market,
        "mode": summary.mode,
        "since": record.since,
        "until": record.until,
        "minutes": {
            "expected": record.expected_minutes,
            "decided": record.decided_minutes,
            "blind": record.blind_minutes,
            "clean": record.clean_minutes,
            "missed": record.missed_minutes,
        },
        "signals": len(record["signals"]),
        "criteria": [asdict(criterion) for criterion in summary.verdict.criteria],
        "products": [
            asdict(item) | {"is_promoted": item.is_promoted, "reason": item.reason}
            for item in summary.verdict.standings
        ],
        "win_rate": asdict(evidence.wins) if evidence.wins else None,
        "tiers": {tier: asdict(share) for tier, share in evidence.tiers.items()},
        "commit": commit(),
    }


def _document(
    summary: Summary, record: Record, cards: Sequence[ModelCard], evidence: Evidence, settings: Settings
) -> Document:
    verdict = summary.verdict
    notice = market_notice(sources_of(record["sources"]))
    shadow = "This observation ran in shadow: its signals were recorded and marked, none may be traded, and the verdict cannot be GO."
    return Document(
        title=f"{verdict.headline[0].upper()}{verdict.headline[1:]}",
        kicker="Candledesk verdict",
        lead=f"Market: {summary.market} · mode: {summary.mode} · observed {when(record.since)} to {when(record.until)}.",
        badge=Cell(verdict.word, _TONES[verdict.word]),  # type: ignore[arg-type]  # every tone in the table is one
        notices=tuple(text for text in (notice, shadow if record.mode == "shadow" else "") if text),
        sections=(
            Section("Verdict", _verdict_blocks(verdict, record, evidence)),
            Section(
                "Products and models", (overview_table(cards, verdict.standings), reliability(cards), coverage(cards))
            ),
            *_product_sections(cards, verdict),
            Section(
                "Signals", (price_with_signals(record), coins_table(record), pace_and_confidence(record, settings))
            ),
            Section(
                "Outcomes",
                (outcome_table(record), cumulative_net(record), tier_mix(evidence.tiers, evidence.expected_tiers)),
            ),
            Section("Guardrails", (equity(record, settings), *_proof_table(evidence), events_table(record))),
            Section("Why minutes did not become signals", (reasons_table(record),)),
            Section("Alerts", (alerts_table(record),)),
            Section("Drift and sessions", (*drift_blocks(record), sessions_table(record))),
            Section("Where this comes from", (_provenance(record, cards),)),
            Section("Ask the data yourself", _queries()),
        ),
    )


def _verdict_blocks(verdict: Verdict, record: Record, evidence: Evidence) -> tuple[Block, ...]:
    rows = tuple(
        (item.title, Cell(item.state, _TONES[item.state]), item.figure, item.bound, item.repair)  # type: ignore[arg-type]
        for item in verdict.criteria
    )
    closed = [row for row in counted_signals(record) if row["is_win"] is not None]
    net = sum(row["net_bps"] for row in closed) / len(closed) if closed else None
    figures = Figures(
        (
            (
                "clean hours",
                f"{evidence.clean_minutes / 60:.1f}",
                f"{missed_note(record)}, {record.restarts} restarts",
            ),
            ("signals", str(len(counted_signals(record))), f"{len(closed)} closed"),
            (
                "win rate",
                percent(evidence.wins.value if evidence.wins else None),
                interval_text(evidence.wins),
            ),
            ("net per signal", "not computed" if net is None else f"{net:+.1f} bps", "after spread, slippage and fee"),
            ("still needed", _still_needed(verdict), "until nothing waits" if verdict.word == "NEED MORE" else ""),
        )
    )
    reasons = tuple(Text(reason) for reason in verdict.reasons)
    return (figures, *reasons, Table(("criterion", "state", "figure", "bound", "what repairs it"), rows))


def _still_needed(verdict: Verdict) -> str:
    parts = []
    if verdict.hours_needed > 0:
        parts.append(f"{verdict.hours_needed:.0f} h")
    if verdict.signals_needed > 0:
        parts.append(f"{verdict.signals_needed} signals")
    return ", ".join(parts) or "nothing"


def _product_sections(cards: Sequence[ModelCard], verdict: Verdict) -> tuple[Section, ...]:
    sections = []
    for item in verdict.standings:
        state = "promoted" if item.is_promoted else "refused"
        told = f"Served by {', '.join(item.promoted)}." if item.is_promoted else f"Refused: {item.reason}."
        sections.append(
            Section(
                f"{item.product}: {state}",
                (Text(told), gates_table(cards, item.product), baseline_table(cards, item.product)),
            )
        )
    return tuple(sections)


def _proof_table(evidence: Evidence) -> tuple[Block, ...]:
    if evidence.proofs is None:
        return (Text("The loss simulation was not run: desk simulate-loss."),)
    rows = tuple(
        (proof.limit, Cell("blocked", "good") if proof.is_blocked else Cell("NOT BLOCKED", "bad"), proof.detail)
        for proof in evidence.proofs
    )
    return (Table(("simulated loss", "state", "detail"), rows, "the loss simulation had no case"),)


def _provenance(record: Record, cards: Sequence[ModelCard]) -> Table:
    rows: list[tuple[Cell | str, ...]] = [
        (
            "candles",
            f"{row['product']} from {row['source']}",
            f"{row['candles']:,} minutes, {when(row['first_open_time'])} to {when(row['last_open_time'])}",
        )
        for row in record["sources"]
    ]
    rows += [
        (
            "data set",
            Cell(row["digest"][:16], "code"),
            f"{row['feature_set']}, {row['row_count']:,} rows, {when(row['start_time'])} to {when(row['end_time'])}",
        )
        for row in record["datasets"][:1]
    ]
    for model in cards:
        passport, judged, training = model.passport, model.passport.judged, model.passport.training
        told = (
            f"data set {(passport.dataset_digest or NOT_COMPUTED)[:16]}, graph {passport.sha256[:16]}, "
            f"gates {judged.profile.name if judged else NOT_COMPUTED}, {judged.trials if judged else NOT_COMPUTED} trials, "
            f"trained at commit {training.commit[:12] if training else NOT_COMPUTED}"
        )
        rows.append(("model", Cell(model.model_id, "code"), told))
    rows += (
        [("feature set", Cell(str(record.sessions[-1]["feature_set"]), "code"), "of the newest session")]
        if record.sessions
        else []
    )
    rows.append(("code", Cell(commit()[:12], "code"), "commit that wrote this report"))
    return Table(("what", "which", "detail"), tuple(rows))


def _queries() -> tuple[Block, ...]:
    blocks: list[Block] = []
    for question, query in QUERIES:
        blocks += [Text(question), Code(f'desk sql "{query}"', "bash")]
    return tuple(blocks)
