"""Audit what is really there: the configured feature set, the functions that fit, and the newest data set."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from core.errors import DatasetError
from models.datasets.dataset import load_dataset
from models.judging.dataset_leaks import close_leaks, input_leaks, label_leaks, split_leaks, stored_leaks
from store.feature_sets import FEATURE_SETS, feature_set
from store.feature_store import FeatureStore
from validation.leakage.checks import Check, FitRun, fit_checks
from validation.leakage.point_in_time import closes_at, inputs_at, rebuilt
from validation.leakage.sql_interventions import Bench, planted_sets, small_market
from validation.leakage.trials import DATA_PROBES, closes_of, data_leaks

if TYPE_CHECKING:
    from collections.abc import Callable

    from core.settings import Paths
    from models.datasets.dataset import Dataset
    from models.judging.dataset_leaks import Closes
    from models.judging.leak_catalogue import Leak

SQL_SEEDS = 2
_MOMENTS = 4
_MOMENT_MINUTES = 90
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def audit_steps() -> int:
    """Return how many checks `audit` makes."""
    return SQL_SEEDS + 3 + 4


def audit(name: str, paths: Paths, on_check: Callable[[Check], None]) -> None:
    """Probe the set ``name`` and the functions that fit on small markets, then the newest data set under ``paths``.

    A set planted under ``sql/leaks`` may be named too; it is probed, and nothing else.

    Raises:
        ConfigError: there is no such set.
    """
    planted = planted_sets().get(name)
    features = planted or feature_set(name)
    bench = Bench(small_market())
    for seed in range(SQL_SEEDS):
        bench.load(small_market(seed))
        probed = bench.probe(features)
        on_check(Check(f"SQL of {name}, market {seed}", probed.interventions, probed.leaks))
    bench.close()
    if planted:
        return
    with tempfile.TemporaryDirectory(prefix="desk-leak-check-") as text:
        folder = Path(text)
        made = rebuilt(features.name, 0, folder)
        on_check(Check(f"rebuild of a {name} data set at its cut", 1, made.leaks))
        small = load_dataset(made.reference)
        on_check(Check(f"a small {name} data set", DATA_PROBES, data_leaks(small, closes_of(made.candles))))
        fit_checks([FitRun("scaler, training, calibration, tiers, baselines", made.reference)], folder, on_check)
    newest_data_set(paths, on_check)


def newest_data_set(paths: Paths, on_check: Callable[[Check], None]) -> None:
    """Hold the newest data set under ``paths`` against its own parts and against the candles of the store."""
    if not paths.market_db.exists():
        on_check(Check("newest data set", 0, note=f"no store under {paths.home} yet: make backfill"))
        return
    store = FeatureStore(paths.market_db)
    try:
        reference = store.latest_dataset()
    except DatasetError as error:
        on_check(Check("newest data set", 0, note=str(error)))
        return
    data = load_dataset(reference)
    what = f"data set {data.digest[:16]}"
    on_check(Check(f"{what}: parts, purge, instants", 1, split_leaks(data)))
    on_check(Check(f"{what}: {len(data.columns)} inputs against labels", 1, input_leaks(data)))
    cut = data.manifest.known_at_cut or data.manifest.span.end
    closes = _closes(store, data, cut)
    missing = [product for product in data.coins if product not in closes]
    note = f"the store has no candles of {', '.join(missing)}: make backfill" if missing else ""
    leaks = label_leaks(data, closes) + close_leaks(data, closes)
    on_check(Check(f"{what}: labels and closes against candles of the cut", 2 * len(closes), leaks, note=note))
    on_check(_inputs(store, data, cut, what))


def _closes(store: FeatureStore, data: Dataset, cut: datetime) -> Closes:
    return {
        product: found
        for product, found in closes_at(store, data.coins, data.manifest.span, cut).items()
        if len(found[0])
    }


def _inputs(store: FeatureStore, data: Dataset, cut: datetime, what: str) -> Check:
    """Compute some hours of inputs again, each from candles that were there by then, and compare every bit."""
    features = data.manifest.feature_set
    what = f"{what}: inputs against the past alone"
    known = FEATURE_SETS.get(features.name)
    if known is None or known.sha256 != features.sha256:
        return Check(what, 0, note=f"made by another version of {features.name}; build it again: make features")
    first, last = int(data.minute_N.min()) + _MOMENT_MINUTES, int(data.minute_N.max()) + 1
    leaks: list[Leak] = []
    for minute in np.linspace(first, last, _MOMENTS).astype(int).tolist():
        end = _EPOCH + timedelta(minutes=minute)
        leaks += stored_leaks(
            data, inputs_at(store, data.coins, end, _MOMENT_MINUTES, features.name, cut), data.columns
        )
    return Check(what, _MOMENTS, leaks)
