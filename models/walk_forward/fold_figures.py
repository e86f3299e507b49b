"""Compute the figures of a walk-forward run: by fold and pooled, each forecaster beside the others on the same minutes.

Shapes: N rows of one product, D days, M configurations.
"""

from __future__ import annotations

import math
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from core.candles import minute_start
from core.errors import ModelError
from core.version import commit
from models.serving.passport import Estimate
from models.statistics import metrics
from models.statistics.bootstrap import MINUTES_OF_DAY, DayBootstrap, Interval
from models.statistics.selection_bias import overfitting, selection
from models.walk_forward.forecasts import MODEL, Forecasts, one_after_another, read_forecasts
from models.walk_forward.walk_record import (
    BASE,
    RECORD_VERSION,
    BestConfiguration,
    ConfigurationRecord,
    DailyGains,
    FoldMoments,
    FoldRecord,
    ForecasterMetrics,
    ForecastFigures,
    OverfittingRecord,
    ProductRecord,
    SearchLuck,
    TriedConfiguration,
    WalkForwardRecord,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from core.dataset_files import DatasetManifest
    from models.statistics.selection_bias import Statistic
    from models.walk_forward.fold_runs import FinishedJob, WalkForwardPlan

# 12,870 combinations would make a page of a megabyte; 400 points show the same cloud
_SCATTER_POINTS = 400
# labels overlap, so fewer minutes than this are worth three or four
_MIN_ROWS = 50


def walk_forward_record(
    plan: WalkForwardPlan,
    finished: Sequence[FinishedJob],
    *,
    trials: int,
    manifest: DatasetManifest,
    rolling_days: int | None = None,
    walks_over_test_part: bool = False,
    seconds: float | None = None,
) -> WalkForwardRecord:
    """Return all that was done and result: what the report shows, and nothing else is needed for it.

    Args:
        plan: What was done.
        finished: What became of each job.
        trials: How many models were tried in this folder until now, those of this run included.
        manifest: Of the whole data set.
        rolling_days: Days each fold was fitted on; None is all before it.
        walks_over_test_part: Whether the folds reach into the data set's own test part.
        seconds: What the run took.
    """
    return WalkForwardRecord(
        version=RECORD_VERSION,
        run_id=plan.run_id,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=commit(),
        architecture=plan.configurations[0].specs[0].architecture,
        products=plan.products,
        dataset_digest=plan.base.digest,
        feature_set=manifest.feature_set.name,
        feature_hash=manifest.feature_set.sha256,
        sources=manifest.sources,
        horizon_minutes=manifest.horizon_minutes,
        cost_bps=plan.cost_bps,
        gate_profile=plan.profile.name,
        trials=trials,
        judged_every_minutes=plan.folds[0].every,
        folds=tuple(
            FoldMoments(*map(minute_start, (fold.train, fold.early_stop, fold.calibration, fold.test, fold.end)))
            for fold in plan.folds
        ),
        configurations=tuple(
            TriedConfiguration(tried.name, dict(tried.changes), tried.specs[0]) for tried in plan.configurations
        ),
        results={product: _product(plan, product, finished, trials) for product in plan.products},
        failures=tuple(ended.error for ended in finished if ended.error),
        rolling_days=rolling_days,
        walks_over_test_part=walks_over_test_part,
        seconds=seconds,
    )


def _product(plan: WalkForwardPlan, product: str, finished: Sequence[FinishedJob], trials: int) -> ProductRecord:
    configurations, whole = {}, {}
    for number, tried in enumerate(plan.configurations):
        own = [ended for ended in finished if ended.job.configuration == number and product in ended.job.spec.products]
        forecasts = {ended.job.fold: _forecasts_of(ended, product) for ended in own if not ended.error}
        judged = [forecasts[fold] for fold in sorted(forecasts) if len(forecasts[fold].minute_N) >= _MIN_ROWS]
        # a configuration that lacks a fold is no rival: other days were other luck
        pooled = one_after_another(judged) if len(judged) == len(plan.folds) else None
        if pooled is not None:
            whole[tried.name] = pooled
        configurations[tried.name] = ConfigurationRecord(
            folds=tuple(_fold(ended, product, forecasts.get(ended.job.fold), plan.cost_bps) for ended in own),
            pooled=None if pooled is None else figures(pooled, plan.cost_bps),
            days=None if pooled is None else _daily_gains(pooled),
        )
    return ProductRecord(
        configurations, best_configurations(whole, plan.cost_bps, trials), search_luck(whole, plan.cost_bps)
    )


def _forecasts_of(ended: FinishedJob, product: str) -> Forecasts:
    return read_forecasts(Path(ended.forecasts), product).beside(read_forecasts(Path(ended.baselines), product))


def _fold(ended: FinishedJob, product: str, forecasts: Forecasts | None, cost_bps: float) -> FoldRecord:
    number = ended.job.fold + 1
    if forecasts is None:
        return FoldRecord(number, error=ended.error)
    is_judged = len(forecasts.minute_N) >= _MIN_ROWS
    return FoldRecord(
        number,
        ended.candidate,
        ended.model_id,
        tuple(ended.refused_by.get(product, ())),
        ended.training,
        error=None if is_judged else f"fewer than {_MIN_ROWS} minutes of {product} could be judged",
        figures=figures(forecasts, cost_bps) if is_judged else None,
    )


def figures(forecasts: Forecasts, cost_bps: float) -> ForecastFigures:
    """Return every forecaster's figures with 95 % day-bootstrap intervals, on the same minutes."""
    days = DayBootstrap(forecasts.minute_N)
    y_N, return_N = forecasts.direction_N, forecasts.return_N
    loss_N = {name: metrics.log_losses(p_N, y_N) for name, p_N in forecasts.p_N.items()}
    has_both = len(np.unique(y_N)) == 2

    def of(name: str, p_N: NDArray[np.float64]) -> ForecasterMetrics:
        intervals = {
            "accuracy": days.mean(metrics.hits(p_N, y_N)),
            "auc": days.auc(p_N, y_N) if has_both else Interval(math.nan, None, None),
            "log_loss": days.mean(loss_N[name]),
            "gain": days.mean(loss_N[BASE] - loss_N[name]),
            "brier_skill": days.brier_skill(p_N, y_N),
            "ece_mass": days.calibration_error(p_N, y_N, metrics.equal_mass_bins(p_N)),
            "accuracy_surest_tenth": days.mean(metrics.hits(p_N, y_N), metrics.covered(p_N, 0.1)),
            "net_bps": days.mean(metrics.net_bps(p_N, return_N, cost_bps)),
        }
        if name != MODEL:
            intervals["ahead"] = days.mean(loss_N[name] - loss_N[MODEL])
        return ForecasterMetrics(**{metric: Estimate(**interval.as_json()) for metric, interval in intervals.items()})

    break_even = metrics.break_even_accuracy(metrics.mean_move_bps(return_N), cost_bps)
    return ForecastFigures(
        rows=len(y_N),
        days=days.days,
        base_rate=metrics.base_rate(y_N),
        break_even_accuracy=break_even if math.isfinite(break_even) else None,
        forecasters={name: of(name, p_N) for name, p_N in forecasts.p_N.items()},
    )


def _by_day(minute_N: NDArray[np.int64], value_N: NDArray[np.float64]) -> tuple[list[int], list[int], list[float]]:
    """Return the UTC days since 1970, the rows of each, and the sum of each day's values."""
    day_D, day_N = np.unique(minute_N // MINUTES_OF_DAY, return_inverse=True)
    return day_D.tolist(), np.bincount(day_N).tolist(), np.bincount(day_N, weights=value_N).tolist()


def _daily_gains(forecasts: Forecasts) -> DailyGains:
    base_N = metrics.log_losses(forecasts.p_N[BASE], forecasts.direction_N)
    gains = {
        name: _by_day(forecasts.minute_N, base_N - metrics.log_losses(p_N, forecasts.direction_N))
        for name, p_N in forecasts.p_N.items()
        if name != BASE
    }
    days, rows, _ = next(iter(gains.values()))
    return DailyGains(tuple(days), tuple(rows), {name: tuple(sums) for name, (_, _, sums) in gains.items()})


def _values(forecasts: Forecasts, cost_bps: float) -> dict[str, NDArray[np.float64]]:
    """Return what a configuration is chosen by, one figure a minute: log-loss gain (0.0001 nats) and net return (bps)."""
    base_N, own_N = (metrics.log_losses(forecasts.p_N[name], forecasts.direction_N) for name in (BASE, MODEL))
    return {
        "gain": 1e4 * (base_N - own_N),
        "net_bps": metrics.net_bps(forecasts.p_N[MODEL], forecasts.return_N, cost_bps),
    }


def best_configurations(whole: Mapping[str, Forecasts], cost_bps: float, trials: int) -> dict[str, BestConfiguration]:
    """Return, for gain and net return, which configuration is best, and what that is worth after the search.

    Args:
        whole: Configuration -> forecasts of all folds.
        cost_bps: Round trip.
        trials: Models tried until now; at least the configurations themselves count.
    """
    best: dict[str, BestConfiguration] = {}
    values = {name: _values(forecasts, cost_bps) for name, forecasts in whole.items()}
    for kind in ("gain", "net_bps"):
        alone = {name: selection(values[name][kind], forecasts.minute_N, 1) for name, forecasts in whole.items()}
        sharpes = {name: result.sharpe_daily for name, result in alone.items() if result.sharpe_daily is not None}
        if not sharpes:
            continue
        name = max(sharpes, key=lambda name: sharpes[name])
        searched = max(trials, len(whole))
        weighed = selection(values[name][kind], whole[name].minute_N, searched, trial_sharpes=list(sharpes.values()))
        best[kind] = BestConfiguration(name, sharpes, weighed)
    return best


def search_luck(whole: Mapping[str, Forecasts], cost_bps: float) -> SearchLuck | None:
    """Return the probability of back-test over-fitting by gain (mean of days) and by net return (Sharpe ratio of days)."""
    if len(whole) < 2:
        return None
    values = [(forecasts.minute_N, _values(forecasts, cost_bps)) for forecasts in whole.values()]
    by_gain = _overfitting([_daily_means(minute_N, own["gain"]) for minute_N, own in values], "mean")
    by_return = _overfitting([_daily_means(minute_N, own["net_bps"]) for minute_N, own in values], "sharpe")
    return SearchLuck(tuple(whole), by_gain, by_return)


def _daily_means(minute_N: NDArray[np.int64], value_N: NDArray[np.float64]) -> dict[int, float]:
    return {day: total / rows for day, rows, total in zip(*_by_day(minute_N, value_N), strict=True)}


def _overfitting(days: Sequence[Mapping[int, float]], statistic: Statistic) -> OverfittingRecord:
    """Return the over-fitting on the days all configurations have: combinations as a histogram and a thinned scatter."""
    shared = sorted(set.intersection(*map(set, days)))
    try:
        result = overfitting(np.array([[own[day] for own in days] for day in shared]), statistic=statistic)
    except ModelError as error:
        return OverfittingRecord(error=str(error))
    count = len(result.logits)
    taken = np.linspace(0, count - 1, min(count, _SCATTER_POINTS)).astype(int)
    return OverfittingRecord(
        configurations=result.configurations,
        days=result.days,
        blocks=result.blocks,
        statistic=result.statistic,
        probability=result.probability,
        probability_of_loss=result.probability_of_loss,
        slope=result.slope,
        intercept=result.intercept,
        combinations=count,
        logits=tuple(sorted(Counter(round(logit, 6) for logit in result.logits).items())),
        inside=tuple(result.inside[position] for position in taken),
        outside=tuple(result.outside[position] for position in taken),
        chosen=result.chosen,
    )
