"""Write the verdict on an observation, go, no-go or need more, with everything it rests on, as one page and a file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from core.errors import StoreError
from core.files import write_text
from core.version import commit
from models.registry.baseline import read_baseline
from models.statistics.sequential import Share
from reports.models.model_card import read_cards
from reports.models.plots import coverage, reliability
from reports.models.tables import baseline_table, gates_table
from reports.observation.exit_criteria import ObservationVerdict, judge_observation
from reports.observation.exit_evidence import Criterion, Standing
from reports.observation.gather_evidence import counted_signals, gather, promoted_slots, served_models, standings
from reports.observation.plots import cumulative_net, equity, pace_and_confidence, price_with_signals, tier_mix
from reports.observation.record import observation_folder, read_record
from reports.observation.tables import (
    alerts_table,
    drift_blocks,
    events_table,
    mean_net_text,
    outcome_table,
    overview_table,
    picture_path,
    products_table,
    reasons_table,
    sessions_table,
    write_pages,
)
from reports.page.document import Cell, Code, Document, Figures, Section, Table, Text
from reports.page.formatting import NOT_COMPUTED, interval_text, market_name, market_notice, percent, when

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from core.settings import Settings
    from reports.models.model_card import ModelCard
    from reports.observation.exit_evidence import ExitEvidence, LimitProof
    from reports.observation.record import Record
    from reports.page.document import Block, Picture

VERSION = 1
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
class MinuteCounts:
    """What became of the minutes of an observation."""

    expected: int
    decided: int
    blind: int
    clean: int
    missed: int


@dataclass(frozen=True, slots=True)
class VerdictSummary:
    """The verdict with its figures, as `summary.json` holds it."""

    verdict: ObservationVerdict
    market: str
    mode: str
    since: datetime
    until: datetime
    minutes: MinuteCounts
    signals: int
    win_rate: Share | None
    tiers: Mapping[str, Share]
    commit: str
    folder: Path
    """Where the report lies; not in the file."""

    @property
    def headline(self) -> str:
        """The verdict in one line; a simulated market is named in it."""
        return f"{self.verdict.word}: {self.verdict.headline} (market: {self.market}, mode: {self.mode})"

    @property
    def queries(self) -> tuple[str, ...]:
        """SQL worth trying on what was observed."""
        return tuple(query for _, query in QUERIES)

    @property
    def html(self) -> Path:
        """The page."""
        return self.folder / "summary.html"

    @property
    def markdown(self) -> Path:
        """The same for a terminal."""
        return self.folder / "summary.md"

    @property
    def json(self) -> Path:
        """The figures."""
        return self.folder / "summary.json"

    @property
    def artifact_markdown(self) -> Path:
        """The Markdown with its pictures inside, for a place that holds no second file."""
        return self.folder / "summary_artifact.md"

    def write(self) -> None:
        """Write `summary.json`, whole."""
        verdict = self.verdict
        content: dict[str, Any] = {
            "version": VERSION,
            "verdict": verdict.word,
            "headline": verdict.headline,
            "reasons": verdict.reasons,
            "hours_needed": verdict.hours_needed,
            "signals_needed": verdict.signals_needed,
            "market": self.market,
            "mode": self.mode,
            "since": self.since,
            "until": self.until,
            "minutes": asdict(self.minutes),
            "signals": self.signals,
            "criteria": [asdict(criterion) for criterion in verdict.criteria],
            "products": [
                asdict(item) | {"is_promoted": item.is_promoted, "reason": item.reason} for item in verdict.standings
            ],
            "win_rate": asdict(self.win_rate) if self.win_rate else None,
            "tiers": {tier: asdict(share) for tier, share in self.tiers.items()},
            "commit": self.commit,
        }
        write_text(self.json, json.dumps(content, indent=1, default=str) + "\n")


def read_summary(settings: Settings) -> VerdictSummary:
    """Read the last summary written, also one of an older version.

    Raises:
        StoreError: none was written yet, or it is not whole.
    """
    path = settings.paths.observation / "summary.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return _summary_of(content, path.parent)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        msg = f"{path} is missing or damaged; run: make observe-daily"
        raise StoreError(msg) from error


def _summary_of(content: Mapping[str, Any], folder: Path) -> VerdictSummary:
    verdict = ObservationVerdict(
        word=content["verdict"],
        headline=content["headline"],
        reasons=tuple(content["reasons"]),
        criteria=tuple(Criterion(**item) for item in content["criteria"]),
        standings=tuple(
            Standing(
                item["product"], tuple(item["promoted"]), {name: tuple(own) for name, own in item["refused"].items()}
            )
            for item in content["products"]
        ),
        hours_needed=content["hours_needed"],
        signals_needed=content["signals_needed"],
    )
    return VerdictSummary(
        verdict=verdict,
        market=content["market"],
        mode=content["mode"],
        since=datetime.fromisoformat(content["since"]),
        until=datetime.fromisoformat(content["until"]),
        minutes=MinuteCounts(**content["minutes"]),
        signals=content["signals"],
        win_rate=Share(**content["win_rate"]) if content["win_rate"] else None,
        tiers={tier: Share(**share) for tier, share in content["tiers"].items()},
        commit=content["commit"],
        folder=folder,
    )


def write_summary(settings: Settings, proofs: Sequence[LimitProof]) -> VerdictSummary:
    """Judge the observation so far and write ``summary.html``, ``.md``, ``.json`` and an artifact's Markdown.

    Args:
        settings: Where the published databases, passports and baseline lie.
        proofs: What the loss simulation showed at each limit; none at all counts as not run.

    Raises:
        StoreError: nothing was decided yet.
    """
    record = read_record(settings)
    promoted = promoted_slots(settings, record.registry)
    cards = read_cards(settings, promoted)
    products = record.extent.products
    baseline = read_baseline(settings, served_models(promoted, products))
    evidence = gather(record, standings(products, cards, promoted, record.registry), baseline, proofs)
    summary = _summary(settings, judge_observation(evidence), record, evidence)
    document = _document(summary, record, cards, evidence, settings)
    write_pages(document, summary.folder, "summary")
    write_text(summary.artifact_markdown, _embedded(document))
    summary.write()
    return summary


def _summary(settings: Settings, verdict: ObservationVerdict, record: Record, evidence: ExitEvidence) -> VerdictSummary:
    return VerdictSummary(
        verdict=verdict,
        market=market_name(record.source_names),
        mode=record.mode,
        since=record.since,
        until=record.until,
        minutes=MinuteCounts(
            record.expected_minutes,
            record.decided_minutes,
            record.blind_minutes,
            record.clean_minutes,
            record.missed_minutes,
        ),
        signals=len(record.signals),
        win_rate=evidence.win_share,
        tiers=evidence.tier_shares,
        commit=commit(),
        folder=observation_folder(settings, record.extent),
    )


def _embedded(document: Document) -> str:
    """Return Markdown with pictures inside; from the first that no longer fits on, their names only."""
    room = ARTIFACT_BYTES - len(document.markdown(lambda picture: picture_path("summary", picture)).encode())
    inside: set[str] = set()
    for picture in document.pictures:
        room -= len(picture.data_uri)
        if room < 0:
            break
        inside.add(picture.name)

    def source(picture: Picture) -> str:
        return picture.data_uri if picture.name in inside else picture_path("summary", picture)

    return document.markdown(source)


def _document(
    summary: VerdictSummary, record: Record, cards: Sequence[ModelCard], evidence: ExitEvidence, settings: Settings
) -> Document:
    verdict = summary.verdict
    notice = market_notice(record.source_names)
    shadow = "This observation ran in shadow: its signals were recorded and marked, none may be traded, and the verdict cannot be GO."
    return Document(
        title=f"{verdict.headline[0].upper()}{verdict.headline[1:]}",
        kicker="Candledesk verdict",
        lead=f"Market: {summary.market} · mode: {summary.mode} · observed {when(record.since)} to {when(record.until)}"
        + (f" · observation {record.extent.observation}." if record.extent.observation else "."),
        badge=Cell(verdict.word, _TONES[verdict.word]),  # type: ignore[arg-type]  # every tone in the table is one
        notices=tuple(text for text in (notice, shadow if record.mode == "shadow" else "") if text),
        sections=(
            Section("Verdict", _verdict_blocks(verdict, record, evidence)),
            Section(
                "Products and models", (overview_table(cards, verdict.standings), reliability(cards), coverage(cards))
            ),
            *_product_sections(cards, verdict),
            Section(
                "Signals", (price_with_signals(record), products_table(record), pace_and_confidence(record, settings))
            ),
            Section(
                "Outcomes",
                (
                    outcome_table(record),
                    cumulative_net(record),
                    tier_mix(evidence.tier_shares, evidence.expected_tiers),
                ),
            ),
            Section("Guardrails", (equity(record, settings), *_proof_table(evidence), events_table(record))),
            Section("Why minutes did not become signals", (reasons_table(record),)),
            Section("Alerts", (alerts_table(record),)),
            Section("Drift and sessions", (*drift_blocks(record), sessions_table(record))),
            Section("Where this comes from", (_provenance(record, cards),)),
            Section("Ask the data yourself", _queries()),
        ),
    )


def _verdict_blocks(verdict: ObservationVerdict, record: Record, evidence: ExitEvidence) -> tuple[Block, ...]:
    rows = tuple(
        (item.title, Cell(item.state, _TONES[item.state]), item.figure, item.bound, item.repair)  # type: ignore[arg-type]
        for item in verdict.criteria
    )
    closed = counted_signals(record, is_closed=True)
    wins = evidence.win_share
    figures = Figures(
        (
            ("clean hours", f"{evidence.clean_minutes / 60:.1f}", f"{record.missed_note}, {record.restarts} restarts"),
            ("signals", str(len(counted_signals(record))), f"{len(closed)} closed"),
            ("win rate", percent(wins.value if wins else None), interval_text(wins)),
            ("net per signal", mean_net_text(closed), "after spread, slippage and fee"),
            ("still needed", _still_needed(verdict), "until nothing waits" if verdict.word == "NEED MORE" else ""),
        )
    )
    reasons = tuple(Text(reason) for reason in verdict.reasons)
    return (figures, *reasons, Table(("criterion", "state", "figure", "bound", "what repairs it"), rows))


def _still_needed(verdict: ObservationVerdict) -> str:
    parts = []
    if verdict.hours_needed > 0:
        parts.append(f"{verdict.hours_needed:.0f} h")
    if verdict.signals_needed > 0:
        parts.append(f"{verdict.signals_needed} signals")
    return ", ".join(parts) or "nothing"


def _product_sections(cards: Sequence[ModelCard], verdict: ObservationVerdict) -> tuple[Section, ...]:
    sections = []
    for item in verdict.standings:
        state = "promoted" if item.is_promoted else "refused"
        reason = f"Served by {', '.join(item.promoted)}." if item.is_promoted else f"Refused: {item.reason}."
        sections.append(
            Section(
                f"{item.product}: {state}",
                (Text(reason), gates_table(cards, item.product), baseline_table(cards, item.product)),
            )
        )
    return tuple(sections)


def _proof_table(evidence: ExitEvidence) -> tuple[Block, ...]:
    if not evidence.proofs:
        return (Text("The loss simulation was not run: desk simulate-loss."),)
    rows = tuple(
        (proof.limit, Cell("blocked", "good") if proof.is_blocked else Cell("NOT BLOCKED", "bad"), proof.detail)
        for proof in evidence.proofs
    )
    return (Table(("simulated loss", "state", "detail"), rows),)


def _provenance(record: Record, cards: Sequence[ModelCard]) -> Table:
    rows: list[tuple[Cell | str, ...]] = [
        (
            "candles",
            f"{row.product} from {row.source}",
            f"{row.candles:,} minutes, {when(row.first_open_time)} to {when(row.last_open_time)}",
        )
        for row in record.sources
    ]
    for data in record.datasets[:1]:
        span = f"{when(data.start_time)} to {when(data.end_time)}"
        rows.append(
            ("data set", Cell(data.digest[:16], "code"), f"{data.feature_set}, {data.row_count:,} rows, {span}")
        )
    for model in cards:
        passport, judged, training = model.passport, model.passport.judged, model.passport.training
        detail = (
            f"data set {(passport.dataset_digest or NOT_COMPUTED)[:16]}, graph {passport.sha256[:16]}, "
            f"gates {judged.profile.name if judged else NOT_COMPUTED}, {judged.trials if judged else NOT_COMPUTED} trials, "
            f"trained at commit {training.commit[:12] if training else NOT_COMPUTED}"
        )
        rows.append(("model", Cell(model.model_id, "code"), detail))
    rows += [("feature set", Cell(own.feature_set, "code"), "of the newest session") for own in record.sessions[-1:]]
    rows.append(("code", Cell(commit()[:12], "code"), "commit that wrote this report"))
    return Table(("what", "which", "detail"), tuple(rows))


def _queries() -> tuple[Block, ...]:
    blocks: list[Block] = []
    for question, query in QUERIES:
        blocks += [Text(question), Code(f'desk sql "{query}"', "bash")]
    return tuple(blocks)
