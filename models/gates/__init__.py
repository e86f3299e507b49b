"""The gates: what a model's figures must reach before it is promoted, and what is said where they do not."""

from models.gates.gate_checks import PROFILE_GATES, is_real, judge_gates, refusals_by_profile
from models.gates.gate_evidence import PROFILES, GateEvidence, GateProfile, GateResult, gate_profile

__all__ = [
    "PROFILES",
    "PROFILE_GATES",
    "GateEvidence",
    "GateProfile",
    "GateResult",
    "gate_profile",
    "is_real",
    "judge_gates",
    "refusals_by_profile",
]
