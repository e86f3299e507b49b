"""The child process that derives a graph anew from a candidate's weights: a job on standard input, JSON lines out.

It fits the calibration again, writes the graph again into an empty folder and compares the graph that is there with
torch, so that `models.passport.verify_passport` can do all that and stay free of torch itself.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from core.child_process import do_job, tell
from core.dataset_files import DatasetRef
from core.files import plain_json
from core.integrity import sha256_of
from models.datasets.dataset import load_dataset
from models.datasets.scaler import Scaler
from models.judging.judge import calibrate, network_of, parity_proof
from models.serving.export import export_graph, served
from models.serving.passport import Passport
from models.serving.scorer import Scorer
from models.training.candidate import TrainedCandidate


def main() -> int:
    """Derive what standard input names; return 0, or 2 with the reason as a JSON line."""
    return do_job(_derive)


def _derive(job: dict[str, Any]) -> None:
    """Tell calibrations, parity and the new graph's sha256, from the weights of the model in a folder."""
    torch.set_num_threads(1)
    weights, folder = Path(job["weights"]), Path(job["folder"])
    # a broken seal is named by `models.passport.verify_passport`, which goes on to name what was changed
    candidate, passport = TrainedCandidate.read(weights), Passport.read(folder, with_seal=False)
    data = load_dataset(DatasetRef(**job["dataset"]), candidate.products)
    scaler, minutes = Scaler.from_json(candidate.scaler), candidate.window_minutes
    network, stride = network_of(candidate, weights), passport.judged.stride_minutes if passport.judged else 1
    fitted = {product: calibrate(network, scaler, data, minutes, stride, product)[0] for product in data.coins}
    model = served(network, scaler, list(fitted.values()))
    graph = export_graph(model, Path(job["empty"]), minutes, len(data.columns))
    derived = {
        "calibrations": {product: asdict(own.choice()) for product, own in fitted.items()},
        "parity": asdict(parity_proof(model, Scorer(folder, passport), data, minutes)),
        "graph_sha256": sha256_of(graph),
    }
    tell({"derived": plain_json(derived)})


if __name__ == "__main__":
    sys.exit(main())
