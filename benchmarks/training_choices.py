"""What our training is made of, each choice beside what was left: ``python -m benchmarks.training --choices``.

Speed first, in windows a second of the CPU (all threads together) for forward, backward and step on real windows; then what a
training with one setting changed reaches. Shapes: N rows, B windows of a batch, T minutes, F inputs, H hidden units, G four gates.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from models.datasets.scaler import fit_scaler
from models.datasets.windows import gather, part_ends, window_view
from models.networks.build import build_network
from models.networks.lstm import HIDDEN, WINDOW_MINUTES
from models.training.batches import Batches
from models.training.fit import early_stop_ends, fit
from models.training.presets import train_spec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from models.datasets.dataset import Dataset
    from models.training.progress import TrainProgress

_MEASURED_WINDOWS = 4096
_ROUNDS = 3
LONG_MINUTES, LABEL_EVERY = 120, 5
"""A long pass reads so many minutes and is asked at every fifth of those with a whole window before them."""


class OwnCell(nn.Module):
    """A two-way, two-layer LSTM written out: the input's share of all gates in one product, both directions in one step."""

    def __init__(self, inputs: int, dropout: float) -> None:
        """Build it with as many weights as `DirectionLSTM`, one bias instead of two."""
        super().__init__()
        sizes = (inputs, 2 * HIDDEN)
        self.into = nn.ModuleList(nn.Linear(size, 8 * HIDDEN) for size in sizes)
        self.again = nn.ParameterList(nn.Parameter(torch.randn(2, HIDDEN, 4 * HIDDEN) * 0.1) for _ in sizes)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(2 * HIDDEN, 64), nn.ReLU(), nn.Linear(64, 1))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BTF: Tensor) -> Tensor:
        """Return logit_B."""
        for layer, (into, again_2HG) in enumerate(zip(self.into, self.again, strict=True)):
            batch, minutes, _ = x_BTF.shape
            gates_2BTG = into(x_BTF).view(batch, minutes, 2, 4 * HIDDEN).permute(2, 0, 1, 3)
            ahead_BTG, back_BTG = gates_2BTG[0], gates_2BTG[1].flip(1)
            gate_T2BG = torch.stack([ahead_BTG, back_BTG]).permute(2, 0, 1, 3).contiguous()
            hidden_2BH = gate_T2BG.new_zeros(2, batch, HIDDEN)
            cell_2BH = torch.zeros(2, batch, HIDDEN)
            said = []
            for minute in range(minutes):
                hidden_2BH, cell_2BH = _step(
                    torch.baddbmm(gate_T2BG[minute], hidden_2BH, again_2HG.to(hidden_2BH.dtype)), cell_2BH
                )
                said.append(hidden_2BH)
            if layer == 0:
                out_T2BH = torch.stack(said)
                x_BTF = self.dropout(torch.cat([out_T2BH[:, 0], out_T2BH[:, 1].flip(0)], dim=-1).transpose(0, 1))
        logit_B: Tensor = self.head(torch.cat([said[-1][0], said[-1][1]], dim=-1)).squeeze(1)
        return logit_B


def _step(gate_2BG: Tensor, cell_2BH: Tensor) -> tuple[Tensor, Tensor]:
    enter, forget, fresh, leave = gate_2BG.chunk(4, dim=-1)
    cell_2BH = torch.sigmoid(forget) * cell_2BH + torch.sigmoid(enter) * torch.tanh(fresh)
    return (torch.sigmoid(leave) * torch.tanh(cell_2BH)).to(gate_2BG.dtype), cell_2BH


def windows_a_second(
    network: Callable[[Tensor], Tensor],
    parameters: list[nn.Parameter],
    batches: Batches,
    ends: np.ndarray[Any, Any],
    size: int,
    *,
    short: bool,
) -> float:
    """Train a while on random windows; return windows per CPU second, the best of three rounds."""
    optimiser = torch.optim.AdamW(parameters, lr=1e-3)
    generator = np.random.default_rng(0)
    best = np.inf
    steps = max(2, _MEASURED_WINDOWS // size)
    for turn in range(_ROUNDS + 1):  # the first one warms up
        began = time.process_time()
        for _ in range(steps if turn else 2):
            batch = batches.at(generator.choice(ends, size))
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=short):
                logit_B = network(batch.x_BTF)
            loss = nn.functional.binary_cross_entropy_with_logits(logit_B.float(), batch.direction_B)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
        if turn:
            best = min(best, time.process_time() - began)
    return steps * size / best


def speeds(data: Dataset) -> Iterator[list[object]]:
    """Yield rows of the speed table: network, how, batch, precision, threads, windows per CPU second."""
    data = replace(data, x_NF=data.x_NF.copy())
    batches = Batches(data, fit_scaler(data), WINDOW_MINUTES, [1.0] * len(data.coins), "cpu")
    ends, inputs = part_ends(data, "train", WINDOW_MINUTES), len(data.columns)
    torch.set_num_threads(1)
    for architecture in ("lstm", "lstm_one_way"):
        for size, precision in (
            (32, "float32"),
            (256, "float32"),
            (32, "bfloat16"),
            (64, "bfloat16"),
            (256, "bfloat16"),
            (1024, "bfloat16"),
        ):
            network = build_network(architecture, inputs, 1, 0.4)
            found = windows_a_second(
                network, list(network.parameters()), batches, ends, size, short=precision == "bfloat16"
            )
            yield [architecture, "torch's own LSTM", size, precision, 1, found]
    network = build_network("lstm", inputs, 1, 0.4)
    torch.set_num_threads(2)
    found = windows_a_second(network, list(network.parameters()), batches, ends, 256, short=True)
    yield ["lstm", "two threads in one process", 256, "bfloat16", 2, found]
    torch.set_num_threads(1)
    own = OwnCell(inputs, 0.4)
    for precision in ("float32", "bfloat16"):
        found = windows_a_second(own, list(own.parameters()), batches, ends, 256, short=precision == "bfloat16")
        yield ["lstm", "own cell, both directions in a step", 256, precision, 1, found]
    yield _compiled(own, batches, ends)
    yield from _gathering(data, batches, ends)
    yield _long_passes(data, ends)


def _compiled(own: OwnCell, batches: Batches, ends: np.ndarray[Any, Any]) -> list[object]:
    """Measure the own cell with its step compiled, where there is a compiler."""
    head: list[object] = ["lstm", "own cell, its step compiled", 256, "float32", 1]
    if shutil.which("g++") is None:
        return [*head, "no C++ compiler here"]
    step = globals()["_step"]
    began = time.monotonic()
    try:
        globals()["_step"] = torch.compile(step)
        found = windows_a_second(own, list(own.parameters()), batches, ends, 256, short=False)
    except RuntimeError as error:
        return [*head, f"torch.compile failed: {str(error).splitlines()[0][:60]}"]
    finally:
        globals()["_step"] = step
    return [*head, f"{found:.0f} after {time.monotonic() - began:.0f} s in all"]


def _gathering(data: Dataset, batches: Batches, ends: np.ndarray[Any, Any]) -> Iterator[list[object]]:
    """Measure cutting windows alone."""
    view = window_view(data.x_NF, WINDOW_MINUTES)
    generator = np.random.default_rng(0)

    def one_by_one(rows: np.ndarray[Any, Any]) -> Tensor:
        return torch.stack([torch.tensor(data.x_NF[row - WINDOW_MINUTES + 1 : row + 1]) for row in rows])

    ways: dict[str, Callable[[Any], object]] = {
        "windows alone, one item at a time": one_by_one,
        "windows alone, numpy's strided view": lambda rows: gather(view, rows),
        "windows alone, rows of a flat view (taken)": batches.at,
    }
    for name, way in ways.items():
        began = time.process_time()
        for _ in range(20):
            way(generator.choice(ends, 256))
        yield ["", name, 256, "", 1, 20 * 256 / (time.process_time() - began)]


def _long_passes(data: Dataset, ends: np.ndarray[Any, Any]) -> list[object]:
    """Measure one-way passes over two hours with thirteen labels each, counted in labels."""
    network = build_network("lstm_one_way", len(data.columns), 1, 0.4)
    lstm, head = network.lstm, network.head
    asked = list(range(WINDOW_MINUTES - 1, LONG_MINUTES, LABEL_EVERY))
    long = Batches(replace(data, x_NF=data.x_NF.copy()), fit_scaler(data), LONG_MINUTES, [1.0] * len(data.coins), "cpu")
    ends = ends[ends >= LONG_MINUTES]

    def read(x_BTF: Tensor) -> Tensor:
        said_BTH, _ = lstm(x_BTF)  # type: ignore[operator]  # a module, which torch types as tensor or module
        return head(said_BTH[:, asked]).squeeze(-1).mean(dim=1)  # type: ignore[operator,no-any-return]

    found = windows_a_second(read, list(network.parameters()), long, ends, 64, short=True) * len(asked)
    return ["lstm_one_way", f"{LONG_MINUTES} minutes a pass, {len(asked)} labels in each", 64, "bfloat16", 1, found]


CHANGES: dict[str, dict[str, Any]] = {
    "market": {},
    "every minute": {"stride": 1},
    "every 15th minute": {"stride": 15},
    "batch 64": {"batch_size": 64},
    "batch 1024": {"batch_size": 1024},
    "float32": {"precision": "float32"},
    "weights not averaged": {"average_windows": 1},
    "dropout 0.2": {"dropout": 0.2},
    "one way": {"architecture": "lstm_one_way"},
}


def qualities(data: Dataset, product: str) -> Iterator[list[object]]:
    """Yield rows of the quality table: what changed, best watched loss, windows and CPU seconds to it and to the base rate."""
    for name, changed in CHANGES.items():
        own = replace(data, x_NF=data.x_NF.copy())
        change = dict(changed)
        precision, architecture = change.pop("precision", None), change.pop("architecture", "lstm")
        spec = train_spec(architecture, [product], preset="market", **{"stride": 5} | change)
        watched = own.direction_N[early_stop_ends(own, WINDOW_MINUTES, spec)]
        share = float(np.mean(own.direction_N[own.rows(product, "train")]))
        base = -float(np.mean(np.where(watched == 1, np.log(share), np.log(1 - share))))
        looks: list[tuple[float, float]] = []
        began = time.process_time()

        def hear(progress: TrainProgress, began: float = began, looks: list[tuple[float, float]] = looks) -> None:
            if progress.early_stop_loss is not None:
                looks.append((time.process_time() - began, progress.early_stop_loss))

        history = fit(spec, own, on_progress=hear, precision=precision).history
        best = int(np.argmin([loss for _, loss in looks]))
        better = next((seconds for seconds, loss in looks if loss < base), None)
        yield [
            name,
            f"{looks[best][1]:.5f}",
            f"{(base - looks[best][1]) * 1e4:.1f}",
            history[best]["windows"],
            f"{looks[best][0]:.0f}",
            "never" if better is None else f"{better:.1f}",
            f"{looks[-1][0]:.0f}",
        ]


SPEED_COLUMNS = ("network", "how", "batch", "precision", "threads", "windows per CPU second")
QUALITY_COLUMNS = (
    "changed",
    "best validation loss",
    "gain over the base rate, 0.0001",
    "windows to it",
    "CPU s to it",
    "CPU s to the base rate",
    "CPU s in all",
)
