"""Measure one product's forecasts on the test part: every figure, its interval, its slices, the baselines beside it.

Shapes: N rows of the test part.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from core.candles import SESSIONS, minute_start
from models.gates import GateEvidence
from models.gates.judgement import CoveragePoint, ProductCurves, ReliabilityPoint
from models.judging.baselines import Controls, baseline_forecasts, controls
from models.serving.passport import ControlFigures, CoverageCut, Estimate
from models.statistics import metrics
from models.statistics.bootstrap import MINUTES_OF_DAY, DayBootstrap, Interval

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from models.datasets.dataset import Dataset

_TIERS = (("low", 0.0), ("medium", 0.65), ("high", 0.75))
MIN_SLICE_ROWS = 100
"""Below this many rows no metric is reported: labels overlap 15-fold, so 100 rows hold about 7 independent ones."""
CURVE_COVERAGES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.15, 0.1, 0.05, 0.03, 0.02, 0.01)
BASELINE_METRICS = ("accuracy", "auc", "log_loss", "brier", "brier_skill", "ece_mass", "ece_width", "net_bps")
TIER_COVERAGES = (("high", 0.01), ("medium", 0.1))
_UNKNOWN = Interval(math.nan, None, None)


class Row(NamedTuple):
    """A row of `model_metrics` without model and product."""

    slice: str
    metric: str
    value: float | None
    low_95: float | None
    high_95: float | None
    row_count: int


@dataclass(frozen=True, slots=True)
class Measured:
    """All figures of one product; where there is no row, or one class, only how many there are."""

    test_rows: int
    test_days: int
    classes: int
    spread: float = 0.0
    """Standard deviation of the probabilities."""
    rows: list[Row] = field(default_factory=list)
    figures: Mapping[str, Interval] = field(default_factory=dict)
    baselines: Mapping[str, Mapping[str, Interval]] = field(default_factory=dict)
    against_baselines: Mapping[str, Interval] = field(default_factory=dict)
    """Log loss of the model less that of each baseline, row by row; below 0 the model is better."""
    controls: ControlFigures = field(default_factory=ControlFigures)
    curves: ProductCurves = field(default_factory=ProductCurves)
    selective: Mapping[float, Interval] = field(default_factory=dict)
    """Accuracy at each coverage."""

    def evidence(
        self, *, parity: float, canaries: Mapping[str, str], sources: Sequence[str], cost_bps: float | None = None
    ) -> GateEvidence:
        """Return what the gates look at."""
        figures = self.figures
        return GateEvidence(
            test_rows=self.test_rows,
            test_days=self.test_days,
            classes=self.classes,
            probability_spread=self.spread,
            accuracy=figures.get("accuracy", _UNKNOWN),
            base_rate=figures.get("base_rate", _UNKNOWN).value,
            brier_skill=figures.get("brier_skill", _UNKNOWN),
            log_loss=figures.get("log_loss", _UNKNOWN),
            baseline_log_losses={name: own["log_loss"].value for name, own in self.baselines.items()},
            calibration_error=figures.get("ece_mass", _UNKNOWN),
            selective=self.selective,
            break_even=figures.get("break_even_accuracy", _UNKNOWN).value,
            shuffled_auc=self.controls.shuffled_auc,
            future_accuracy=self.controls.future_accuracy,
            parity=parity,
            canaries=canaries,
            sources=sources,
            cost_bps=cost_bps,
        )


def measure(
    data: Dataset, product: str, ends: NDArray[np.int64], p_N: NDArray[np.float64], *, cost_bps: float
) -> Measured:
    """Measure the forecasts ``p_N`` of the test rows ``ends``."""
    y_N, minute_N = data.direction_N[ends], data.minute_N[ends]
    days, classes = len(np.unique(minute_N // MINUTES_OF_DAY)), len(np.unique(y_N))
    if not len(ends) or classes < 2:
        return Measured(len(ends), days, classes)
    slices = {f"coverage={coverage:g}": metrics.covered(p_N, coverage) for coverage in metrics.COVERAGES}
    slices |= slices_of(p_N, minute_N)
    parts = {
        name: intervals(data, ends[chosen_N], p_N[chosen_N], cost_bps=cost_bps)
        for name, chosen_N in slices.items()
        if chosen_N.sum() >= MIN_SLICE_ROWS
    }
    figures = intervals(data, ends, p_N, cost_bps=cost_bps)
    forecasts = baseline_forecasts(data, product, ends)
    baselines = {}
    for name, own_N in forecasts.items():
        own = intervals(data, ends, own_N, cost_bps=cost_bps)
        baselines[name] = {metric: own[metric] for metric in BASELINE_METRICS}
    against = _against(minute_N, p_N, y_N, forecasts, np.ones(len(ends), dtype=bool))
    rows = _rows("all", figures, len(ends))
    for name, chosen_N in slices.items():
        # too few rows for any figure: one row without a value says so
        rows += _rows(name, parts.get(name, {"accuracy": _UNKNOWN}), int(chosen_N.sum()))
        if name in parts:
            less = _against(minute_N, p_N, y_N, forecasts, chosen_N)
            less = {f"log_loss_less_{other}": figure for other, figure in less.items()}
            rows += _rows(name, less, int(chosen_N.sum()))
    for name, own in baselines.items():
        rows += _rows(f"baseline={name}", own | {"log_loss_difference": against[name]}, len(ends))
    return Measured(
        test_rows=len(ends),
        test_days=days,
        classes=classes,
        spread=float(np.std(p_N)),
        rows=rows,
        figures=figures,
        baselines=baselines,
        against_baselines=against,
        controls=_controls(controls(data, product, ends), y_N),
        curves=_curves(data, ends, p_N, slices, cost_bps),
        selective={c: parts.get(f"coverage={c:g}", {}).get("accuracy", _UNKNOWN) for c in metrics.COVERAGES},
    )


def coverage_cuts(p_N: NDArray[np.float64], y_N: NDArray[np.int8]) -> dict[str, CoverageCut]:
    """Return the tier cuts by coverage, from the calibration part: high the most confident 1 %, medium 10 %."""
    cuts = {}
    for tier, coverage in TIER_COVERAGES if len(p_N) else ():
        chosen_N = metrics.covered(p_N, coverage)
        accuracy = metrics.accuracy(p_N[chosen_N], y_N[chosen_N])
        cuts[tier] = CoverageCut(coverage, metrics.confidence_cut(p_N, coverage), accuracy, int(chosen_N.sum()))
    return cuts


def estimates(figures: Mapping[str, Interval]) -> dict[str, Estimate]:
    """Return figures as the passport holds them: a value that is no number is None."""
    return {name: Estimate(**figure.as_json()) for name, figure in figures.items()}


def intervals(
    data: Dataset, ends: NDArray[np.int64], p_N: NDArray[np.float64], *, cost_bps: float
) -> dict[str, Interval]:
    """Return every figure over the rows ``ends``, each with its interval where one is computed."""
    y_N, return_N, days = data.direction_N[ends], data.return_N[ends], DayBootstrap(data.minute_N[ends])
    mass_N, width_N = metrics.equal_mass_bins(p_N), metrics.equal_width_bins(p_N)
    hits_N = metrics.hits(p_N, y_N)
    return {
        "accuracy": days.mean(hits_N),
        "base_rate": Interval(metrics.base_rate(y_N), None, None),
        "auc": days.auc(p_N, y_N),
        "log_loss": days.mean(metrics.log_losses(p_N, y_N)),
        "brier": days.mean((p_N - y_N) ** 2),
        "brier_skill": days.brier_skill(p_N, y_N),
        "ece_mass": days.calibration_error(p_N, y_N, mass_N),
        "ece_width": days.calibration_error(p_N, y_N, width_N),
        "net_bps": days.mean(metrics.net_bps(p_N, return_N, cost_bps)),
        "break_even_accuracy": _break_even(days, return_N, cost_bps),
        "effective_rows": Interval(days.effective_rows(hits_N), None, None),
    }


def _break_even(days: DayBootstrap, return_N: NDArray[np.float64], cost_bps: float) -> Interval:
    """Return the break-even accuracy; its ends are those of the mean move, the other way round."""
    move = days.mean(np.abs(return_N) * 1e4)
    ends = [
        None if end is None or end <= metrics.MIN_MOVE_BPS else metrics.break_even_accuracy(end, cost_bps)
        for end in (move.high, move.low)
    ]
    return Interval(metrics.break_even_accuracy(metrics.mean_move_bps(return_N), cost_bps), ends[0], ends[1])


def slices_of(p_N: NDArray[np.float64], minute_N: NDArray[np.int64]) -> dict[str, NDArray[np.bool_]]:
    """Return which rows are of each session (by UTC hour), tier (by confidence) and month."""
    session_N = minute_N % MINUTES_OF_DAY // (MINUTES_OF_DAY // len(SESSIONS))
    slices = {f"session={name}": session_N == position for position, name in enumerate(SESSIONS)}
    sure_N = metrics.confidence(p_N)
    for (tier, low), (_, high) in pairwise((*_TIERS, ("", math.inf))):
        slices[f"tier={tier}"] = (sure_N >= low) & (sure_N < high)
    days, day_N = np.unique(minute_N // MINUTES_OF_DAY, return_inverse=True)
    month_N = np.array([f"{minute_start(day * MINUTES_OF_DAY):%Y-%m}" for day in days])[day_N]
    return slices | {f"month={month}": month_N == month for month in np.unique(month_N).tolist()}


def _against(
    minute_N: NDArray[np.int64],
    p_N: NDArray[np.float64],
    y_N: NDArray[np.int8],
    forecasts: Mapping[str, NDArray[np.float64]],
    chosen_N: NDArray[np.bool_],
) -> dict[str, Interval]:
    """Compare row by row: what model and baseline share, hard days above all, cancels (Diebold and Mariano 1995)."""
    days, own_N = DayBootstrap(minute_N[chosen_N]), metrics.log_losses(p_N, y_N)
    return {
        name: days.mean((own_N - metrics.log_losses(theirs_N, y_N))[chosen_N]) for name, theirs_N in forecasts.items()
    }


def _controls(trained: Controls, y_N: NDArray[np.int8]) -> ControlFigures:
    seen_N = trained.future_seen_N
    future = metrics.accuracy(trained.future_p_N[seen_N], y_N[seen_N]) if seen_N.any() else None
    return ControlFigures(trained.shuffled_auc, future)


def _curves(
    data: Dataset,
    ends: NDArray[np.int64],
    p_N: NDArray[np.float64],
    slices: Mapping[str, NDArray[np.bool_]],
    cost_bps: float,
) -> ProductCurves:
    def of(chosen_N: NDArray[np.bool_]) -> ProductCurves:
        own, own_p_N = ends[chosen_N], p_N[chosen_N]
        y_N, minute_N, bin_N = data.direction_N[own], data.minute_N[own], metrics.equal_mass_bins(own_p_N)
        return ProductCurves(
            reliability_equal_mass=reliability_points(own_p_N, y_N, minute_N, bin_N),
            coverage=_coverage_points(data, own, own_p_N, cost_bps),
        )

    y_N, minute_N, bin_N = data.direction_N[ends], data.minute_N[ends], metrics.equal_width_bins(p_N)
    return replace(
        of(np.ones(len(ends), dtype=bool)),
        reliability_equal_width=reliability_points(p_N, y_N, minute_N, bin_N),
        slices={
            name: of(chosen_N)
            for name, chosen_N in slices.items()
            if chosen_N.sum() >= MIN_SLICE_ROWS and not name.startswith("coverage=")
        },
    )


def reliability_points(
    p_N: NDArray[np.float64], y_N: NDArray[np.int8], minute_N: NDArray[np.int64], bin_N: NDArray[np.int64]
) -> tuple[ReliabilityPoint, ...]:
    """Return the bins of `metrics.reliability`, the share of ups of each with its interval."""
    days, points = DayBootstrap(minute_N), []
    for point in metrics.reliability(p_N, y_N, bin_N):
        share = days.mean(y_N.astype(np.float64), bin_N == point["bin"])
        points.append(
            ReliabilityPoint(
                int(point["bin"]),
                int(point["row_count"]),
                point["mean_probability"],
                point["up_share"],
                share.low,
                share.high,
            )
        )
    return tuple(points)


def _coverage_points(
    data: Dataset, ends: NDArray[np.int64], p_N: NDArray[np.float64], cost_bps: float
) -> tuple[CoveragePoint, ...]:
    """Return accuracy, and what it would have to be, on the most confident share of the rows, for many shares."""
    hits_N, days, points = metrics.hits(p_N, data.direction_N[ends]), DayBootstrap(data.minute_N[ends]), []
    for coverage in CURVE_COVERAGES:
        chosen_N = metrics.covered(p_N, coverage)
        rows = int(chosen_N.sum())
        if rows >= MIN_SLICE_ROWS:
            needed = metrics.break_even_accuracy(metrics.mean_move_bps(data.return_N[ends][chosen_N]), cost_bps)
            points.append(CoveragePoint(coverage, *days.mean(hits_N, chosen_N), needed, rows))
    return tuple(points)


def _rows(name: str, figures: Mapping[str, Interval], count: int) -> list[Row]:
    known = estimates(figures)
    return [Row(name, metric, own.value, own.low_95, own.high_95, count) for metric, own in known.items()]
