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
from core.files import plain_json, read_json
from core.integrity import SEAL, sha256_of
from core.version import commit
from models.datasets.dataset import Dataset, load_dataset
from models.datasets.scaler import Scaler, fit_scaler
from models.datasets.windows import part_ends, windows
from models.gates.gate_checks import PARITY_TOLERANCE
from models.gates.judgement import CURVES_FILE, JUDGEMENT_FILE
from models.judging.appraise import appraise, score_logits, score_rows
from models.judging.leak_canaries import failing_canaries
from models.judging.measure import estimates, intervals
from models.passport.passport_claims import TOLERANCE, bytes_faults, differences, key_faults, leaves, manifest_faults
from models.serving.calibration import fit_calibration
from models.serving.passport import FILE, JudgingTerms, Passport
from models.serving.scorer import Scorer
from models.training.candidate import LIGHTGBM_RECIPE, TrainedCandidate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from core.dataset_files import DatasetRef

_REFIT_TOLERANCE = 1e-3
"""A calibration fitted on the graph's logits: they differ from torch's in the seventh digit, and a fit ends nearby."""
_DERIVED_TOLERANCE = 1e-4
"""A calibration fitted on torch's own logits, by another processor."""
_SCALER_TOLERANCE = 1e-5
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
    """The passport under verification, and what was found so far."""

    folder: Path
    passport: Passport
    content: dict[str, Any]
    """The passport as its file holds it: what is compared, leaf by leaf."""
    figures: int = 0
    differences: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def terms(self) -> JudgingTerms:
        """On which terms it was judged."""
        if self.passport.judged is None:
            msg = "it says no terms of a judging"
            raise ValueError(msg)
        return self.passport.judged

    def compare(self, path: str, claimed: Any, computed: Any, tolerance: float = TOLERANCE) -> None:  # noqa: ANN401  # any JSON value
        self.figures += leaves(claimed)
        self.differences += differences(path, claimed, plain_json(computed), tolerance)

    def result(self) -> Verification:
        return Verification(self.passport.model_id, self.figures, tuple(self.differences), tuple(self.remarks))


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
    content, faults = read_json(folder / FILE), bytes_faults(folder, recorded)
    try:
        passport = Passport.read(folder, with_seal=False)
    except ModelMismatchError as error:
        return Verification(str(content.get("model_id", folder.name)), 1, (*faults, str(error)))
    if weights is None and (folder / "weights.pt").exists() and (folder / "candidate.json").exists():
        weights = folder
    findings = _Findings(folder, passport, content, figures=1, differences=faults)
    if SEAL not in content:
        findings.remarks.append("unsealed: judged by an older version; what cannot be recomputed is taken on trust")
        if recorded:
            findings.remarks.append("its sha256 is recorded in the registry")
    if not (folder / "model.onnx").exists():
        msg = f"{folder / 'model.onnx'} is missing; judge the model again: desk evaluate"
        raise ModelError(msg)
    if (digest := sha256_of(folder / "model.onnx")) != passport.sha256:
        findings.differences.append(f"sha256: the graph's is {digest[:12]}, the passport says {passport.sha256[:12]}")
        return findings.result()
    try:
        _recompute(findings, dataset, weights, memory_gb)
    except ModelMismatchError as error:
        # the graph cannot be what was judged: it reads what no hash covers, or says what is no probability
        findings.differences.append(f"model.onnx: {error}")
    except _MALFORMED as error:
        findings.differences.append(f"the passport is malformed ({error!r})")
    if findings.differences and (judged_by := _other_commit(passport)):
        findings.remarks.append(judged_by)
    return findings.result()


def _recompute(findings: _Findings, dataset: DatasetRef, weights: Path | None, memory_gb: float) -> None:
    passport = findings.passport
    manifest = _manifest(dataset, passport)
    findings.differences += manifest_faults(Path(dataset.manifest_path), passport)
    wrong = key_faults(findings.folder, passport, findings.content, manifest, weights)
    findings.differences += wrong
    findings.figures += len(findings.content)
    if any(line.startswith(("the passport lacks", "products", "inputs", "window_minutes", "opset")) for line in wrong):
        # nothing could be scored as the passport says
        load_dataset(dataset)
        return
    data, scorer = load_dataset(dataset, passport.products), Scorer(findings.folder, passport)
    findings.compare("scaler", findings.content["scaler"], fit_scaler(data).as_json(), _SCALER_TOLERANCE)
    if not scorer.tells_logits:
        findings.remarks.append(
            "its graph tells no logits, as those of older versions: only metrics and canaries were recomputed"
        )
        _old_figures(data, scorer, findings)
        return
    _figures(data, scorer, findings)
    if weights is None or _holds_older_trees(weights):
        why = (
            "are not here"
            if weights is None
            else "are an older version's trees, to export them anew retrain (make boosting)"
        )
        findings.remarks.append(f"the candidate's weights {why}: parity was checked on the windows stored with it")
        _stored_parity(data, scorer, findings)
        _refitted(data, scorer, findings)
    else:
        _derived(weights, dataset, findings, memory_gb)


def _holds_older_trees(weights: Path) -> bool:
    candidate = TrainedCandidate.read(weights)
    return candidate.architecture == "boosting" and candidate.recipe < LIGHTGBM_RECIPE


def _manifest(dataset: DatasetRef, passport: Passport) -> dict[str, Any]:
    digest = passport.dataset_digest or "unknown"
    if dataset.digest != digest:
        msg = (
            f"{passport.model_id} was judged on data set {digest[:16]}, not {dataset.digest[:16]}; "
            f"name that one, or put it back: desk dataset rebuild {digest[:16]}"
        )
        raise DatasetError(msg)
    try:
        return read_json(Path(dataset.manifest_path))
    except ModelError as error:
        again = f"desk dataset rebuild {dataset.digest[:16]}"
        msg = f"the data set's manifest: {str(error).rpartition('; ')[0]}; put it back: {again}"
        raise DatasetError(msg) from error


def _figures(data: Dataset, scorer: Scorer, findings: _Findings) -> None:
    """Compare all that the verdicts claim, and the files beside the passport that were written with it."""
    appraised, folder = appraise(data, scorer, findings.passport), findings.folder
    for product, own in appraised.items():
        claimed, computed = dict(findings.content["verdicts"][product]), own.verdict.as_json()
        # what only the fitting knows is compared by itself
        claimed.pop("calibration", None)
        computed.pop("calibration", None)
        findings.compare(f"verdicts.{product}", claimed, computed)
    if (folder / CURVES_FILE).exists():
        curves = {product: own.curves.as_json() for product, own in appraised.items()}
        findings.compare(CURVES_FILE, read_json(folder / CURVES_FILE), curves)
    if (folder / JUDGEMENT_FILE).exists():
        rows = [[product, *row] for product, own in appraised.items() for row in own.rows]
        names = ("product", "slice", "metric", "value", "low_95", "high_95", "row_count")
        claimed_rows = [[row[name] for name in names] for row in read_json(folder / JUDGEMENT_FILE)["metrics"]]
        findings.compare(f"{JUDGEMENT_FILE}.metrics", claimed_rows, rows)


def _old_figures(data: Dataset, scorer: Scorer, findings: _Findings) -> None:
    passport, terms = findings.passport, findings.terms
    failing = failing_canaries(data, Scaler.from_json(passport.scaler or {}))
    findings.compare("canaries", passport.canaries or {}, failing)
    minutes = passport.window_minutes
    for product in data.coins:
        ends = part_ends(data, "test", minutes, stride=terms.stride_minutes, product=product)
        p_N = score_rows(data, scorer, product, ends, minutes)
        computed = estimates(intervals(data, ends, p_N, cost_bps=terms.cost_bps))
        claimed = findings.content["verdicts"][product]["metrics"]
        known = {name: asdict(own) for name, own in computed.items() if name in claimed}
        findings.compare(f"verdicts.{product}.metrics", claimed, known)


def _stored_parity(data: Dataset, scorer: Scorer, findings: _Findings) -> None:
    """Hold the graph against what torch said of some windows when the model was judged."""
    claimed, minutes = findings.content["parity"], findings.passport.window_minutes
    ends = part_ends(data, "test", minutes)
    row_of = {(data.coins[data.coin_N[row]], int(data.minute_N[row])): row for row in ends}
    findings.compare("parity.windows", claimed["windows"], min(len(ends), 1000))
    for number, window in enumerate(claimed["sample"]):
        path, product = f"parity.sample.{number}", window["product"]
        row = row_of.get((product, window["minute"]))
        if row is None:
            findings.differences.append(f"{path}: {product} has no window that ends in minute {window['minute']}")
            continue
        p = float(scorer.score(windows(data.x_NF, np.array([row]), minutes), product)[0])
        findings.compare(f"{path}.probability", window["probability"], p, PARITY_TOLERANCE)
    _require_parity(claimed, findings)


def _require_parity(proof: dict[str, Any], findings: _Findings) -> None:
    for name in ("largest_difference", "largest_difference_one_by_one"):
        if not 0 <= proof[name] <= PARITY_TOLERANCE:
            findings.differences.append(f"parity.{name}: {proof[name]} is above {PARITY_TOLERANCE:g}")


def _refitted(data: Dataset, scorer: Scorer, findings: _Findings) -> None:
    """Fit the calibration again, on the logits the graph tells."""
    minutes, stride = findings.passport.window_minutes, findings.terms.stride_minutes
    for product in data.coins:
        ends = part_ends(data, "calibration", minutes, stride=stride, product=product)
        _, logit_N = score_logits(data, scorer, product, ends, minutes)
        y_N, minute_N = data.direction_N[ends], data.minute_N[ends]
        fitted = fit_calibration(logit_N, y_N, minute_N, horizon_minutes=data.horizon_minutes)
        claimed = findings.content["verdicts"][product]["calibration"]
        findings.compare(
            f"verdicts.{product}.calibration", claimed, plain_json(asdict(fitted.choice())), _REFIT_TOLERANCE
        )


def _derived(weights: Path, dataset: DatasetRef, findings: _Findings, memory_gb: float) -> None:
    """Let a child process fit the calibration, write the graph and compare it with torch, all from the weights."""
    passport, lines = findings.passport, dict[str, Any]()
    with TemporaryDirectory(prefix="candledesk-verify-") as empty:
        job = {
            "weights": str(weights.absolute()),
            "folder": str(findings.folder.absolute()),
            "dataset": asdict(dataset),
            "empty": empty,
        }
        name, log = f"deriving {passport.model_id} from its weights", Path(empty) / "reexport.log"
        run_child(
            "models.passport.reexport_process", job, name=name, log=log, on_line=lines.update, memory_gb=memory_gb
        )
    derived = lines["derived"]
    for product, calibration in derived["calibrations"].items():
        claimed = findings.content["verdicts"][product]["calibration"]
        findings.compare(f"verdicts.{product}.calibration", claimed, calibration, _DERIVED_TOLERANCE)
    findings.compare("parity", findings.content["parity"], derived["parity"], PARITY_TOLERANCE)
    _require_parity(derived["parity"], findings)
    if derived["graph_sha256"] != passport.sha256:
        findings.remarks.append(
            f"torch on this machine writes another graph ({derived['graph_sha256'][:12]}) from the weights; it says the same within {PARITY_TOLERANCE:g}"
        )


def _other_commit(passport: Passport) -> str | None:
    judged_by, own = passport.judged.commit if passport.judged else "unknown", commit()
    if judged_by == own or "unknown" in (judged_by, own):
        return None
    return f"it was judged by commit {judged_by[:12]}, this code is {own[:12]}: where the judging changed in between, judge again"
