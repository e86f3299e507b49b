"""Score windows with a promoted graph: ONNX Runtime and numpy, nothing of torch.

Shapes: B windows, T minutes, F inputs.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from core.errors import ModelMismatchError
from core.files import read_bytes
from models.serving.passport import REPAIR, Passport

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
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


class Scorer:
    """One model's graph, checked against its passport before the first score."""

    def __init__(self, folder: Path, passport: Passport | None = None) -> None:
        """Open the graph in ``folder`` on one thread; ``passport`` stands for the one in there, which is read when left out.

        Raises:
            ModelMismatchError: seal, hash, opset, inputs or shapes differ from the passport; the text names which.
            ModelError: a file is missing or cannot be read.
        """
        self.folder = folder
        self.passport = Passport.read(folder) if passport is None else passport
        self._session = _open(folder, self.passport)
        self._has_coin = len(self._session.get_inputs()) == 2
        self.tells_logits = len(self._session.get_outputs()) == 2

    def require(self, *, columns: Sequence[str], feature_hash: str) -> None:
        """Refuse columns the model was not trained on.

        Raises:
            ModelMismatchError: the text names the first column, the count or the hash that differs.
        """
        own = self.passport.inputs
        name = self.passport.model_id
        if len(columns) != len(own):
            _refuse(f"{name} reads {len(own)} columns, the features have {len(columns)}")
        for position, (ours, theirs) in enumerate(zip(own, columns, strict=True)):
            if ours != theirs:
                _refuse(f"{name} reads {ours!r} as column {position + 1}, the features have {theirs!r} there")
        if feature_hash != self.passport.feature_hash:
            _refuse(
                f"{name} was trained on feature set {self.passport.feature_set} with hash {self.passport.feature_hash[:12]}, "
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
            _refuse(f"the graph of {self.passport.model_id} does not tell its logits")
        said_BO = self._run(["probability", "logit"], x_BTF, product)
        return said_BO[:, 0], said_BO[:, 1]

    def _run(self, outputs: list[str], x_BTF: NDArray[np.float32], product: str) -> NDArray[np.float64]:
        passport = self.passport
        if product not in passport.products:
            _refuse(f"{passport.model_id} serves {', '.join(passport.products)}, not {product}")
        shape = (passport.window_minutes, len(passport.inputs))
        if x_BTF.ndim != 3 or x_BTF.shape[1:] != shape or x_BTF.dtype != np.float32:
            _refuse(f"{passport.model_id} reads float32 windows {shape}, found {x_BTF.dtype} {x_BTF.shape[1:]}")
        said_BO = np.empty((len(x_BTF), len(outputs)))
        for start in range(0, len(x_BTF), _BATCH):
            part = np.ascontiguousarray(x_BTF[start : start + _BATCH])
            feed = {"x": part}
            if self._has_coin:
                feed["coin"] = np.full(len(part), passport.products.index(product), dtype=np.int64)
            said_BO[start : start + _BATCH] = np.stack(self._session.run(outputs, feed), axis=1)
        return said_BO


def _open(folder: Path, passport: Passport) -> ort.InferenceSession:
    path = folder / "model.onnx"
    if not path.exists():
        _refuse(f"{passport.model_id} has no graph at {path}")
    # read once: what is hashed is what is opened, whoever changes the file in between
    content = read_bytes(path)
    if (digest := hashlib.sha256(content).hexdigest()) != passport.sha256:
        _refuse(f"{path} has sha256 {digest[:12]}, its passport says {passport.sha256[:12]}")
    if (outside := external_data(content)) is not None:
        _refuse(f"the graph of {passport.model_id} reads weights from another file ({outside}), which no hash covers")
    if passport.opset not in OPSETS:
        _refuse(
            f"{passport.model_id} is written in opset {passport.opset}, this code reads {OPSETS[0]} to {OPSETS[-1]}"
        )
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # from bytes it would also take its own format, which `external_data` cannot read
    options.add_session_config_entry("session.load_model_format", "ONNX")
    try:
        session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except _OPEN_ERRORS as error:
        msg = f"the graph of {passport.model_id} cannot be opened ({str(error).splitlines()[0]}); {REPAIR}"
        raise ModelMismatchError(msg) from error
    _check_inputs(session, passport)
    return session


def external_data(content: bytes) -> str | None:
    """Return the file that a graph takes a tensor from instead of holding it, None where it holds all of them."""
    if b"location" not in content:
        # the key under which a graph names such a file: without it the parser, 30 MB and 0.3 s, is not needed
        return None
    from google.protobuf.message import DecodeError  # noqa: PLC0415  # see above
    from onnx import ModelProto  # noqa: PLC0415

    try:
        model = ModelProto.FromString(content)
    except DecodeError:
        return None  # no graph at all: whoever opens it says so
    return next(_external_files(model), None)


def _external_files(message: Any) -> Iterator[str]:  # noqa: ANN401  # any message of a graph
    for field, value in message.ListFields():
        if field.name == "external_data":
            yield next((entry.value for entry in value if entry.key == "location"), "no name")
        elif field.message_type is not None:
            # tensors hide in nodes, in branches of nodes, in functions
            for part in value if hasattr(value, "__len__") else [value]:
                yield from _external_files(part)


def require_probabilities(p_N: NDArray[np.float64], model_id: str) -> NDArray[np.float64]:
    """Return ``p_N`` after seeing that each is one; the runtime has its own answer to a bad score, judging has none.

    Raises:
        ModelMismatchError: one is no number, or outside 0 to 1.
    """
    if len(bad_N := p_N[~((p_N >= 0) & (p_N <= 1))]):
        _refuse(f"{model_id} scored {bad_N[0]:g}, which is no probability, in {len(bad_N)} of {len(p_N)} windows")
    return p_N


def _check_inputs(session: ort.InferenceSession, passport: Passport) -> None:
    actual = {part.name: (part.type, list(part.shape)[1:]) for part in session.get_inputs()}
    wanted: dict[str, tuple[str, list[int]]] = {"x": ("tensor(float)", [passport.window_minutes, len(passport.inputs)])}
    if len(passport.products) > 1 or "coin" in actual:
        wanted["coin"] = ("tensor(int64)", [])
    if actual != wanted:
        _refuse(f"the graph of {passport.model_id} reads {actual}, its passport says {wanted}")
    outputs = [part.name for part in session.get_outputs()]
    if outputs not in (["probability"], ["probability", "logit"]):
        _refuse(f"the graph of {passport.model_id} says {outputs}, not ['probability', 'logit']")


def _refuse(what: str) -> None:
    msg = f"{what}; {REPAIR}"
    raise ModelMismatchError(msg)
