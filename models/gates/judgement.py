"""The files that a judging leaves beside the passport: the verdict with the rows of `model_metrics`, and the curves."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from core.errors import ModelError
from core.files import parse_json, plain_json, read_bytes, write_json
from core.integrity import require_id
from models.gates.gate_evidence import GateResult

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

JUDGEMENT_FILE = "judgement.json"
CURVES_FILE = "curves.json"
VERSION = 1
"""Raised when a key changes its meaning; files from before there was a version have none and read as 0."""


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
    """The verdict on one candidate: ``judgement.json``, written last, whose presence says that the judging finished."""

    model_id: str
    architecture: str
    path: str
    """The candidate's folder, which holds the graph and its passport."""
    profile: str
    verdicts: tuple[ProductVerdict, ...]
    metrics: tuple[MetricRow, ...]
    key: str = ""
    """Hash over all that decides the verdict: where it is the same, the candidate is not judged again."""
    passport_sha256: str = ""
    version: int = 0

    def __post_init__(self) -> None:
        """Refuse an id that is no folder of the models'."""
        require_id(self.model_id, "model")

    @classmethod
    def read(cls, folder: Path) -> Judgement:
        """Read ``judgement.json`` in ``folder``.

        Raises:
            ModelError: it is missing, damaged, or newer than this code.
        """
        path = folder / JUDGEMENT_FILE
        content = read_bytes(path)
        try:
            judgement = parse_json(cls, content)
        except ValueError as error:
            msg = f"{path} is damaged ({error}); judge the model again: make evaluate"
            raise ModelError(msg) from error
        if judgement.version > VERSION:
            msg = f"{path} has version {judgement.version}, this code reads up to {VERSION}; update Candledesk"
            raise ModelError(msg)
        return judgement

    def write(self, folder: Path) -> None:
        """Write ``judgement.json`` into ``folder``, in one step."""
        write_json(folder / JUDGEMENT_FILE, plain_json(asdict(self)))


@dataclass(frozen=True, slots=True)
class ReliabilityPoint:
    """A bin of predicted probability and the share of its minutes that went up, with its 95 % interval."""

    bin: int
    row_count: int
    mean_probability: float
    up_share: float
    low_95: float | None = None
    high_95: float | None = None


@dataclass(frozen=True, slots=True)
class CoveragePoint:
    """Accuracy on the most confident share ``coverage`` of the minutes, and what it would have to be there."""

    coverage: float
    value: float | None
    low_95: float | None = None
    high_95: float | None = None
    break_even_accuracy: float | None = None
    row_count: int | None = None


@dataclass(frozen=True, slots=True)
class ProductCurves:
    """One product's entry in ``curves.json``: is the probability true, and what does confidence buy."""

    reliability_equal_mass: tuple[ReliabilityPoint, ...] = ()
    reliability_equal_width: tuple[ReliabilityPoint, ...] = ()
    coverage: tuple[CoveragePoint, ...] = ()
    slices: dict[str, ProductCurves] = field(default_factory=dict)
    """The same by session, tier and month; equal mass and coverage only."""
    reliability_before: tuple[ReliabilityPoint, ...] = ()
    """Of the network itself, without its calibration."""

    def as_json(self) -> dict[str, object]:
        """Return plain values; curves that were not drawn are left out."""
        drawn = {name: value for name, value in asdict(self).items() if value}
        drawn |= {"slices": {name: curves.as_json() for name, curves in self.slices.items()}} if self.slices else {}
        return dict(plain_json(drawn))


def write_curves(folder: Path, curves: Mapping[str, ProductCurves]) -> Path:
    """Write ``curves.json`` into ``folder``; return its path."""
    write_json(folder / CURVES_FILE, {product: own.as_json() for product, own in curves.items()})
    return folder / CURVES_FILE


def read_curves(folder: Path) -> dict[str, ProductCurves]:
    """Return the curves of every product.

    Raises:
        ModelError: ``curves.json`` is missing or damaged.
    """
    path = folder / CURVES_FILE
    content = read_bytes(path)
    try:
        return parse_json(dict[str, ProductCurves], content)
    except ValueError as error:
        msg = f"{path} is damaged ({error}); judge the model again: make evaluate"
        raise ModelError(msg) from error
