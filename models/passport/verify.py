"""Recompute what a passport claims, from the data set and the graph; nothing here imports torch.

Where the candidate's weights are at hand a child process derives calibration and graph anew from them; elsewhere the graph
is held against what torch said of some windows when it was judged. Shapes: N rows, F inputs.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from core.child_process import run_child
from core.errors import ConfigError, DatasetError, ModelError, ModelMismatchError
from core.files import read_json
from core.integrity import SEAL, sha256_of
from core.version import commit
from models.datasets.dataset import Dataset, load_dataset
from models.datasets.scaler import Scaler, fit_scaler
from models.datasets.windows import part_ends, windows
from models.judging.appraise import appraise, score_rows
from models.judging.leak_canaries import failing_canaries
from models.judging.measure import intervals
from models.passport.claims import bytes_faults, key_faults, manifest_faults
from models.passport.differences import TOLERANCE, differences, leaves
from models.serving.calibration import fit_calibration
from models.serving.scorer import Scorer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from core.dataset_files import DatasetRef

PARITY_TOLERANCE = 1e-5
_REFIT_TOLERANCE = 1e-3
"""A calibration fitted on the graph's logits: they differ from torch's in the seventh digit, and a fit ends nearby."""
_BATCH = 256
_MALFORMED = (KeyError, TypeError, ValueError, AttributeError, IndexError, ConfigError)


@dataclass(frozen=True, slots=True)
class Verification:
    """What was recomputed, and every difference found; none means the passport is true."""

    model_id: str
    figures: int
    differences: tuple[str, ...]
    remarks: tuple[str, ...] = ()
    """What could not be checked here, and why."""

    @property
    def is_true(self) -> bool:
        """Whether nothing differs."""
        return not self.differences


@dataclass(slots=True)
class _Findings:
    """What is found on the way."""

    figures: int = 0
    differences: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def compare(self, path: str, said: Any, found: Any, tolerance: float = TOLERANCE) -> None:  # noqa: ANN401  # any JSON value
        self.figures += leaves(said)
        self.differences += differences(path, said, found, tolerance)

    def of(self, model_id: str) -> Verification:
        return Verification(model_id, self.figures, tuple(self.differences), tuple(self.remarks))


def verify(
    folder: Path,
    dataset: DatasetRef,
    *,
    weights: Path | None = None,
    recorded: Sequence[str] = (),
    memory_gb: float = 8.0,
) -> Verification:
    """Recompute hashes, seal, parity, canaries, every figure, the gates and the verdicts, and compare them with the passport.

    Args:
        folder: Holds ``model.onnx`` and ``passport.json``, perhaps ``curves.json`` and ``judgement.json``.
        dataset: What the model was judged on.
        weights: The candidate's folder with ``weights.pt``; ``folder`` itself if it has them, else none are at hand.
        recorded: sha256 of the passports that the registry recorded for this model; none where it knows of none.
        memory_gb: What the child process that derives the graph anew may use.

    Raises:
        DatasetError: the data set is missing or changed, or is not the one the model was judged on.
        ModelError: a file of the model is missing or is no JSON.
        TrainingError: the weights are there and could not be used.
    """
    passport = read_json(folder / "passport.json")
    model_id = str(passport.get("model_id", folder.name))
    if weights is None and (folder / "weights.pt").exists() and (folder / "candidate.json").exists():
        weights = folder
    findings = _Findings(figures=1, differences=bytes_faults(folder, recorded))
    if SEAL not in passport:
        findings.remarks.append("unsealed: judged by an older version; what cannot be recomputed is taken on trust")
        if recorded:
            findings.remarks.append("its sha256 is recorded in the registry")
    if not (folder / "model.onnx").exists():
        msg = f"{folder / 'model.onnx'} is missing; judge the model again: desk evaluate"
        raise ModelError(msg)
    if (found := sha256_of(folder / "model.onnx")) != passport.get("sha256"):
        findings.differences.append(
            f"sha256: the graph's is {found[:12]}, the passport says {str(passport.get('sha256'))[:12]}"
        )
        return findings.of(model_id)
    try:
        _recompute(folder, passport, dataset, weights, findings, memory_gb)
    except _MALFORMED as error:
        findings.differences.append(f"the passport is malformed ({error!r})")
    if findings.differences and (judged_by := _other_commit(passport)):
        findings.remarks.append(judged_by)
    return findings.of(model_id)


def _recompute(
    folder: Path,
    passport: dict[str, Any],
    dataset: DatasetRef,
    weights: Path | None,
    findings: _Findings,
    memory_gb: float,
) -> None:
    manifest = _manifest(dataset, passport)
    findings.differences += manifest_faults(Path(dataset.manifest_path), passport)
    wrong = key_faults(folder, passport, manifest, weights)
    findings.differences += wrong
    findings.figures += len(passport)
    if any(line.startswith(("the passport lacks", "products", "inputs", "window_minutes", "opset")) for line in wrong):
        # nothing could be scored as the passport says
        load_dataset(dataset)
        return
    data = load_dataset(dataset, passport["products"])
    try:
        scorer = Scorer(folder)
    except ModelMismatchError as error:
        # a broken seal is told already
        if not any(SEAL in line for line in findings.differences):
            findings.differences.append(str(error))
        scorer = Scorer(folder, with_seal=False)
    findings.compare("scaler", passport["scaler"], fit_scaler(data).as_json(), 1e-5)
    if not scorer.tells_logits:
        findings.remarks.append(
            "its graph tells no logits, as those of older versions: only metrics and canaries were recomputed"
        )
        _old_figures(data, scorer, passport, findings)
        return
    _figures(folder, data, scorer, passport, findings)
    if weights is None:
        findings.remarks.append(
            "the candidate's weights are not here: parity was checked on the windows stored with it"
        )
        _stored_parity(data, scorer, passport, findings)
        _refitted(data, scorer, passport, findings)
    else:
        _derived(folder, weights, dataset, passport, findings, memory_gb)


def _manifest(dataset: DatasetRef, passport: dict[str, Any]) -> dict[str, Any]:
    if dataset.digest != passport["dataset_digest"]:
        msg = (
            f"{passport['model_id']} was judged on data set {str(passport['dataset_digest'])[:16]}, not {dataset.digest[:16]}; "
            f"name that one, or put it back: desk dataset rebuild {str(passport['dataset_digest'])[:16]}"
        )
        raise DatasetError(msg)
    try:
        return read_json(Path(dataset.manifest_path))
    except ModelError as error:
        again = f"desk dataset rebuild {dataset.digest[:16]}"
        msg = f"the data set's manifest: {str(error).rpartition('; ')[0]}; put it back: {again}"
        raise DatasetError(msg) from error


def _figures(folder: Path, data: Dataset, scorer: Scorer, passport: dict[str, Any], findings: _Findings) -> None:
    """Compare all that the verdicts claim, and the files beside the passport that were written with it."""
    found = appraise(data, scorer, passport)
    for product, appraisal in found.items():
        said = {key: value for key, value in passport["verdicts"][product].items() if key != "calibration"}
        findings.compare(f"verdicts.{product}", said, appraisal.claims)
    if (folder / "curves.json").exists():
        curves = {product: appraisal.curves for product, appraisal in found.items()}
        findings.compare("curves.json", read_json(folder / "curves.json"), curves)
    if (folder / "judgement.json").exists():
        rows = [[product, *row] for product, appraisal in found.items() for row in appraisal.rows]
        told = read_json(folder / "judgement.json")["metrics"]
        names = ("product", "slice", "metric", "value", "low_95", "high_95", "row_count")
        findings.compare("judgement.json.metrics", [[row[name] for name in names] for row in told], rows)


def _old_figures(data: Dataset, scorer: Scorer, passport: dict[str, Any], findings: _Findings) -> None:
    lit = failing_canaries(data, Scaler.from_json(passport["scaler"]))
    findings.compare("canaries", passport.get("canaries", {}), lit)
    judged, minutes = passport["judged"], int(passport["window_minutes"])
    for product in data.coins:
        ends = part_ends(data, "test", minutes, stride=int(judged["stride_minutes"]), product=product)
        p_N = score_rows(data, scorer, product, ends, minutes)
        found = intervals(data, ends, p_N, cost_bps=float(judged["cost_bps"]))
        said = passport["verdicts"][product]["metrics"]
        known = {name: figure.as_json() for name, figure in found.items() if name in said}
        findings.compare(f"verdicts.{product}.metrics", said, known)


def _stored_parity(data: Dataset, scorer: Scorer, passport: dict[str, Any], findings: _Findings) -> None:
    """Hold the graph against what torch said of some windows when the model was judged."""
    said = passport["parity"]
    minutes = int(passport["window_minutes"])
    ends = part_ends(data, "test", minutes)
    row_of = {(data.coins[data.coin_N[row]], int(data.minute_N[row])): row for row in ends}
    findings.compare("parity.windows", said["windows"], min(len(ends), 1000))
    for place, one in enumerate(said["sample"]):
        path = f"parity.sample.{place}"
        row = row_of.get((one["product"], one["minute"]))
        if row is None:
            findings.differences.append(f"{path}: {one['product']} has no window that ends in minute {one['minute']}")
            continue
        p = float(scorer.score(windows(data.x_NF, np.array([row]), minutes), one["product"])[0])
        findings.compare(f"{path}.probability", one["probability"], p, PARITY_TOLERANCE)
    _within(said, findings)


def _within(proof: dict[str, Any], findings: _Findings) -> None:
    for name in ("largest_difference", "largest_difference_one_by_one"):
        if not 0 <= proof[name] <= PARITY_TOLERANCE:
            findings.differences.append(f"parity.{name}: {proof[name]} is above {PARITY_TOLERANCE:g}")


def _refitted(data: Dataset, scorer: Scorer, passport: dict[str, Any], findings: _Findings) -> None:
    """Fit the calibration again, on the logits the graph tells."""
    for product in data.coins:
        ends, logit_N = _calibration_logits(data, scorer, product, passport)
        found = fit_calibration(
            logit_N, data.direction_N[ends], data.minute_N[ends], horizon_minutes=data.horizon_minutes
        )
        said = passport["verdicts"][product]["calibration"]
        findings.compare(f"verdicts.{product}.calibration", said, found.as_json(), _REFIT_TOLERANCE)


def _calibration_logits(
    data: Dataset, scorer: Scorer, product: str, passport: dict[str, Any]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    minutes, stride = int(passport["window_minutes"]), int(passport["judged"]["stride_minutes"])
    ends = part_ends(data, "calibration", minutes, stride=stride, product=product)
    parts = [
        scorer.score_with_logits(windows(data.x_NF, ends[start : start + _BATCH], minutes), product)[1]
        for start in range(0, len(ends), _BATCH)
    ]
    return ends, np.concatenate([np.empty(0), *parts])


def _derived(
    folder: Path, weights: Path, dataset: DatasetRef, passport: dict[str, Any], findings: _Findings, memory_gb: float
) -> None:
    """Let a child process fit the calibration, write the graph and compare it with torch, all from the weights."""
    told: dict[str, Any] = {}
    with TemporaryDirectory(prefix="candledesk-verify-") as empty:
        job = {
            "weights": str(weights.absolute()),
            "folder": str(folder.absolute()),
            "dataset": asdict(dataset),
            "empty": empty,
        }
        name = f"deriving {passport['model_id']} from its weights"
        log = Path(empty) / "reexport.log"
        run_child("models.passport.reexport_process", job, name=name, log=log, on_line=told.update, memory_gb=memory_gb)
    found = told["derived"]
    for product, calibration in found["calibrations"].items():
        findings.compare(
            f"verdicts.{product}.calibration", passport["verdicts"][product]["calibration"], calibration, 1e-4
        )
    findings.compare("parity", passport["parity"], found["parity"], PARITY_TOLERANCE)
    _within(found["parity"], findings)
    if found["graph_sha256"] != passport["sha256"]:
        findings.remarks.append(
            f"torch on this machine writes another graph ({found['graph_sha256'][:12]}) from the weights; it says the same within {PARITY_TOLERANCE:g}"
        )


def _other_commit(passport: dict[str, Any]) -> str | None:
    judged = passport.get("judged")
    said = str(judged.get("commit", "unknown")) if isinstance(judged, dict) else "unknown"
    own = commit()
    if said == own or "unknown" in (said, own):
        return None
    return f"it was judged by commit {said[:12]}, this code is {own[:12]}: where the judging changed in between, judge again"
