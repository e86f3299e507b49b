"""Compute everything a passport claims of a product from data set, graph and passport alone; no torch.

The judge writes with it and `desk models verify` compares with it, so that what was claimed and what is computed again
come out of the same code. Only the fitting of the calibration is not repeated: it is inside the graph.
Shapes: N rows.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from core.errors import ModelError
from models.datasets.scaler import Scaler
from models.datasets.windows import part_ends, windows
from models.gates import judge_gates, refusals_by_profile
from models.gates.feasibility import feasibility
from models.judging.leak_canaries import failing_canaries
from models.judging.measure import Row, coverage_cuts, estimates, measure, reliability_points
from models.serving.calibration import Calibration
from models.serving.passport import Appraisal, CalibrationChange, Estimate, JudgingTerms, slot_of
from models.serving.scorer import require_probabilities
from models.statistics import metrics
from models.statistics.bootstrap import DayBootstrap
from models.statistics.selection_bias import selection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from models.datasets.dataset import Dataset
    from models.gates.judgement import ProductCurves
    from models.serving.passport import Passport
    from models.serving.scorer import Scorer

# the scorer takes them eight at a time: 256 in one call are nearly twice as slow, with 357 MB instead of 93 at the peak
SCORING_BATCH = 256
"""Windows gathered at once: a whole test part of windows would not fit into memory."""


@dataclass(frozen=True, slots=True)
class ProductAppraisal:
    """What was computed of one product: its entry in the passport, and what stands in files beside it."""

    verdict: Appraisal
    """Without ``calibration``, which only its fitting knows."""
    rows: tuple[Row, ...]
    """Rows of `model_metrics`, without model and product."""
    curves: ProductCurves


def appraise(data: Dataset, scorer: Scorer, passport: Passport) -> dict[str, ProductAppraisal]:
    """Score the graph on the parts no training saw and return what is found of every product of ``data``.

    Args:
        data: The data set the model was trained on, its products those of the passport.
        scorer: The model's graph.
        passport: Its architecture, window, scaler, parity and terms of judging are read; no verdict is.

    Raises:
        ModelError: the passport lacks one of these.
    """
    terms, parity, scaler = passport.judged, passport.parity, passport.scaler
    if terms is None or parity is None or scaler is None:
        msg = f"the passport of {passport.model_id} lacks its scaler, parity or terms; judge it: desk evaluate --model {passport.candidate_id}"
        raise ModelError(msg)
    canaries = failing_canaries(data, Scaler.from_json(scaler))
    appraised = _Appraiser(data, scorer, passport, terms, parity.largest, canaries)
    return {product: appraised.product(product) for product in data.coins}


def score_rows(
    data: Dataset, scorer: Scorer, product: str, ends: NDArray[np.int64], minutes: int
) -> NDArray[np.float64]:
    """Return the graph's probability for the windows that end at the rows ``ends``."""
    parts = [scorer.score(windows(data.x_NF, batch, minutes), product) for batch in _batches(ends)]
    return require_probabilities(np.concatenate([np.empty(0), *parts]), scorer.passport.model_id)


def score_logits(
    data: Dataset, scorer: Scorer, product: str, ends: NDArray[np.int64], minutes: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the graph's probability_N, and logit_N as the network said it before its calibration."""
    parts = [scorer.score_with_logits(windows(data.x_NF, batch, minutes), product) for batch in _batches(ends)]
    p_N = np.concatenate([np.empty(0), *(probability_B for probability_B, _ in parts)])
    return require_probabilities(p_N, scorer.passport.model_id), np.concatenate(
        [np.empty(0), *(logit_B for _, logit_B in parts)]
    )


def _batches(ends: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return [ends[start : start + SCORING_BATCH] for start in range(0, len(ends), SCORING_BATCH)]


@dataclass(frozen=True, slots=True)
class _Appraiser:
    """What all products of a model share."""

    data: Dataset
    scorer: Scorer
    passport: Passport
    terms: JudgingTerms
    parity: float
    canaries: Mapping[str, str]

    def product(self, product: str) -> ProductAppraisal:
        data, terms, minutes = self.data, self.terms, self.passport.window_minutes
        stride, cost_bps = terms.stride_minutes, terms.cost_bps
        early = part_ends(data, "calibration", minutes, stride=stride, product=product)
        cuts = coverage_cuts(score_rows(data, self.scorer, product, early, minutes), data.direction_N[early])

        ends = part_ends(data, "test", minutes, stride=stride, product=product)
        p_N, logit_N = score_logits(data, self.scorer, product, ends, minutes)
        raw_N = Calibration("none").apply(logit_N)
        measured = measure(data, product, ends, p_N, cost_bps=cost_bps)
        evidence = measured.evidence(
            parity=self.parity, canaries=self.canaries, sources=data.sources, cost_bps=cost_bps
        )
        gates = judge_gates(evidence, terms.profile)
        baselines = {name: estimates(own) for name, own in measured.baselines.items()}
        verdict = Appraisal(
            accepted=all(gate.passed for gate in gates),
            slot=slot_of(self.passport.architecture, product),
            gates=gates,
            profiles=refusals_by_profile(evidence, terms.profile),
            coverage_cuts=cuts,
            metrics=estimates(measured.figures),
            baselines={
                name: {metric: own.value for metric, own in figures.items()} for name, figures in baselines.items()
            },
            against_baselines=estimates(measured.against_baselines),
            controls=measured.controls,
            calibrated=_calibrated(data, ends, p_N, raw_N),
            feasibility=feasibility(
                data.return_N[ends], data.minute_N[ends], p_N, cost_bps, horizon_minutes=data.horizon_minutes
            ),
            selection=_selection(data, ends, p_N, terms),
        )
        curves = measured.curves
        if curves.coverage:
            y_N, bin_N = data.direction_N[ends], metrics.equal_mass_bins(raw_N)
            curves = replace(curves, reliability_before=reliability_points(raw_N, y_N, data.minute_N[ends], bin_N))
        return ProductAppraisal(verdict, tuple(measured.rows), curves)


def _calibrated(
    data: Dataset, ends: NDArray[np.int64], p_N: NDArray[np.float64], raw_N: NDArray[np.float64]
) -> CalibrationChange:
    """Return what the calibration changed on the test part, and whether it was for the better."""
    y_N = data.direction_N[ends]
    if not len(ends):
        return CalibrationChange()
    change_N = metrics.log_losses(p_N, y_N) - metrics.log_losses(raw_N, y_N)
    change = DayBootstrap(data.minute_N[ends]).mean(change_N)
    return CalibrationChange(_scores(raw_N, y_N), _scores(p_N, y_N), Estimate(**change.as_json()))


def _scores(p_N: NDArray[np.float64], y_N: NDArray[np.int8]) -> dict[str, float | None]:
    return {
        "ece_mass": metrics.calibration_error(p_N, y_N, metrics.equal_mass_bins(p_N)),
        "ece_width": metrics.calibration_error(p_N, y_N, metrics.equal_width_bins(p_N)),
        "brier": metrics.brier(p_N, y_N),
        "log_loss": metrics.log_loss(p_N, y_N),
    }


def _selection(
    data: Dataset, ends: NDArray[np.int64], p_N: NDArray[np.float64], terms: JudgingTerms
) -> dict[str, float | int | str | None] | None:
    if not len(ends):
        return None
    net_bps_N = metrics.net_bps(p_N, data.return_N[ends], terms.cost_bps)
    return asdict(selection(net_bps_N, data.minute_N[ends], terms.trials))
