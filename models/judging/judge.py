"""Judge a candidate on its untouched test part: calibrate, export, measure, hold against the gates, write the passport.

What is judged is the exported graph itself, through the scorer the runtime uses. Shapes: N rows, B windows, F inputs.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from core.errors import ModelError
from core.files import read_json, write_json
from core.integrity import seal_of, sealed, sha256_of
from core.version import commit
from models.datasets.dataset import Dataset, load_dataset
from models.datasets.scaler import Scaler
from models.datasets.windows import part_ends, windows
from models.gates.judgement import Judgement, MetricRow, ProductVerdict, judgement_from_json
from models.judging.appraise import appraise, without_nan
from models.judging.measure import coverage_cuts
from models.serving.calibration import Calibration, fit_calibration
from models.serving.export import GRAPH, OPSET, export_graph, load_network, parity, served, torch_probabilities
from models.serving.scorer import Scorer
from models.training.candidate import spec_from_json
from models.training.fit import forward

if TYPE_CHECKING:
    from torch import nn

    from core.dataset_files import DatasetRef
    from models.gates import GateProfile
    from models.training.spec import CandidateRef

JUDGE_STRIDE = {"transformer": 5}
"""Judged on every minute, or on every fifth where scoring is slow: labels overlap, so little is lost."""
PARITY_WINDOWS = 1000
PARITY_SAMPLE = 32
_BATCH = 256
# part of what makes a judgement reusable: raise it when a change here changes what a judging says
JUDGING = 6


def judge(
    candidate: CandidateRef, dataset: DatasetRef, gates: GateProfile, *, cost_bps: float, trials: int
) -> Judgement:
    """Judge every product of ``candidate``; the same inputs judged before are read back.

    Writes ``model.onnx``, ``passport.json``, ``curves.json`` (reliability, accuracy against coverage) and, last,
    ``judgement.json`` into the candidate's folder.

    Raises:
        DatasetError: the data set is missing or is not the one the candidate was trained on.
        ModelError: the candidate's files are missing or changed.
    """
    folder = Path(candidate.path)
    marker = read_json(folder / "candidate.json")
    if marker["dataset_digest"] != dataset.digest:
        msg = (
            f"{candidate.candidate_id} was trained on data set {marker['dataset_digest'][:16]}, not "
            f"{dataset.digest[:16]}; its test part is another. Train on the new one: make train"
        )
        raise ModelError(msg)
    key = _judging_key(marker, gates, cost_bps, trials)
    if (known := _known(folder, key)) is not None:
        return known

    torch.set_num_threads(1)
    data = load_dataset(dataset, marker["products"])
    scaler = Scaler.from_json(marker["scaler"])
    network = load_network(folder, marker)
    minutes = int(marker["window_minutes"])
    stride = JUDGE_STRIDE.get(marker["architecture"], 1)
    fitted = [calibrate(network, scaler, data, minutes, stride, product) for product in data.coins]
    calibrations = [calibration for calibration, _ in fitted]
    model = served(network, scaler, calibrations)
    graph = export_graph(model, folder, minutes, len(data.columns))
    model_id = f"{candidate.candidate_id}-{sha256_of(graph)[:8]}"
    passport = _manifest(model_id, marker, graph, data, read_json(Path(dataset.manifest_path))) | {
        "judged": _terms(gates, cost_bps, trials, stride)
    }
    write_json(folder / "passport.json", passport)  # the scorer needs it; completed below
    scorer = Scorer(folder)
    passport["parity"] = parity_proof(model, scorer, data, minutes)

    found = appraise(data, scorer, passport)
    passport["verdicts"] = {
        product: found[product].claims | {"calibration": calibration.as_json()}
        for product, (calibration, _) in zip(data.coins, fitted, strict=True)
    }
    judgement = Judgement(
        model_id,
        marker["architecture"],
        str(folder),
        gates.name,
        tuple(ProductVerdict(part.product, part.slot, part.accepted, part.gates) for part in found.values()),
        tuple(MetricRow(model_id, part.product, *row) for part in found.values() for row in part.rows),
    )
    write_json(folder / "curves.json", {product: part.curves for product, part in found.items()})
    passport["curves_sha256"] = sha256_of(folder / "curves.json")
    write_json(folder / "passport.json", sealed(passport))
    told = {"key": key, "passport_sha256": sha256_of(folder / "passport.json")}
    write_json(folder / "judgement.json", told | without_nan(judgement.as_json()))
    return judgement


def _terms(gates: GateProfile, cost_bps: float, trials: int, stride: int) -> dict[str, Any]:
    return {
        "profile": asdict(gates),
        "cost_bps": cost_bps,
        "trials": trials,
        "stride_minutes": stride,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
    }


def _judging_key(marker: dict[str, Any], gates: GateProfile, cost_bps: float, trials: int) -> str:
    told = [JUDGING, marker["weights_sha256"], marker["dataset_digest"], asdict(gates), cost_bps, trials]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _known(folder: Path, key: str) -> Judgement | None:
    path = folder / "judgement.json"
    if not path.exists():
        return None
    content = read_json(path)
    files = (folder / "passport.json", folder / GRAPH)
    if content.get("key") != key or not all(file.exists() for file in files):
        return None
    # a passport or graph that was changed since is judged again, not read back
    is_same = sha256_of(files[0]) == content.get("passport_sha256")
    whole = is_same and sha256_of(files[1]) == read_json(files[0]).get("sha256")
    return judgement_from_json(content) if whole else None


def calibrate(
    network: nn.Module, scaler: Scaler, data: Dataset, minutes: int, stride: int, product: str
) -> tuple[Calibration, dict[str, dict[str, float]]]:
    """Fit on the calibration part alone, and cut the tiers there: no training saw it, the test part is still closed."""
    ends = part_ends(data, "calibration", minutes, stride=stride, product=product)
    logits = [np.empty(0)]
    for start in range(0, len(ends), _BATCH):
        chosen = ends[start : start + _BATCH]
        x_BTF = windows(data.x_NF, chosen, minutes)
        scaler.scale_windows_in_place(x_BTF, data.coins.index(product))
        with torch.inference_mode():
            logit_B, _ = forward(network, torch.from_numpy(x_BTF), torch.from_numpy(data.coin_N[chosen]))
        logits.append(logit_B.double().numpy())
    logit_N, y_N = np.concatenate(logits), data.direction_N[ends]
    calibration = fit_calibration(logit_N, y_N, data.minute_N[ends], horizon_minutes=data.horizon_minutes)
    return calibration, coverage_cuts(calibration.apply(logit_N), y_N)


def parity_proof(model: nn.Module, scorer: Scorer, data: Dataset, minutes: int) -> dict[str, Any]:
    """Compare graph and torch on real windows of the test part; return the differences, and what torch said of a few."""
    ends = part_ends(data, "test", minutes)
    chosen = ends[np.linspace(0, len(ends) - 1, min(len(ends), PARITY_WINDOWS)).astype(np.int64)]
    x_BTF = windows(data.x_NF, chosen, minutes)
    proof = parity(model, scorer, x_BTF, list(data.coins), data.coin_N[chosen])
    # what torch said of a few of them: whoever has the graph and the data set but no weights compares with these
    few = np.unique(np.linspace(0, len(chosen) - 1, min(len(chosen), PARITY_SAMPLE)).astype(np.int64))
    said_B = torch_probabilities(model, x_BTF[few], data.coin_N[chosen[few]])
    sample = [
        {"product": data.coins[data.coin_N[row]], "minute": int(data.minute_N[row]), "probability": float(p)}
        for row, p in zip(chosen[few], said_B, strict=True)
    ]
    return proof | {"sample": sample}


def _manifest(
    model_id: str, marker: dict[str, Any], graph: Path, data: Dataset, manifest: dict[str, Any]
) -> dict[str, Any]:
    spec = spec_from_json(marker["spec"])
    return {
        "model_id": model_id,
        "candidate_id": marker["candidate_id"],
        "architecture": marker["architecture"],
        "products": list(data.coins),
        # what a feature set that reads other coins saw: served in another market its inputs mean something else
        "market": list(data.manifest.products),
        "inputs": list(data.columns),
        "feature_set": marker["feature_set"]["name"],
        "feature_set_version": marker["feature_set"]["version"],
        "feature_hash": marker["feature_set"]["sha256"],
        "window_minutes": marker["window_minutes"],
        "horizon_minutes": data.horizon_minutes,
        "opset": OPSET,
        "sha256": sha256_of(graph),
        "dataset_digest": marker["dataset_digest"],
        "dataset_manifest_sha256": seal_of(manifest),
        "borders": manifest["borders"],
        "span": manifest["span"],
        "sources": list(data.sources),
        "scaler": marker["scaler"],
        "spec": marker["spec"],
        "training": {
            "name": spec.name,
            "commit": marker["commit"],
            "seconds": marker["seconds"],
            "windows": marker["train_windows"],
            "best_epoch": marker["best_epoch"],
            "precision": marker["precision"],
            "weights_sha256": marker["weights_sha256"],
            "history": marker["history"],
        },
    }
