"""Hold the edge of an observation against its baseline and its costs, by tests that may be looked at every day."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from models.registry.baseline import TIER_BLOCK_MINUTES
from models.statistics.sequential import evidence_above_zero, evidence_of_larger, shows, values_needed
from reports.observation.exit_evidence import Criterion

if TYPE_CHECKING:
    from reports.observation.exit_evidence import ExitBounds, ExitEvidence, Sides, State

WRONG_GO = 0.05
"""Error of each test that a GO rests on."""
EDGELESS_GO = 0.001
"""Error of the test that the mean net of a signal is above 0: nothing without an edge passes it more often."""
WRONG_NO_GO = {"win_rate": 0.02, "tier_mix": 0.015, "net": 0.01}
"""Error of each criterion's contradiction, both sides and all tiers together: 4.5 % in all."""
_NO_BASELINE = "there is no baseline of the models that serve now (or one of an older version); make evaluate writes it"
_BASELINE_TOO_SMALL = (
    "the baseline itself rests on too few signals to show it at this distance, however long one observes: "
    "build a data set over a longer span (make features), train and evaluate on it"
)


def _compare(sides: Sides, reach: float, wrong_no_go: float, *, both_sides: bool) -> State:
    """Say whether the observation is shown to be near its baseline, or shown not to be.

    Args:
        sides: The values to compare.
        reach: Largest distance that counts as near.
        wrong_no_go: Error of "fail", half of it on each side.
        both_sides: Whether a pass needs to be shown above the baseline too, not only below.
    """
    live, baseline, mirrored = sides.live, sides.baseline, sides.mirrored
    far = (evidence_of_larger(baseline, live, reach), evidence_of_larger(live, baseline, reach))
    if any(shows(evidence, wrong_no_go / 2) for evidence in far):
        return "fail"
    near = [evidence_of_larger(live, baseline, -reach)]
    if both_sides:
        near.append(evidence_of_larger(mirrored.live, mirrored.baseline, -reach))
    return "pass" if all(shows(evidence, WRONG_GO) for evidence in near) else "not yet"


def _more_needed(sides: Sides, reach: float, spread: float) -> int | None:
    """Estimate how many more values show that the observation is near, if it is as promised; None: its baseline has too few."""
    total = values_needed(spread, reach, len(sides.baseline), WRONG_GO)
    # past the estimate, with luck or truth against it: a quarter as many again
    return None if total is None else max(total - len(sides.live), len(sides.live) // 4, 1)


def win_rate(evidence: ExitEvidence, bounds: ExitBounds) -> Criterion:
    """Say whether signals are right as often as in the backtest, at most 5 points less."""
    title, sides, wins = "Win rate near its baseline", evidence.wins, evidence.win_share
    reach = bounds.points / 100
    if not sides.baseline:
        repair = _NO_BASELINE
        return Criterion("win_rate", title, "not yet", "no baseline", f"within {bounds.points:.0f} points", repair)
    expected = sides.baseline_mean
    bound = f"{100 * expected:.1f} % - {bounds.points:.0f} points, shown against {len(sides.baseline):,} signals of the backtest"
    figure = (
        "no closed signal"
        if wins is None
        else f"{100 * wins.value:.1f} % of {wins.effective:.0f} independent signals ({100 * wins.low:.1f} to {100 * wins.high:.1f})"
    )
    state = _compare(sides, reach, WRONG_NO_GO["win_rate"], both_sides=False)
    if state == "pass":
        return Criterion("win_rate", title, state, figure, bound, "")
    if state == "fail":
        side = "below" if sides.live_mean < expected else "above"
        repair = (
            f"the win rate is {side} what the backtest promised: compare drift and costs, then judge the models again"
        )
        return Criterion("win_rate", title, state, figure, bound, repair)
    # a rate of 0 or 1 so far shows no spread yet, which does not mean that a few signals will do
    spread = math.sqrt(max(expected * (1 - expected), 0.05))
    needed = _more_needed(sides, reach, spread)
    waiting = Criterion("win_rate", title, state, figure, bound, "")
    if needed is None:
        return replace(waiting, repair=_BASELINE_TOO_SMALL)
    return _waiting_signals(
        replace(waiting, repair=f"about {needed} more closed signals are needed if the edge is as promised"),
        needed,
        evidence,
    )


def net(evidence: ExitEvidence, bounds: ExitBounds) -> Criterion:
    """Say whether a signal earns more than it costs."""
    title, values, bound = "Net of costs above 0", evidence.net_bps, "a mean above 0 bps a signal, shown"
    if not values:
        return Criterion("net", title, "not yet", "no closed signal", bound, "observe until signals have closed")
    mean = sum(values) / len(values)
    figure = f"{mean:+.1f} bps a signal over {len(values)} independent signals"
    if shows(evidence_above_zero(values, bounds.worst_bps), EDGELESS_GO):
        return Criterion("net", title, "pass", figure, bound, "")
    if shows(evidence_above_zero([-value for value in values], bounds.worst_bps), WRONG_NO_GO["net"]):
        repair = "costs eat what the models earn: see make evaluate for the costs they were judged at, then train again"
        return Criterion("net", title, "fail", figure, bound, repair)
    if (worst := max(abs(value) for value in values)) > bounds.worst_bps:
        figure += f", one of {worst:.0f} bps"
        repair = f"no test holds once a signal moved by more than {bounds.worst_bps:.0f} bps; find out how it passed its stop"
        return Criterion("net", title, "not yet", figure, bound, repair)
    waiting = Criterion("net", title, "not yet", figure, bound, "it is not above 0 so far; observe longer")
    if mean <= 0:
        return waiting
    spread = math.sqrt(sum((value - mean) ** 2 for value in values) / len(values))
    total = values_needed(max(spread, mean), mean, 10**9, EDGELESS_GO) or 0
    needed = max(total - len(values), 1)
    return _waiting_signals(replace(waiting, repair=f"about {needed} more closed signals are needed"), needed, evidence)


def _waiting_signals(criterion: Criterion, needed: int, evidence: ExitEvidence) -> Criterion:
    hours = needed / evidence.signals_per_hour if evidence.signals_per_hour > 0 else 0.0
    pace = f" (about {math.ceil(hours)} h at the present pace)" if hours else ""
    return replace(criterion, repair=criterion.repair + pace, hours_needed=hours, signals_needed=needed)


def tier_mix(evidence: ExitEvidence, bounds: ExitBounds) -> Criterion:
    """Say whether each tier is as frequent as in the backtest, within 5 points."""
    title, tiers, reach = "Tier mix near its baseline", evidence.tiers, bounds.points / 100
    bound = f"each within {bounds.points:.0f} points, shown"
    if not any(sides.baseline for sides in tiers.values()):
        repair = _NO_BASELINE
        return Criterion("tier_mix", title, "not yet", "no baseline", bound, repair)
    if not any(sides.live for sides in tiers.values()):
        repair = "no hour was scored yet: a promoted model and fresh candles are needed"
        return Criterion("tier_mix", title, "not yet", "no scored minute", bound, repair)
    figure = ", ".join(
        f"{tier} {100 * sides.live_mean:.1f} % (baseline {100 * sides.baseline_mean:.1f})"
        for tier, sides in tiers.items()
    )
    wrong_no_go = WRONG_NO_GO["tier_mix"] / len(tiers)
    states = {tier: _compare(sides, reach, wrong_no_go, both_sides=True) for tier, sides in tiers.items()}
    outside = [tier for tier, state in states.items() if state == "fail"]
    if outside:
        repair = f"{', '.join(outside)} moved: look at the drift table, then train again on newer candles"
        return Criterion("tier_mix", title, "fail", figure, bound, repair)
    if all(state == "pass" for state in states.values()):
        return Criterion("tier_mix", title, "pass", figure, bound, "")
    waiting = [
        _more_needed(tiers[tier], reach, _spread(tiers[tier])) for tier, state in states.items() if state == "not yet"
    ]
    if None in waiting:
        return Criterion("tier_mix", title, "not yet", figure, bound, _BASELINE_TOO_SMALL)
    hours = max(blocks for blocks in waiting if blocks is not None) * TIER_BLOCK_MINUTES / 60
    repair = f"the shares of so few hours may still move by more than the bound; observe about {hours:.0f} h longer"
    return Criterion("tier_mix", title, "not yet", figure, bound, repair, hours_needed=hours)


def _spread(sides: Sides) -> float:
    # no bet reaches the growth that a smaller spread would allow
    mean = sides.baseline_mean
    return max(math.sqrt(sum((value - mean) ** 2 for value in sides.baseline) / len(sides.baseline)), 0.05)
