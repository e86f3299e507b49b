"""A candidate's folder: averaged weights, and all that is needed to rebuild and judge them.

weights.pt        state of the network, tensors only, no pickled code
candidate.json    written last: its presence says the training finished
training.pt       where the training goes on after a kill, as of its last check, while it runs
train.log         what the training process said on its error stream
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from core.dataset_files import ManifestFeatures
from core.errors import ModelError
from core.files import parse_json, plain_json, read_bytes, write_json
from core.integrity import require_id, sha256_of
from models.serving.passport import ScalerFigures, SpecFigures, TrainingCheck
from models.training.spec import CandidateRef, TrainSpec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from core.dataset_files import DatasetRef

# part of every candidate's id: raise it when a change in the networks, the loop or the scaler changes the weights
# that come out (the golden loss curve says when), so that no stale candidate is reused
RECIPE = 2

CHECKPOINT = "training.pt"
MARKER = "candidate.json"
VERSION = 1
"""Raised when a key changes its meaning; files from before there was a version have none and read as 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedCandidate:
    """What a finished training says of itself: ``candidate.json``; the fields are the keys of the file, in their order."""

    version: int = 0
    candidate_id: str
    architecture: str
    products: tuple[str, ...]
    spec: TrainSpec
    recipe: int = 1
    dataset_digest: str
    feature_set: ManifestFeatures
    window_minutes: int
    scaler: ScalerFigures
    return_scale: tuple[float, ...] = ()
    history: tuple[TrainingCheck, ...] = ()
    members: int = 1
    """Networks whose logits are averaged; a time budget may have ended the training before the last that was asked for."""
    best_checks: tuple[int, ...] = ()
    best_epoch: int | None = None
    ended_by: tuple[str, ...] = ()
    train_windows: int | None = None
    precision: str | None = None
    torch: str | None = None
    seconds: float | None = None
    commit: str = "unknown"
    weights_sha256: str

    def __post_init__(self) -> None:
        """Refuse ids that lead out of the folders of candidates and data sets."""
        require_id(self.candidate_id, "candidate")
        require_id(self.dataset_digest, "data set")

    @classmethod
    def read(cls, folder: Path) -> TrainedCandidate:
        """Read ``candidate.json`` in ``folder``.

        Raises:
            ModelError: it is missing, damaged, or newer than this code.
        """
        path = folder / MARKER
        content = read_bytes(path)
        try:
            return cls.parse(content)
        except ValueError as error:
            msg = f"{path} is damaged ({error}); remove its folder and train again: make train"
            raise ModelError(msg) from error

    @classmethod
    def parse(cls, content: bytes) -> TrainedCandidate:
        """Return the candidate whose ``candidate.json`` has this content.

        Raises:
            ValueError: it is damaged; the text says where.
            ModelError: newer code wrote it.
        """
        candidate = parse_json(cls, content)
        if candidate.version > VERSION:
            msg = f"{candidate.candidate_id} has version {candidate.version}, this code reads up to {VERSION}; update Candledesk"
            raise ModelError(msg)
        return candidate

    def write(self, folder: Path) -> None:
        """Write ``candidate.json`` into ``folder``, in one step: from then on the training is finished."""
        write_json(folder / MARKER, plain_json(asdict(self)))


def candidate_id(spec: TrainSpec, dataset: DatasetRef, feature_hash: str) -> str:
    """Return a name that differs whenever anything that decides the weights differs."""
    return name_of(spec_as_json(spec), dataset.digest, feature_hash, RECIPE)


def name_of(spec: SpecFigures, digest: str, feature_hash: str, recipe: int) -> str:
    """Return the candidate's name from plain values, as a passport holds them."""
    decides = {"spec": spec, "dataset": digest, "features": feature_hash, "recipe": recipe}
    hashed = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:12]
    products = spec["products"]
    return (
        f"{spec['architecture']}-{products[0] if isinstance(products, list) and len(products) == 1 else 'all'}-{hashed}"
    )


def spec_as_json(spec: TrainSpec) -> SpecFigures:
    """Return the spec as plain values."""
    return asdict(spec) | {"products": list(spec.products)}


def spec_from_json(content: Mapping[str, object]) -> TrainSpec:
    """Read what `spec_as_json` wrote.

    Raises:
        ValueError: a field is missing or of another type.
        ConfigError: a field is out of its range.
    """
    return parse_json(TrainSpec, json.dumps(content).encode())


def finished(folder: Path) -> CandidateRef | None:
    """Return the candidate in ``folder`` if its training finished and its weights are whole, else None."""
    weights = folder / "weights.pt"
    if not ((folder / MARKER).exists() and weights.exists()):
        return None
    candidate = TrainedCandidate.read(folder)
    if candidate.weights_sha256 != sha256_of(weights):
        return None
    return CandidateRef(folder.name, candidate.architecture, candidate.products, str(folder))


def finished_trainings(checkpoints: Path) -> list[TrainedCandidate]:
    """Return every finished training under ``checkpoints``, the oldest first, whether or not its weights are still whole."""
    markers = sorted(checkpoints.glob(f"*/{MARKER}"), key=lambda path: path.stat().st_mtime_ns)
    return [TrainedCandidate.read(marker.parent) for marker in markers]
