"""Judge a model by its gates, one function each: is the figure good enough, and if not, what would have to be different, in numbers.

A figure that is missing, infinite or no number at all never passes, whatever it is held against.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from core.candles import HORIZON_MINUTES
from models.gates.bounds import (
    cautious_low,
    chance_calibration_error,
    is_number,
    is_whole,
    what_would_clear,
)
from models.gates.gate_evidence import PROFILES, GateResult, bare_result, cleaned, finite, result

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.gates.gate_evidence import GateEvidence, GateProfile
    from models.statistics.bootstrap import Interval

# an LSTM on recorded minutes of BTC: 0.5175 (0.4953 to 0.5390, nine test days); two coins' ensembles: 0.530 and 0.532 (docs/log.md)
AUDIT_ACCURACY = 0.60
"""Honest forecasts of 15 minutes of a real market reach 0.52 to 0.56; above this a leak is likelier than a discovery."""
PARITY_TOLERANCE = 1e-5
"""Graph and torch round float32 differently, by about 1e-7; this leaves room for other processors, not for a wrong operator."""
MIN_TEST_ROWS = 300
"""Labels overlap 15-fold, so these are worth 20 independent rows."""
MIN_TEST_DAYS = 3
"""Intervals resample days; from two there is hardly anything to draw."""
MIN_SPREAD = 1e-4
MAX_CONTROL_REACH = 0.1
"""A control that may stray further than this from 0.5 by chance would not show a leak."""
BASELINES = ("base_rate", "last_move_sign", "logistic_regression", "gradient_boosting")
"""A verdict that lacks one of them was not held against it, and refuses."""
CALIBRATION_BINS = 10
PROFILE_GATES = ("min_accuracy", "calibration_error", "selective_accuracy")
"""Gates that a profile may leave out or set; all others always hold."""
_SIMULATED = ("synthetic", "local:planted", "local:null")


def judge_gates(evidence: GateEvidence, profile: GateProfile) -> tuple[GateResult, ...]:
    """Return every gate's result; the model is accepted only if all passed."""
    evidence = cleaned(evidence)
    refusals = what_cannot_be_judged(evidence)
    if refusals:
        return refusals
    # of 100 universes without an edge min_accuracy and brier_skill refused all, above_base_rate 99, beats_baselines 84,
    # future_control 49, calibration 22, a canary 20; no gate refused one alone (docs/log.md)
    always = (above_base_rate, brier_skill, beats_baselines, shuffled_labels, no_canary, future_control, parity, audit)
    results = []
    if profile.selective_coverage is not None:
        results.append(selective(evidence, profile, profile.selective_coverage))
    if profile.min_accuracy is not None:
        results.append(min_accuracy(evidence, profile.min_accuracy))
    if profile.max_calibration_error is not None:
        results.append(calibration(evidence, profile.max_calibration_error))
    return (*results, *(gate(evidence, profile) for gate in always))


def refusals_by_profile(evidence: GateEvidence, profile: GateProfile) -> dict[str, tuple[str, ...]]:
    """Return which gates refuse under each profile there is; none is an acceptance.

    ``profile`` stands for the one of its name, and its ``looks`` count for all of them.
    """
    profiles = {**PROFILES, profile.name: profile}
    return {
        name: tuple(gate.name for gate in judge_gates(evidence, replace(own, looks=profile.looks)) if not gate.passed)
        for name, own in profiles.items()
    }


def what_cannot_be_judged(evidence: GateEvidence) -> tuple[GateResult, ...]:
    """Return refusals of a test part, or of a forecast, about which no other gate could say anything."""
    rows, days, spread = evidence.test_rows, evidence.test_days, evidence.probability_spread
    needed = (
        (
            "enough_test_rows",
            is_number(rows, MIN_TEST_ROWS) and is_number(days, MIN_TEST_DAYS),
            rows,
            MIN_TEST_ROWS,
            f"The test part holds {rows} labelled windows on {days} days; at least {MIN_TEST_ROWS} on {MIN_TEST_DAYS} days are "
            f"needed. It is the last 15 % of the span: backfill at least {math.ceil(MIN_TEST_DAYS / 0.15)} days.",
        ),
        (
            "two_classes",
            is_number(evidence.classes, 2),
            evidence.classes,
            2,
            "Every label of the test part is the same; no forecast can be told from a constant there. "
            "Backfill a longer span.",
        ),
        (
            "not_constant",
            is_number(spread, MIN_SPREAD),
            spread,
            MIN_SPREAD,
            "The model says the same probability for every minute, so it says nothing. "
            "Train more epochs, or with other inputs.",
        ),
    )
    return tuple(
        bare_result(name, float(value) if is_number(value) else None, float(bound), sentence)
        for name, is_enough, value, bound, sentence in needed
        if not is_enough
    )


def min_accuracy(evidence: GateEvidence, bound: float) -> GateResult:
    """Hold accuracy against the least that the profile asks."""
    figure = evidence.accuracy
    value = figure.value
    short = f", {bound - value:.4f} short: {100 * (bound - value):.1f} more of a hundred calls must be right"
    hope = (
        f" More test days may bring it up to the upper end {_text(figure.high)} of its interval, no further."
        if figure.high is not None
        else ""
    )
    return result(
        "min_accuracy",
        figure,
        bound,
        passed=is_number(value, 0.0, 1.0) and value >= bound,
        good=f"Accuracy {value:.4f} reaches {bound:.4f}.",
        bad=f"Accuracy {value:.4f} is below {bound:.4f}{short if math.isfinite(value) else ''}.{hope} Honest models of "
        "15 minutes of a real market reach 0.52 to 0.56. MIN_ACCURACY or GATE_PROFILE change the bound.",
    )


def calibration(evidence: GateEvidence, bound: float) -> GateResult:
    """Hold the calibration error against the most that the profile allows."""
    value = evidence.calibration_error.value
    return result(
        "calibration_error",
        evidence.calibration_error,
        bound,
        passed=is_number(value, 0.0, 1.0) and value <= bound,
        good=f"Calibration error {value:.4f} is within {bound:.4f}.",
        bad=f"Calibration error {value:.4f} is above {bound:.4f}: the probabilities do not come true. "
        f"{_calibration_change(evidence, bound)}",
    )


def _calibration_change(evidence: GateEvidence, bound: float) -> str:
    skill, base = evidence.brier_skill.value, evidence.base_rate
    if not (is_number(skill, -10.0, 1.0) and is_number(base, 0.0, 1.0)):
        return "A longer calibration part would lower it."
    rows, days = evidence.test_rows, evidence.test_days
    chance = chance_calibration_error((1.0 - skill) * base * (1.0 - base), rows, HORIZON_MINUTES, CALIBRATION_BINS)
    if chance <= bound / 2:
        return (
            f"Only about {chance:.4f} of it would be there by chance in {days} test days, so it must itself fall: a longer "
            "calibration part, or a market that behaves as it did there."
        )
    # the error that chance leaves falls with the root of the days
    enough = math.ceil(days * (2.0 * chance / bound) ** 2)
    return (
        f"In {days} test days even a forecast that comes true would show about {chance:.4f}; {enough} test days bring that to "
        "half the bound, and a calibration part as much longer lowers the rest."
    )


def selective(evidence: GateEvidence, profile: GateProfile, coverage: float) -> GateResult:
    """Hold the accuracy of the most confident minutes against what the costs ask."""
    figure, even = evidence.selective.get(coverage), evidence.break_even
    if figure is None:
        text = f"Accuracy at {coverage:.0%} coverage was not measured; judge again: make evaluate."
        return bare_result("selective_accuracy", None, finite(even), text)
    low = _low(figure, evidence, profile)
    right = f"The most confident {coverage:.0%} are right {figure.value:.4f} of the time"
    return result(
        "selective_accuracy",
        figure,
        even,
        passed=is_whole(figure, 0.0, 1.0) and is_number(even, 0.5) and low > even,
        good=f"{right}, surely ({_text(low)} after {_looks(profile)}) more than the break-even {even:.4f}.",
        bad=f"{right} (lower bound {_text(low)} after {_looks(profile)}), break-even after costs is {even:.4f}. "
        + _selective_change(evidence, figure, low, profile),
    )


def _selective_change(evidence: GateEvidence, figure: Interval, low: float, profile: GateProfile) -> str:
    even, cost = evidence.break_even, evidence.cost_bps
    changes = []
    if is_number(cost) and is_number(even) and even > 0.5 and is_number(low) and low > 0.5:
        bearable = float(cost or 0.0) * (low - 0.5) / (even - 0.5)
        changes.append(f"A round trip of under {bearable:.2f} bps instead of {cost:.1f} would pass.")
    if is_number(even) and even > 1.0:
        changes.append("At these costs no accuracy pays on moves of average size.")
    else:
        changes.append(what_would_clear(figure, even, evidence.test_days, profile.looks))
    return " ".join(changes)


def above_base_rate(evidence: GateEvidence, profile: GateProfile) -> GateResult:
    """Ask whether accuracy is above that of always calling the commoner direction, and not by luck."""
    figure, base = evidence.accuracy, evidence.base_rate
    low = _low(figure, evidence, profile)
    return result(
        "accuracy_above_base_rate",
        figure,
        base,
        passed=is_whole(figure, 0.0, 1.0) and is_number(base, 0.5, 1.0) and low > base,
        good=f"Even the lower bound {_text(low)} of accuracy, after {_looks(profile)}, is above the base rate {base:.4f}.",
        bad=f"Accuracy {figure.value:.4f} has the lower bound {_text(low)} after {_looks(profile)}, the base rate is "
        f"{base:.4f}: it may be luck. {what_would_clear(figure, base, evidence.test_days, profile.looks)}",
    )


def brier_skill(evidence: GateEvidence, profile: GateProfile) -> GateResult:
    """Ask whether the probabilities are better than always saying the share of ups, and not by luck."""
    figure = evidence.brier_skill
    low = _low(figure, evidence, profile)
    return result(
        "brier_skill",
        figure,
        0.0,
        passed=is_whole(figure, high=1.0) and low > 0,
        good=f"Brier skill {figure.value:.4f}, its lower bound {_text(low)} after {_looks(profile)} above 0.",
        bad=f"Brier skill {figure.value:.4f} has the lower bound {_text(low)} after {_looks(profile)}: the probabilities are not "
        f"surely better than always saying the base rate. {what_would_clear(figure, 0.0, evidence.test_days, profile.looks)}",
    )


def beats_baselines(evidence: GateEvidence, _: GateProfile) -> GateResult:
    """Compare log loss with that of every baseline."""
    value, losses = evidence.log_loss.value, evidence.baseline_log_losses
    unknown = [name for name in {**dict.fromkeys(BASELINES), **losses} if not is_number(losses.get(name), 0.0)]
    if unknown or not is_number(value, 0.0):
        lacking = ", ".join(name.replace("_", " ") for name in unknown) or "the model itself"
        text = f"There is no log loss of {lacking}, so nothing was beaten. Judge again: make evaluate."
        return bare_result("beats_baselines", finite(value), None, text, evidence.log_loss)
    # it does refuse: on BTC of 2024-05 and -06 logistic regression gains 37.7 of 0.0001 nats, the LSTM 34.1 (docs/log.md)
    best = min(losses.values())
    listed = ", ".join(
        f"{name.replace('_', ' ')} {losses[name]:.4f}" for name in sorted(losses, key=lambda name: losses[name])
    )
    better = [name.replace("_", " ") for name, loss in losses.items() if loss <= value]
    return result(
        "beats_baselines",
        evidence.log_loss,
        best,
        passed=value < best,
        good=f"Log loss {value:.4f} is better than every baseline's: {listed}.",
        bad=f"Log loss {value:.4f} is no better than that of {' and '.join(better)} ({listed}): the simple forecast does as well. "
        f"It must fall by more than {value - best:.4f}: train longer, on every minute (TRAIN_STRIDE=1), or use the simple one.",
    )


def shuffled_labels(evidence: GateEvidence, _: GateProfile) -> GateResult:
    """Ask whether a fit to shuffled labels orders the test part no better than chance."""
    known = all(is_number(value, 0.0, 1.0) for value in evidence.shuffled_auc)
    values = np.array(evidence.shuffled_auc if known else (), dtype=np.float64)
    mean = float(values.mean()) if len(values) else math.nan
    # of 200 linear fits: five boostings differ by 0.07 in AUC by chance alone and raised a false alarm (docs/log.md).
    # 4 standard errors: one false alarm in ten thousand models; never less than 0.01, a leak shows far more
    reach = max(0.01, 4.0 * float(values.std(ddof=1)) / math.sqrt(len(values))) if len(values) > 1 else math.nan
    passed = abs(mean - 0.5) <= reach <= MAX_CONTROL_REACH
    return GateResult(
        "shuffled_label_control",
        passed=passed,
        figure=finite(mean),
        bound=0.5,
        low=finite(mean - reach),
        high=finite(mean + reach),
        sentence=f"Fitted to shuffled labels, the control reaches AUC {mean:.3f} over {len(values)} shuffles, "
        + ("as it must without a leak." if passed else _control_change(mean, reach)),
    )


def _control_change(mean: float, reach: float) -> str:
    if not math.isfinite(reach):
        return "which are too few to say anything. Judge again: make evaluate."
    if reach > MAX_CONTROL_REACH:
        return f"give or take {reach:.3f}, too unsure to show a leak. Backfill a longer span."
    return (
        f"{abs(mean - 0.5):.3f} from 0.5 where at most {reach:.3f} is chance: test answers leak into training, or the judging "
        "errs. Audit the data set: desk leak-check."
    )


def no_canary(evidence: GateEvidence, _: GateProfile) -> GateResult:
    """Ask whether any leak canary is lit."""
    failing = evidence.canaries
    if failing is None:
        return bare_result(
            "no_leak_canary", None, 0.0, "Nobody looked for leaks in the data set. Judge again: make evaluate."
        )
    listed = "; ".join(f"{name}: {seen}" for name, seen in failing.items())
    return GateResult(
        "no_leak_canary",
        passed=not failing,
        figure=float(len(failing)),
        bound=0.0,
        low=None,
        high=None,
        sentence=f"Leak canaries are lit: {listed}. Rebuild the data set and train again."
        if failing
        else "No leak canary is lit: parts in time order and purged, no row twice, scaler from training rows only.",
    )


def future_control(evidence: GateEvidence, _: GateProfile) -> GateResult:
    """Ask whether the model is well below a forecast that was shown the end of the horizon."""
    bound, figure = evidence.future_accuracy, evidence.accuracy
    known = is_number(bound, 0.0, 1.0)
    passed = known and is_whole(figure, 0.0, 1.0) and float(figure.high or 0.0) < float(bound or 0.0)
    reached = f"reaches {bound:.4f}" if known else "could not be trained"
    return result(
        "future_control",
        figure,
        math.nan if bound is None else bound,
        passed=passed,
        good=f"Boosting that was shown the end of the horizon {reached}; this model is well below it.",
        bad=f"Boosting that was shown the end of the horizon {reached}; accuracy {figure.value:.4f} (upper bound "
        f"{_text(figure.high)}) is not surely below it. A model this good sees the future: audit its inputs (desk leak-check).",
    )


def parity(evidence: GateEvidence, _: GateProfile) -> GateResult:
    """Ask whether the exported graph says what torch says."""
    passed = is_number(evidence.parity, 0.0, PARITY_TOLERANCE)
    text = f"The exported graph and torch differ by at most {evidence.parity:.1e}" + (
        "." if passed else f", more than {PARITY_TOLERANCE:.0e}; export again with the pinned versions."
    )
    return bare_result("export_parity", finite(evidence.parity), PARITY_TOLERANCE, text, passed=passed)


def is_real(sources: Sequence[str]) -> bool:
    """Return whether any candle came from a real market; a market that is simulated says so in its source."""
    # older stores hold minutes built from live trades, whose source has this suffix
    return any(source.removesuffix(":trades") not in _SIMULATED for source in sources) or not sources


def audit(evidence: GateEvidence, _: GateProfile) -> GateResult:
    """Raise an alarm where a real market is forecast better than anybody can."""
    real = is_real(evidence.sources)
    figure = evidence.accuracy
    return result(
        "audit",
        figure,
        AUDIT_ACCURACY,
        passed=is_number(figure.value, 0.0, AUDIT_ACCURACY if real else 1.0),
        good=f"Accuracy {figure.value:.4f} on real candles is believable."
        if real
        else f"The candles are simulated ({', '.join(evidence.sources)}), so a high accuracy is no alarm.",
        bad=f"Accuracy {figure.value:.4f} on real candles is above {AUDIT_ACCURACY}: nobody forecasts 15 minutes that well, "
        "suspect a leak. Audit labels, inputs and split before anything else: desk leak-check.",
    )


def _low(figure: Interval, evidence: GateEvidence, profile: GateProfile) -> float:
    return cautious_low(figure, evidence.test_days, profile.looks)


def _looks(profile: GateProfile) -> str:
    return f"{profile.looks} look{'s' if profile.looks != 1 else ''} at this test part"


def _text(value: float | None) -> str:
    return "unknown" if value is None or not math.isfinite(value) else f"{value:.4f}"
