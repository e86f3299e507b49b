"""Freeze scaler, network and calibration into one ONNX graph that takes raw inputs and gives a calibrated probability.

Beside the probability the graph gives the logit it was made from, so that what the calibration changed can be measured
again from the graph alone; the runtime does not ask for it. Shapes: B windows, T minutes, F inputs, C coins.
"""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from core.files import write_bytes
from models.datasets.scaler import CLIP, Scaler
from models.networks.build import build_network
from models.networks.trees import ML_DOMAIN, ML_OPSET, BoostedTrees
from models.serving.calibration import LOGIT_CLIP
from models.serving.passport import Parity

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from models.serving.calibration import Calibration
    from models.serving.scorer import Scorer


class CalibrationHead(nn.Module):
    """Every coin's calibration as a slope and a shift, so that one graph serves coins of different kinds."""

    def __init__(self, calibrations: list[Calibration]) -> None:
        """Freeze slope and shift of each coin into the graph, float32."""
        super().__init__()
        self.slope_C: Tensor
        self.shift_C: Tensor
        self.register_buffer("slope_C", torch.tensor([calibration.slope for calibration in calibrations]))
        self.register_buffer("shift_C", torch.tensor([calibration.shift for calibration in calibrations]))

    def forward(self, logit_B: Tensor, coin_B: Tensor) -> Tensor:
        """Return probability_B, strictly inside (0, 1)."""
        line_B = self.slope_C[coin_B] * logit_B.clamp(-LOGIT_CLIP, LOGIT_CLIP) + self.shift_C[coin_B]
        return torch.sigmoid(line_B.clamp(-LOGIT_CLIP, LOGIT_CLIP))


class _Served(nn.Module):
    """Scaler, network and calibration, frozen into one module."""

    def __init__(self, network: nn.Module, scaler: Scaler, calibrations: list[Calibration]) -> None:
        """Keep mean and deviation of every coin, shaped (C, F)."""
        super().__init__()
        self.network = network
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.from_numpy(scaler.mean_CF.copy()))
        self.register_buffer("deviation", torch.from_numpy(scaler.sd_CF.copy()))
        self.calibration = CalibrationHead(calibrations)


class ServedOneCoin(_Served):
    """A model of one coin."""

    def forward(self, x_BTF: Tensor) -> tuple[Tensor, Tensor]:
        """Return probability_B of up, and logit_B before calibration."""
        logit_B = self.network(((x_BTF - self.mean[0]) / self.deviation[0]).clamp(-CLIP, CLIP))
        return self.calibration(logit_B, torch.zeros_like(logit_B, dtype=torch.int64)), logit_B


class ServedAllCoins(_Served):
    """A model of all coins; each coin has its own scaler and calibration."""

    def forward(self, x_BTF: Tensor, coin_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return probability_B of up, and logit_B before calibration."""
        scaled = (x_BTF - self.mean[coin_B].unsqueeze(1)) / self.deviation[coin_B].unsqueeze(1)
        logit_B, _ = self.network(scaled.clamp(-CLIP, CLIP), coin_B)
        return self.calibration(logit_B, coin_B), logit_B


OPSET = 18
GRAPH = "model.onnx"


def load_network(folder: Path, architecture: str, *, inputs: int, products: int, members: int) -> nn.Module:
    """Rebuild a candidate's network with its weights, ready to score."""
    network = build_network(architecture, inputs, products, 0.0, members)
    network.load_state_dict(torch.load(folder / "weights.pt", weights_only=True))
    return network.eval()


def served(network: nn.Module, scaler: Scaler, calibrations: list[Calibration]) -> nn.Module:
    """Return the network with its scaler before it and its calibration behind it."""
    kind = ServedAllCoins if hasattr(network, "coin") else ServedOneCoin
    return kind(network, scaler, calibrations).eval()


def export_graph(model: nn.Module, folder: Path, minutes: int, inputs: int) -> Path:
    """Write ``model.onnx``; the same weights give the same bytes."""
    has_coin = isinstance(model, ServedAllCoins)
    sample: tuple[torch.Tensor, ...] = (torch.zeros(2, minutes, inputs),)
    names = ["x"]
    if has_coin:
        sample, names = (*sample, torch.zeros(2, dtype=torch.int64)), ["x", "coin"]
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of its own age, and of batches of one to LSTMs
        torch.onnx.export(
            model,
            sample,
            buffer,  # type: ignore[arg-type]  # this exporter takes an open file, its types do not say so
            input_names=names,
            output_names=["probability", "logit"],
            # the batch alone may vary: minutes and inputs are what the scorer holds against the passport
            dynamic_axes={name: {0: "batch"} for name in (*names, "probability", "logit")},
            opset_version=OPSET,
            custom_opsets={ML_DOMAIN: ML_OPSET} if isinstance(model.network, BoostedTrees) else None,
            # the exporter that traces takes 0.3 s where the newer one takes 10, gives the same bytes each time, and keeps the
            # LSTM as one operator (docs/log.md)
            dynamo=False,
        )
    path = folder / GRAPH
    write_bytes(path, buffer.getvalue())
    return path


def torch_probabilities(model: nn.Module, x_BTF: NDArray[np.float32], coin_B: NDArray[np.int64]) -> NDArray[np.float64]:
    """Score raw windows with torch, as the graph must."""
    arguments = [torch.from_numpy(x_BTF)]
    if isinstance(model, ServedAllCoins):
        arguments.append(torch.from_numpy(coin_B))
    with torch.inference_mode():
        probability_B, _ = model(*arguments)
        return np.asarray(probability_B.double().numpy())


def parity(
    model: nn.Module, scorer: Scorer, x_BTF: NDArray[np.float32], products: list[str], coin_B: NDArray[np.int64]
) -> Parity:
    """Compare graph and torch on real windows, in one batch per coin and one by one; return the largest differences."""
    want_B = torch_probabilities(model, x_BTF, coin_B)
    whole, single = 0.0, 0.0
    for coin, product in enumerate(products):
        rows = np.flatnonzero(coin_B == coin)
        if not len(rows):
            continue
        whole = max(whole, float(np.abs(scorer.score(x_BTF[rows], product) - want_B[rows]).max()))
        # the runtime scores a minute at a time, and a batch of one may take other kernels and round otherwise
        alone = rows[:: max(1, len(rows) // 50)]
        alone_B = np.array([scorer.score(x_BTF[row : row + 1], product)[0] for row in alone])
        single = max(single, float(np.abs(alone_B - want_B[alone]).max()))
    return Parity(len(x_BTF), whole, single)
