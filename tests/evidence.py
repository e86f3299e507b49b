"""Hold the evidence of a model that every gate accepts; tests spoil it field by field."""

from __future__ import annotations

from models.gates import Evidence
from models.statistics.bootstrap import Interval

GOOD = Evidence(
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
