"""Train one candidate in this child process: a job as JSON on standard input, progress as JSON lines on standard output."""

from __future__ import annotations

import io
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from core.child_process import do_job, tell
from core.dataset_files import DatasetRef
from core.files import write_bytes
from core.integrity import sha256_of
from core.locks import hold
from core.version import commit
from models.datasets.dataset import load_dataset
from models.networks.build import window_minutes
from models.training.candidate import (
    CHECKPOINT,
    RECIPE,
    VERSION,
    TrainedCandidate,
    finished,
    spec_from_json,
)
from models.training.fit import Fitted, fit

if TYPE_CHECKING:
    from collections.abc import Callable

    from models.datasets.dataset import Dataset
    from models.training.candidate import TrainSpec
    from models.training.run_training import TrainProgress


def main() -> int:
    """Train what standard input describes; return 0, or 2 with the reason as a JSON line."""
    return do_job(_train)


def _train(job: dict[str, Any]) -> None:
    folder = Path(job["folder"])
    # two flows may want the same candidate: the second waits, then finds it finished
    with hold(folder / ".lock"):
        if finished(folder) is None:
            train(spec_from_json(job["spec"]), DatasetRef(**job["dataset"]), folder)


def _trainer(spec: TrainSpec) -> Callable[..., Fitted]:
    if spec.architecture != "boosting":
        return fit
    from models.training.fit_boosting import fit_boosting  # noqa: PLC0415  # LightGBM takes 1.8 s to import

    return fit_boosting


def train(spec: TrainSpec, reference: DatasetRef, folder: Path) -> None:
    """Fit, then write the weights, then ``candidate.json``, whose presence says that the training is finished."""
    began = time.monotonic()
    # the coins of this spec alone: their rows are all that is held
    data = load_dataset(reference, spec.products)
    fitted = _trainer(spec)(spec, data, on_progress=_report, checkpoint=folder / CHECKPOINT)
    buffer = io.BytesIO()  # saved by path, the file's own name would be part of its bytes
    torch.save(fitted.weights, buffer)
    write_bytes(folder / "weights.pt", buffer.getvalue())
    _marker(spec, data, fitted, folder, time.monotonic() - began).write(folder)
    (folder / CHECKPOINT).unlink(missing_ok=True)


def _marker(spec: TrainSpec, data: Dataset, fitted: Fitted, folder: Path, seconds: float) -> TrainedCandidate:
    return TrainedCandidate(
        version=VERSION,
        candidate_id=folder.name,
        architecture=spec.architecture,
        products=data.coins,
        spec=spec,
        recipe=RECIPE,
        dataset_digest=data.digest,
        feature_set=data.manifest.feature_set,
        window_minutes=window_minutes(spec.architecture),
        scaler=fitted.scaler.as_json(),
        return_scale=tuple(fitted.return_scale),
        history=tuple(fitted.history),
        members=fitted.members,
        best_checks=tuple(fitted.best_checks),
        best_epoch=fitted.best_epoch,
        ended_by=tuple(fitted.ended_by),
        train_windows=fitted.train_windows,
        precision=fitted.precision,
        torch=torch.__version__,
        seconds=round(seconds, 2),
        commit=commit(),
        weights_sha256=sha256_of(folder / "weights.pt"),
    )


def _report(progress: TrainProgress) -> None:
    tell(progress.as_line())


if __name__ == "__main__":
    sys.exit(main())
