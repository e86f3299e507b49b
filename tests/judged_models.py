"""Candidates and judged models as trainings and judgings leave them, without a training or a judging."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from core.files import write_json
from core.integrity import sealed, sha256_of
from models.gates import GateEvidence, GateResult
from models.gates.judgement import Judgement, MetricRow, ProductVerdict
from models.registry import Registry
from models.registry.trials import candidate_of
from models.statistics.bootstrap import Interval
from models.training.candidate import TrainSpec, spec_as_json

if TYPE_CHECKING:
    from pathlib import Path

    from core.settings import Settings

SLOT = "lstm:BTC-USD"
GOOD_EVIDENCE = GateEvidence(
    test_rows=12_000,
    test_days=9,
    classes=2,
    probability_spread=0.2,
    accuracy=Interval(0.75, 0.73, 0.77),
    base_rate=0.51,
    brier_skill=Interval(0.30, 0.25, 0.35),
    log_loss=Interval(0.50, 0.48, 0.52),
    baseline_log_losses={
        "base_rate": 0.693,
        "last_move_sign": 0.69,
        "logistic_regression": 0.55,
        "gradient_boosting": 0.56,
    },
    calibration_error=Interval(0.015, 0.01, 0.02),
    selective={0.1: Interval(0.95, 0.92, 0.97)},
    break_even=0.60,
    shuffled_auc=(0.49, 0.50, 0.51, 0.50, 0.505),
    future_accuracy=0.95,
    parity=2e-7,
    canaries={},
    sources=("local:planted",),
    cost_bps=18.0,
)
"""Of a model that every profile accepts."""


def gate(name: str = "min_accuracy", *, passed: bool = True) -> GateResult:
    """One gate's result."""
    return GateResult(name, passed=passed, figure=0.71, bound=0.68, low=0.7, high=0.72, sentence="Said so.")


def gate_json(name: str = "min_accuracy", *, passed: bool = True) -> dict[str, Any]:
    """The same as a file holds it."""
    own = gate(name, passed=passed)
    return {key: getattr(own, key) for key in own.__slots__}


def passport_json(model_id: str = "lstm-BTC-USD-0123456789ab-01234567", **changes: Any) -> dict[str, Any]:
    """A passport with what every version wrote, and the keys of ``changes`` put in or over."""
    return {
        "model_id": model_id,
        "architecture": "lstm",
        "products": ["BTC-USD"],
        "inputs": ["input_00"],
        "feature_set": "seed39",
        "feature_hash": "f" * 64,
        "window_minutes": 60,
        "opset": 18,
        "sha256": "0" * 64,
    } | changes


def write_passport(folder: Path, model_id: str = "lstm-BTC-USD-0123456789ab-01234567", **changes: Any) -> Path:
    """Write a sealed passport, of the graph beside it where there is one; return its folder."""
    if (folder / "model.onnx").exists():
        changes = {"sha256": sha256_of(folder / "model.onnx")} | changes
    write_json(folder / "passport.json", sealed(passport_json(model_id, **changes)))
    return folder


def write_model(
    folder: Path, model_id: str, *, accepted: bool = True, slots: tuple[str, ...] = (SLOT,), **changes: Any
) -> Path:
    """Leave a graph (its bytes name the model) and a passport with a verdict for each slot; return their folder."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "model.onnx").exists():
        (folder / "model.onnx").write_bytes(f"graph of {model_id}".encode())
    products = [slot.partition(":")[2] for slot in slots]
    verdicts = {
        product: {"slot": slot, "accepted": accepted, "gates": [gate_json(passed=accepted)]}
        for product, slot in zip(products, slots, strict=True)
    }
    return write_passport(folder, model_id, **{"products": products, "verdicts": verdicts} | changes)


def judgement_of(
    folder: Path, model_id: str, *, accepted: bool = True, slots: tuple[str, ...] = (SLOT,), profile: str = "seed"
) -> Judgement:
    """What a judging of that model returns."""
    verdicts = tuple(
        ProductVerdict(slot.partition(":")[2], slot, accepted=accepted, gates=(gate(passed=accepted),))
        for slot in slots
    )
    rows = (MetricRow(model_id, slots[0].partition(":")[2], "all", "accuracy", 0.71, 0.7, 0.72, 100),)
    return Judgement(model_id, slots[0].partition(":")[0], str(folder), profile, verdicts, rows)


def judged_model(settings: Settings, model_id: str, *, accepted: bool = True, **changes: Any) -> Path:
    """Leave a judged candidate and record its judging; return its folder."""
    folder = write_model(settings.paths.checkpoints / candidate_of(model_id), model_id, accepted=accepted, **changes)
    Registry(settings.paths.registry).record_judgement(judgement_of(folder, model_id, accepted=accepted))
    return folder


def candidate_json(folder: Path, **changes: Any) -> dict[str, Any]:
    """The marker of a finished training, of the weights in ``folder`` where there are any."""
    weights = folder / "weights.pt"
    spec = TrainSpec(changes.get("architecture", "lstm"), tuple(changes.get("products", ("BTC-USD",))))
    return {
        "candidate_id": folder.name,
        "architecture": spec.architecture,
        "products": list(spec.products),
        "spec": spec_as_json(spec),
        "dataset_digest": "d" * 64,
        "feature_set": {"name": "seed39", "version": 1, "sha256": "f" * 64, "columns": ["input_00"]},
        "window_minutes": 60,
        "scaler": {"mean": [[0.0]], "sd": [[1.0]], "clip": 5.0},
        "weights_sha256": sha256_of(weights) if weights.exists() else "0" * 64,
    } | changes


def write_candidate(folder: Path, *, weights: bytes | None = None, **changes: Any) -> Path:
    """Leave what a finished training leaves; return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    if weights is not None:
        (folder / "weights.pt").write_bytes(weights)
    (folder / "candidate.json").write_text(json.dumps(candidate_json(folder, **changes)))
    return folder
