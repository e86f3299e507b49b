"""The child process that trains one candidate: a job as JSON on standard input, progress as JSON lines on standard output."""

from __future__ import annotations

import fcntl
import io
import os
import sys
import time
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from core.child_job import do_job, tell
from core.dataset_files import DatasetRef
from core.files import write_bytes, write_json
from core.integrity import sha256_of
from core.version import commit
from models.datasets.dataset import load_dataset
from models.networks.build import window_minutes
from models.training.candidate import CHECKPOINT, RECIPE, finished, spec_as_json, spec_from_json
from models.training.fit import Fitted, fit
from models.training.fit_boosting import fit_boosting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models.datasets.dataset import Dataset
    from models.training.progress import TrainProgress
    from models.training.spec import TrainSpec


def main() -> int:
    """Train what standard input describes; return 0, or 2 with the reason as a JSON line."""
    return do_job(_train)


def _train(job: dict[str, Any]) -> None:
    folder = Path(job["folder"])
    with _alone(folder):
        if finished(folder) is None:
            train(spec_from_json(job["spec"]), DatasetRef(**job["dataset"]), folder)


def train(spec: TrainSpec, reference: DatasetRef, folder: Path) -> None:
    """Fit, then write the weights, then the marker."""
    began = time.monotonic()
    data = load_dataset(reference, spec.products)
    train_one = fit_boosting if spec.architecture == "boosting" else fit
    fitted = train_one(spec, data, on_progress=_tell_progress, checkpoint=folder / CHECKPOINT)
    buffer = io.BytesIO()  # saved by path, the file's own name would be part of its bytes
    torch.save(fitted.weights, buffer)
    write_bytes(folder / "weights.pt", buffer.getvalue())
    write_json(folder / "candidate.json", _marker(spec, data, fitted, folder, time.monotonic() - began))
    (folder / CHECKPOINT).unlink(missing_ok=True)


def _marker(spec: TrainSpec, data: Dataset, fitted: Fitted, folder: Path, seconds: float) -> dict[str, object]:
    return {
        "candidate_id": folder.name,
        "architecture": spec.architecture,
        "products": list(data.coins),
        "spec": spec_as_json(spec),
        "recipe": RECIPE,
        "dataset_digest": data.digest,
        "feature_set": asdict(data.manifest.feature_set),
        "window_minutes": window_minutes(spec.architecture),
        "scaler": fitted.scaler.as_json(),
        "return_scale": fitted.return_scale,
        "history": fitted.history,
        "members": fitted.members,
        "best_checks": fitted.best_checks,
        "best_epoch": fitted.best_epoch,
        "ended_by": fitted.ended_by,
        "train_windows": fitted.train_windows,
        "precision": fitted.precision,
        "torch": torch.__version__,
        "seconds": round(seconds, 2),
        "commit": commit(),
        "weights_sha256": sha256_of(folder / "weights.pt"),
    }


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other process trains this candidate; the kernel lets go when a process dies."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _tell_progress(progress: TrainProgress) -> None:
    tell({"progress": asdict(progress)})


if __name__ == "__main__":
    sys.exit(main())
