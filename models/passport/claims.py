"""What a passport says beside its figures, held against data set, graph and candidate; nothing here imports torch."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import onnx

from core.files import as_json_bytes, read_json
from core.integrity import SEAL, broken_seal, seal_of, sha256_of
from models.passport.differences import differences
from models.training.candidate import RECIPE, name_of, spec_from_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_KEYS = frozenset(
    [
        "model_id",
        "candidate_id",
        "architecture",
        "products",
        "market",
        "inputs",
        "feature_set",
        "feature_set_version",
        "feature_hash",
        "window_minutes",
        "horizon_minutes",
        "opset",
        "sha256",
        "dataset_digest",
        "dataset_manifest_sha256",
        "curves_sha256",
        "borders",
        "span",
        "sources",
        "scaler",
        "spec",
        "training",
        "judged",
        "parity",
        "canaries",
        "verdicts",
    ]
) | {SEAL}
_NEEDED = frozenset(
    [
        "model_id",
        "candidate_id",
        "architecture",
        "products",
        "inputs",
        "window_minutes",
        "opset",
        "sha256",
        "scaler",
        "spec",
        "judged",
        "parity",
    ]
)


def bytes_faults(folder: Path, recorded: Sequence[str]) -> list[str]:
    """Return what is wrong with the passport as a file: its bytes, its seal, and the hash the registry recorded.

    Args:
        folder: The model's.
        recorded: sha256 of the passports that judgings of this model left; none where nobody recorded any.
    """
    path = folder / "passport.json"
    content = read_json(path)
    faults = []
    if _bytes_of(content) != path.read_bytes():
        faults.append("passport.json: its bytes are not those Candledesk writes for its content")
    if (fault := broken_seal(content)) is not None:
        faults.append(f"passport.json: {fault}")
    if recorded and sha256_of(path) not in recorded:
        kept = ", ".join(one[:12] for one in recorded)
        faults.append(
            f"passport.json: its sha256 is {sha256_of(path)[:12]}, the registry recorded {kept} when the model was judged"
        )
    return faults


def manifest_faults(path: Path, passport: Mapping[str, Any]) -> list[str]:
    """Return how a data set's manifest differs from the one the model was judged with, byte for byte."""
    content = read_json(path)
    faults = []
    if path.read_bytes() not in _renderings(content):
        faults.append(f"{path.name}: its bytes are not those Candledesk writes for its content")
    if "dataset_manifest_sha256" in passport and passport["dataset_manifest_sha256"] != seal_of(content):
        faults.append(
            f"dataset_manifest_sha256: the passport says {str(passport['dataset_manifest_sha256'])[:12]}, "
            f"{path.name} has {seal_of(content)[:12]}"
        )
    return faults


def key_faults(
    folder: Path, passport: Mapping[str, Any], manifest: Mapping[str, Any], weights: Path | None
) -> list[str]:
    """Return every key of the passport that manifest, graph or candidate contradict, by name.

    Args:
        folder: The model's, with its graph.
        passport: Its passport.
        manifest: That of the data set it was judged on.
        weights: The folder with the candidate's ``candidate.json`` and ``weights.pt``, None if they are not at hand.
    """
    faults = [f"{key}: no passport has such a key" for key in passport if key not in _KEYS]
    if missing := sorted(_NEEDED - set(passport)):
        return [*faults, f"the passport lacks {', '.join(missing)}"]
    faults += _name_faults(passport)
    wanted = _from_manifest(manifest) | _from_graph(folder / "model.onnx") | _from_spec(passport)
    if (folder / "curves.json").exists():
        wanted["curves_sha256"] = sha256_of(folder / "curves.json")
    if weights is not None:
        wanted["training"] = _training(passport, weights)
    for key, found in wanted.items():
        # an older passport lacks some of them, which its missing seal says
        if key in passport:
            faults += differences(key, passport[key], found)
    if set(passport.get("verdicts", {})) != set(passport["products"]):
        faults.append(
            f"verdicts: of {', '.join(passport.get('verdicts', {}))}, products are {', '.join(passport['products'])}"
        )
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
    shape = next(one for one in graph.graph.input if one.name == "x").type.tensor_type.shape.dim
    return {
        "sha256": sha256_of(path),
        "opset": next(one.version for one in graph.opset_import if one.domain in {"", "ai.onnx"}),
        "window_minutes": shape[1].dim_value,
    }


def _from_spec(passport: Mapping[str, Any]) -> dict[str, Any]:
    """Return what follows from how it was trained."""
    spec = passport["spec"]
    return {
        "architecture": spec["architecture"],
        "products": spec["products"],
        "model_id": f"{passport['candidate_id']}-{passport['sha256'][:8]}",
    }


def _name_faults(passport: Mapping[str, Any]) -> list[str]:
    """A candidate's name is a hash over its spec, data set and feature set, by the recipe it was trained with."""
    told = (passport["spec"], passport["dataset_digest"], passport["feature_hash"])
    names = [name_of(*told, recipe) for recipe in range(1, RECIPE + 1)]
    if passport["candidate_id"] in names:
        return []
    return [
        f"spec or candidate_id: the passport says {passport['candidate_id']}, its spec and data set give {names[-1]}"
    ]


def _training(passport: Mapping[str, Any], weights: Path) -> dict[str, Any]:
    marker = read_json(weights / "candidate.json")
    names = {key: "train_windows" if key == "windows" else str(key) for key in passport["training"]}
    found = {key: marker[name] for key, name in names.items() if name in marker}
    return found | {
        "name": spec_from_json(passport["spec"]).name,
        "weights_sha256": sha256_of(weights / "weights.pt"),
    }


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
