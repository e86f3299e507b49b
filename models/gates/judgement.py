"""What a judging leaves: a verdict per product, and the rows of `model_metrics`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from models.gates import GateResult


@dataclass(frozen=True, slots=True)
class ProductVerdict:
    """Whether one product may be served by the model, and why."""

    product: str
    slot: str
    """``lstm:BTC-USD`` or ``transformer:BTC-USD``."""
    accepted: bool
    gates: tuple[GateResult, ...]

    @property
    def refused_by(self) -> tuple[str, ...]:
        """Names of the gates that refused."""
        return tuple(gate.name for gate in self.gates if not gate.passed)


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One row of the table `model_metrics`."""

    model_id: str
    product: str
    slice: str
    metric: str
    value: float | None
    low_95: float | None
    high_95: float | None
    row_count: int


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict on one candidate."""

    model_id: str
    architecture: str
    path: str
    """The candidate's folder, which holds the graph and its passport."""
    profile: str
    verdicts: tuple[ProductVerdict, ...]
    metrics: tuple[MetricRow, ...]

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def judgement_from_json(content: dict[str, Any]) -> Judgement:
    """Read what `Judgement.as_json` wrote."""
    return Judgement(
        model_id=content["model_id"],
        architecture=content["architecture"],
        path=content["path"],
        profile=content["profile"],
        verdicts=tuple(
            ProductVerdict(
                verdict["product"],
                verdict["slot"],
                verdict["accepted"],
                tuple(GateResult(**gate) for gate in verdict["gates"]),
            )
            for verdict in content["verdicts"]
        ),
        metrics=tuple(MetricRow(**row) for row in content["metrics"]),
    )
