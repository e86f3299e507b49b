"""The record of a walk-forward run: every figure that was found, as it stands in the JSON file and on the page."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime  # noqa: TC003  # pydantic evaluates the annotations
from pathlib import Path  # noqa: TC003  # the same
from typing import Any

from pydantic import TypeAdapter, ValidationError

from core.errors import ModelError
from core.files import read_json, write_json
from models.serving.passport import Estimate  # noqa: TC001  # the same
from models.statistics.selection_bias import Selection  # noqa: TC001  # the same
from models.training.candidate import TrainSpec  # noqa: TC001  # the same
from models.walk_forward.fold_runs import FoldTraining  # noqa: TC001  # the same

BASE = "base_rate"
"""The forecaster every gain is measured against: the share of ups in the fold's training, every minute."""
RECORD_VERSION = 1
"""Records without a version are of the same form."""


@dataclass(frozen=True, slots=True)
class ForecasterMetrics:
    """One forecaster on the judged minutes; gains are paired minute by minute, in nats, positive is better."""

    accuracy: Estimate
    auc: Estimate
    log_loss: Estimate
    gain: Estimate
    """Log loss below the base rate's."""
    brier_skill: Estimate
    ece_mass: Estimate
    accuracy_surest_tenth: Estimate
    net_bps: Estimate
    """Of a position in the called direction, after the round trip."""
    ahead: Estimate | None = None
    """Of a baseline: the model's log loss below this baseline's."""


@dataclass(frozen=True, slots=True)
class ForecastFigures:
    """Every forecaster on the same minutes."""

    rows: int
    days: int
    base_rate: float
    break_even_accuracy: float | None
    forecasters: dict[str, ForecasterMetrics]


@dataclass(frozen=True, slots=True)
class FoldRecord:
    """One fold of one configuration; without figures where it failed or held too few minutes."""

    fold: int
    """Counted from 1."""
    candidate_id: str = ""
    model_id: str = ""
    refused_by: tuple[str, ...] = ()
    """Gates that would refuse the fold's model."""
    training: FoldTraining | None = None
    error: str | None = None
    figures: ForecastFigures | None = None


@dataclass(frozen=True, slots=True)
class DailyGains:
    """Each judged day's summed gain over the base rate, of every other forecaster."""

    day: tuple[int, ...]
    """Days since 1970."""
    rows: tuple[int, ...]
    gain: dict[str, tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class ConfigurationRecord:
    """One configuration on one product; pooled figures only where every fold was finished."""

    folds: tuple[FoldRecord, ...]
    pooled: ForecastFigures | None
    days: DailyGains | None


@dataclass(frozen=True, slots=True)
class BestConfiguration:
    """The best configuration by one figure, and what that is worth after the search that found it."""

    best: str
    sharpe_daily: dict[str, float]
    of_the_best: Selection


@dataclass(frozen=True, slots=True)
class OverfittingRecord:
    """The probability of back-test over-fitting by one figure, its thousands of combinations thinned; or why there is none."""

    error: str | None = None
    configurations: int = 0
    days: int = 0
    blocks: int = 0
    statistic: str = ""
    probability: float | None = None
    probability_of_loss: float | None = None
    slope: float | None = None
    intercept: float | None = None
    combinations: int = 0
    logits: tuple[tuple[float, int], ...] = ()
    """Logit and how many combinations have it."""
    inside: tuple[float, ...] = ()
    outside: tuple[float, ...] = ()
    chosen: tuple[float, ...] = ()
    """Share of combinations that chose each configuration."""


@dataclass(frozen=True, slots=True)
class SearchLuck:
    """How much of choosing among the configurations that finished every fold is luck."""

    configurations: tuple[str, ...]
    gain: OverfittingRecord
    net_bps: OverfittingRecord

    def by(self, kind: str) -> OverfittingRecord:
        """Return it by ``gain`` or by ``net_bps``."""
        return self.gain if kind == "gain" else self.net_bps


@dataclass(frozen=True, slots=True)
class ProductRecord:
    """All configurations on one product."""

    configurations: dict[str, ConfigurationRecord]
    selection: dict[str, BestConfiguration]
    """By ``gain`` and by ``net_bps``."""
    overfitting: SearchLuck | None
    """None where fewer than two configurations finished every fold."""


@dataclass(frozen=True, slots=True)
class FoldMoments:
    """When each part of a fold begins, and when its test part ends; UTC."""

    train: datetime
    early_stop: datetime
    calibration: datetime
    test: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class TriedConfiguration:
    """A configuration: what it changes, and the specification of its first model."""

    name: str
    changes: dict[str, float]
    spec: TrainSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class WalkForwardRecord:
    """All that was done and found."""

    version: int = 0
    run_id: str
    at: str
    commit: str
    architecture: str
    products: tuple[str, ...]
    dataset_digest: str
    feature_set: str
    feature_hash: str
    sources: tuple[str, ...]
    horizon_minutes: int
    cost_bps: float
    gate_profile: str
    trials: int
    judged_every_minutes: int
    folds: tuple[FoldMoments, ...]
    configurations: tuple[TriedConfiguration, ...]
    results: dict[str, ProductRecord]
    failures: tuple[str, ...] = field(default=())
    rolling_days: int | None = None
    walks_over_test_part: bool = False
    seconds: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Return plain values; moments as ISO 8601."""
        moments = [{name: moment.isoformat() for name, moment in asdict(fold).items()} for fold in self.folds]
        return asdict(self) | {"version": RECORD_VERSION, "folds": moments}

    def write(self, path: Path) -> None:
        """Write it whole or not at all."""
        write_json(path, self.as_json())

    @classmethod
    def read(cls, path: Path) -> WalkForwardRecord:
        """Read what `write` wrote, or an older record.

        Raises:
            ModelError: it is missing, damaged, or newer than this code.
        """
        content = read_json(path)
        if int(content.get("version", 0)) > RECORD_VERSION:
            msg = f"the walk-forward record {path} is of version {content['version']}, this code reads up to {RECORD_VERSION}; bring Candledesk up to date: git pull, then make setup"
            raise ModelError(msg)
        try:
            return TypeAdapter(cls).validate_python(content)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            msg = f"the walk-forward record {path} is damaged ({'.'.join(map(str, first['loc']))}: {first['msg']}); run again: desk walk-forward"
            raise ModelError(msg) from error
