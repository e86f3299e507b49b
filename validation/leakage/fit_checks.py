"""Check in a child process whether anything that is fitted has read the rows it is judged on: replace them by noise, fit again.

What changes by a bit has read them. The functions are the ones that train and judge; `Pipeline` is the seam by which a plant
puts a leaking one in the place of one of them. A leaking one is the real one, given a data set whose parts are renamed: that is
what such a mistake comes to. Shapes: N rows, F inputs, B windows of T minutes.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from core.child_process import do_job, tell
from core.dataset_files import DatasetRef
from models.datasets.dataset import PARTS, load_dataset
from models.datasets.scaler import Scaler, fit_scaler
from models.datasets.windows import part_ends, windows
from models.judging.baselines import baseline_forecasts
from models.judging.judge import calibrate
from models.judging.leak_canaries import Leak
from models.networks.build import build_network, window_minutes
from models.training.candidate import TrainSpec
from models.training.fit import fit, make_deterministic
from validation.leakage.dataset_checks import one_coin, renamed, tracer, window_leaks
from validation.leakage.leak_list import LeakCheck, Where, plants

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from models.datasets.dataset import Dataset
    from models.serving.calibration import Calibration
    from models.serving.passport import CoverageCut

    Calibrated = tuple[Calibration, Mapping[str, CoverageCut]]
    """The calibration of a product and the cuts of its tiers."""

ARCHITECTURE = "lstm_one_way"
_SAMPLED_WINDOWS = 500
_PROBES = 4
"""Windows traced, and scaler, training and calibration fitted twice; baselines are one more."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training left, as arrays."""

    weights: Mapping[str, NDArray[np.float32]]
    scaler: Scaler
    return_scale: tuple[float, ...]
    train_losses: tuple[float, ...]
    watched_losses: tuple[float, ...]


def train_small(data: Dataset, seed: int) -> Trained:
    """Run the real training for one short epoch; ``data`` is left as it is."""
    stride = max(1, int((data.part_N == PARTS.index("train")).sum()) // 64)
    spec = TrainSpec(ARCHITECTURE, data.coins, epochs=1, seed=seed, stride=stride, batch_size=32, learning_rate=3e-3)
    fitted = fit(spec, replace(data, x_NF=data.x_NF.copy()), precision="float32")
    return Trained(
        {name: value.numpy() for name, value in fitted.weights.items()},
        fitted.scaler,
        tuple(fitted.return_scale),
        tuple(entry.train_loss for entry in fitted.history),
        tuple(entry.early_stop_log_loss for entry in fitted.history),
    )


def calibrate_small(trained: Trained, data: Dataset, product: str) -> Calibrated:
    """Calibrate and cut the tiers as a judging does."""
    network = build_network(ARCHITECTURE, len(data.columns), len(data.coins), dropout=0.0).eval()
    network.load_state_dict({name: torch.from_numpy(value) for name, value in trained.weights.items()})
    return calibrate(network, trained.scaler, data, window_minutes(ARCHITECTURE), 1, product)


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What fits something, or chooses rows for it; the defaults are the real functions."""

    scaler: Callable[[Dataset], Scaler] = fit_scaler
    train: Callable[[Dataset, int], Trained] = train_small
    calibrate: Callable[[Trained, Dataset, str], Calibrated] = calibrate_small
    baselines: Callable[[Dataset, str, NDArray[np.int64]], Mapping[str, NDArray[np.float64]]] = baseline_forecasts
    ends: Callable[[Dataset, str, int], NDArray[np.int64]] = part_ends
    windows: Callable[[NDArray[np.float32], NDArray[np.int64], int], NDArray[np.float32]] = windows


def fit_leaks(data: Dataset, pipeline: Pipeline, seed: int = 0, *, with_baselines: bool = True) -> list[Leak]:
    """Return what of a pipeline has read later parts; ``data`` should hold one coin and some thousand rows."""
    product = data.coins[0]
    leaks = scaler_leaks(data, pipeline, seed)
    trained = pipeline.train(data, seed)
    if not leaks:
        leaks += _training(data, pipeline, trained, seed)
    leaks += _calibration(data, pipeline, trained, product, seed)
    if with_baselines:
        leaks += _baselines(data, pipeline, product, seed)
    return leaks


def scaler_leaks(data: Dataset, pipeline: Pipeline, seed: int = 0) -> list[Leak]:
    """Fit the scaler with all parts but training replaced."""
    before, after = pipeline.scaler(data), pipeline.scaler(replaced(data, "early_stop", seed))
    moved_F = ((before.mean_CF != after.mean_CF) | (before.sd_CF != after.sd_CF)).any(axis=0)
    if not moved_F.any():
        return []
    column = int(np.flatnonzero(moved_F)[0])
    seen = f"mean {before.mean_CF[0, column]:.6g} of {data.columns[column]} became {after.mean_CF[0, column]:.6g} with other rows after training"
    return [Leak("scaler on all rows", "scaler", seen)]


def pipeline_windows(data: Dataset, pipeline: Pipeline, minutes: int) -> list[Leak]:
    """Cut windows from rows that say where they are from."""
    ends = np.concatenate([pipeline.ends(data, part, minutes) for part in PARTS])
    if not len(ends):
        return []
    sampled = ends[np.linspace(0, len(ends) - 1, min(len(ends), _SAMPLED_WINDOWS)).astype(np.int64)]
    sampled = sampled[sampled >= minutes - 1]
    return window_leaks(data, ends, pipeline.windows(tracer(data), sampled, minutes), sampled, minutes)


def replaced(data: Dataset, part: str, seed: int, *, labels_only: bool = False) -> Dataset:
    """Return the data set with every row from the first minute of ``part`` on made noise: inputs, closes, labels."""
    first = data.minute_N[data.part_N == PARTS.index(part)].min()
    rows = np.flatnonzero(data.minute_N >= first)
    generator = np.random.default_rng([seed, 7])
    direction_N, return_N = data.direction_N.copy(), data.return_N.copy()
    close_N, x_NF = data.close_N.copy(), data.x_NF.copy()
    labelled = rows[direction_N[rows] >= 0]
    direction_N[labelled] = generator.random(len(labelled)) < 0.3
    return_N[labelled] = 0.02 * generator.normal(size=len(labelled))
    if not labels_only:
        close_N[rows] *= np.exp(0.1 * generator.normal(size=len(rows)))
        shape = (len(rows), len(data.columns))
        x_NF[rows] = (x_NF[rows] * generator.uniform(0.2, 3.0, shape) + generator.normal(size=shape)).astype(np.float32)
    return replace(data, direction_N=direction_N, return_N=return_N, close_N=close_N, x_NF=x_NF)


def _training(data: Dataset, pipeline: Pipeline, trained: Trained, seed: int) -> list[Leak]:
    """Train with calibration and test replaced: nothing may change; early stopping has its own part.

    What is fitted first is looked at first: a scaler that moved moves everything after it.
    """
    other = pipeline.train(replaced(data, "calibration", seed), seed)

    def became(before: float, after: float, rows: str = "other later rows") -> str:
        return f"{before:.6g} became {after:.6g} with {rows}"

    if not (_same(trained.scaler.mean_CF, other.scaler.mean_CF) and _same(trained.scaler.sd_CF, other.scaler.sd_CF)):
        return [Leak("scaler on all rows", "training", "its scaler moved with rows after the early-stop part")]
    if trained.return_scale != other.return_scale:
        seen = f"the scale of returns {became(trained.return_scale[0], other.return_scale[0])}"
        return [Leak("target scale on all rows", "training", seen)]
    if trained.train_losses != other.train_losses:
        seen = f"the first epoch's loss {became(trained.train_losses[0], other.train_losses[0])}"
        return [Leak("weights fitted on later parts", "training", seen)]
    if trained.watched_losses != other.watched_losses:
        narrow = pipeline.train(replaced(data, "test", seed), seed)
        part = "test" if narrow.watched_losses != trained.watched_losses else "calibration"
        losses = became(trained.watched_losses[0], other.watched_losses[0], f"other rows in {part}")
        return [Leak(f"early stopping on {part}", "training", f"the loss that stops training, {losses}")]
    if any(not _same(value, other.weights[name]) for name, value in trained.weights.items()):
        seen = "the weights moved with calibration and test replaced"
        return [Leak("weights fitted on later parts", "training", seen)]
    return []


def _calibration(data: Dataset, pipeline: Pipeline, trained: Trained, product: str, seed: int) -> list[Leak]:
    calibration, cuts = pipeline.calibrate(trained, data, product)
    other, other_cuts = pipeline.calibrate(trained, replaced(data, "test", seed), product)
    if calibration != other:
        seen = f"{_losses(calibration)} became {_losses(other)} with other test rows"
        return [Leak("calibrator on test", "calibration", seen)]
    moved = [tier for tier in cuts if cuts[tier] != other_cuts.get(tier)]
    return [
        Leak("threshold cut on test", "tiers", f"the cut of tier {tier} moved with other test rows") for tier in moved
    ]


def _losses(calibration: Calibration) -> str:
    losses = [f"{candidate.kind} {candidate.held_out_log_loss:.6f}" for candidate in calibration.candidates]
    return f"{calibration.kind} (held-out losses: {', '.join(losses) or 'none'})"


def _baselines(data: Dataset, pipeline: Pipeline, product: str, seed: int) -> list[Leak]:
    """Forecast the same test inputs after every label past training became another."""
    rows = data.rows(product, "test")
    before = pipeline.baselines(data, product, rows)
    after = pipeline.baselines(replaced(data, "early_stop", seed, labels_only=True), product, rows)
    seen = "its forecasts of the same inputs moved with later labels"
    return [
        Leak("baseline fitted on later parts", name, seen) for name in before if not _same(before[name], after[name])
    ]


def _same(ours: NDArray[np.generic], theirs: NDArray[np.generic]) -> bool:
    return ours.shape == theirs.shape and ours.tobytes() == theirs.tobytes()


def _all_rows(data: Dataset) -> Dataset:
    return renamed(data, early_stop="train", calibration="train", test="train")


def _exchanged(data: Dataset, part: str, other: str) -> Dataset:
    return renamed(data, **{part: other, other: part})


def _train_on_calibration(data: Dataset, seed: int) -> Trained:
    trained = train_small(renamed(data, calibration="train"), seed)
    return replace(trained, scaler=fit_scaler(data), return_scale=(1.0,))


def _scaled_by_all(data: Dataset, seed: int) -> Trained:
    return replace(train_small(data, seed), return_scale=(float(np.nanstd(data.return_N)),))


def _calibrated_on_test(trained: Trained, data: Dataset, product: str) -> Calibrated:
    return calibrate_small(trained, _exchanged(data, "calibration", "test"), product)


def _cut_on_test(trained: Trained, data: Dataset, product: str) -> Calibrated:
    return calibrate_small(trained, data, product)[0], _calibrated_on_test(trained, data, product)[1]


def _any_end(data: Dataset, part: str, minutes: int) -> NDArray[np.int64]:
    """Take every labelled row of a part, whatever lies before it."""
    ends = np.flatnonzero((data.part_N == PARTS.index(part)) & (data.direction_N >= 0))
    return ends[ends >= minutes - 1]


def _ends_by_coin(data: Dataset, part: str, minutes: int) -> NDArray[np.int64]:
    """Take every labelled row whose window lies in one coin, and forget the holes."""
    ends = _any_end(data, part, minutes)
    return np.asarray(ends[data.coin_N[ends - minutes + 1] == data.coin_N[ends]])


def _ends_by_clock(data: Dataset, part: str, minutes: int) -> NDArray[np.int64]:
    """Take rows whose window is whole by the clock of its own coin, or begins with another coin."""
    ends = _any_end(data, part, minutes)
    begins = ends - minutes + 1
    whole = data.minute_N[ends] - data.minute_N[begins] == minutes - 1
    return np.asarray(ends[whole | (data.coin_N[begins] != data.coin_N[ends])])


def _late_windows(x_NF: NDArray[np.float32], end_B: NDArray[np.int64], minutes: int) -> NDArray[np.float32]:
    """Windows that hold the minute after their end."""
    return windows(np.concatenate([x_NF[1:], x_NF[-1:]]), end_B, minutes)


PIPELINES = {
    "scaler on all rows": Pipeline(scaler=lambda data: fit_scaler(_all_rows(data))),
    "returns scaled by all rows": Pipeline(train=_scaled_by_all),
    "calibration part trained on": Pipeline(train=_train_on_calibration),
    "early stopping watches test": Pipeline(
        train=lambda data, seed: train_small(_exchanged(data, "early_stop", "test"), seed)
    ),
    "early stopping watches calibration": Pipeline(
        train=lambda data, seed: train_small(_exchanged(data, "early_stop", "calibration"), seed)
    ),
    "calibrator on test": Pipeline(calibrate=_calibrated_on_test),
    "tiers cut on test": Pipeline(calibrate=_cut_on_test),
    "baselines on all rows": Pipeline(
        baselines=lambda data, product, rows: baseline_forecasts(_all_rows(data), product, rows)
    ),
    "windows over holes": Pipeline(ends=_ends_by_coin),
    "windows over two coins": Pipeline(ends=_ends_by_clock),
    "windows one minute late": Pipeline(windows=_late_windows),
}
"""Pipelines with one leaking function, by the plant's title in `leak_list.LEAKS`."""


def plant_leaks(name: str, data: Dataset, seed: int) -> list[Leak]:
    """Return what is seen of one planted pipeline; ``data`` holds several coins."""
    pipeline, real = PIPELINES[name], Pipeline()
    if pipeline.ends is not real.ends or pipeline.windows is not real.windows:
        # fits cut their own windows; those of the pipeline are traced
        return pipeline_windows(data, pipeline, window_minutes(ARCHITECTURE))
    return fit_leaks(one_coin(data), pipeline, seed, with_baselines=pipeline.baselines is not real.baselines)


def main() -> int:
    """Do the runs that standard input names, one JSON line for each check; return 0, or 2 with the reason as a JSON line.

    A run is ``{"what", "dataset", "seed", "with_baselines", "planted"}``; with ``planted`` every planted pipeline is tried on
    the data set, else the real one.
    """
    return do_job(_do_all)


def _do_all(job: dict[str, Any]) -> None:
    for run in job["runs"]:
        for check in _checks(run):
            tell(asdict(check))


def _checks(run: dict[str, Any]) -> Iterator[LeakCheck]:
    data, seed = load_dataset(DatasetRef(**run["dataset"])), int(run["seed"])
    make_deterministic(seed)
    if run["planted"]:
        for name, expected in plants(Where.FIT).items():
            yield LeakCheck(name, 1, plant_leaks(name, data, seed), expected)
        return
    pipeline, with_baselines = Pipeline(), bool(run["with_baselines"])
    leaks = pipeline_windows(data, pipeline, window_minutes(ARCHITECTURE)) + scaler_leaks(data, pipeline, seed)
    leaks += fit_leaks(one_coin(data), pipeline, seed, with_baselines=with_baselines)
    yield LeakCheck(run["what"], _PROBES + with_baselines, leaks)


if __name__ == "__main__":
    sys.exit(main())
