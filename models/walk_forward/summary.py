"""The figures of a walk-forward run: by fold and pooled, each forecaster beside the others on the same minutes.

Shapes: N rows of one product, D days, M configurations.
"""

from __future__ import annotations

import math
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.errors import ModelError
from core.version import commit
from models.statistics import metrics
from models.statistics.bootstrap import MINUTES_OF_DAY, DayBootstrap, Interval
from models.statistics.selection_bias import overfitting, selection
from models.training.candidate import spec_as_json
from models.walk_forward.forecasts import MODEL, Forecasts, one_after_another, read_forecasts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from models.datasets.folds import FoldBorders
    from models.statistics.selection_bias import Overfitting, Statistic
    from models.walk_forward.run import Done, Plan

BASE = "base_rate"
_SCATTER = 400
_LEAST_ROWS = 50


def walk_forward_record(
    plan: Plan, done: Sequence[Done], *, trials: int, manifest: Mapping[str, Any]
) -> dict[str, Any]:
    """Return all that was done and found as plain JSON values: what the report shows, and nothing else is needed for it.

    Args:
        plan: What was done.
        done: What became of each job.
        trials: How many models were tried in this folder until now, those of this run included.
        manifest: Of the whole data set.
    """
    return {
        "run_id": plan.run_id,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "architecture": plan.configurations[0].specs[0].architecture,
        "products": list(plan.products),
        "dataset_digest": plan.base.digest,
        "feature_set": manifest["feature_set"]["name"],
        "feature_hash": manifest["feature_set"]["sha256"],
        "sources": list(manifest["sources"]),
        "horizon_minutes": manifest["horizon_minutes"],
        "cost_bps": plan.cost_bps,
        "gate_profile": plan.profile.name,
        "trials": trials,
        "judged_every_minutes": plan.folds[0].every,
        "folds": [_moments(borders) for borders in plan.folds],
        "configurations": [
            {"name": one.name, "changes": dict(one.changes), "spec": spec_as_json(one.specs[0])}
            for one in plan.configurations
        ],
        "results": {product: _product(plan, product, done, trials) for product in plan.products},
        "failures": [one.error for one in done if one.error],
    }


def _moments(borders: FoldBorders) -> dict[str, str]:
    names = ("train", "early_stop", "calibration", "test", "end")
    return {name: datetime.fromtimestamp(60 * getattr(borders, name), UTC).isoformat() for name in names}


def _forecasts_of(product: str, configuration: int, done: Sequence[Done]) -> dict[int, Forecasts]:
    """Return the model's and the baselines' forecasts of each finished fold."""
    found = {}
    for one in done:
        if one.job.configuration == configuration and product in one.job.spec.products and not one.error:
            said = read_forecasts(Path(one.forecasts), product).beside(read_forecasts(Path(one.baselines), product))
            if len(said.minute_N) >= _LEAST_ROWS:
                found[one.job.fold] = said
    return found


def _product(plan: Plan, product: str, done: Sequence[Done], trials: int) -> dict[str, Any]:
    by_configuration = {
        configuration.name: _forecasts_of(product, number, done)
        for number, configuration in enumerate(plan.configurations)
    }
    # a configuration that lacks a fold is no rival: other days were other luck
    whole = {
        name: one_after_another([folds[fold] for fold in sorted(folds)])
        for name, folds in by_configuration.items()
        if len(folds) == len(plan.folds)
    }
    configurations = {}
    for number, (name, folds) in enumerate(by_configuration.items()):
        configurations[name] = {
            "folds": [
                _fold(one, product, folds.get(one.job.fold), plan.cost_bps)
                for one in done
                if one.job.configuration == number and product in one.job.spec.products
            ],
            "pooled": figures(whole[name], plan.cost_bps) if name in whole else None,
            "days": _days(whole[name]) if name in whole else None,
        }
    return {
        "configurations": configurations,
        "selection": _selections(whole, plan.cost_bps, trials),
        "overfitting": _overfitting(whole, plan.cost_bps),
    }


def _fold(one: Done, product: str, said: Forecasts | None, cost_bps: float) -> dict[str, Any]:
    told: dict[str, Any] = {"fold": one.job.fold + 1}
    if one.error:
        return told | {"error": one.error}
    told |= {
        "candidate_id": one.candidate,
        "model_id": one.model_id,
        "refused_by": list(one.refused_by.get(product, ())),
        "training": dict(one.training),
    }
    if said is None:
        return told | {"error": f"fewer than {_LEAST_ROWS} minutes of {product} could be judged"}
    return told | {"figures": figures(said, cost_bps)}


def figures(said: Forecasts, cost_bps: float) -> dict[str, Any]:
    """Return every forecaster's figures with 95 % day-bootstrap intervals, on the same minutes.

    ``gain`` is the log loss below the base rate's, ``ahead`` (of a baseline) that of the model below this baseline's;
    both are paired minute by minute, positive is better for the model.
    """
    days = DayBootstrap(said.minute_N)
    y_N = said.direction_N
    loss_N = {name: metrics.log_losses(p_N, y_N) for name, p_N in said.p_N.items()}
    found: dict[str, Any] = {
        "rows": len(y_N),
        "days": days.days,
        "base_rate": metrics.base_rate(y_N),
        "break_even_accuracy": _finite(metrics.break_even_accuracy(metrics.mean_move_bps(said.return_N), cost_bps)),
        "forecasters": {},
    }
    for name, p_N in said.p_N.items():
        one = {
            "accuracy": days.mean(metrics.hits(p_N, y_N)),
            "auc": days.auc(p_N, y_N) if len(np.unique(y_N)) == 2 else Interval(math.nan, None, None),
            "log_loss": days.mean(loss_N[name]),
            "gain": days.mean(loss_N[BASE] - loss_N[name]),
            "brier_skill": days.brier_skill(p_N, y_N),
            "ece_mass": days.calibration_error(p_N, y_N, metrics.equal_mass_bins(p_N)),
            "accuracy_surest_tenth": days.mean(metrics.hits(p_N, y_N), metrics.covered(p_N, 0.1)),
            "net_bps": days.mean(metrics.net_bps(p_N, said.return_N, cost_bps)),
        }
        if name != MODEL:
            one["ahead"] = days.mean(loss_N[name] - loss_N[MODEL])
        found["forecasters"][name] = {metric: figure.as_json() for metric, figure in one.items()}
    return found


def _days(said: Forecasts) -> dict[str, Any]:
    """Return each day's summed gain over the base rate of every forecaster but the base rate itself."""
    day_D, day_N = np.unique(said.minute_N // MINUTES_OF_DAY, return_inverse=True)
    base_N = metrics.log_losses(said.p_N[BASE], said.direction_N)
    gain = {
        name: np.bincount(day_N, weights=base_N - metrics.log_losses(p_N, said.direction_N)).tolist()
        for name, p_N in said.p_N.items()
        if name != BASE
    }
    return {"day": day_D.tolist(), "rows": np.bincount(day_N).tolist(), "gain": gain}


def _daily(said: Forecasts, value_N: NDArray[np.float64]) -> dict[int, float]:
    day_D, day_N = np.unique(said.minute_N // MINUTES_OF_DAY, return_inverse=True)
    return dict(zip(day_D.tolist(), (np.bincount(day_N, weights=value_N) / np.bincount(day_N)).tolist(), strict=True))


def _values(said: Forecasts, cost_bps: float) -> dict[str, NDArray[np.float64]]:
    """Return what a configuration is chosen by, one figure a minute: log-loss gain (0.0001 nats) and net return (bps)."""
    losses = [metrics.log_losses(said.p_N[name], said.direction_N) for name in (BASE, MODEL)]
    return {
        "gain": 1e4 * (losses[0] - losses[1]),
        "net_bps": metrics.net_bps(said.p_N[MODEL], said.return_N, cost_bps),
    }


def _selections(whole: Mapping[str, Forecasts], cost_bps: float, trials: int) -> dict[str, Any]:
    """Return, for gain and net return: which configuration is best, and what that is worth after the search."""
    found: dict[str, Any] = {}
    values = {name: _values(said, cost_bps) for name, said in whole.items()}
    for kind in ("gain", "net_bps"):
        alone = {name: selection(values[name][kind], said.minute_N, 1) for name, said in whole.items()}
        sharpes = {name: one.sharpe_daily for name, one in alone.items() if one.sharpe_daily is not None}
        if not sharpes:
            continue
        best = max(sharpes, key=lambda name: sharpes[name])
        weighed = selection(
            values[best][kind], whole[best].minute_N, max(trials, len(whole)), trial_sharpes=list(sharpes.values())
        )
        found[kind] = {"best": best, "sharpe_daily": sharpes, "of_the_best": weighed.as_json()}
    return found


def _overfitting(whole: Mapping[str, Forecasts], cost_bps: float) -> dict[str, Any] | None:
    """Return the probability of back-test over-fitting by gain (mean of days) and by net return (Sharpe ratio of days)."""
    if len(whole) < 2:
        return None
    kinds: dict[str, Statistic] = {"gain": "mean", "net_bps": "sharpe"}
    found: dict[str, Any] = {"configurations": list(whole)}
    for kind, statistic in kinds.items():
        days = [_daily(said, _values(said, cost_bps)[kind]) for said in whole.values()]
        shared = sorted(set.intersection(*map(set, days)))
        value_DM = np.array([[column[day] for column in days] for day in shared])
        try:
            found[kind] = _told(overfitting(value_DM, statistic=statistic))
        except ModelError as error:
            found[kind] = {"error": str(error)}
    return found


def _told(found: Overfitting) -> dict[str, Any]:
    """Return it as plain values, the thousands of combinations as a histogram and a thinned scatter."""
    told = found.as_json()
    count = len(found.logits)
    taken = np.linspace(0, count - 1, min(count, _SCATTER)).astype(int)
    logits = Counter(round(logit, 6) for logit in found.logits)
    return told | {
        "combinations": count,
        "logits": sorted(logits.items()),
        "inside": [found.inside[place] for place in taken],
        "outside": [found.outside[place] for place in taken],
        "chosen": list(found.chosen),
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
