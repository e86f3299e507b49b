"""The child process that derives a graph anew from a candidate's weights: a job on standard input, JSON lines out.

It fits the calibration again, writes the graph again into an empty folder and compares the graph that is there with
torch, so that `models.passport.verify` can do all that and stay free of torch itself.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from core.child_job import do_job, tell
from core.dataset_files import DatasetRef
from core.files import read_json
from core.integrity import sha256_of
from models.datasets.dataset import load_dataset
from models.datasets.scaler import Scaler
from models.judging.judge import calibrate, parity_proof
from models.serving.export import export_graph, load_network, served
from models.serving.scorer import Scorer


def main() -> int:
    """Derive what standard input names; return 0, or 2 with the reason as a JSON line."""
    return do_job(_derive)


def _derive(job: dict[str, Any]) -> None:
    reference = DatasetRef(**job["dataset"])
    tell({"derived": derive(Path(job["weights"]), Path(job["folder"]), reference, Path(job["empty"]))})


def derive(weights: Path, folder: Path, dataset: DatasetRef, empty: Path) -> dict[str, Any]:
    """Return calibrations, parity and the new graph's sha256, from the ``weights`` of the model in ``folder``."""
    torch.set_num_threads(1)
    marker, passport = read_json(weights / "candidate.json"), read_json(folder / "passport.json")
    data = load_dataset(dataset, marker["products"])
    scaler, minutes = Scaler.from_json(marker["scaler"]), int(marker["window_minutes"])
    network = load_network(weights, marker)
    stride = int(passport["judged"]["stride_minutes"])
    calibrations = [calibrate(network, scaler, data, minutes, stride, product)[0] for product in data.coins]
    model = served(network, scaler, calibrations)
    graph = export_graph(model, empty, minutes, len(data.columns))
    return {
        "calibrations": {product: one.as_json() for product, one in zip(data.coins, calibrations, strict=True)},
        # a broken seal is told by `models.passport.verify`, which goes on to name what was changed
        "parity": parity_proof(model, Scorer(folder, with_seal=False), data, minutes),
        "graph_sha256": sha256_of(graph),
    }


if __name__ == "__main__":
    sys.exit(main())
