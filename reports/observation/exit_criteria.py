"""Judge whether this may run live by six exit criteria, each computed from what the observation left behind.

| criterion    | passes when                                                       | fails when                          |
|--------------|-------------------------------------------------------------------|-------------------------------------|
| clock        | 72 h of decided minutes since the last crash or severity-1 alarm  | never: it waits; a crash restarts it |
| guardrails   | the loss simulation was blocked at every limit                    | one limit let the account through   |
| alerts       | every high-tier signal's message was delivered                    | one was not owed, or not delivered  |
| win_rate     | within 5 points of the baseline, interval at most 5 points a side | the whole interval lies outside     |
| tier_mix     | each tier's share within 5 points of the baseline, likewise       | one tier's interval lies outside    |
| models       | at least one product has a promoted model                         | none has                            |

A minute is decided when every product of the session has a decision row for it, at least one of them
made in time (not `stale_candle`): a runtime that watches a dead feed observes nothing.

A win rate *above* the band fails too: a model that does better live than on its test part has not been
understood, and its baseline is wrong. Products without a promoted model are listed as refused with the
gates that refused them; they signal nothing, and do not hold back the others.

The verdict, first rule that applies:

1. observed in shadow: NO-GO, with the gates' reasons (shadow signals are never tradeable);
2. no product promoted: NO-GO;
3. a criterion failed: NO-GO;
4. a criterion waits: NEED MORE, with the hours and signals still needed;
5. otherwise: GO, for the promoted products only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from models.statistics.proportions import Share, rows_needed

if TYPE_CHECKING:
    from collections.abc import Mapping

State = Literal["pass", "fail", "not yet"]
Word = Literal["GO", "NO-GO", "NEED MORE"]


@dataclass(frozen=True, slots=True)
class ExitBounds:
    """The figures the criteria are held against."""

    hours: float = 72.0
    points: float = 5.0
    """Largest distance from the baseline, and largest half-width of an interval, in percentage points."""
    pending_minutes: float = 10.0
    """An alert that waits longer than this counts as undelivered."""


@dataclass(frozen=True, slots=True)
class LimitProof:
    """What the loss simulation showed at one limit."""

    limit: str
    is_blocked: bool
    detail: str


@dataclass(frozen=True, slots=True)
class AlertCount:
    """High-tier alerts of the observation."""

    owed: int = 0
    delivered: int = 0
    unannounced: int = 0
    """High-tier signals for which no message was ever owed."""
    oldest_pending_minutes: float = 0.0
    is_running: bool = False
    """Whether the newest session still runs; one that ended sends nothing more."""
    last_detail: str = ""

    @property
    def pending(self) -> int:
        """Messages owed and not delivered."""
        return self.owed - self.delivered


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether a product has a promoted model, and if not, which gates refused which model."""

    product: str
    promoted: tuple[str, ...] = ()
    refused: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Model id -> sentences of its failing gates, by name."""

    @property
    def is_promoted(self) -> bool:
        """Whether at least one model serves it."""
        return bool(self.promoted)

    @property
    def reason(self) -> str:
        """One sentence on why it is refused; empty for a promoted product."""
        if self.is_promoted:
            return ""
        if not self.refused:
            return "no model was judged for it; run: make train and make evaluate"
        return "; ".join(
            f"{model} failed {', '.join(gates) or 'a gate its passport does not name'}"
            for model, gates in self.refused.items()
        )


@dataclass(frozen=True, slots=True)
class ExitEvidence:
    """All that the verdict rests on; `gather_evidence` computes it from the published databases."""

    mode: str
    clean_minutes: int
    reset_cause: str
    """What last restarted the clock, empty when nothing did."""
    standings: tuple[Standing, ...]
    proofs: tuple[LimitProof, ...]
    """None at all: the simulation was not run."""
    alerts: AlertCount
    wins: Share | None
    expected_win_rate: float | None
    """The baseline's, weighted as the observed signals are; None without a baseline."""
    tiers: Mapping[str, Share]
    expected_tiers: Mapping[str, float] | None
    signals_per_hour: float


@dataclass(frozen=True, slots=True)
class Criterion:
    """One exit criterion with its figure, bound and state."""

    name: str
    title: str
    state: State
    figure: str
    bound: str
    repair: str
    """What turns it into a pass; empty once it is one."""
    hours_needed: float = 0.0
    signals_needed: int = 0


@dataclass(frozen=True, slots=True)
class ObservationVerdict:
    """The answer, its reasons, and what is still needed."""

    word: Word
    headline: str
    reasons: tuple[str, ...]
    criteria: tuple[Criterion, ...]
    standings: tuple[Standing, ...]
    hours_needed: float = 0.0
    signals_needed: int = 0


def judge_observation(evidence: ExitEvidence, bounds: ExitBounds | None = None) -> ObservationVerdict:
    """Hold the evidence against every criterion; the rules are in this module's docstring."""
    limits = bounds or ExitBounds()
    criteria = (
        _clock(evidence, limits),
        _guardrails(evidence),
        _alerts(evidence, limits),
        _win_rate(evidence, limits),
        _tier_mix(evidence, limits),
        _models(evidence),
    )
    word, headline, reasons = _word(evidence, criteria)
    waiting = [criterion for criterion in criteria if criterion.state == "not yet"] if word == "NEED MORE" else []
    return ObservationVerdict(
        word,
        headline,
        reasons,
        criteria,
        evidence.standings,
        max((criterion.hours_needed for criterion in waiting), default=0.0),
        max((criterion.signals_needed for criterion in waiting), default=0),
    )


def _word(evidence: ExitEvidence, criteria: tuple[Criterion, ...]) -> tuple[Word, str, tuple[str, ...]]:
    refused = tuple(f"{item.product}: {item.reason}" for item in evidence.standings if not item.is_promoted)
    failed = tuple(_because(item) for item in criteria if item.state == "fail" and item.name != "models")
    waiting = tuple(_because(item) for item in criteria if item.state == "not yet")
    promoted = ", ".join(item.product for item in evidence.standings if item.is_promoted)
    if evidence.mode == "shadow":
        headline = "observed in shadow, so nothing here may be traded"
        return "NO-GO", headline, (*refused, *failed) or ("the session ran in shadow; start it again in dryrun",)
    if not promoted:
        return "NO-GO", "no product has a promoted model", (*refused, *failed)
    if failed:
        return "NO-GO", "an exit criterion failed", (*failed, *refused)
    if waiting:
        needed = _needed(criteria)
        return "NEED MORE", f"nothing failed, but {needed}", (*waiting, *refused)
    return "GO", f"every exit criterion is met for {promoted}", refused


def _because(item: Criterion) -> str:
    repair = f"{item.repair[:1].upper()}{item.repair[1:]}"
    return f"{item.title}: {item.figure}; needed: {item.bound}. {repair}".strip()


def _needed(criteria: tuple[Criterion, ...]) -> str:
    hours = max(item.hours_needed for item in criteria)
    signals = max(item.signals_needed for item in criteria)
    parts = []
    if hours > 0:
        parts.append(f"{math.ceil(hours)} more hours")
    if signals > 0:
        parts.append(f"{signals} more closed signals")
    return " and ".join(parts) + " are needed" if parts else "a criterion could not be computed yet"


def _clock(evidence: ExitEvidence, bounds: ExitBounds) -> Criterion:
    hours = evidence.clean_minutes / 60
    missing = max(0.0, bounds.hours - hours)
    figure = f"{hours:.1f} h decided"
    if evidence.reset_cause:
        figure += f" since {evidence.reset_cause}"
    return Criterion(
        "clock",
        "Hours without a crash",
        "pass" if missing == 0 else "not yet",
        figure,
        f"at least {bounds.hours:.0f} h",
        f"observe {missing:.1f} h more: make run-dry resumes where it stopped" if missing else "",
        hours_needed=missing,
    )


def _guardrails(evidence: ExitEvidence) -> Criterion:
    title, bound = "Guardrail simulation", "every case"
    if not evidence.proofs:
        return Criterion("guardrails", title, "not yet", "not run", bound, "run: desk simulate-loss")
    through = [proof for proof in evidence.proofs if not proof.is_blocked]
    if through:
        names = ", ".join(proof.limit for proof in through)
        repair = f"the account passed {names} unblocked ({through[0].detail}); do not trade before this is repaired"
        return Criterion("guardrails", title, "fail", f"not blocked: {names}", bound, repair)
    return Criterion(
        "guardrails", title, "pass", f"{len(evidence.proofs)} of {len(evidence.proofs)} cases blocked", bound, ""
    )


def _alerts(evidence: ExitEvidence, bounds: ExitBounds) -> Criterion:
    count, title, bound = evidence.alerts, "High-tier alerts delivered", "every one"
    figure = f"{count.delivered} of {count.owed} delivered"
    if count.unannounced:
        repair = "signals and outbox must be committed together; please report this with the signals database"
        return Criterion("alerts", title, "fail", f"{count.unannounced} signals never owed a message", bound, repair)
    if count.owed == 0:
        repair = "no high-tier signal was made yet; desk alerts test proves the target meanwhile"
        return Criterion("alerts", title, "not yet", "none owed yet", bound, repair, signals_needed=1)
    if count.pending == 0:
        return Criterion("alerts", title, "pass", figure, bound, "")
    refusal = f"; the target last said: {count.last_detail}" if count.last_detail else ""
    repair = f"check ALERT_URLS with desk alerts test{refusal}"
    if count.is_running and count.oldest_pending_minutes <= bounds.pending_minutes:
        return Criterion("alerts", title, "not yet", f"{figure}, {count.pending} on their way", bound, repair)
    figure += f", the oldest waits {count.oldest_pending_minutes:.0f} min"
    return Criterion("alerts", title, "fail", figure, bound, repair)


def _win_rate(evidence: ExitEvidence, bounds: ExitBounds) -> Criterion:
    title, wins, expected = "Win rate near its baseline", evidence.wins, evidence.expected_win_rate
    if expected is None:
        repair = "models/baseline.json is missing; make evaluate writes it"
        return Criterion("win_rate", title, "not yet", "no baseline", f"within {bounds.points:.0f} points", repair)
    bound = f"{100 * expected:.1f} % ± {bounds.points:.0f} points"
    if wins is None:
        guess = Share(expected, 0.0, 1.0, 1, 1.0)
        needed = rows_needed(guess, bounds.points / 100)
        repair = f"{needed} closed signals are needed"
        return _waiting_signals(
            Criterion("win_rate", title, "not yet", "no closed signal", bound, repair), needed, evidence
        )
    figure = f"{100 * wins.value:.1f} % of {wins.count} ({100 * wins.low:.1f} to {100 * wins.high:.1f})"
    if _is_outside(wins, expected, bounds):
        side = "below" if wins.value < expected else "above"
        repair = (
            f"the win rate is {side} what the backtest promised: compare drift and costs, then judge the models again"
        )
        return Criterion("win_rate", title, "fail", figure, bound, repair)
    if _is_settled(wins, expected, bounds):
        return Criterion("win_rate", title, "pass", figure, bound, "")
    # near the edge of the band a narrow interval is still undecided: then a quarter as many again
    missing = rows_needed(wins, bounds.points / 100) - wins.count
    needed = missing if missing > 0 else math.ceil(wins.count / 4)
    repair = f"about {needed} more closed signals narrow the interval enough"
    return _waiting_signals(Criterion("win_rate", title, "not yet", figure, bound, repair), needed, evidence)


def _waiting_signals(criterion: Criterion, needed: int, evidence: ExitEvidence) -> Criterion:
    hours = needed / evidence.signals_per_hour if evidence.signals_per_hour > 0 else 0.0
    pace = f" (about {math.ceil(hours)} h at the present pace)" if hours else ""
    return replace(criterion, repair=criterion.repair + pace, hours_needed=hours, signals_needed=needed)


def _is_outside(share: Share, expected: float, bounds: ExitBounds) -> bool:
    reach = bounds.points / 100
    return share.high < expected - reach or share.low > expected + reach


def _is_settled(share: Share, expected: float, bounds: ExitBounds) -> bool:
    reach = bounds.points / 100 + 1e-9
    return abs(share.value - expected) <= reach and share.half_width <= reach


def _tier_mix(evidence: ExitEvidence, bounds: ExitBounds) -> Criterion:
    title, expected = "Tier mix near its baseline", evidence.expected_tiers
    bound = f"each within {bounds.points:.0f} points"
    if not expected:
        repair = "models/baseline.json is missing; make evaluate writes it"
        return Criterion("tier_mix", title, "not yet", "no baseline", bound, repair)
    if not evidence.tiers:
        repair = "no minute was scored yet: a promoted model and fresh candles are needed"
        return Criterion("tier_mix", title, "not yet", "no scored minute", bound, repair)
    figure = ", ".join(
        f"{tier} {100 * share.value:.1f} % (baseline {100 * expected.get(tier, 0.0):.1f})"
        for tier, share in evidence.tiers.items()
    )
    outside = [tier for tier, share in evidence.tiers.items() if _is_outside(share, expected.get(tier, 0.0), bounds)]
    if outside:
        repair = f"{', '.join(outside)} moved: look at the drift table, then train again on newer candles"
        return Criterion("tier_mix", title, "fail", figure, bound, repair)
    if all(_is_settled(share, expected.get(tier, 0.0), bounds) for tier, share in evidence.tiers.items()):
        return Criterion("tier_mix", title, "pass", figure, bound, "")
    hours = max(_hours_to_settle(share, evidence, bounds) for share in evidence.tiers.values())
    repair = "the shares still move by more than the bound; observe longer"
    return Criterion("tier_mix", title, "not yet", figure, bound, repair, hours_needed=hours)


def _hours_to_settle(share: Share, evidence: ExitEvidence, bounds: ExitBounds) -> float:
    observed = max(evidence.clean_minutes / 60, 1.0)
    rows = rows_needed(share, bounds.points / 100) / max(share.count, 1)
    return max(observed * (rows - 1), 1.0)


def _models(evidence: ExitEvidence) -> Criterion:
    promoted = [item.product for item in evidence.standings if item.is_promoted]
    refused = [item.product for item in evidence.standings if not item.is_promoted]
    figure = f"{len(promoted)} of {len(evidence.standings)} products"
    if promoted:
        figure += f" ({', '.join(promoted)})"
    note = f"refused: {', '.join(refused)}; the gate tables say what would change it" if refused else ""
    title, bound = "Promoted models", "at least one product"
    return Criterion("models", title, "pass" if promoted else "fail", figure, bound, note)
