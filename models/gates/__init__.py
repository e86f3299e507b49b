"""The gates: what a model's figures must reach before it is promoted, and what is said where they do not."""

from models.gates.checks import is_real
from models.gates.evidence import PROFILES, Evidence, GateProfile, GateResult
from models.gates.verdict import PROFILE_GATES, gate_profile, judge_gates, refusals_by_profile

__all__ = [
    "PROFILES",
    "PROFILE_GATES",
    "Evidence",
    "GateProfile",
    "GateResult",
    "gate_profile",
    "is_real",
    "judge_gates",
    "refusals_by_profile",
]
