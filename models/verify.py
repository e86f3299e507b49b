"""Recompute what a passport claims, from the data set and the graph alone; nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from desk.errors import DatasetError
from models.artefacts import read_json, sha256_of
from models.canaries import lit_canaries
from models.dataset import Dataset, load_dataset
from models.measure import intervals
from models.scaler import Scaler
from models.scorer import Scorer
from models.window import gather, part_ends, window_view

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from desk.market import DatasetRef

TOLERANCE = 1e-6
"""Another processor may round the last bits of a probability differently."""
_BATCH = 256


@dataclass(frozen=True, slots=True)
class Verification:
    """What was recomputed, and every difference found; none means the passport is true."""

    model_id: str
    figures: int
    differences: tuple[str, ...]

    @property
    def is_true(self) -> bool:
        """Whether nothing differs."""
        return not self.differences


def verify(folder: Path, dataset: DatasetRef) -> Verification:
    """Recompute graph hash, canaries and every metric with its interval, and compare them with the passport.

    Raises:
        DatasetError: the data set is missing or changed.
        ModelError: a file of the model is missing.
        ModelMismatchError: the graph contradicts the passport so far that it cannot be scored.
    """
    passport = read_json(folder / "passport.json")
    model_id = str(passport["model_id"])
    if (found := sha256_of(folder / "model.onnx")) != passport["sha256"]:
        told = f"the graph's sha256 is {found[:12]}, the passport says {passport['sha256'][:12]}"
        return Verification(model_id, 1, (told,))
    if dataset.digest != passport["dataset_digest"]:
        msg = f"{model_id} was judged on data set {passport['dataset_digest'][:16]}, not {dataset.digest[:16]}; name that one"
        raise DatasetError(msg)
    data = load_dataset(dataset, passport["products"])
    scorer = Scorer(folder)
    differences = [
        f"canary {name}: {seen}" for name, seen in lit_canaries(data, Scaler.from_json(passport["scaler"])).items()
    ]
    figures = 1
    for product in data.coins:
        claimed = passport["verdicts"][product]["metrics"]
        figures += len(claimed)
        differences += _differing(product, claimed, _recomputed(data, scorer, product, passport))
    return Verification(model_id, figures, tuple(differences))


def score_rows(
    data: Dataset, scorer: Scorer, product: str, ends: NDArray[np.int64], minutes: int
) -> NDArray[np.float64]:
    """Return the graph's probability for the windows that end at the rows ``ends``."""
    view = window_view(data.x_NF, minutes)
    parts = [scorer.score(gather(view, ends[start : start + _BATCH]), product) for start in range(0, len(ends), _BATCH)]
    return np.concatenate([np.empty(0), *parts])


def _recomputed(
    data: Dataset, scorer: Scorer, product: str, passport: dict[str, Any]
) -> dict[str, dict[str, float | None]]:
    judged = passport["judged"]
    minutes = int(passport["window_minutes"])
    ends = part_ends(data, "test", minutes, stride=int(judged["stride_minutes"]), product=product)
    p_N = score_rows(data, scorer, product, ends, minutes)
    found = intervals(data, ends, p_N, cost_bps=float(judged["cost_bps"]))
    return {name: figure.as_json() for name, figure in found.items()}


def _differing(
    product: str, claimed: dict[str, dict[str, float | None]], found: dict[str, dict[str, float | None]]
) -> list[str]:
    told = []
    for metric, figures in claimed.items():
        for end, said in figures.items():
            own = found.get(metric, {}).get(end)
            if said != own and (said is None or own is None or abs(said - own) > TOLERANCE):
                told.append(f"{product} {metric} {end}: the passport says {said}, recomputed {own}")
    return told
