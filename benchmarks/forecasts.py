"""How good are the forecasts on real candles, member by member, and is the ensemble better than gradient boosting?

Run: ``python -m benchmarks.forecasts --data FOLDER`` with ``coinbase_<PRODUCT>_1m.parquet`` files. The whole path is walked: store, data set,
training in its own process with the pipeline's preset, calibration, served graph. Every forecaster is judged on the same minutes of each
coin. A gain of 1 is 0.0001 of log-loss a minute below that of the training minutes' share of ups; "raw gain" is what the member says before
its calibration; "against boosting" compares with the baseline ``gradient_boosting`` (`models/judging/baselines.py`) on the same minutes. Intervals are
95 %, by resampled days.

``--part validation`` is for choosing: it ends before the test part, judges the calibration part, calibrates on the early-stop part, stops early
on as many days before that and trains on the rest. ``--folds N`` does the same N times over the minutes from 40 to 85 % of the span, each time trained
on all that lies before. ``--part test`` judges the last 15 %: look at it once, when nothing is left to choose.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq
import torch
from rich.progress import Progress
from scipy.special import expit

from benchmarks.parity import load
from benchmarks.surroundings import console, show, shown
from core.candles import Span
from core.settings import load_settings
from models.datasets.dataset import Dataset, load_dataset
from models.datasets.folds import FoldBorders, minutes_of, write_view
from models.datasets.scaler import Scaler
from models.datasets.windows import part_ends, windows
from models.judging.baselines import baseline_forecasts
from models.judging.judge import calibrate, describe, network_of
from models.serving.export import export_graph, served
from models.serving.passport import slot_of
from models.serving.scorer import Scorer
from models.statistics import metrics
from models.statistics.bootstrap import DayBootstrap
from models.training.candidate import TrainedCandidate
from models.training.run_training import train_in_process
from models.walk_forward.forecasts import Forecasts, one_after_another
from store.feature_store import FeatureStore
from store.splits import Borders
from tasks.train import plan_trainings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray
    from rich.progress import TaskID

    from core.dataset_files import DatasetRef
    from core.settings import Settings
    from models.training.candidate import CandidateRef, TrainSpec

BASELINE = "gradient_boosting"
KINDS = ("lstm", "transformer", "boosting")
FOLDS_BEGIN = 0.40
QUICK_SECONDS = 30.0
_BATCH = 4096


@dataclass(frozen=True, slots=True)
class Order:
    """What was asked for."""

    settings: Settings
    products: tuple[str, ...]
    kinds: tuple[str, ...]
    every: int
    quick: bool
    home: Path


def export(data: Path, products: Sequence[str], feature_set: str, home: Path) -> DatasetRef:
    """Put recorded candles into a store and export the data set of all minutes."""
    with FeatureStore.in_memory() as store:
        times = []
        for product in products:
            table = pq.read_table(data / f"coinbase_{product}_1m.parquet")
            table = table.rename_columns(["open_time", *table.column_names[1:]])
            load(store, product, table)
            times += [table["open_time"][0].as_py(), table["open_time"][-1].as_py()]
        span = Span(min(times), max(times) + timedelta(minutes=1))
        return store.export_dataset(products, span, home, feature_set=feature_set)


def views(reference: DatasetRef, part: str, folds: int, home: Path) -> list[DatasetRef]:
    """Return the data sets to train and judge on: the whole one for the test part, else ones that end before it."""
    if part == "test":
        return [reference]
    first, end = minutes_of(reference)
    borders = Borders.over(first, end)
    held = borders.calibration - borders.early_stop
    if folds == 1:
        edges = [borders.calibration, borders.test]
    else:
        begin = first + round(FOLDS_BEGIN * (end - first))
        edges = [begin + (borders.test - begin) * number // folds for number in range(folds + 1)]
    return [
        write_view(reference, FoldBorders(first, low - 2 * held, low - held, low, high), home)
        for low, high in pairwise(edges)
    ]


def plan(order: Order) -> list[TrainSpec]:
    """Return the trainings as the pipeline would plan them."""
    wanted = {kind: kind in order.kinds for kind in KINDS}
    specs = plan_trainings(order.settings, order.products, None, **wanted)
    return [replace(spec, budget_seconds=QUICK_SECONDS) if order.quick else spec for spec in specs]


def train(order: Order, specs: Sequence[TrainSpec], reference: DatasetRef) -> list[CandidateRef]:
    """Train every spec in a process of its own, as many at once as TRAIN_WORKERS says."""
    with Progress(console=console) as bars, ThreadPoolExecutor(order.settings.train_workers) as pool:

        def one(spec: TrainSpec, bar: TaskID) -> CandidateRef:
            return train_in_process(
                spec, reference, order.home, on_progress=lambda told: bars.update(bar, completed=told.share)
            )

        runs = [pool.submit(one, spec, bars.add_task(f"train {spec.name}", total=1.0)) for spec in specs]
        return [run.result() for run in runs]


def serve(candidate: CandidateRef, reference: DatasetRef) -> Scorer:
    """Calibrate the candidate and export its graph, as the judge does; open it as the runtime does."""
    folder = Path(candidate.path)
    trained = TrainedCandidate.read(folder)
    data = load_dataset(reference, trained.products)
    scaler, network = Scaler.from_json(trained.scaler), network_of(trained, folder)
    minutes = trained.window_minutes
    fitted = [calibrate(network, scaler, data, minutes, 1, product)[0] for product in data.coins]
    graph = export_graph(served(network, scaler, fitted), folder, minutes, len(data.columns))
    describe(trained, graph, data, reference).write(folder)
    kinds = ", ".join(f"{product} {one.kind}" for product, one in zip(data.coins, fitted, strict=True))
    console.print(
        f"{candidate.candidate_id}: {graph.stat().st_size / 1e3:.0f} kB, calibrated by {kinds}; trained in {trained.seconds:.0f} s, "
        f"{trained.train_windows:,} windows, best checks {list(trained.best_checks)}"
    )
    return Scorer(folder)


def said(scorer: Scorer, data: Dataset, product: str, every: int) -> Forecasts:
    """Return what a served graph says of the coin's judged minutes, calibrated and raw."""
    manifest = scorer.passport
    ends = part_ends(data, "test", manifest.window_minutes, stride=every, product=product)
    parts = [
        scorer.score_with_logits(windows(data.x_NF, ends[start : start + _BATCH], manifest.window_minutes), product)
        for start in range(0, len(ends), _BATCH)
    ]
    kind = slot_of(manifest.architecture, product).partition(":")[0]
    p_N, logit_N = (np.concatenate(column) for column in zip(*parts, strict=True))
    return _forecasts(data, ends, {kind: p_N, f"{kind} raw": expit(logit_N)})


def _forecasts(data: Dataset, rows: NDArray[np.int64], p_N: dict[str, NDArray[np.float64]]) -> Forecasts:
    return Forecasts(data.minute_N[rows], data.direction_N[rows], data.return_N[rows], p_N)


def judged(order: Order, reference: DatasetRef) -> dict[str, Forecasts]:
    """Train everything on one data set; return per coin what each forecaster says of the judged minutes."""
    specs = plan(order)
    scorers = [serve(candidate, reference) for candidate in train(order, specs, reference)]
    data = load_dataset(reference, order.products)
    found: dict[str, Forecasts] = {}
    for product in order.products:
        rows = data.rows(product, "test")
        rows = rows[data.minute_N[rows] % order.every == 0]
        forecasts = _forecasts(data, rows, baseline_forecasts(data, product, rows))
        for scorer in (one for one in scorers if product in one.passport.products):
            began = time.process_time()
            own = said(scorer, data, product, order.every)
            cost = 1e6 * (time.process_time() - began) / max(1, len(own.minute_N))
            console.print(f"{scorer.passport.model_id}: {len(own.minute_N):,} windows of {product}, {cost:.0f} µs each")
            forecasts = forecasts.beside(own)
        found[product] = forecasts
    return found


def ensembles(settings: Settings, forecasts: Forecasts) -> dict[str, NDArray[np.float64]]:
    """Return the ensemble of the members, weighted as configured and equally."""
    configured = {kind: float(getattr(settings, f"ensemble_{kind}_weight")) for kind in KINDS}
    members = [kind for kind in KINDS if kind in forecasts.p_N]
    if len(members) < 2:
        return {}
    p_MN = np.stack([forecasts.p_N[kind] for kind in members])
    return {
        "ensemble": np.average(p_MN, axis=0, weights=[configured[kind] for kind in members]),
        "equal ensemble": p_MN.mean(axis=0),
    }


def lines(forecasts: Forecasts, settings: Settings) -> Iterator[list[object]]:
    """Return a line of figures per forecaster."""
    y_N, days = forecasts.direction_N, DayBootstrap(forecasts.minute_N)
    loss_N = {name: metrics.log_losses(p_N, y_N) for name, p_N in forecasts.p_N.items()}
    every = {name: p_N for name, p_N in forecasts.p_N.items() if not name.endswith(" raw")}
    every |= ensembles(settings, forecasts)
    base_N, rival_N = loss_N["base_rate"], loss_N.get(BASELINE)
    for name, p_N in every.items():
        own_N, raw_N = metrics.log_losses(p_N, y_N), loss_N.get(f"{name} raw")
        yield [
            name,
            shown(days.mean(base_N - own_N), 1e4),
            "" if raw_N is None else f"{1e4 * float(np.mean(base_N - raw_N)):.1f}",
            "" if rival_N is None or name == BASELINE else shown(days.mean(rival_N - own_N), 1e4),
            f"{metrics.auc(p_N, y_N):.4f}",
            *(
                f"{metrics.accuracy(p_N[chosen_N], y_N[chosen_N]):.4f}"
                for chosen_N in (metrics.covered(p_N, coverage) for coverage in metrics.COVERAGES)
            ),
            f"{metrics.calibration_error(p_N, y_N, metrics.equal_mass_bins(p_N)):.4f}",
        ]


def fold_lines(found: Sequence[Mapping[str, Forecasts]], settings: Settings, product: str) -> Iterator[list[object]]:
    """Return a line per forecaster with its gain in each fold."""
    gains: dict[str, list[object]] = {}
    for fold in found:
        forecasts = fold[product]
        y_N = forecasts.direction_N
        base = metrics.log_loss(forecasts.p_N["base_rate"], y_N)
        for name, p_N in (forecasts.p_N | ensembles(settings, forecasts)).items():
            gains.setdefault(name, []).append(f"{1e4 * (base - metrics.log_loss(p_N, y_N)):.1f}")
    yield from ([product, name, *values] for name, values in gains.items())


def report(order: Order, found: Sequence[Mapping[str, Forecasts]], title: str) -> None:
    """Print the tables."""
    rows: list[list[object]] = []
    for product in order.products:
        whole = one_after_another([fold[product] for fold in found])
        rows += [[product, *line] for line in lines(whole, order.settings)]
    shares = [f"acc. {coverage:.0%}" for coverage in metrics.COVERAGES]
    columns = ("coin", "forecaster", "gain", "raw gain", "against boosting", "AUC", *shares, "ECE")
    show(f"{title}, gain in 0.0001 of log-loss over the base rate", columns, rows)
    if len(found) > 1:
        each = [line for product in order.products for line in fold_lines(found, order.settings, product)]
        show("gain by fold", ("coin", "forecaster", *(f"fold {number + 1}" for number in range(len(found)))), each)


def _asked(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.forecasts", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = Path(os.environ.get("CANDLEDESK_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=default, help="folder of coinbase_<PRODUCT>_1m.parquet files")
    parser.add_argument("--products", default="BTC-USD,ETH-USD", help="comma separated; they are each other's market")
    parser.add_argument("--feature-set", default="flow")
    parser.add_argument("--part", choices=("validation", "test"), default="validation")
    parser.add_argument("--folds", type=int, default=1, help="judge so many stretches before the test part")
    parser.add_argument("--members", default="lstm,boosting", help="comma separated, of lstm, transformer, boosting")
    parser.add_argument("--transformer", action="store_true", help="train the transformer too")
    parser.add_argument("--every", type=int, default=1, help="judge every n-th minute")
    parser.add_argument("--quick", action="store_true", help="a look: 30 s a training, every fifth minute judged")
    parser.add_argument("--home", type=Path, help="keep data set and candidates here; what is finished is taken again")
    asked = parser.parse_args([] if arguments is None else arguments)
    if asked.part == "test" and asked.folds > 1:
        parser.error("the folds end before the test part; leave out --part test, or --folds")
    if asked.folds < 1 or asked.every < 1:
        parser.error("--folds and --every are at least 1")
    asked.members = tuple(dict.fromkeys(filter(None, asked.members.split(",")))) + ("transformer",) * asked.transformer
    if unknown := set(asked.members) - set(KINDS):
        parser.error(f"there is no member {', '.join(sorted(unknown))}; choose of {', '.join(KINDS)}")
    return asked


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    asked = _asked(arguments)
    products = tuple(asked.products.split(","))
    missing = [name for name in products if not (asked.data / f"coinbase_{name}_1m.parquet").exists()]
    if missing:
        console.print(
            f"forecasts: no recorded candles of {', '.join(missing)} at {asked.data}; name their folder: --data"
        )
        return 0
    torch.set_num_threads(1)
    console.width = max(console.width, 170)  # a pipe is no terminal, and its lines must not be cut
    with tempfile.TemporaryDirectory(prefix="candledesk-bench-") as scratch:
        home = asked.home or Path(scratch)
        home.mkdir(parents=True, exist_ok=True)
        settings = load_settings(desk_home=home, products=products, feature_set=asked.feature_set)
        every = max(asked.every, 5) if asked.quick else asked.every
        order = Order(settings, products, asked.members, every, asked.quick, home)
        references = views(export(asked.data, products, asked.feature_set, home), asked.part, asked.folds, home)
        found = [judged(order, reference) for reference in references]
    first, last = (found[place][products[0]].minute_N[place] for place in (0, -1))
    dates = " to ".join(str(np.datetime64(int(minute), "m")) for minute in (first, last))
    report(order, found, f"forecasts of {asked.feature_set}, {asked.part} part, {dates}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
