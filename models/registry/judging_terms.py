"""The terms a candidate is judged on: gates, costs, and how many trainings there were to be lucky in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.gates import GateProfile, gate_profile
from models.registry import Registry
from models.registry.test_part_looks import looks_at

if TYPE_CHECKING:
    from core.dataset_files import DatasetRef
    from core.settings import Settings


@dataclass(frozen=True, slots=True)
class Terms:
    """What `models.judging.judge.judge` asks for beside candidate and data set."""

    profile: GateProfile
    cost_bps: float
    """Round trip: the spread once, slippage and fee on both sides."""
    trials: int


def judging_terms(
    settings: Settings,
    min_accuracy: float | None = None,
    max_calibration_error: float | None = None,
    *,
    dataset: DatasetRef | None = None,
) -> Terms:
    """Return the terms the settings give; the two figures win over MIN_ACCURACY and MAX_CALIBRATION_ERROR.

    With ``dataset`` the gates are told how often its test part was looked at; without they count one look.

    Raises:
        ConfigError: there is no such gate profile.
        ModelError: the registry is damaged.
    """
    registry = Registry(settings.paths.registry)
    profile = gate_profile(
        settings.gate_profile,
        looks=1 if dataset is None else looks_at(dataset, settings.paths, registry.events()),
        min_accuracy=settings.min_accuracy if min_accuracy is None else min_accuracy,
        max_calibration_error=settings.max_calibration_error
        if max_calibration_error is None
        else max_calibration_error,
    )
    # every training so far was a chance to be lucky; a candidate whose folder was removed still counts
    trained = [marker.parent.name for marker in settings.paths.checkpoints.glob("*/candidate.json")]
    trials = registry.trials(trained)
    return Terms(profile, round_trip_bps(settings), trials)


def round_trip_bps(settings: Settings) -> float:
    """Return what opening and closing a position costs: the spread once, slippage and fee twice."""
    return settings.spread_bps + 2 * (settings.slippage_bps + settings.fee_bps)
