"""Hold what a passport says beside its figures against data set, graph and candidate; nothing here imports torch."""

from __future__ import annotations

import json
import math
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import onnx

from core.files import as_json_bytes, read_json
from core.integrity import broken_seal, seal_of, sha256_of
from models.serving.passport import FILE, Passport
from models.training.candidate import MARKER, RECIPE, TrainedCandidate, name_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

TOLERANCE = 1e-6
"""Another processor may round the last bits of a probability differently."""
_NEEDED = ("candidate_id", "dataset_digest", "scaler", "spec", "judged", "parity")
"""Keys without which nothing can be computed again; the runtime does without them."""
_MISSING = object()


def differences(path: str, claimed: Any, computed: Any, tolerance: float = TOLERANCE) -> list[str]:  # noqa: ANN401  # any JSON value
    """Return a line for every leaf of ``claimed`` (a passport) that ``computed`` contradicts, and for every one missing.

    Numbers may differ by ``tolerance``, times their size where that is above 1. True is not 1.
    """
    if isinstance(claimed, dict) and isinstance(computed, dict):
        keys = [*claimed, *(key for key in computed if key not in claimed)]
        pairs = [(str(key), claimed.get(key, _MISSING), computed.get(key, _MISSING)) for key in keys]
    elif isinstance(claimed, list) and isinstance(computed, list) and len(claimed) == len(computed):
        pairs = [(str(number), *pair) for number, pair in enumerate(zip(claimed, computed, strict=True))]
    elif _same(claimed, computed, tolerance):
        return []
    else:
        return [f"{path}: the passport says {_short(claimed)}, recomputed {_short(computed)}"]
    return [line for key, left, right in pairs for line in differences(f"{path}.{key}", left, right, tolerance)]


def leaves(content: Any) -> int:  # noqa: ANN401  # any JSON value
    """Return how many values a JSON value holds."""
    if isinstance(content, dict | list):
        return sum(map(leaves, content.values() if isinstance(content, dict) else content))
    return 1


def _same(claimed: object, computed: object, tolerance: float) -> bool:
    if isinstance(claimed, int | float) and isinstance(computed, int | float):
        if (isinstance(claimed, int) and isinstance(computed, int)) or bool in {type(claimed), type(computed)}:
            # counts, and yes or no
            return type(claimed) is type(computed) and claimed == computed
        return math.isclose(claimed, computed, rel_tol=tolerance, abs_tol=tolerance)
    return type(claimed) is type(computed) and claimed == computed


def _short(value: object) -> str:
    if value is _MISSING:
        return "nothing"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def bytes_faults(folder: Path, recorded: Sequence[str]) -> list[str]:
    """Return what is wrong with the passport as a file: its bytes, its seal, and the hash the registry recorded.

    Args:
        folder: The model's.
        recorded: sha256 of the passports that judgings of this model left; none where nobody recorded any.
    """
    path = folder / FILE
    content = read_json(path)
    faults = []
    if _bytes_of(content) != path.read_bytes():
        faults.append(f"{FILE}: its bytes are not those Candledesk writes for its content")
    if (fault := broken_seal(content)) is not None:
        faults.append(f"{FILE}: {fault}")
    if recorded and sha256_of(path) not in recorded:
        known = ", ".join(sha256[:12] for sha256 in recorded)
        faults.append(
            f"{FILE}: its sha256 is {sha256_of(path)[:12]}, the registry recorded {known} when the model was judged"
        )
    return faults


def manifest_faults(path: Path, passport: Passport) -> list[str]:
    """Return how a data set's manifest differs from the one the model was judged with, byte for byte."""
    content = read_json(path)
    faults = []
    if path.read_bytes() not in _renderings(content):
        faults.append(f"{path.name}: its bytes are not those Candledesk writes for its content")
    claimed = passport.dataset_manifest_sha256
    if claimed is not None and claimed != seal_of(content):
        faults.append(
            f"dataset_manifest_sha256: the passport says {claimed[:12]}, {path.name} has {seal_of(content)[:12]}"
        )
    return faults


def key_faults(
    folder: Path, passport: Passport, content: Mapping[str, Any], manifest: Mapping[str, Any], weights: Path | None
) -> list[str]:
    """Return every key of the passport that manifest, graph or candidate contradict, by name.

    Args:
        folder: The model's, with its graph.
        passport: Its passport.
        content: The same as the file holds it.
        manifest: That of the data set it was judged on.
        weights: The folder with the candidate's ``candidate.json`` and ``weights.pt``, None if they are not at hand.
    """
    known = {key.name for key in fields(Passport)}
    faults = [f"{key}: no passport has such a key" for key in content if key not in known]
    if missing := [key for key in _NEEDED if not getattr(passport, key)]:
        return [*faults, f"the passport lacks {', '.join(missing)}"]
    faults += _name_faults(passport)
    wanted = _from_manifest(manifest) | _from_graph(folder / "model.onnx") | _from_spec(passport)
    if (folder / "curves.json").exists():
        wanted["curves_sha256"] = sha256_of(folder / "curves.json")
    if weights is not None:
        wanted["training"] = _training(content["training"], weights)
    for key, computed in wanted.items():
        # an older passport lacks some of them, which its missing seal says
        if key in content:
            faults += differences(key, content[key], computed)
    if set(passport.verdicts) != set(passport.products):
        faults.append(f"verdicts: of {', '.join(passport.verdicts)}, products are {', '.join(passport.products)}")
    return faults


def _from_manifest(manifest: Mapping[str, Any]) -> dict[str, Any]:
    features = manifest["feature_set"]
    return {
        "dataset_digest": manifest["digest"],
        "market": manifest["products"],
        "inputs": features["columns"],
        "feature_set": features["name"],
        "feature_set_version": features["version"],
        "feature_hash": features["sha256"],
        "horizon_minutes": manifest["horizon_minutes"],
        "borders": manifest["borders"],
        "span": manifest["span"],
        "sources": manifest["sources"],
    }


def _from_graph(path: Path) -> dict[str, Any]:
    graph = onnx.load(path, load_external_data=False)
    shape = next(own for own in graph.graph.input if own.name == "x").type.tensor_type.shape.dim
    return {
        "sha256": sha256_of(path),
        "opset": next(own.version for own in graph.opset_import if own.domain in {"", "ai.onnx"}),
        "window_minutes": shape[1].dim_value,
    }


def _from_spec(passport: Passport) -> dict[str, Any]:
    """Return what follows from how it was trained."""
    spec = passport.spec or {}
    model_id = f"{passport.candidate_id}-{passport.sha256[:8]}"
    return {"architecture": spec["architecture"], "products": spec["products"], "model_id": model_id}


def _name_faults(passport: Passport) -> list[str]:
    """A candidate's name is a hash over its spec, data set and feature set, by the recipe it was trained with."""
    decides = passport.spec or {}, passport.dataset_digest or "", passport.feature_hash
    names = [name_of(*decides, recipe) for recipe in range(1, RECIPE + 1)]
    if passport.candidate_id in names:
        return []
    return [f"spec or candidate_id: the passport says {passport.candidate_id}, its spec and data set give {names[-1]}"]


def _training(claimed: Mapping[str, Any], weights: Path) -> dict[str, Any]:
    marker = read_json(weights / MARKER)
    names = {key: "train_windows" if key == "windows" else str(key) for key in claimed}
    computed = {key: marker[name] for key, name in names.items() if name in marker}
    name = TrainedCandidate.read(weights).spec.name
    return computed | {"name": name, "weights_sha256": sha256_of(weights / "weights.pt")}


def _bytes_of(content: Mapping[str, Any]) -> bytes | None:
    try:
        return as_json_bytes(content)
    except ValueError:
        # a figure that is no number: Candledesk writes none
        return None


def _renderings(content: Mapping[str, Any]) -> tuple[bytes, ...]:
    """Return the ways in which a manifest is written: by the store, by a walk-forward's fold, in one line."""
    texts = (json.dumps(content, indent=2) + "\n", json.dumps(content, indent=1) + "\n", json.dumps(content))
    return tuple(text.encode() for text in texts)
