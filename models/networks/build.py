"""Define the networks and build one by its name: an LSTM of one coin, a transformer of all coins, an average of several.

Shapes: B windows, T minutes, F inputs, M members; LSTM: H hidden units, D directions read; transformer: D width, H heads, K = D / H.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from core.errors import TrainingError
from models.networks.trees import BOOSTING_MINUTES, BoostedTrees

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

LSTM_MINUTES = 60
HIDDEN = 64
LSTM_LAYERS = 2


class DirectionLSTM(nn.Module):
    """Logit of "the close 15 minutes on is higher", from the final hidden state of each direction read.

    The backward direction reads the closed window from its last minute to its first; it sees no minute after it.
    """

    def __init__(self, inputs: int, *, two_way: bool = True, dropout: float = 0.4) -> None:
        """Build it; 157,313 parameters two-way and 62,337 one-way with 31 inputs."""
        super().__init__()
        # torch's own: 672 windows a CPU second in float32, 1,119 to 1,813 in bfloat16 of 256; a cell of ours took 244 to 461, and its
        # step compiled 255 after 74 s of compiling (docs/log.md)
        self.lstm = nn.LSTM(inputs, HIDDEN, LSTM_LAYERS, batch_first=True, bidirectional=two_way, dropout=dropout)
        read = HIDDEN * (2 if two_way else 1)
        self.directions = 2 if two_way else 1
        # the usual start: a last layer of zeros begins at a coin's loss but learns later, gains of -0.7, -2.6 and 13.3 in three
        # folds where this has 7.6, 7.6 and 11.7 (docs/log.md)
        self.head = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(read, 64), nn.ReLU(), nn.Dropout(dropout), nn.Linear(64, 1)
        )

    def forward(self, x_BTF: Tensor) -> Tensor:
        """Return logit_B of scaled windows."""
        _, (hidden, _) = self.lstm(x_BTF)
        last_BDH = torch.cat([hidden[-self.directions + way] for way in range(self.directions)], dim=1)
        logit_B: Tensor = self.head(last_BDH).squeeze(1)
        return logit_B


TRANSFORMER_MINUTES = 100
WIDTH = 128
HEADS = 8
LAYERS = 4
FEED_FORWARD = 256


class EncoderLayer(nn.Module):
    """Self-attention and a feed-forward step, each normalised before and added after."""

    def __init__(self, dropout: float, *, last_minute_only: bool = False) -> None:
        """Build it; ``last_minute_only`` leaves out what no later layer reads, the result is the same."""
        super().__init__()
        self.attention_norm = nn.LayerNorm(WIDTH)
        self.query = nn.Linear(WIDTH, WIDTH)
        self.key_value = nn.Linear(WIDTH, 2 * WIDTH)
        self.attention_out = nn.Linear(WIDTH, WIDTH)
        self.forward_norm = nn.LayerNorm(WIDTH)
        self.forward_in = nn.Linear(WIDTH, FEED_FORWARD)
        self.forward_out = nn.Linear(FEED_FORWARD, WIDTH)
        self.dropout = nn.Dropout(dropout)
        self.last_minute_only = last_minute_only

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Return x_BTD, or x_B1D of the last minute if that is all that is read."""
        normal_BTD = self.attention_norm(x_BTD)
        key_BTD, value_BTD = self.key_value(normal_BTD).chunk(2, dim=-1)
        if self.last_minute_only:
            normal_BTD, x_BTD = normal_BTD[:, -1:], x_BTD[:, -1:]
        mixed_BTD = _attend(self.query(normal_BTD), key_BTD, value_BTD)
        x_BTD = x_BTD + self.dropout(self.attention_out(mixed_BTD))
        step_BTD = self.forward_out(functional.relu(self.forward_in(self.forward_norm(x_BTD))))
        out_BTD: Tensor = x_BTD + self.dropout(step_BTD)
        return out_BTD


class DirectionTransformer(nn.Module):
    """The 15-minute return in training standard deviations, and the logit of it being positive."""

    def __init__(self, inputs: int, coins: int, *, dropout: float = 0.1) -> None:
        """Build it: 4 layers, 8 heads, width 128."""
        super().__init__()
        self.project = nn.Linear(inputs, WIDTH)
        self.coin = nn.Embedding(coins, WIDTH)
        self.position = nn.Parameter(torch.zeros(TRANSFORMER_MINUTES, WIDTH))
        nn.init.normal_(self.position, std=0.02)
        nn.init.normal_(self.coin.weight, std=0.02)
        self.layers = nn.ModuleList(
            EncoderLayer(dropout, last_minute_only=position == LAYERS - 1) for position in range(LAYERS)
        )
        self.norm = nn.LayerNorm(WIDTH)
        self.direction = nn.Linear(WIDTH, 1)
        self.expected_return = nn.Linear(WIDTH, 1)

    def forward(self, x_BTF: Tensor, coin_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return logit_B and return_B of scaled windows."""
        x_BTD = self.project(x_BTF) + self.position + self.coin(coin_B).unsqueeze(1)
        for layer in self.layers:
            x_BTD = layer(x_BTD)
        last_BD = self.norm(x_BTD[:, -1])
        return self.direction(last_BD).squeeze(1), self.expected_return(last_BD).squeeze(1)


def _attend(query_BSD: Tensor, key_BTD: Tensor, value_BTD: Tensor) -> Tensor:
    """Scaled dot-product attention, written out.

    PyTorch's fused kernel takes 65 % of a bfloat16 training step on a CPU in its backward pass; this one is about twice as
    fast there (docs/log.md).
    """
    query, key, value = (_by_head(part) for part in (query_BSD, key_BTD, value_BTD))
    weight_BHST = torch.matmul(query * (WIDTH // HEADS) ** -0.5, key.transpose(-1, -2)).softmax(-1, dtype=query.dtype)
    return torch.matmul(weight_BHST, value).transpose(1, 2).flatten(2)


def _by_head(x_BTD: Tensor) -> Tensor:
    batch, minutes, _ = x_BTD.shape
    return x_BTD.view(batch, minutes, HEADS, WIDTH // HEADS).transpose(1, 2)


class Ensemble(nn.Module):
    """The mean logit of its members, and their mean return where they have one; it is read like any one of them."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        """Put ``members`` together; they stay in that order, and so do the sums."""
        super().__init__()
        self.members = nn.ModuleList(members)

    @property
    def coin(self) -> Any:  # noqa: ANN401  # an embedding, or no attribute at all, as in the members
        """The members' mark that they read all coins and must be told which; absent where they read one."""
        return self.members[0].coin

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Return logit_B, or logit_B and return_B, from what each member takes."""
        outputs = [member(*inputs) for member in self.members]
        if isinstance(outputs[0], tuple):
            return _mean([output[0] for output in outputs]), _mean([output[1] for output in outputs])
        return _mean(outputs)


def joined_weights(members: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the flat state of an ensemble from its members' states; of a single member its own, as it is."""
    if len(members) == 1:
        return dict(members[0])
    return {f"members.{number}.{name}": value for number, state in enumerate(members) for name, value in state.items()}


def _mean(values: Sequence[Tensor]) -> Tensor:
    return torch.stack(tuple(values)).mean(dim=0)


_WINDOW_MINUTES = {
    "lstm": LSTM_MINUTES,
    "lstm_one_way": LSTM_MINUTES,
    "transformer": TRANSFORMER_MINUTES,
    "boosting": BOOSTING_MINUTES,
}


def window_minutes(architecture: str) -> int:
    """Return how many minutes the architecture reads.

    Raises:
        TrainingError: there is no such architecture.
    """
    try:
        return _WINDOW_MINUTES[architecture]
    except KeyError:
        msg = f"there is no architecture {architecture!r}; choose one of {', '.join(_WINDOW_MINUTES)}"
        raise TrainingError(msg) from None


def build_network(architecture: str, inputs: int, coins: int, dropout: float, members: int = 1) -> nn.Module:
    """Build a network with fresh weights from torch's current seed; several ``members`` answer as one, by their mean logit.

    Raises:
        TrainingError: there is no such architecture.
    """
    window_minutes(architecture)
    if architecture == "boosting":
        return BoostedTrees(coins)  # a bag of any number of members is one set of trees
    if members > 1:
        return Ensemble([build_network(architecture, inputs, coins, dropout) for _ in range(members)])
    if architecture == "transformer":
        return DirectionTransformer(inputs, coins, dropout=dropout)
    return DirectionLSTM(inputs, two_way=architecture == "lstm", dropout=dropout)
