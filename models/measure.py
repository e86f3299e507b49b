"""Measure one product's forecasts on the test part: every figure, its interval, its slices, the baselines beside it.

Shapes: N rows of the test part.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from models import evaluate
from models.baselines import Controls, baseline_forecasts, controls
from models.bootstrap import DayBootstrap, Interval
from models.gates import Evidence

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from models.dataset import Dataset

_SESSIONS = ("tokyo", "london", "new_york")
_TIERS = (("low", 0.0), ("medium", 0.65), ("high", 0.75))
_LEAST_SLICE = 100
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
    y_N, return_N, minute_N = data.direction_N[ends], data.return_N[ends], data.minute_N[ends]
    classes = len(np.unique(y_N))
    if not len(ends) or classes < 2:
        return Measured([], {}, {}, {}, {}, len(ends), _days(minute_N), classes, 0.0, {}, {})
    days = DayBootstrap(minute_N)
    figures = intervals(data, ends, p_N, cost_bps=cost_bps)
    selective = {c: days.mean(evaluate.hits(p_N, y_N), evaluate.covered(p_N, c)) for c in evaluate.COVERAGES}
    baselines = _baselines(data, product, ends, y_N, days)
    rows = [_row("all", name, figure, len(ends)) for name, figure in figures.items()]
    rows += _coverage_rows(days, p_N, y_N, return_N, cost_bps)
    rows += _slice_rows(days, p_N, y_N, minute_N)
    rows += [
        Row(f"baseline={name}", metric, value, None, None, len(ends))
        for name, found in baselines.items()
        for metric, value in found.items()
    ]
    return Measured(
        rows=rows,
        summary={name: figure.as_json() for name, figure in figures.items()},
        baselines=baselines,
        controls=_controls(controls(data, product, ends), y_N),
        curves=_curves(p_N, y_N, selective),
        test_rows=len(ends),
        test_days=_days(minute_N),
        classes=classes,
        spread=float(np.std(p_N)),
        figures=figures,
        selective=selective,
    )


def coverage_cuts(p_N: NDArray[np.float64], y_N: NDArray[np.int8]) -> dict[str, dict[str, float]]:
    """Return the tier cuts by coverage, from the calibration part: high the most confident 1 %, medium 10 %."""
    cuts = {}
    for tier, coverage in (("high", 0.01), ("medium", 0.1)):
        if not len(p_N):
            continue
        chosen_N = evaluate.covered(p_N, coverage)
        cuts[tier] = {
            "coverage": coverage,
            "confidence": evaluate.confidence_cut(p_N, coverage),
            "accuracy": evaluate.accuracy(p_N[chosen_N], y_N[chosen_N]),
            "row_count": int(chosen_N.sum()),
        }
    return cuts


def intervals(
    data: Dataset, ends: NDArray[np.int64], p_N: NDArray[np.float64], *, cost_bps: float
) -> dict[str, Interval]:
    """Return the figures over the whole of the rows ``ends``, each with its interval where one is computed."""
    y_N, return_N, days = data.direction_N[ends], data.return_N[ends], DayBootstrap(data.minute_N[ends])
    mass_N, width_N = evaluate.equal_mass_bins(p_N), evaluate.equal_width_bins(p_N)
    return {
        "accuracy": days.mean(evaluate.hits(p_N, y_N)),
        "base_rate": Interval(evaluate.base_rate(y_N), None, None),
        "auc": days.auc(p_N, y_N),
        "log_loss": days.mean(evaluate.log_losses(p_N, y_N)),
        "brier": days.mean((p_N - y_N) ** 2),
        "brier_skill": days.brier_skill(p_N, y_N),
        "ece_mass": days.calibration_error(p_N, y_N, mass_N),
        "ece_width": days.calibration_error(p_N, y_N, width_N),
        "net_bps": days.mean(evaluate.net_bps(p_N, return_N, cost_bps)),
        "break_even_accuracy": Interval(evaluate.break_even_accuracy(return_N, cost_bps), None, None),
    }


def _baselines(
    data: Dataset, product: str, ends: NDArray[np.int64], y_N: NDArray[np.int8], days: DayBootstrap
) -> dict[str, dict[str, float | None]]:
    found: dict[str, dict[str, float | None]] = {}
    for name, p_N in baseline_forecasts(data, product, ends).items():
        found[name] = {
            "accuracy": evaluate.accuracy(p_N, y_N),
            "auc": evaluate.auc(p_N, y_N),
            "log_loss": days.mean(evaluate.log_losses(p_N, y_N)).value,
            "brier_skill": evaluate.brier_skill(p_N, y_N),
        }
    return found


def _controls(found: Controls, y_N: NDArray[np.int8]) -> dict[str, Any]:
    seen = found.future_seen_N
    future = evaluate.accuracy(found.future_p_N[seen], y_N[seen]) if seen.any() else None
    return {"shuffled_auc": list(found.shuffled_auc), "future_accuracy": future}


def _coverage_rows(
    days: DayBootstrap,
    p_N: NDArray[np.float64],
    y_N: NDArray[np.int8],
    return_N: NDArray[np.float64],
    cost_bps: float,
) -> list[Row]:
    rows = []
    for coverage in evaluate.COVERAGES:
        chosen_N = evaluate.covered(p_N, coverage)
        name, count = f"coverage={coverage:g}", int(chosen_N.sum())
        rows.append(_row(name, "accuracy", days.mean(evaluate.hits(p_N, y_N), chosen_N), count))
        rows.append(_row(name, "net_bps", days.mean(evaluate.net_bps(p_N, return_N, cost_bps), chosen_N), count))
    return rows


def _slice_rows(
    days: DayBootstrap, p_N: NDArray[np.float64], y_N: NDArray[np.int8], minute_N: NDArray[np.int64]
) -> list[Row]:
    hour_N = minute_N % 1440 // 60
    slices = {f"session={name}": hour_N // 8 == position for position, name in enumerate(_SESSIONS)}
    sure_N = evaluate.confidence(p_N)
    for position, (tier, low) in enumerate(_TIERS):
        high = _TIERS[position + 1][1] if position + 1 < len(_TIERS) else math.inf
        slices[f"tier={tier}"] = (sure_N >= low) & (sure_N < high)
    month_N = np.array([_month(day) for day in np.unique(minute_N // 1440)])[days.day_N]
    slices |= {f"month={month}": month_N == month for month in np.unique(month_N).tolist()}
    rows = []
    for name, chosen_N in slices.items():
        count = int(chosen_N.sum())
        if count < _LEAST_SLICE:
            continue
        rows.append(_row(name, "accuracy", days.mean(evaluate.hits(p_N, y_N), chosen_N), count))
        rows.append(_row(name, "log_loss", days.mean(evaluate.log_losses(p_N, y_N), chosen_N), count))
        rows.append(_row(name, "base_rate", Interval(evaluate.base_rate(y_N[chosen_N]), None, None), count))
    return rows


def _curves(p_N: NDArray[np.float64], y_N: NDArray[np.int8], selective: Mapping[float, Interval]) -> dict[str, Any]:
    return {
        "reliability_equal_mass": evaluate.reliability(p_N, y_N, evaluate.equal_mass_bins(p_N)),
        "reliability_equal_width": evaluate.reliability(p_N, y_N, evaluate.equal_width_bins(p_N)),
        "coverage": [{"coverage": coverage} | figure.as_json() for coverage, figure in selective.items()],
    }


def _row(name: str, metric: str, figure: Interval, count: int) -> Row:
    found = figure.as_json()
    return Row(name, metric, found["value"], found["low_95"], found["high_95"], count)


def _days(minute_N: NDArray[np.int64]) -> int:
    return len(np.unique(minute_N // 1440))


def _month(day: int) -> str:
    return f"{datetime.fromtimestamp(int(day) * 86_400, UTC):%Y-%m}"
