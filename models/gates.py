"""Which figures a model must reach before anyone may act on it; profiles are data, every verdict names its figure."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from desk.errors import ConfigError
from desk.market import FROM_TRADES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from models.bootstrap import Interval

AUDIT_ACCURACY = 0.60
PARITY_TOLERANCE = 1e-5
LEAST_TEST_ROWS = 300
LEAST_TEST_DAYS = 3
LEAST_SPREAD = 1e-4
_SIMULATED = ("synthetic", "local:planted", "local:null")


@dataclass(frozen=True, slots=True)
class GateProfile:
    """The gates of a profile beside those that always hold; None leaves a gate out."""

    name: str
    min_accuracy: float | None = None
    max_calibration_error: float | None = None
    selective_coverage: float | None = None
    """Accuracy at this coverage must have its lower bound above the break-even accuracy of the costs."""
    note: str = ""
    """What an alert of a model accepted under this profile must add."""


PROFILES: Mapping[str, GateProfile] = {
    "seed": GateProfile("seed", min_accuracy=0.68, max_calibration_error=0.05),
    "selective": GateProfile("selective", max_calibration_error=0.02, selective_coverage=0.1),
    "calibrated": GateProfile("calibrated", max_calibration_error=0.02, note="information, not tradeable after costs"),
}


def gate_profile(
    name: str, *, min_accuracy: float | None = None, max_calibration_error: float | None = None
) -> GateProfile:
    """Return a profile; the two figures replace those of ``seed``, the other profiles keep their own.

    Raises:
        ConfigError: there is no such profile.
    """
    if name not in PROFILES:
        msg = f"there is no gate profile {name!r}; set GATE_PROFILE to one of {', '.join(PROFILES)}"
        raise ConfigError(msg)
    profile = PROFILES[name]
    if name != "seed":
        return profile
    return replace(
        profile,
        min_accuracy=profile.min_accuracy if min_accuracy is None else min_accuracy,
        max_calibration_error=profile.max_calibration_error if max_calibration_error is None else max_calibration_error,
    )


@dataclass(frozen=True, slots=True)
class GateResult:
    """One gate: the figure, the bound it is held against, and what would change the outcome."""

    name: str
    passed: bool
    figure: float | None
    bound: float | None
    low: float | None
    high: float | None
    sentence: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that the gates look at, for one product of one model."""

    test_rows: int
    test_days: int
    classes: int
    probability_spread: float
    accuracy: Interval
    base_rate: float
    brier_skill: Interval
    log_loss: Interval
    baseline_log_losses: Mapping[str, float]
    calibration_error: Interval
    selective: Mapping[float, Interval]
    """Accuracy at each coverage."""
    break_even: float
    shuffled_auc: Sequence[float]
    future_accuracy: float | None
    """Accuracy of boosting that was shown the end of the horizon, None if it could not be trained."""
    parity: float
    canaries: Mapping[str, str] = field(default_factory=dict)
    """Leak canaries that are lit: name and what was seen."""
    sources: Sequence[str] = ()


def judge_gates(evidence: Evidence, profile: GateProfile) -> tuple[GateResult, ...]:
    """Return every gate's result; the model is accepted only if all passed."""
    refusals = _refuse_what_cannot_be_judged(evidence)
    if refusals:
        return refusals
    results = [
        _above_base_rate(evidence),
        _brier_skill(evidence),
        _beats_baselines(evidence),
        _shuffled_labels(evidence),
        _no_canary(evidence),
        _future_control(evidence),
        _parity(evidence),
        _audit(evidence),
    ]
    if profile.min_accuracy is not None:
        results.insert(0, _min_accuracy(evidence, profile.min_accuracy))
    if profile.max_calibration_error is not None:
        results.insert(1, _calibration(evidence, profile.max_calibration_error))
    if profile.selective_coverage is not None:
        results.insert(0, _selective(evidence, profile.selective_coverage))
    return tuple(results)


def _refuse_what_cannot_be_judged(evidence: Evidence) -> tuple[GateResult, ...]:
    found = []
    if evidence.test_rows < LEAST_TEST_ROWS or evidence.test_days < LEAST_TEST_DAYS:
        found.append(
            GateResult(
                "enough_test_rows",
                passed=False,
                figure=float(evidence.test_rows),
                bound=float(LEAST_TEST_ROWS),
                low=None,
                high=None,
                sentence=f"The test part holds {evidence.test_rows} labelled windows on {evidence.test_days} days; at least "
                f"{LEAST_TEST_ROWS} on {LEAST_TEST_DAYS} days are needed. Backfill a longer span.",
            )
        )
    if evidence.classes < 2:
        found.append(
            GateResult(
                "two_classes",
                passed=False,
                figure=float(evidence.classes),
                bound=2.0,
                low=None,
                high=None,
                sentence="Every label of the test part is the same; no forecast can be told from a constant there. "
                "Backfill a longer span.",
            )
        )
    if not evidence.probability_spread >= LEAST_SPREAD:
        found.append(
            GateResult(
                "not_constant",
                passed=False,
                figure=_finite(evidence.probability_spread),
                bound=LEAST_SPREAD,
                low=None,
                high=None,
                sentence="The model says the same probability for every minute, so it says nothing. "
                "Train more epochs, or with other inputs.",
            )
        )
    return tuple(found)


def _min_accuracy(evidence: Evidence, bound: float) -> GateResult:
    value = evidence.accuracy.value
    return _result(
        "min_accuracy",
        evidence.accuracy,
        bound,
        passed=value >= bound,
        good=f"Accuracy {value:.4f} reaches {bound:.4f}.",
        bad=f"Accuracy {value:.4f} is below {bound:.4f}. Better inputs or more history may raise it; honest models of "
        "15 minutes of a real market reach 0.52 to 0.56. MIN_ACCURACY or GATE_PROFILE change the bound.",
    )


def _calibration(evidence: Evidence, bound: float) -> GateResult:
    value = evidence.calibration_error.value
    return _result(
        "calibration_error",
        evidence.calibration_error,
        bound,
        passed=value <= bound,
        good=f"Calibration error {value:.4f} is within {bound:.4f}.",
        bad=f"Calibration error {value:.4f} is above {bound:.4f}: the probabilities do not come true. A longer "
        "calibration part, or a market that behaves as it did there, would lower it.",
    )


def _selective(evidence: Evidence, coverage: float) -> GateResult:
    figure = evidence.selective[coverage]
    low = figure.low if figure.low is not None else -math.inf
    return _result(
        "selective_accuracy",
        figure,
        evidence.break_even,
        passed=low > evidence.break_even,
        good=f"The most confident {coverage:.0%} are right {figure.value:.4f} of the time, surely more than the "
        f"break-even {evidence.break_even:.4f}.",
        bad=f"The most confident {coverage:.0%} are right {figure.value:.4f} of the time (lower bound {_text(figure.low)}), "
        f"break-even after costs is {evidence.break_even:.4f}. Lower costs or a better model would change it.",
    )


def _above_base_rate(evidence: Evidence) -> GateResult:
    low = evidence.accuracy.low if evidence.accuracy.low is not None else -math.inf
    return _result(
        "accuracy_above_base_rate",
        evidence.accuracy,
        evidence.base_rate,
        passed=low > evidence.base_rate,
        good=f"Even the lower bound {_text(evidence.accuracy.low)} of accuracy is above the base rate {evidence.base_rate:.4f}.",
        bad=f"Accuracy {evidence.accuracy.value:.4f} has the lower bound {_text(evidence.accuracy.low)}, the base rate is "
        f"{evidence.base_rate:.4f}: it may be luck. More test days narrow the interval if there is an edge.",
    )


def _brier_skill(evidence: Evidence) -> GateResult:
    low = evidence.brier_skill.low if evidence.brier_skill.low is not None else -math.inf
    return _result(
        "brier_skill",
        evidence.brier_skill,
        0.0,
        passed=low > 0,
        good=f"Brier skill {evidence.brier_skill.value:.4f}, its whole interval above 0.",
        bad=f"Brier skill {evidence.brier_skill.value:.4f} has the lower bound {_text(evidence.brier_skill.low)}: the "
        "probabilities are not surely better than always saying the base rate. More test days, or a better model.",
    )


def _beats_baselines(evidence: Evidence) -> GateResult:
    name, best = min(evidence.baseline_log_losses.items(), key=lambda item: item[1])
    value = evidence.log_loss.value
    spoken = name.replace("_", " ")
    return _result(
        "beats_baselines",
        evidence.log_loss,
        best,
        passed=value < best,
        good=f"Log loss {value:.4f} is better than every baseline's, the best of them {spoken} with {best:.4f}.",
        bad=f"Log loss {value:.4f} is no better than {spoken}'s {best:.4f}: the simple forecast does as well. Train "
        "longer, on every minute (TRAIN_STRIDE=1), or use the simple one.",
    )


def _shuffled_labels(evidence: Evidence) -> GateResult:
    values = np.array(evidence.shuffled_auc)
    mean = float(values.mean()) if len(values) else math.nan
    # 4 standard errors: one false alarm in ten thousand models; never less than 0.01, a leak shows far more
    reach = max(0.01, 4.0 * float(values.std(ddof=1)) / math.sqrt(len(values))) if len(values) > 1 else math.nan
    passed = bool(abs(mean - 0.5) <= reach)
    return GateResult(
        "shuffled_label_control",
        passed=passed,
        figure=_finite(mean),
        bound=0.5,
        low=_finite(mean - reach),
        high=_finite(mean + reach),
        sentence=f"Fitted to shuffled labels, the control reaches AUC {mean:.3f} over {len(values)} shuffles, "
        + (
            "as it must without a leak."
            if passed
            else "not 0.5: test answers leak into training, or the judging errs. Audit the data set."
        ),
    )


def _no_canary(evidence: Evidence) -> GateResult:
    lit = evidence.canaries
    told = "; ".join(f"{name}: {seen}" for name, seen in lit.items())
    return GateResult(
        "no_leak_canary",
        passed=not lit,
        figure=float(len(lit)),
        bound=0.0,
        low=None,
        high=None,
        sentence=f"Leak canaries are lit: {told}. Rebuild the data set and train again."
        if lit
        else "No leak canary is lit: parts in time order and purged, no row twice, scaler from training rows only.",
    )


def _future_control(evidence: Evidence) -> GateResult:
    bound, value = evidence.future_accuracy, evidence.accuracy
    high = value.high if value.high is not None else math.inf
    passed = bound is not None and high < bound
    told = "could not be trained" if bound is None else f"reaches {bound:.4f}"
    return _result(
        "future_control",
        value,
        math.nan if bound is None else bound,
        passed=passed,
        good=f"Boosting that was shown the end of the horizon {told}; this model is well below it.",
        bad=f"Boosting that was shown the end of the horizon {told}; accuracy {value.value:.4f} (upper bound "
        f"{_text(value.high)}) is not surely below it. A model this good sees the future: audit its inputs.",
    )


def _parity(evidence: Evidence) -> GateResult:
    passed = bool(evidence.parity <= PARITY_TOLERANCE)
    return GateResult(
        "export_parity",
        passed=passed,
        figure=_finite(evidence.parity),
        bound=PARITY_TOLERANCE,
        low=None,
        high=None,
        sentence=f"The exported graph and torch differ by at most {evidence.parity:.1e}"
        + ("." if passed else f", more than {PARITY_TOLERANCE:.0e}; export again with the pinned versions."),
    )


def is_real(sources: Sequence[str]) -> bool:
    """Return whether any candle came from a real market; a market that is simulated says so in its source."""
    return any(source.removesuffix(FROM_TRADES) not in _SIMULATED for source in sources) or not sources


def _audit(evidence: Evidence) -> GateResult:
    real = is_real(evidence.sources)
    value = evidence.accuracy
    return _result(
        "audit",
        value,
        AUDIT_ACCURACY,
        passed=not (real and value.value > AUDIT_ACCURACY),
        good=f"Accuracy {value.value:.4f} on real candles is believable."
        if real
        else f"The candles are simulated ({', '.join(evidence.sources)}), so a high accuracy is no alarm.",
        bad=f"Accuracy {value.value:.4f} on real candles is above {AUDIT_ACCURACY}: nobody forecasts 15 minutes that well, "
        "suspect a leak. Audit labels, inputs and split before anything else.",
    )


def _result(name: str, figure: Interval, bound: float, *, passed: bool, good: str, bad: str) -> GateResult:
    return GateResult(
        name,
        passed=bool(passed),
        figure=_finite(figure.value),
        bound=_finite(bound),
        low=figure.low,
        high=figure.high,
        sentence=good if passed else bad,
    )


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _text(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4f}"
