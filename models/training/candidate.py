"""A candidate's folder: averaged weights, and all that is needed to rebuild and judge them.

weights.pt        state of the network, tensors only, no pickled code
candidate.json    written last: its presence says the training finished
training.pt       where the training goes on after a kill, as of its last check, while it runs
train.log         what the training process said on its error stream
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from core.files import read_json
from core.integrity import sha256_of
from models.training.spec import CandidateRef, TrainSpec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from core.dataset_files import DatasetRef

# part of every candidate's id: raise it when a change in the networks, the loop or the scaler changes the weights
# that come out (the golden loss curve says when), so that no stale candidate is reused
RECIPE = 2

CHECKPOINT = "training.pt"


def candidate_id(spec: TrainSpec, dataset: DatasetRef, feature_hash: str) -> str:
    """Return a name that differs whenever anything that decides the weights differs."""
    return name_of(spec_as_json(spec), dataset.digest, feature_hash, RECIPE)


def name_of(spec: Mapping[str, Any], digest: str, feature_hash: str, recipe: int) -> str:
    """Return the candidate's name from plain values, as a passport holds them."""
    told = {"spec": spec, "dataset": digest, "features": feature_hash, "recipe": recipe}
    hashed = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12]
    products = spec["products"]
    return f"{spec['architecture']}-{products[0] if len(products) == 1 else 'all'}-{hashed}"


def spec_as_json(spec: TrainSpec) -> dict[str, Any]:
    """Return the spec as plain values."""
    return asdict(spec) | {"products": list(spec.products)}


def spec_from_json(content: dict[str, Any]) -> TrainSpec:
    """Read what `spec_as_json` wrote."""
    return TrainSpec(**content | {"products": tuple(content["products"])})


def finished(folder: Path) -> CandidateRef | None:
    """Return the candidate in ``folder`` if its training finished and its weights are whole, else None."""
    marker, weights = folder / "candidate.json", folder / "weights.pt"
    if not (marker.exists() and weights.exists()):
        return None
    content = read_json(marker)
    if content["weights_sha256"] != sha256_of(weights):
        return None
    return CandidateRef(folder.name, content["architecture"], tuple(content["products"]), str(folder))
