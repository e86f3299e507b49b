"""Measure one product's forecasts on the test part: every figure, its interval, its slices, the baselines beside it.

Shapes: N rows of the test part.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from models.gates import Evidence
from models.judging.baselines import Controls, baseline_forecasts, controls
from models.statistics import metrics
from models.statistics.bootstrap import DayBootstrap, Interval

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from models.datasets.dataset import Dataset

_SESSIONS = ("tokyo", "london", "new_york")
_TIERS = (("low", 0.0), ("medium", 0.65), ("high", 0.75))
LEAST_SLICE = 100
"""Fewer rows bear no figure; labels overlap 15 times, so these are worth seven."""
CURVE_COVERAGES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.15, 0.1, 0.05, 0.03, 0.02, 0.01)
BASELINE_METRICS = ("accuracy", "auc", "log_loss", "brier", "brier_skill", "ece_mass", "ece_width", "net_bps")
_EMPTY = Interval(float("nan"), None, None)


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
    """All figures of one product."""

    rows: list[Row]
    summary: dict[str, dict[str, float | None]]
    baselines: dict[str, dict[str, float | None]]
    against_baselines: dict[str, dict[str, float | None]]
    """Log loss of the model less that of each baseline, row by row, with its interval; below 0 the model is better."""
    controls: dict[str, Any]
    curves: dict[str, Any]
    test_rows: int
    test_days: int
    classes: int
    spread: float
    figures: Mapping[str, Interval]
    selective: Mapping[float, Interval]

    def evidence(self, *, parity: float, canaries: Mapping[str, str], sources: Sequence[str]) -> Evidence:
        """Return what the gates look at."""
        none = _EMPTY
        return Evidence(
            test_rows=self.test_rows,
            test_days=self.test_days,
            classes=self.classes,
            probability_spread=self.spread,
            accuracy=self.figures.get("accuracy", none),
            base_rate=self.figures.get("base_rate", none).value,
            brier_skill=self.figures.get("brier_skill", none),
            log_loss=self.figures.get("log_loss", none),
            baseline_log_losses={name: found["log_loss"] or math.inf for name, found in self.baselines.items()},
            calibration_error=self.figures.get("ece_mass", none),
            selective=self.selective,
            break_even=self.figures.get("break_even_accuracy", none).value,
            shuffled_auc=self.controls.get("shuffled_auc", ()),
            future_accuracy=self.controls.get("future_accuracy"),
            parity=parity,
            canaries=canaries,
            sources=sources,
        )


def measure(
    data: Dataset, product: str, ends: NDArray[np.int64], p_N: NDArray[np.float64], *, cost_bps: float
) -> Measured:
    """Measure the forecasts ``p_N`` of the test rows ``ends``."""
    y_N, minute_N = data.direction_N[ends], data.minute_N[ends]
    classes = len(np.unique(y_N))
    if not len(ends) or classes < 2:
        return Measured([], {}, {}, {}, {}, {}, len(ends), _days(minute_N), classes, 0.0, {}, {})
    figures = intervals(data, ends, p_N, cost_bps=cost_bps)
    slices = {f"coverage={coverage:g}": metrics.covered(p_N, coverage) for coverage in metrics.COVERAGES}
    slices |= slices_of(p_N, minute_N)
    parts = {
        name: intervals(data, ends[chosen_N], p_N[chosen_N], cost_bps=cost_bps)
        for name, chosen_N in slices.items()
        if chosen_N.sum() >= LEAST_SLICE
    }
    forecasts = baseline_forecasts(data, product, ends)
    baselines = {name: intervals(data, ends, own_N, cost_bps=cost_bps) for name, own_N in forecasts.items()}
    every_N = np.ones(len(ends), dtype=bool)
    against = _against(minute_N, p_N, y_N, forecasts, every_N)
    rows = _rows("all", figures, len(ends))
    for name, chosen_N in slices.items():
        # too few rows for any figure: one row without a value says so
        rows += _rows(name, parts.get(name, {"accuracy": _EMPTY}), int(chosen_N.sum()))
        if name in parts:
            less = _against(minute_N, p_N, y_N, forecasts, chosen_N)
            found = {f"log_loss_less_{other}": figure for other, figure in less.items()}
            rows += _rows(name, found, int(chosen_N.sum()))
    for name, own in baselines.items():
        rows += _rows(f"baseline={name}", _baseline_part(own) | {"log_loss_difference": against[name]}, len(ends))
    return Measured(
        rows=rows,
        summary={name: figure.as_json() for name, figure in figures.items()},
        baselines={
            name: {metric: figure.as_json()["value"] for metric, figure in _baseline_part(own).items()}
            for name, own in baselines.items()
        },
        against_baselines={name: figure.as_json() for name, figure in against.items()},
        controls=_controls(controls(data, product, ends), y_N),
        curves=_curves(data, ends, p_N, slices, cost_bps),
        test_rows=len(ends),
        test_days=_days(minute_N),
        classes=classes,
        spread=float(np.std(p_N)),
        figures=figures,
        selective={c: parts.get(f"coverage={c:g}", {}).get("accuracy", _EMPTY) for c in metrics.COVERAGES},
    )


def coverage_cuts(p_N: NDArray[np.float64], y_N: NDArray[np.int8]) -> dict[str, dict[str, float]]:
    """Return the tier cuts by coverage, from the calibration part: high the most confident 1 %, medium 10 %."""
    cuts = {}
    for tier, coverage in (("high", 0.01), ("medium", 0.1)):
        if not len(p_N):
            continue
        chosen_N = metrics.covered(p_N, coverage)
        cuts[tier] = {
            "coverage": coverage,
            "confidence": metrics.confidence_cut(p_N, coverage),
            "accuracy": metrics.accuracy(p_N[chosen_N], y_N[chosen_N]),
            "row_count": int(chosen_N.sum()),
        }
    return cuts


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
    ends = [None if end is None or end <= 0 else 0.5 + cost_bps / (2.0 * end) for end in (move.high, move.low)]
    return Interval(metrics.break_even_accuracy(return_N, cost_bps), ends[0], ends[1])


def slices_of(p_N: NDArray[np.float64], minute_N: NDArray[np.int64]) -> dict[str, NDArray[np.bool_]]:
    """Return which rows are of each session (by UTC hour), tier (by confidence) and month."""
    hour_N = minute_N % 1440 // 60
    slices = {f"session={name}": hour_N // 8 == position for position, name in enumerate(_SESSIONS)}
    sure_N = metrics.confidence(p_N)
    for position, (tier, low) in enumerate(_TIERS):
        high = _TIERS[position + 1][1] if position + 1 < len(_TIERS) else math.inf
        slices[f"tier={tier}"] = (sure_N >= low) & (sure_N < high)
    days, day_N = np.unique(minute_N // 1440, return_inverse=True)
    month_N = np.array([_month(day) for day in days])[day_N]
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


def _baseline_part(found: Mapping[str, Interval]) -> dict[str, Interval]:
    return {name: found[name] for name in BASELINE_METRICS}


def _controls(found: Controls, y_N: NDArray[np.int8]) -> dict[str, Any]:
    seen = found.future_seen_N
    future = metrics.accuracy(found.future_p_N[seen], y_N[seen]) if seen.any() else None
    return {"shuffled_auc": list(found.shuffled_auc), "future_accuracy": future}


def _curves(
    data: Dataset,
    ends: NDArray[np.int64],
    p_N: NDArray[np.float64],
    slices: Mapping[str, NDArray[np.bool_]],
    cost_bps: float,
) -> dict[str, Any]:
    y_N, minute_N = data.direction_N[ends], data.minute_N[ends]
    parts = {name: chosen_N for name, chosen_N in slices.items() if chosen_N.sum() >= LEAST_SLICE}
    return {
        "reliability_equal_mass": reliability_points(p_N, y_N, minute_N, metrics.equal_mass_bins(p_N)),
        "reliability_equal_width": reliability_points(p_N, y_N, minute_N, metrics.equal_width_bins(p_N)),
        "coverage": _coverage_points(data, ends, p_N, cost_bps),
        "slices": {
            name: {
                "reliability_equal_mass": reliability_points(
                    p_N[chosen_N], y_N[chosen_N], minute_N[chosen_N], metrics.equal_mass_bins(p_N[chosen_N])
                ),
                "coverage": _coverage_points(data, ends[chosen_N], p_N[chosen_N], cost_bps),
            }
            for name, chosen_N in parts.items()
            if not name.startswith("coverage=")
        },
    }


def reliability_points(
    p_N: NDArray[np.float64], y_N: NDArray[np.int8], minute_N: NDArray[np.int64], bin_N: NDArray[np.int64]
) -> list[dict[str, float | None]]:
    """Return the bins of `evaluate.reliability`, the share of ups of each with its interval."""
    days, points = DayBootstrap(minute_N), []
    for point in metrics.reliability(p_N, y_N, bin_N):
        share = days.mean(y_N.astype(np.float64), bin_N == point["bin"])
        points.append({**point, "low_95": share.low, "high_95": share.high})
    return points


def _coverage_points(
    data: Dataset, ends: NDArray[np.int64], p_N: NDArray[np.float64], cost_bps: float
) -> list[dict[str, float | None]]:
    """Return accuracy, and what it would have to be, on the most confident share of the rows, for many shares."""
    hits_N, days, points = metrics.hits(p_N, data.direction_N[ends]), DayBootstrap(data.minute_N[ends]), []
    for coverage in CURVE_COVERAGES:
        chosen_N = metrics.covered(p_N, coverage)
        if chosen_N.sum() < LEAST_SLICE:
            continue
        needed = metrics.break_even_accuracy(data.return_N[ends][chosen_N], cost_bps)
        found = days.mean(hits_N, chosen_N).as_json()
        points.append({"coverage": coverage, **found, "break_even_accuracy": needed, "row_count": int(chosen_N.sum())})
    return points


def _rows(name: str, figures: Mapping[str, Interval], count: int) -> list[Row]:
    found = {metric: figure.as_json() for metric, figure in figures.items()}
    return [Row(name, metric, each["value"], each["low_95"], each["high_95"], count) for metric, each in found.items()]


def _days(minute_N: NDArray[np.int64]) -> int:
    return len(np.unique(minute_N // 1440))


def _month(day: int) -> str:
    return f"{datetime.fromtimestamp(int(day) * 86_400, UTC):%Y-%m}"
