"""Everything a passport claims of a product, recomputed from data set, graph and passport alone; no torch.

The judge writes with it and `desk models verify` compares with it, so that what was claimed and what is found again
come out of the same code. Only the fitting of the calibration is not repeated: it is inside the graph.
Shapes: N rows.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from models.datasets.scaler import Scaler
from models.datasets.windows import part_ends, windows
from models.gates import GateProfile, judge_gates, refusals_by_profile
from models.gates.feasibility import feasibility
from models.judging.leak_canaries import failing_canaries
from models.judging.measure import Row, coverage_cuts, measure, reliability_points
from models.serving.calibration import Calibration
from models.statistics import metrics
from models.statistics.bootstrap import DayBootstrap
from models.statistics.selection_bias import selection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from models.datasets.dataset import Dataset
    from models.gates import GateResult
    from models.serving.scorer import Scorer

_BATCH = 256


@dataclass(frozen=True, slots=True)
class ProductAppraisal:
    """What was found of one product."""

    product: str
    slot: str
    gates: tuple[GateResult, ...]
    claims: dict[str, Any]
    """The product's entry under ``verdicts`` of the passport, plain JSON values without NaN; what only the fitting
    of the calibration knows (``calibration``) is not among them."""
    rows: tuple[Row, ...]
    """Rows of `model_metrics`, without model and product."""
    curves: dict[str, Any]
    """The product's entry in ``curves.json``."""

    @property
    def accepted(self) -> bool:
        """Whether every gate passed."""
        return all(gate.passed for gate in self.gates)


def appraise(data: Dataset, scorer: Scorer, passport: Mapping[str, Any]) -> dict[str, ProductAppraisal]:
    """Score the graph on the parts no training saw and return what is found of every product of ``data``.

    Args:
        data: The data set the model was trained on, its products those of the passport.
        scorer: The model's graph.
        passport: Its ``architecture``, ``window_minutes``, ``scaler``, ``parity`` and ``judged`` (profile, costs,
            trials, stride) are read; nothing under ``verdicts`` is.
    """
    canaries = failing_canaries(data, Scaler.from_json(passport["scaler"]))
    return {product: _appraise_product(data, scorer, passport, product, canaries) for product in data.coins}


def slot_of(architecture: str, product: str) -> str:
    """Return the registry's name of the place a model of ``architecture`` may take for ``product``."""
    return f"{architecture.removesuffix('_one_way')}:{product}"


def score_rows(
    data: Dataset, scorer: Scorer, product: str, ends: NDArray[np.int64], minutes: int
) -> NDArray[np.float64]:
    """Return the graph's probability for the windows that end at the rows ``ends``."""
    parts = [
        scorer.score(windows(data.x_NF, ends[start : start + _BATCH], minutes), product)
        for start in range(0, len(ends), _BATCH)
    ]
    return np.concatenate([np.empty(0), *parts])


def _appraise_product(
    data: Dataset, scorer: Scorer, passport: Mapping[str, Any], product: str, canaries: Mapping[str, str]
) -> ProductAppraisal:
    judged, minutes = passport["judged"], int(passport["window_minutes"])
    stride, cost_bps = int(judged["stride_minutes"]), float(judged["cost_bps"])
    early = part_ends(data, "calibration", minutes, stride=stride, product=product)
    cuts = coverage_cuts(score_rows(data, scorer, product, early, minutes), data.direction_N[early])

    ends = part_ends(data, "test", minutes, stride=stride, product=product)
    p_N, raw_N = _score_with_raw(data, scorer, product, ends, minutes)
    found = measure(data, product, ends, p_N, cost_bps=cost_bps)
    evidence = found.evidence(parity=_worst(passport["parity"]), canaries=canaries, sources=data.sources)
    evidence, profile = replace(evidence, cost_bps=cost_bps), GateProfile(**judged["profile"])
    gates = judge_gates(evidence, profile)
    slot = slot_of(str(passport["architecture"]), product)
    claims = {
        "accepted": all(gate.passed for gate in gates),
        "slot": slot,
        "gates": [asdict(gate) for gate in gates],
        # which gates would refuse it under each profile: whether another one would take it
        "profiles": refusals_by_profile(evidence, profile),
        "coverage_cuts": cuts,
        "metrics": found.summary,
        "baselines": found.baselines,
        "against_baselines": found.against_baselines,
        "controls": found.controls,
        "calibrated": _calibrated(data, ends, p_N, raw_N),
        "feasibility": _feasibility(data, ends, p_N, cost_bps),
        "selection": _selection(data, ends, p_N, judged),
    }
    curves = found.curves
    if found.curves:
        y_N, bin_N = data.direction_N[ends], metrics.equal_mass_bins(raw_N)
        curves = curves | {"reliability_before": reliability_points(raw_N, y_N, data.minute_N[ends], bin_N)}
    return ProductAppraisal(product, slot, gates, without_nan(claims), tuple(found.rows), without_nan(curves))


def _score_with_raw(
    data: Dataset, scorer: Scorer, product: str, ends: NDArray[np.int64], minutes: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the graph's probability and the one the network would have said without calibration."""
    parts = [
        scorer.score_with_logits(windows(data.x_NF, ends[start : start + _BATCH], minutes), product)
        for start in range(0, len(ends), _BATCH)
    ]
    p_N = np.concatenate([np.empty(0), *(probability_B for probability_B, _ in parts)])
    logit_N = np.concatenate([np.empty(0), *(logit_B for _, logit_B in parts)])
    return p_N, Calibration("none").apply(logit_N)


def _calibrated(
    data: Dataset, ends: NDArray[np.int64], p_N: NDArray[np.float64], raw_N: NDArray[np.float64]
) -> dict[str, Any]:
    """Say what the calibration changed on the test part, and whether it was for the better."""
    y_N = data.direction_N[ends]
    if not len(ends):
        return {}
    change_N = metrics.log_losses(p_N, y_N) - metrics.log_losses(raw_N, y_N)
    return {
        "before": _scores(raw_N, y_N),
        "after": _scores(p_N, y_N),
        "log_loss_change": DayBootstrap(data.minute_N[ends]).mean(change_N).as_json(),
    }


def _scores(p_N: NDArray[np.float64], y_N: NDArray[np.int8]) -> dict[str, float]:
    return {
        "ece_mass": metrics.calibration_error(p_N, y_N, metrics.equal_mass_bins(p_N)),
        "ece_width": metrics.calibration_error(p_N, y_N, metrics.equal_width_bins(p_N)),
        "brier": metrics.brier(p_N, y_N),
        "log_loss": metrics.log_loss(p_N, y_N),
    }


def _feasibility(
    data: Dataset, ends: NDArray[np.int64], p_N: NDArray[np.float64], cost_bps: float
) -> dict[str, Any] | None:
    horizon = data.horizon_minutes
    found = feasibility(data.return_N[ends], data.minute_N[ends], p_N, cost_bps, horizon_minutes=horizon)
    return None if found is None else found.as_json()


def _selection(
    data: Dataset, ends: NDArray[np.int64], p_N: NDArray[np.float64], judged: Mapping[str, Any]
) -> dict[str, Any] | None:
    if not len(ends):
        return None
    net_bps_N = metrics.net_bps(p_N, data.return_N[ends], float(judged["cost_bps"]))
    return selection(net_bps_N, data.minute_N[ends], int(judged["trials"])).as_json()


def without_nan(content: Any) -> Any:  # noqa: ANN401  # any JSON value
    """Return ``content`` as plain JSON values, what is no finite number as None."""
    if isinstance(content, dict):
        return {key: without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [without_nan(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def _worst(proof: Mapping[str, float | int]) -> float:
    return float(max(proof["largest_difference"], proof["largest_difference_one_by_one"]))
