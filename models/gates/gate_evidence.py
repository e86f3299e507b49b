"""Define what the gates look at, the profiles that set them, and the result of each."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from numbers import Real
from typing import TYPE_CHECKING

from core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from models.statistics.bootstrap import Interval


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
    looks: int = 1
    """How often the test part was looked at, this time included; lower bounds are held the lower the more often."""


# `seed` promotes none of 100 universes without an edge (95 %: 0 to 3.6 %) and 20 of 20 with one of accuracy 0.75 over 180 days.
# A forecast that is perfectly true shows a calibration error of about 0.034 in 60 days: the worlds of that check were made longer
# rather than this bound wider (docs/log.md)
PROFILES: Mapping[str, GateProfile] = {
    "seed": GateProfile("seed", min_accuracy=0.68, max_calibration_error=0.05),
    "selective": GateProfile("selective", max_calibration_error=0.02, selective_coverage=0.1),
    "calibrated": GateProfile("calibrated", max_calibration_error=0.02, note="information, not tradeable after costs"),
}


def gate_profile(
    name: str, *, min_accuracy: float | None = None, max_calibration_error: float | None = None, looks: int = 1
) -> GateProfile:
    """Return a profile; the two figures replace those of ``seed``, the other profiles keep their own.

    Raises:
        ConfigError: there is no such profile.
    """
    if name not in PROFILES:
        msg = f"there is no gate profile {name!r}; set GATE_PROFILE to one of {', '.join(PROFILES)}"
        raise ConfigError(msg)
    profile = replace(PROFILES[name], looks=looks)
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


def result(name: str, figure: Interval, bound: float, *, passed: bool, good: str, bad: str) -> GateResult:
    """Return the result of holding a figure with an interval against ``bound``; the sentence is ``good`` or ``bad``."""
    return bare_result(name, finite(figure.value), finite(bound), good if passed else bad, figure, passed=bool(passed))


def bare_result(
    name: str,
    figure: float | None,
    bound: float | None,
    sentence: str,
    interval: Interval | None = None,
    *,
    passed: bool = False,
) -> GateResult:
    """Return a result whose figure has no interval of its own; a refusal unless ``passed``."""
    low, high = (None, None) if interval is None else (finite(interval.low), finite(interval.high))
    return GateResult(name, passed=passed, figure=figure, bound=bound, low=low, high=high, sentence=sentence)


def finite(value: object) -> float | None:
    """Return a finite number as it is, anything else as None."""
    return float(value) if isinstance(value, Real) and math.isfinite(value) else None


@dataclass(frozen=True, slots=True)
class GateEvidence:
    """All that the gates look at, for one product of one model; what is missing or no number refuses."""

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
    canaries: Mapping[str, str] | None = None
    """Leak canaries that are lit: name and what was seen. None if nobody looked, which refuses."""
    sources: Sequence[str] = ()
    cost_bps: float | None = None
    """Round trip that ``break_even`` was reckoned with; only told, never held against anything."""


def cleaned(evidence: GateEvidence) -> GateEvidence:
    """Return the evidence with NaN in place of every figure that is no number, and no end where an interval's is not finite.

    Gates may then compare and print whatever they are given; comparing with NaN passes nothing.
    """
    return replace(
        evidence,
        probability_spread=_number(evidence.probability_spread),
        accuracy=_interval(evidence.accuracy),
        base_rate=_number(evidence.base_rate),
        brier_skill=_interval(evidence.brier_skill),
        log_loss=_interval(evidence.log_loss),
        baseline_log_losses={name: _number(loss) for name, loss in (evidence.baseline_log_losses or {}).items()},
        calibration_error=_interval(evidence.calibration_error),
        selective={coverage: _interval(figure) for coverage, figure in (evidence.selective or {}).items()},
        break_even=_number(evidence.break_even),
        shuffled_auc=tuple(_number(value) for value in evidence.shuffled_auc or ()),
        future_accuracy=finite(evidence.future_accuracy),
        parity=_number(evidence.parity),
        sources=tuple(evidence.sources or ()),
        cost_bps=finite(evidence.cost_bps),
    )


def _number(value: object) -> float:
    return float(value) if isinstance(value, Real) else math.nan


def _interval(figure: Interval | None) -> Interval:
    # imported late: the runtime reads verdicts through this module and stays without the bootstrap
    from models.statistics.bootstrap import Interval  # noqa: PLC0415

    value, low, high = figure or (None, None, None)
    return Interval(_number(value), finite(low), finite(high))
