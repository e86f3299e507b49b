"""Say all that decides one training: its specification, the presets behind it, and what the settings choose.

Presets hold what is not the user's to choose every time. ``market`` is for recorded or live candles, where the edge is
small and a network over-fits within an epoch: strong weight decay, dropout, large batches. ``demo`` is for the planted
market, where the edge is large and two months of minutes must be learnt within two minutes on two cores: small batches, a
high rate, little dropout.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from core.errors import ConfigError
from core.integrity import require_id

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from core.settings import Settings

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
        minima = {"epochs": 1, "stride": 1, "batch_size": 1, "members": 1, "check_windows": 1, "average_windows": 1}
        for field, minimum in (minima | {"seed": 0, "patience": 0}).items():
            value = getattr(self, field)
            if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
                raise ConfigError(self._refusal(field, f"a whole number of at least {minimum}"))
        if not 0 < self.learning_rate < math.inf:
            raise ConfigError(self._refusal("learning_rate", "above 0, such as 0.001"))
        if not 0 <= self.dropout < 1:
            raise ConfigError(self._refusal("dropout", "at least 0 and below 1, such as 0.4"))
        for field in ("weight_decay", "budget_seconds"):
            if not 0 <= getattr(self, field) < math.inf:
                raise ConfigError(self._refusal(field, "0 or more"))

    def _refusal(self, field: str, wanted: str) -> str:
        setting = _SETTINGS.get((field, self.architecture == "transformer"), _SETTINGS.get((field, None)))
        where = f"; set {setting}" if setting else f"; give the training a {field} in that range"
        return f"{self.name}: {field} is {getattr(self, field)!r}, it must be {wanted}{where}"

    @property
    def name(self) -> str:
        """Return ``lstm-BTC-USD`` or ``transformer``, a name for tasks and logs."""
        return f"{self.architecture}-{self.products[0]}" if len(self.products) == 1 else self.architecture


@dataclass(frozen=True, slots=True)
class CandidateRef:
    """A trained, not yet judged model: the folder that holds its weights and ``candidate.json``."""

    candidate_id: str
    architecture: str
    products: tuple[str, ...]
    path: str

    def __post_init__(self) -> None:
        """Refuse an id that is no folder of the candidates'."""
        require_id(self.candidate_id, "candidate")


# tried on real minutes before the test part (see the log): strides of 1, 5 and 15, a rate of 5e-4 and one-way networks all
# end within what another seed changes; no change was clearly better, so the values stayed
_LSTM_MARKET = {"batch_size": 256, "learning_rate": 1e-3, "weight_decay": 0.1, "dropout": 0.4}
_LSTM_DEMO = {"batch_size": 64, "learning_rate": 3e-3, "weight_decay": 0.1, "dropout": 0.1, "stride": 10, "epochs": 4}
# members x stride: every minute is learnt from once, each member from other ones; dropout is the share of inputs that a
# split does not see, epochs are rounds (chosen on the months before the test part, see the log)
_BOOSTING_MARKET = {"learning_rate": 0.03, "dropout": 0.7, "stride": 5, "members": 5, "epochs": 200, "patience": 0}
ALL_COINS = frozenset({"transformer", "boosting"})
"""Architectures that learn all coins together; the others learn one."""
PRESETS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "market": {
        "lstm": _LSTM_MARKET,
        "lstm_one_way": _LSTM_MARKET,
        "transformer": {"batch_size": 128, "learning_rate": 5e-4, "weight_decay": 0.1, "dropout": 0.2},
        "boosting": _BOOSTING_MARKET,
    },
    "demo": {
        "lstm": _LSTM_DEMO,
        "lstm_one_way": _LSTM_DEMO,
        "transformer": {
            "batch_size": 64,
            "learning_rate": 1.5e-3,
            "weight_decay": 0.1,
            "dropout": 0.1,
            "stride": 30,
            "epochs": 3,
        },
        "boosting": {"learning_rate": 0.05, "dropout": 0.5, "stride": 5, "epochs": 100, "patience": 0},
    },
}


def train_spec(
    architecture: str,
    products: Sequence[str],
    *,
    preset: str = "market",
    seed: int = 0,
    **chosen: Any,  # noqa: ANN401  # the fields of TrainSpec
) -> TrainSpec:
    """Return a spec from a preset; anything in ``chosen`` (epochs, stride, budget_seconds ...) wins over it.

    Raises:
        ConfigError: there is no such preset or architecture.
    """
    try:
        known = PRESETS[preset][architecture]
    except KeyError:
        msg = (
            f"there is no preset {preset!r} of {architecture!r}; presets are {', '.join(PRESETS)}, "
            f"architectures {', '.join(PRESETS['market'])}"
        )
        raise ConfigError(msg) from None
    return TrainSpec(architecture, tuple(products), seed=seed, **{**known, **chosen})


def spec_from_settings(
    settings: Settings,
    architecture: str,
    products: Sequence[str],
    **chosen: Any,  # noqa: ANN401  # the fields of TrainSpec
) -> TrainSpec:
    """Return the spec of one training: ``chosen`` wins over the settings, and they over the preset; None is not chosen.

    Boosting, and any preset but ``market``, bring their own epochs, stride and members.

    Raises:
        ConfigError: a network of one coin for several, an unknown architecture or preset, or a value out of its range.
    """
    if architecture in PRESETS["market"] and architecture not in ALL_COINS and len(products) != 1:
        msg = f"{architecture} learns one coin, not {len(products)} ({', '.join(products)}); name one: product=BTC"
        raise ConfigError(msg)
    decided: dict[str, Any] = {"seed": settings.train_seed, "budget_seconds": settings.train_budget_seconds}
    if settings.train_preset == "market" and architecture != "boosting":
        stride = settings.transformer_stride if architecture == "transformer" else settings.train_stride
        decided |= {"epochs": settings.epochs, "stride": stride, "members": settings.train_members}
    decided |= {name: value for name, value in chosen.items() if value is not None}
    return train_spec(architecture, products, preset=settings.train_preset, **decided)
