"""What decides one training, and where its result lies."""

from __future__ import annotations

import math
from dataclasses import dataclass

from core.errors import ConfigError

_SETTINGS = {
    ("epochs", None): "EPOCHS",
    ("stride", False): "TRAIN_STRIDE",
    ("stride", True): "TRANSFORMER_STRIDE",
    ("seed", None): "TRAIN_SEED",
    ("members", None): "TRAIN_MEMBERS",
    ("budget_seconds", None): "TRAIN_BUDGET_SECONDS",
}
"""Which setting decides a field, where one does; a stride has one for the transformer and one for the others."""


@dataclass(frozen=True, slots=True)
class TrainSpec:
    """All that decides one training: the same spec and data set give the same bytes."""

    architecture: str
    """``lstm``, ``lstm_one_way``, ``transformer`` or ``boosting``."""
    products: tuple[str, ...]
    """One product for an LSTM, all of them for the transformer and for boosting."""
    epochs: int = 15
    """At most; early stopping usually ends a training within the first."""
    seed: int = 0
    stride: int = 1
    """Train on every ``stride``-th minute; neighbouring windows are nearly copies."""
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 0.1
    dropout: float = 0.4
    patience: int = 4
    """Checks without a better one before a training ends; 0 never ends it."""
    budget_seconds: float = 0.0
    """Stop when the whole training, resumed parts included, has taken this long; 0 is no limit."""
    members: int = 1
    """Networks of the seeds ``seed``, ``seed + 1`` ..., whose logits are averaged inside one graph."""
    check_windows: int = 20_000
    """Windows between two checks on the early-stop part; the end of an epoch is one as well."""
    average_windows: int = 20_000
    """The kept weights are an average over about this many of the last windows."""

    def __post_init__(self) -> None:
        """Refuse what cannot be trained.

        Raises:
            ConfigError: a field is out of its range; the text names it, what it is and what would do.
        """
        if not self.products:
            msg = f"{self.architecture}: a training needs at least one product; name one, such as BTC-USD"
            raise ConfigError(msg)
        at_least = {"epochs": 1, "stride": 1, "batch_size": 1, "members": 1, "check_windows": 1, "average_windows": 1}
        for field, least in (at_least | {"seed": 0, "patience": 0}).items():
            value = getattr(self, field)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ConfigError(self._nonsense(field, f"a whole number of at least {least}"))
        if not 0 < self.learning_rate < math.inf:
            raise ConfigError(self._nonsense("learning_rate", "above 0, such as 0.001"))
        if not 0 <= self.dropout < 1:
            raise ConfigError(self._nonsense("dropout", "at least 0 and below 1, such as 0.4"))
        for field in ("weight_decay", "budget_seconds"):
            if not 0 <= getattr(self, field) < math.inf:
                raise ConfigError(self._nonsense(field, "0 or more"))

    def _nonsense(self, field: str, wanted: str) -> str:
        setting = _SETTINGS.get((field, self.architecture == "transformer"), _SETTINGS.get((field, None)))
        where = f"; set {setting}" if setting else f"; give the training a {field} in that range"
        return f"{self.name}: {field} is {getattr(self, field)!r}, it must be {wanted}{where}"

    @property
    def name(self) -> str:
        """Return ``lstm-BTC-USD`` or ``transformer``, a name for tasks and logs."""
        return f"{self.architecture}-{self.products[0]}" if len(self.products) == 1 else self.architecture


@dataclass(frozen=True, slots=True)
class CandidateRef:
    """A trained, not yet judged model: the folder that holds its checkpoint and metrics."""

    candidate_id: str
    architecture: str
    products: tuple[str, ...]
    path: str
