"""A candidate's folder: averaged weights, and all that is needed to rebuild and judge them.

weights.pt        state of the network, tensors only, no pickled code
candidate.json    written last: its presence says the training finished
epoch.pt          the last whole epoch, while training runs
train.log         what the training process said on its error stream
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from desk.market import CandidateRef, TrainSpec
from models.artefacts import read_json, sha256_of

if TYPE_CHECKING:
    from pathlib import Path

    from desk.market import DatasetRef

# part of every candidate's id: raise it when a change in the networks, the loop or the scaler changes the weights
# that come out (the golden loss curve says when), so that no stale candidate is reused
RECIPE = 1


def candidate_id(spec: TrainSpec, dataset: DatasetRef, feature_hash: str) -> str:
    """Return a name that differs whenever anything that decides the weights differs."""
    told = {"spec": spec_as_json(spec), "dataset": dataset.digest, "features": feature_hash, "recipe": RECIPE}
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12]
    return f"{spec.architecture}-{spec.products[0] if len(spec.products) == 1 else 'all'}-{digest}"


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
