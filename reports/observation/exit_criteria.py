"""Judge whether this may run live by seven exit criteria, each computed from what the observation left behind.

| criterion    | passes when                                                   | fails when                             |
|--------------|---------------------------------------------------------------|----------------------------------------|
| clock        | 72 h of decided minutes since the last crash or severity-1 alarm | never: it waits; a crash restarts it |
| guardrails   | the loss simulation was blocked at every limit                | one limit let the account through      |
| alerts       | every high-tier signal's message was delivered                | one was not owed, or not delivered     |
| win_rate     | shown to be at most 5 points below the baseline               | shown to be more than 5 points off it  |
| tier_mix     | each tier's share shown to be within 5 points of the baseline | one is shown to be outside             |
| net          | the mean of a signal, costs taken off, is shown to be above 0 | it is shown to be below 0              |
| models       | at least one product has a promoted model                     | none has                               |

"Shown" means by the anytime-valid tests of `models/statistics/sequential.py`: one may look every day, for ever. They count
signals that share no minute (one position at a time over all products; signals of one minute count as one), and four hours
of tiers as one value. The baseline is no exact figure: it rests on the test part's own signals, counted in the same way. A
GO needs every criterion, so its error is at most that of the one test which is wrong: 5 % (`WRONG_GO`), and 0.1 % for
models without any edge, since `net` is tested at that (`EDGELESS_GO`). A NO-GO needs one criterion, so the errors of all of
them add up, to 4.5 % (`WRONG_NO_GO`). `python -m benchmarks.verdict_errors` measures both.

A minute is decided when every product of the session has a decision row for it, at least one of them
made in time and on an answer (not `stale_candle`, not `unanswered`): a runtime that watches a dead feed observes nothing.

A win rate that is shown to lie *above* the band fails too: a model that does better live than on its test part has not been
understood, and its baseline is wrong. A pass does not wait for the opposite to be shown. Products without a promoted model are listed as refused with the
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
from dataclasses import dataclass
from typing import Literal

from reports.observation.edge_criteria import net, tier_mix, win_rate
from reports.observation.exit_evidence import Criterion, ExitBounds, ExitEvidence, Standing

Word = Literal["GO", "NO-GO", "NEED MORE"]


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
        win_rate(evidence, limits),
        tier_mix(evidence, limits),
        net(evidence, limits),
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


def _models(evidence: ExitEvidence) -> Criterion:
    promoted = [item.product for item in evidence.standings if item.is_promoted]
    refused = [item.product for item in evidence.standings if not item.is_promoted]
    figure = f"{len(promoted)} of {len(evidence.standings)} products"
    if promoted:
        figure += f" ({', '.join(promoted)})"
    note = f"refused: {', '.join(refused)}; the gate tables say what would change it" if refused else ""
    title, bound = "Promoted models", "at least one product"
    return Criterion("models", title, "pass" if promoted else "fail", figure, bound, note)
