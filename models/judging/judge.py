"""Judge a candidate on its untouched test part: calibrate, export, measure, hold against the gates, write the passport.

What is judged is the exported graph itself, through the scorer the runtime uses. Run as a module it is the child process
that judges one candidate: a job as JSON on standard input, the result in the files it writes.
Shapes: N rows, B windows, T minutes, F inputs.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from core.child_process import do_job
from core.dataset_files import DatasetRef
from core.errors import ModelError
from core.files import read_json
from core.integrity import seal_of, sha256_of
from core.version import commit
from models.datasets.dataset import Dataset, load_dataset
from models.datasets.scaler import Scaler
from models.datasets.windows import part_ends, windows
from models.gates import GateProfile
from models.gates import judgement as judgements
from models.gates.judgement import JUDGEMENT_FILE, Judgement, MetricRow, ProductVerdict, write_curves
from models.judging.appraise import SCORING_BATCH, appraise
from models.judging.measure import coverage_cuts
from models.serving import passport as passports
from models.serving.calibration import Calibration, fit_calibration
from models.serving.export import GRAPH, OPSET, export_graph, load_network, parity, served, torch_probabilities
from models.serving.passport import (
    CoverageCut,
    JudgingTerms,
    Parity,
    Passport,
    TorchProbability,
    TrainingRun,
)
from models.serving.scorer import Scorer
from models.training.candidate import CandidateRef, TrainedCandidate, spec_as_json
from models.training.fit import forward

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

JUDGE_STRIDE = {"transformer": 5}
"""Judged on every minute, or on every fifth where scoring is slow: labels overlap, so little is lost."""
PARITY_WINDOWS = 1000
PARITY_SAMPLE = 32
# part of what makes a judgement reusable: raise it when a change here changes what a judging says
JUDGING = 6


def main() -> int:
    """Judge what standard input describes; return 0, or 2 with the reason as a JSON line."""
    return do_job(_judge)


def _judge(job: dict[str, Any]) -> None:
    judge(
        CandidateRef(**job["candidate"] | {"products": tuple(job["candidate"]["products"])}),
        DatasetRef(**job["dataset"]),
        GateProfile(**job["gates"]),
        cost_bps=job["cost_bps"],
        trials=job["trials"],
    )


def judge(
    reference: CandidateRef, dataset: DatasetRef, gates: GateProfile, *, cost_bps: float, trials: int
) -> Judgement:
    """Judge every product of a candidate; the same inputs judged before are read back.

    Writes ``model.onnx``, ``curves.json`` (reliability, accuracy against coverage), ``passport.json`` and, last,
    ``judgement.json`` into the candidate's folder.

    Raises:
        DatasetError: the data set is missing or is not the one the candidate was trained on.
        ModelError: the candidate's files are missing or changed.
    """
    folder = Path(reference.path)
    candidate = _trained_on(dataset, folder)
    key = _judging_key(candidate, gates, cost_bps, trials)
    if (known := known_judgement(folder, key)) is not None:
        return known

    torch.set_num_threads(1)
    data = load_dataset(dataset, candidate.products)
    stride = JUDGE_STRIDE.get(candidate.architecture, 1)
    network, scaler = network_of(candidate, folder), Scaler.from_json(candidate.scaler)
    minutes = candidate.window_minutes
    # on the calibration part: later minutes than the training saw, earlier ones than the test part holds
    fitted = {product: calibrate(network, scaler, data, minutes, stride, product)[0] for product in data.coins}
    model = served(network, scaler, list(fitted.values()))
    graph = export_graph(model, folder, minutes, len(data.columns))

    now = datetime.now(UTC).isoformat(timespec="seconds")
    terms = JudgingTerms(gates, cost_bps, trials, stride, now, commit())
    passport = replace(describe(candidate, graph, data, dataset), judged=terms)
    # the exported graph itself is judged, by the runtime's scorer: what torch would have said is only compared with it
    scorer = Scorer(folder, passport)
    passport = replace(passport, parity=parity_proof(model, scorer, data, minutes))
    appraised = appraise(data, scorer, passport)
    curves = write_curves(folder, {product: own.curves for product, own in appraised.items()})
    passport = replace(
        passport,
        verdicts={
            product: replace(own.verdict, calibration=fitted[product].choice()) for product, own in appraised.items()
        },
        curves_sha256=sha256_of(curves),
    )
    passport.write(folder)
    judgement = _judgement(passport, folder, {product: own.rows for product, own in appraised.items()}, key)
    judgement.write(folder)
    return judgement


def _trained_on(dataset: DatasetRef, folder: Path) -> TrainedCandidate:
    candidate = TrainedCandidate.read(folder)
    if candidate.dataset_digest != dataset.digest:
        msg = (
            f"{candidate.candidate_id} was trained on data set {candidate.dataset_digest[:16]}, not "
            f"{dataset.digest[:16]}; its test part is another. Train on the new one: make train"
        )
        raise ModelError(msg)
    return candidate


def _judgement(passport: Passport, folder: Path, rows: Mapping[str, tuple[Any, ...]], key: str) -> Judgement:
    return Judgement(
        passport.model_id,
        passport.architecture,
        str(folder),
        passport.judged.profile.name if passport.judged else "",
        tuple(
            ProductVerdict(product, verdict.slot, verdict.accepted, verdict.gates)
            for product, verdict in passport.verdicts.items()
        ),
        tuple(MetricRow(passport.model_id, product, *row) for product, own in rows.items() for row in own),
        key,
        sha256_of(folder / passports.FILE),
        judgements.VERSION,
    )


def _judging_key(candidate: TrainedCandidate, gates: GateProfile, cost_bps: float, trials: int) -> str:
    decides = [JUDGING, candidate.weights_sha256, candidate.dataset_digest, asdict(gates), cost_bps, trials]
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def known_judgement(folder: Path, key: str) -> Judgement | None:
    """Return the judgement in ``folder`` if it was made of the same inputs and its files are still those it was made with."""
    graph, passport = folder / GRAPH, folder / passports.FILE
    if not all(file.exists() for file in (folder / JUDGEMENT_FILE, graph, passport)):
        return None
    judgement = Judgement.read(folder)
    if judgement.key != key or judgement.passport_sha256 != sha256_of(passport):
        return None
    return judgement if Passport.read(folder).sha256 == sha256_of(graph) else None


def network_of(candidate: TrainedCandidate, folder: Path) -> nn.Module:
    """Rebuild the candidate's network from the weights in ``folder``, ready to score."""
    inputs, products = len(candidate.feature_set.columns), len(candidate.products)
    return load_network(folder, candidate.architecture, inputs=inputs, products=products, members=candidate.members)


def calibrate(
    network: nn.Module, scaler: Scaler, data: Dataset, minutes: int, stride: int, product: str
) -> tuple[Calibration, dict[str, CoverageCut]]:
    """Fit on the calibration part alone, and cut the tiers there: no training saw it, the test part is still closed."""
    ends = part_ends(data, "calibration", minutes, stride=stride, product=product)
    logits = [np.empty(0)]
    for start in range(0, len(ends), SCORING_BATCH):
        chosen = ends[start : start + SCORING_BATCH]
        x_BTF = windows(data.x_NF, chosen, minutes)
        scaler.scale_windows_in_place(x_BTF, data.coins.index(product))
        with torch.inference_mode():
            logit_B, _ = forward(network, torch.from_numpy(x_BTF), torch.from_numpy(data.coin_N[chosen]))
        logits.append(logit_B.double().numpy())
    logit_N, y_N = np.concatenate(logits), data.direction_N[ends]
    calibration = fit_calibration(logit_N, y_N, data.minute_N[ends], horizon_minutes=data.horizon_minutes)
    return calibration, coverage_cuts(calibration.apply(logit_N), y_N)


def parity_proof(model: nn.Module, scorer: Scorer, data: Dataset, minutes: int) -> Parity:
    """Compare graph and torch on real windows of the test part; return the differences, and what torch said of a few."""
    ends = part_ends(data, "test", minutes)
    chosen = ends[np.linspace(0, len(ends) - 1, min(len(ends), PARITY_WINDOWS)).astype(np.int64)]
    x_BTF = windows(data.x_NF, chosen, minutes)
    proof = parity(model, scorer, x_BTF, list(data.coins), data.coin_N[chosen])
    # what torch said of a few of them: whoever has the graph and the data set but no weights compares with these
    few = np.unique(np.linspace(0, len(chosen) - 1, min(len(chosen), PARITY_SAMPLE)).astype(np.int64))
    p_B = torch_probabilities(model, x_BTF[few], data.coin_N[chosen[few]])
    sample = tuple(
        TorchProbability(data.coins[data.coin_N[row]], int(data.minute_N[row]), float(p))
        for row, p in zip(chosen[few], p_B, strict=True)
    )
    return replace(proof, sample=sample)


def describe(candidate: TrainedCandidate, graph: Path, data: Dataset, dataset: DatasetRef) -> Passport:
    """Return the passport of a freshly exported graph: where it comes from; not yet judged."""
    digest, manifest = sha256_of(graph), read_json(Path(dataset.manifest_path))
    return Passport(
        version=passports.VERSION,
        model_id=f"{candidate.candidate_id}-{digest[:8]}",
        candidate_id=candidate.candidate_id,
        architecture=candidate.architecture,
        products=data.coins,
        # what a feature set that reads other products saw: served in another market its inputs mean something else
        market=data.manifest.products,
        inputs=data.columns,
        feature_set=candidate.feature_set.name,
        feature_set_version=candidate.feature_set.version,
        feature_hash=candidate.feature_set.sha256,
        window_minutes=candidate.window_minutes,
        horizon_minutes=data.horizon_minutes,
        opset=OPSET,
        sha256=digest,
        dataset_digest=candidate.dataset_digest,
        dataset_manifest_sha256=seal_of(manifest),
        borders=manifest["borders"],
        span=manifest["span"],
        sources=tuple(data.sources),
        scaler=candidate.scaler,
        spec=spec_as_json(candidate.spec),
        training=TrainingRun(
            name=candidate.spec.name,
            commit=candidate.commit,
            seconds=candidate.seconds,
            windows=candidate.train_windows,
            best_epoch=candidate.best_epoch,
            precision=candidate.precision,
            weights_sha256=candidate.weights_sha256,
            history=candidate.history,
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
