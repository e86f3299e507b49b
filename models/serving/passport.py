"""The passport of a judged model: where it comes from, on which terms it was judged, and every figure of the verdict.

It is ``passport.json`` beside the graph, written once, by the judge, with a seal: a hash over everything else in it. Whoever
reads it (runtime, registry, reports, verification) reads it here. Fields that older versions did not write have defaults;
a file that lacks what the runtime relies on is refused.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, cast

from core.errors import ModelError, ModelMismatchError
from core.files import parse_json, plain_json, read_bytes, write_json
from core.integrity import broken_seal, require_id, sealed
from models.gates import GateProfile, GateResult
from models.gates.feasibility import Feasibility

if TYPE_CHECKING:
    from pathlib import Path

FILE = "passport.json"
VERSION = 1
"""Raised when a key changes its meaning; files from before there was a version have none and read as 0."""
REPAIR = "promote the last good model again (desk models rollback) or train a new one (make train)"
ScalerFigures = dict[str, list[list[float]] | float]
"""What `models.datasets.scaler.Scaler.as_json` writes: ``mean`` and ``sd`` per coin and input, ``clip``."""
SpecFigures = dict[str, str | int | float | list[str]]
"""What `models.training.candidate.spec_as_json` writes: every field of the training's specification."""


def slot_of(architecture: str, product: str) -> str:
    """Return the registry's name of what a model of ``architecture`` may serve for ``product``: ``lstm:BTC-USD``."""
    return f"{architecture.removesuffix('_one_way')}:{product}"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval; the ends are None where none can be given."""

    value: float | None
    low_95: float | None = None
    high_95: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingCheck:
    """One look at the early-stop part during a training."""

    member: int = 1
    """Which of the networks whose logits are averaged, counted from 1."""
    check: int = 0
    epoch: int = 0
    """Of boosting, a round."""
    windows: int = 0
    """Windows this member had seen."""
    train_loss: float
    """Mean since the check before; of a transformer the loss of its return head is in it."""
    early_stop_log_loss: float
    seconds: float = 0.0
    ended_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRun:
    """How the weights came about."""

    name: str = ""
    commit: str = "unknown"
    seconds: float | None = None
    windows: int | None = None
    best_epoch: int | None = None
    precision: str | None = None
    weights_sha256: str | None = None
    history: tuple[TrainingCheck, ...] = ()


@dataclass(frozen=True, slots=True)
class JudgingTerms:
    """On which terms, when and by which code a model was judged."""

    profile: GateProfile
    cost_bps: float
    """Round trip: the spread once, slippage and fee on both sides."""
    trials: int
    """Trainings and judgings up to this one."""
    stride_minutes: int = 1
    at: str = ""
    commit: str = "unknown"


@dataclass(frozen=True, slots=True)
class TorchProbability:
    """What torch said of the window that ends in a minute, for whoever has the graph and no weights."""

    product: str
    minute: int
    probability: float


@dataclass(frozen=True, slots=True)
class Parity:
    """How far the exported graph and torch differ on real windows of the test part."""

    windows: int
    largest_difference: float
    largest_difference_one_by_one: float
    sample: tuple[TorchProbability, ...] = ()

    @property
    def largest(self) -> float:
        """The larger of both differences, which the gate is given."""
        return max(self.largest_difference, self.largest_difference_one_by_one)


@dataclass(frozen=True, slots=True)
class CoverageCut:
    """The confidence that the most confident share of the calibration part reaches, and how right it was there."""

    coverage: float
    confidence: float
    accuracy: float | None
    row_count: int


@dataclass(frozen=True, slots=True)
class ControlFigures:
    """Two forecasts whose quality is known beforehand; a judging that finds another is not to be trusted."""

    shuffled_auc: tuple[float, ...] = ()
    """AUC of each fit to shuffled labels: 0.5 on average if nothing leaks."""
    future_accuracy: float | None = None
    """Accuracy of boosting that was shown the end of the horizon: what a leak looks like."""


@dataclass(frozen=True, slots=True)
class CalibrationChange:
    """Scores of the network alone and of the calibrated probability, on the test part."""

    before: dict[str, float | None] = field(default_factory=dict)
    after: dict[str, float | None] = field(default_factory=dict)
    log_loss_change: Estimate = Estimate(None)


@dataclass(frozen=True, slots=True)
class CalibrationTrial:
    """How one kind of calibration did on later minutes than it was fitted on, all inside the calibration part."""

    kind: str
    held_out_log_loss: float
    excess: float
    """Held-out log loss above that of the temperature, which is where the choice starts."""
    excess_error: float
    """Standard error of that difference, over blocks of time."""
    chosen: bool = False


@dataclass(frozen=True, slots=True)
class CalibrationChoice:
    """Which calibration the graph holds, and what it was chosen from."""

    kind: str
    parameters: dict[str, float | list[list[float]]] = field(default_factory=dict)
    rows: int = 0
    held_out_rows: int = 0
    held_out_blocks: int = 0
    candidates: tuple[CalibrationTrial, ...] = ()


@dataclass(frozen=True, slots=True)
class Appraisal:
    """All that was found of one product of a model, on the parts no training saw."""

    accepted: bool
    slot: str
    """``lstm:BTC-USD``: the place in the registry that the model may take."""
    gates: tuple[GateResult, ...] = ()
    profiles: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Profile -> the gates that would refuse it there; none is an acceptance."""
    coverage_cuts: dict[str, CoverageCut] = field(default_factory=dict)
    metrics: dict[str, Estimate] = field(default_factory=dict)
    baselines: dict[str, dict[str, float | None]] = field(default_factory=dict)
    against_baselines: dict[str, Estimate] = field(default_factory=dict)
    """Log loss of the model less that of each baseline, minute by minute; below 0 the model is better."""
    controls: ControlFigures = ControlFigures()
    calibrated: CalibrationChange = field(default_factory=CalibrationChange)
    feasibility: Feasibility | None = None
    selection: dict[str, float | int | str | None] | None = None
    """Fields of `models.statistics.selection_bias.Selection`."""
    calibration: CalibrationChoice | None = None

    @property
    def refused_by(self) -> tuple[str, ...]:
        """Names of the gates that refused."""
        return tuple(gate.name for gate in self.gates if not gate.passed)

    def as_json(self) -> dict[str, object]:
        """Return the product's entry in the file; what there is nothing to say of is an empty object."""
        content = asdict(self)
        for name, empty in (("controls", ControlFigures()), ("calibrated", CalibrationChange())):
            if getattr(self, name) == empty:
                content[name] = {}
        return cast("dict[str, object]", plain_json(content))


@dataclass(frozen=True, slots=True, kw_only=True)
class Passport:
    """Everything claimed of a judged model; the fields are the keys of the file, in their order."""

    version: int = 0
    model_id: str
    candidate_id: str = ""
    architecture: str
    products: tuple[str, ...]
    market: tuple[str, ...] | None = None
    """Every product of the data set: what a feature set that reads other products saw."""
    inputs: tuple[str, ...]
    feature_set: str
    feature_set_version: int | None = None
    feature_hash: str
    window_minutes: int
    horizon_minutes: int | None = None
    opset: int
    sha256: str
    """Of the graph."""
    dataset_digest: str | None = None
    dataset_manifest_sha256: str | None = None
    borders: dict[str, str] | None = None
    span: dict[str, str] | None = None
    sources: tuple[str, ...] | None = None
    scaler: ScalerFigures | None = None
    spec: SpecFigures | None = None
    training: TrainingRun | None = None
    judged: JudgingTerms | None = None
    parity: Parity | None = None
    canaries: dict[str, str] | None = None
    """Lit leak canaries, as versions before the seal wrote them; they stand in a gate's sentence now."""
    verdicts: dict[str, Appraisal] = field(default_factory=dict)
    curves_sha256: str | None = None
    seal: str | None = None

    def __post_init__(self) -> None:
        """Refuse ids that lead out of the folders of models, candidates and data sets."""
        for what, own in (
            ("model", self.model_id),
            ("candidate", self.candidate_id),
            ("data set", self.dataset_digest),
        ):
            if own or what == "model":
                require_id(own or "", what)

    @classmethod
    def read(cls, folder: Path, *, with_seal: bool = True) -> Passport:
        """Read ``passport.json`` in ``folder``.

        Args:
            folder: The model's.
            with_seal: Whether a broken seal is refused; a passport without one is taken as it is.

        Raises:
            ModelMismatchError: a key is missing or is of another kind, the seal is broken, or newer code wrote it.
            ModelError: the file is missing or is no JSON.
        """
        path = folder / FILE
        return cls.parse(read_bytes(path), path, with_seal=with_seal)

    @classmethod
    def parse(cls, content: bytes, path: Path, *, with_seal: bool = True) -> Passport:
        """Return the passport whose file ``path`` has this ``content``; raises as `read`."""
        try:
            raw = json.loads(content)
        except ValueError as error:
            msg = f"{path} cannot be read ({error}); train and judge the model again: make train"
            raise ModelError(msg) from error
        if not isinstance(raw, dict):
            msg = f"{path} holds a {type(raw).__name__}, not an object; train and judge the model again: make train"
            raise ModelError(msg)
        if with_seal and (fault := broken_seal(raw)) is not None:
            msg = f"{path} was changed after the judging: {fault}; {REPAIR}"
            raise ModelMismatchError(msg)
        if isinstance(raw.get("version"), int) and raw["version"] > VERSION:
            msg = f"{path} has version {raw['version']}, this code reads up to {VERSION}; update Candledesk"
            raise ModelMismatchError(msg)
        try:
            return parse_json(cls, content)
        except ValueError as error:
            msg = f"the passport in {path.parent} is not whole ({error}); {REPAIR}"
            raise ModelMismatchError(msg) from error

    def as_json(self) -> dict[str, object]:
        """Return the file's content with its seal; keys of which there is nothing to say are left out."""
        content = {key: value for key, value in asdict(self).items() if value is not None}
        content["verdicts"] = {product: appraisal.as_json() for product, appraisal in self.verdicts.items()}
        return sealed(plain_json(content))

    def write(self, folder: Path) -> None:
        """Write ``passport.json`` into ``folder``, sealed, in one step; see `core.files.whole_file` for what it raises."""
        write_json(folder / FILE, self.as_json())

    @property
    def accepted_slots(self) -> tuple[str, ...]:
        """Slots whose gates all passed."""
        return tuple(appraisal.slot for appraisal in self.verdicts.values() if appraisal.accepted)

    def cuts(self, product: str) -> dict[str, CoverageCut]:
        """Return the product's tier cuts by coverage; empty where the passport has none."""
        return self.verdicts[product].coverage_cuts if product in self.verdicts else {}
