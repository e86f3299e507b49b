"""Save where a training goes on after it was killed: one file, replaced whole at every check, and read it again."""

from __future__ import annotations

import io
import math
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import torch

from core.errors import TrainingError
from core.files import write_bytes
from models.serving.passport import TrainingCheck

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

_UNKNOWN = {"train_loss": math.nan, "early_stop_log_loss": math.nan}
"""What an entry of boosting's did not hold before entries were typed: its losses lie beside its trees."""


@dataclass(slots=True)
class TrainingState:
    """What a training has done so far, all members and all processes that worked on it together."""

    history: list[TrainingCheck] = field(default_factory=list)
    """One entry per check, members and checks counted from 1."""
    finished: list[dict[str, Tensor]] = field(default_factory=list)
    """The kept weights of each finished member."""
    member: dict[str, Any] | None = None
    """The state of the member at work, as `MemberState.state` returns it."""

    @property
    def seconds(self) -> float:
        """Time that all checked work took."""
        return float(sum(entry.seconds for entry in self.history))

    def seconds_of(self, number: int) -> float:
        """Time that one member's checked work took."""
        return float(sum(entry.seconds for entry in self.of(number)))

    def ended_by(self, number: int) -> str:
        """What ended one member: ``epochs``, ``patience`` or ``budget``; nothing if it is not at its end."""
        entries = self.of(number)
        return entries[-1].ended_by if entries else ""

    @property
    def windows(self) -> int:
        """Windows that all checked work trained on."""
        last = {entry.member: entry.windows for entry in self.history}
        return int(sum(last.values()))

    def of(self, number: int) -> list[TrainingCheck]:
        """Return the entries of one member, counted from 0."""
        return [entry for entry in self.history if entry.member == number + 1]


class MemberState:
    """One network at work: its weights, their average, the optimiser, and the best average so far."""

    def __init__(self, network: nn.Module, learning_rate: float, weight_decay: float) -> None:
        """Begin with the network as it is."""
        self.network = network
        # the average is what is checked and kept: single steps follow their last windows, of which fifteen neighbours are one
        self.average = deepcopy(network).requires_grad_(requires_grad=False).eval()
        self.optimiser = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=weight_decay)
        self.best = _copied(self.average)
        self.best_loss = math.inf
        self.best_check = 0
        self.checks = 0
        self.step = 0

    def note(self, watched: float) -> None:
        """Count a check; keep the average if it is the best so far."""
        self.checks += 1
        if watched < self.best_loss:
            self.best_loss, self.best_check = watched, self.checks
            self.best = _copied(self.average)

    def state(self) -> dict[str, Any]:
        """Return everything, as tensors and numbers."""
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "best": self.best,
            "best_loss": self.best_loss,
            "best_check": self.best_check,
            "checks": self.checks,
            "step": self.step,
        }

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.best, self.best_loss = state["best"], state["best_loss"]
        self.best_check, self.checks, self.step = state["best_check"], state["checks"], state["step"]


def save(path: Path | None, training: TrainingState, member: MemberState | None) -> None:
    """Replace the checkpoint; ``member`` is None between two members."""
    if path is None:
        return
    state = {
        "history": [asdict(entry) for entry in training.history],  # plain: the file holds no pickled class
        "finished": training.finished,
        "member": None if member is None else member.state(),
    }
    buffer = io.BytesIO()  # a checkpoint is megabytes; written whole, a kill leaves the one before
    torch.save(state, buffer)
    write_bytes(path, buffer.getvalue())


def load(path: Path | None) -> TrainingState:
    """Return what was saved, or the state of a training that was not begun.

    Raises:
        TrainingError: the file is damaged.
    """
    if path is None or not path.exists():
        return TrainingState()
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")  # each part goes to its device when it is used
        history = [TrainingCheck(**_UNKNOWN | entry) for entry in state["history"]]
        return TrainingState(history, state["finished"], state["member"])
    except (RuntimeError, EOFError, KeyError, TypeError, ValueError, UnpicklingError, BadZipFile) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        msg = f"the checkpoint {path} cannot be read ({first}); remove it and train again from the start"
        raise TrainingError(msg) from error


def _copied(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}
