"""Which figures a model must reach before anyone may act on it; profiles are data, every verdict names its figure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from core.errors import ConfigError
from models.gates import gate_checks as check
from models.gates.gate_evidence import PROFILES, GateEvidence, GateProfile, GateResult, cleaned

if TYPE_CHECKING:
    from collections.abc import Callable

PROFILE_GATES = ("min_accuracy", "calibration_error", "selective_accuracy")
"""Gates that a profile may leave out or set; all others always hold."""
_ALWAYS: tuple[Callable[[GateEvidence, GateProfile], GateResult], ...] = (
    check.above_base_rate,
    check.brier_skill,
    check.beats_baselines,
    check.shuffled_labels,
    check.no_canary,
    check.future_control,
    check.parity,
    check.audit,
)


def gate_profile(
    name: str, *, min_accuracy: float | None = None, max_calibration_error: float | None = None, looks: int = 1
) -> GateProfile:
    """Return a profile; the two figures replace those of ``seed``, the other profiles keep their own.

    Raises:
        ConfigError: there is no such profile.
    """
    if name not in PROFILES:
        msg = f"there is no gate profile {name!r}; set GATE_PROFILE to one of {', '.join(PROFILES)}"
        raise ConfigError(msg)
    profile = replace(PROFILES[name], looks=looks)
    if name != "seed":
        return profile
    return replace(
        profile,
        min_accuracy=profile.min_accuracy if min_accuracy is None else min_accuracy,
        max_calibration_error=profile.max_calibration_error if max_calibration_error is None else max_calibration_error,
    )


def judge_gates(evidence: GateEvidence, profile: GateProfile) -> tuple[GateResult, ...]:
    """Return every gate's result; the model is accepted only if all passed."""
    evidence = cleaned(evidence)
    refusals = check.what_cannot_be_judged(evidence)
    if refusals:
        return refusals
    results = []
    if profile.selective_coverage is not None:
        results.append(check.selective(evidence, profile, profile.selective_coverage))
    if profile.min_accuracy is not None:
        results.append(check.min_accuracy(evidence, profile.min_accuracy))
    if profile.max_calibration_error is not None:
        results.append(check.calibration(evidence, profile.max_calibration_error))
    return (*results, *(gate(evidence, profile) for gate in _ALWAYS))


def refusals_by_profile(evidence: GateEvidence, profile: GateProfile) -> dict[str, tuple[str, ...]]:
    """Return which gates refuse under each profile there is; none is an acceptance.

    ``profile`` stands for the one of its name, and its ``looks`` count for all of them.
    """
    profiles = {**PROFILES, profile.name: profile}
    return {
        name: tuple(gate.name for gate in judge_gates(evidence, replace(own, looks=profile.looks)) if not gate.passed)
        for name, own in profiles.items()
    }
