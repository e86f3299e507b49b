"""Score windows with a promoted graph: ONNX Runtime and numpy, nothing of torch.

Shapes: B windows, T minutes, F inputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from core.errors import ModelMismatchError
from core.files import read_json
from core.integrity import broken_seal, sha256_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

OPSETS = range(17, 22)
"""Graph languages this code was tested with."""
_BATCH = 8
"""Windows at once: fastest by half over 256, whose tensors no longer fit the cache, and 93 MB instead of 360 (measured)."""
_OPEN_ERRORS = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NoModel,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)
_REPAIR = "promote the last good model again (desk models rollback) or train a new one (make train)"


@dataclass(frozen=True, slots=True)
class Manifest:
    """The part of a passport the runtime relies on."""

    model_id: str
    architecture: str
    columns: tuple[str, ...]
    feature_set: str
    feature_hash: str
    window_minutes: int
    products: tuple[str, ...]
    opset: int
    sha256: str


class Scorer:
    """One model's graph, checked against its passport before the first score."""

    def __init__(self, folder: Path, *, with_seal: bool = True) -> None:
        """Open the graph in ``folder`` on one thread; a passport of an older version has no seal and is taken as it is.

        Raises:
            ModelMismatchError: seal, hash, opset, inputs or shapes differ from the passport; the text names which.
            ModelError: a file is missing or cannot be read.
        """
        self.folder = folder
        self.passport: dict[str, Any] = read_json(folder / "passport.json")
        if with_seal and (fault := broken_seal(self.passport)) is not None:
            _refuse(f"{folder / 'passport.json'} was changed after the judging: {fault}")
        self.manifest = _manifest(folder, self.passport)
        self._session = _open(folder, self.manifest)
        self._has_coin = len(self._session.get_inputs()) == 2
        self.tells_logits = len(self._session.get_outputs()) == 2

    def require(self, *, columns: Sequence[str], feature_hash: str) -> None:
        """Refuse columns the model was not trained on.

        Raises:
            ModelMismatchError: the text names the first column, the count or the hash that differs.
        """
        own = self.manifest.columns
        name = self.manifest.model_id
        if len(columns) != len(own):
            _refuse(f"{name} reads {len(own)} columns, the features have {len(columns)}")
        for position, (ours, theirs) in enumerate(zip(own, columns, strict=True)):
            if ours != theirs:
                _refuse(f"{name} reads {ours!r} as column {position + 1}, the features have {theirs!r} there")
        if feature_hash != self.manifest.feature_hash:
            _refuse(
                f"{name} was trained on feature set {self.manifest.feature_set} with hash {self.manifest.feature_hash[:12]}, "
                f"this code computes {feature_hash[:12]}"
            )

    def score(self, x_BTF: NDArray[np.float32], product: str) -> NDArray[np.float64]:
        """Return the probability of up, one for each raw window of ``product``.

        Raises:
            ModelMismatchError: the model does not serve the product, or the windows have another shape.
        """
        return self._run(["probability"], x_BTF, product)[:, 0]

    def score_with_logits(
        self, x_BTF: NDArray[np.float32], product: str
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return probability_B, and logit_B as the network said it before its calibration.

        Raises:
            ModelMismatchError: as `score`, or the graph was exported before it told its logits.
        """
        if not self.tells_logits:
            _refuse(f"the graph of {self.manifest.model_id} does not tell its logits")
        said_BO = self._run(["probability", "logit"], x_BTF, product)
        return said_BO[:, 0], said_BO[:, 1]

    def _run(self, outputs: list[str], x_BTF: NDArray[np.float32], product: str) -> NDArray[np.float64]:
        manifest = self.manifest
        if product not in manifest.products:
            _refuse(f"{manifest.model_id} serves {', '.join(manifest.products)}, not {product}")
        shape = (manifest.window_minutes, len(manifest.columns))
        if x_BTF.ndim != 3 or x_BTF.shape[1:] != shape or x_BTF.dtype != np.float32:
            _refuse(f"{manifest.model_id} reads float32 windows {shape}, found {x_BTF.dtype} {x_BTF.shape[1:]}")
        said_BO = np.empty((len(x_BTF), len(outputs)))
        for start in range(0, len(x_BTF), _BATCH):
            part = np.ascontiguousarray(x_BTF[start : start + _BATCH])
            feed = {"x": part}
            if self._has_coin:
                feed["coin"] = np.full(len(part), manifest.products.index(product), dtype=np.int64)
            said_BO[start : start + _BATCH] = np.stack(self._session.run(outputs, feed), axis=1)
        return said_BO


def _manifest(folder: Path, passport: dict[str, Any]) -> Manifest:
    try:
        return Manifest(
            model_id=passport["model_id"],
            architecture=passport["architecture"],
            columns=tuple(passport["inputs"]),
            feature_set=passport["feature_set"],
            feature_hash=passport["feature_hash"],
            window_minutes=int(passport["window_minutes"]),
            products=tuple(passport["products"]),
            opset=int(passport["opset"]),
            sha256=passport["sha256"],
        )
    except (KeyError, TypeError, ValueError) as error:
        msg = f"the passport in {folder} is not whole ({error!r}); {_REPAIR}"
        raise ModelMismatchError(msg) from error


def _open(folder: Path, manifest: Manifest) -> ort.InferenceSession:
    path = folder / "model.onnx"
    if not path.exists():
        _refuse(f"{manifest.model_id} has no graph at {path}")
    if (found := sha256_of(path)) != manifest.sha256:
        _refuse(f"{path} has sha256 {found[:12]}, its passport says {manifest.sha256[:12]}")
    if manifest.opset not in OPSETS:
        _refuse(
            f"{manifest.model_id} is written in opset {manifest.opset}, this code reads {OPSETS[0]} to {OPSETS[-1]}"
        )
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except _OPEN_ERRORS as error:
        msg = f"the graph of {manifest.model_id} cannot be opened ({str(error).splitlines()[0]}); {_REPAIR}"
        raise ModelMismatchError(msg) from error
    _check_inputs(session, manifest)
    return session


def _check_inputs(session: ort.InferenceSession, manifest: Manifest) -> None:
    found = {part.name: (part.type, list(part.shape)[1:]) for part in session.get_inputs()}
    wanted: dict[str, tuple[str, list[int]]] = {
        "x": ("tensor(float)", [manifest.window_minutes, len(manifest.columns)])
    }
    if len(manifest.products) > 1 or "coin" in found:
        wanted["coin"] = ("tensor(int64)", [])
    if found != wanted:
        _refuse(f"the graph of {manifest.model_id} reads {found}, its passport says {wanted}")
    outputs = [part.name for part in session.get_outputs()]
    if outputs not in (["probability"], ["probability", "logit"]):
        _refuse(f"the graph of {manifest.model_id} says {outputs}, not ['probability', 'logit']")


def _refuse(what: str) -> None:
    msg = f"{what}; {_REPAIR}"
    raise ModelMismatchError(msg)
