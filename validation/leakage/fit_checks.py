"""Does anything that is fitted know the rows it is judged on? Replace those rows by noise and fit again.

What changes by a bit has read them. The functions are the ones that train and judge; `Pipeline` is the seam by which a test
puts a leaking one in the place of one of them. Shapes: N rows, F inputs, T minutes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from models.datasets.dataset import PARTS
from models.datasets.scaler import Scaler, fit_scaler
from models.datasets.windows import part_ends, windows
from models.judging.baselines import baseline_forecasts
from models.judging.dataset_leaks import tracer, window_leaks
from models.judging.judge import calibrate
from models.judging.leak_catalogue import Leak
from models.networks.build import build_network, window_minutes
from models.training.fit import fit
from models.training.spec import TrainSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from models.datasets.dataset import Dataset
    from models.serving.calibration import Calibration
    from models.serving.passport import CoverageCut

ARCHITECTURE = "lstm_one_way"
_SAMPLED_WINDOWS = 500


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
        tuple(entry["train_loss"] for entry in fitted.history),
        tuple(entry["early_stop_log_loss"] for entry in fitted.history),
    )


def calibrate_small(trained: Trained, data: Dataset, product: str) -> tuple[Calibration, Mapping[str, CoverageCut]]:
    """Calibrate and cut the tiers as a judging does."""
    import torch  # noqa: PLC0415  # only what trains or judges loads it

    network = build_network(ARCHITECTURE, len(data.columns), len(data.coins), dropout=0.0).eval()
    network.load_state_dict({name: torch.from_numpy(value) for name, value in trained.weights.items()})
    return calibrate(network, trained.scaler, data, window_minutes(ARCHITECTURE), 1, product)


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What fits something, or chooses rows for it; the defaults are the real functions."""

    scaler: Callable[[Dataset], Scaler] = fit_scaler
    train: Callable[[Dataset, int], Trained] = train_small
    calibrate: Callable[[Trained, Dataset, str], tuple[Calibration, Mapping[str, CoverageCut]]] = calibrate_small
    baselines: Callable[[Dataset, str, NDArray[np.int64]], Mapping[str, NDArray[np.float64]]] = baseline_forecasts
    ends: Callable[[Dataset, str, int], NDArray[np.int64]] = part_ends
    windows: Callable[[NDArray[np.float32], NDArray[np.int64], int], NDArray[np.float32]] = windows


def fit_leaks(data: Dataset, pipeline: Pipeline, seed: int = 0, *, with_baselines: bool = True) -> list[Leak]:
    """Return what of a pipeline has read later parts; ``data`` should hold one coin and some thousand rows."""
    product = data.coins[0]
    found = scaler_leaks(data, pipeline, seed)
    trained = pipeline.train(data, seed)
    if not found:
        found += _training(data, pipeline, trained, seed)
    found += _calibration(data, pipeline, trained, product, seed)
    if with_baselines:
        found += _baselines(data, pipeline, product, seed)
    return found


def scaler_leaks(data: Dataset, pipeline: Pipeline, seed: int = 0) -> list[Leak]:
    """Fit the scaler with all parts but training replaced."""
    one, other = pipeline.scaler(data), pipeline.scaler(replaced(data, "early_stop", seed))
    if _same(one.mean_CF, other.mean_CF) and _same(one.sd_CF, other.sd_CF):
        return []
    column = int(np.flatnonzero((one.mean_CF != other.mean_CF).any(axis=0) | (one.sd_CF != other.sd_CF).any(axis=0))[0])
    seen = f"mean {one.mean_CF[0, column]:.6g} of {data.columns[column]} became {other.mean_CF[0, column]:.6g} with other rows after training"
    return [Leak("scaler on all rows", "scaler", seen)]


def pipeline_windows(data: Dataset, pipeline: Pipeline, minutes: int) -> list[Leak]:
    """Cut windows from rows that say where they are from."""
    ends = np.concatenate([pipeline.ends(data, part, minutes) for part in PARTS])
    if not len(ends):
        return []
    sampled = ends[np.linspace(0, len(ends) - 1, min(len(ends), _SAMPLED_WINDOWS)).astype(np.int64)]
    sampled = sampled[sampled >= minutes - 1]
    traced_BTF = pipeline.windows(tracer(data), sampled, minutes)
    return window_leaks(data, ends, traced_BTF, sampled, minutes)


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
    """Train with calibration and test replaced: nothing may change; early stopping has its own part."""
    other = pipeline.train(replaced(data, "calibration", seed), seed)
    if not (_same(trained.scaler.mean_CF, other.scaler.mean_CF) and _same(trained.scaler.sd_CF, other.scaler.sd_CF)):
        return [Leak("scaler on all rows", "training", "its scaler moved with rows after the early-stop part")]
    if trained.return_scale != other.return_scale:
        seen = f"the scale of returns {trained.return_scale[0]:.4g} became {other.return_scale[0]:.4g} with other later rows"
        return [Leak("target scale on all rows", "training", seen)]
    if trained.train_losses != other.train_losses:
        seen = f"the first epoch's loss {trained.train_losses[0]:.6f} became {other.train_losses[0]:.6f} with other later rows"
        return [Leak("weights fitted on later parts", "training", seen)]
    if trained.watched_losses != other.watched_losses:
        narrow = pipeline.train(replaced(data, "test", seed), seed)
        part = "test" if narrow.watched_losses != trained.watched_losses else "calibration"
        seen = f"the loss that stops training, {trained.watched_losses[0]:.6f}, became {other.watched_losses[0]:.6f} with other rows in {part}"
        return [Leak(f"early stopping on {part}", "training", seen)]
    if any(not _same(value, other.weights[name]) for name, value in trained.weights.items()):
        return [
            Leak("weights fitted on later parts", "training", "the weights moved with calibration and test replaced")
        ]
    return []


def _calibration(data: Dataset, pipeline: Pipeline, trained: Trained, product: str, seed: int) -> list[Leak]:
    calibration, cuts = pipeline.calibrate(trained, data, product)
    other, other_cuts = pipeline.calibrate(trained, replaced(data, "test", seed), product)
    if calibration != other:
        seen = f"{_told(calibration)} became {_told(other)} with other test rows"
        return [Leak("calibrator on test", "calibration", seen)]
    if cuts != other_cuts:
        moved = next(tier for tier in cuts if cuts[tier] != other_cuts.get(tier))
        seen = f"the cut of tier {moved} moved with other test rows"
        return [Leak("threshold cut on test", "tiers", seen)]
    return []


def _told(calibration: Calibration) -> str:
    losses = [f"{candidate.kind} {candidate.held_out_log_loss:.6f}" for candidate in calibration.candidates]
    return f"{calibration.kind} (held-out losses: {', '.join(losses) or 'none'})"


def _baselines(data: Dataset, pipeline: Pipeline, product: str, seed: int) -> list[Leak]:
    """Forecast the same test inputs after every label past training became another."""
    rows = data.rows(product, "test")
    one = pipeline.baselines(data, product, rows)
    other = pipeline.baselines(replaced(data, "early_stop", seed, labels_only=True), product, rows)
    return [
        Leak("baseline fitted on later parts", name, "its forecasts of the same inputs moved with later labels")
        for name, p_N in one.items()
        if not _same(p_N, other[name])
    ]


def _same(one: NDArray[np.generic], other: NDArray[np.generic]) -> bool:
    return one.shape == other.shape and one.tobytes() == other.tobytes()
