"""Boosted trees as a network: buffers that hold the trees, and every question of every tree asked at once.

So a boosted model is saved, exported, compared and served exactly as the networks are. The trees become products of
matrices (Nakandala et al., "A tensor compiler for unified machine learning prediction serving", OSDI 2020): all questions
are answered, and the leaf is the one whose path agrees with every answer; seven times faster than walking down (measured).
A question is whether an input is above a threshold; scikit-learn compares doubles, here both sides are float32 and
thresholds are rounded down, which decides the same for every float32 input (`tests/property/test_trees.py`).

Shapes: B windows, T minutes, F inputs, C coins, M trees, Q questions of a tree, L leaves of a tree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

# of one minute's inputs a window takes 52 to 73 us to score, an LSTM's hour 260 (docs/log.md)
BOOSTING_MINUTES = 1


@dataclass(frozen=True, slots=True)
class Tree:
    """One tree: its questions, and per leaf which answers lead there and what it says."""

    input_Q: NDArray[np.int16]
    """Which input a question is about."""
    threshold_Q: NDArray[np.float32]
    """The answer is yes if the input is above this."""
    path_LQ: NDArray[np.int8]
    """1 where the way to the leaf needs a yes, -1 where it needs a no, 0 for a question off the way."""
    value_L: NDArray[np.float64]
    """What the leaf adds to the logit."""

    @classmethod
    def of(cls, nodes: NDArray[np.void]) -> Tree:
        """Lay out the nodes that scikit-learn grew (``TreePredictor.nodes``)."""
        asks_N = ~nodes["is_leaf"].astype(bool)
        question_N, leaf_N = np.cumsum(asks_N) - 1, np.cumsum(~asks_N) - 1
        path_LQ = np.zeros((int(leaf_N[-1]) + 1, int(question_N[-1]) + 1), dtype=np.int8)
        waiting: list[tuple[int, list[tuple[int, int]]]] = [(0, [])]
        while waiting:
            node, way = waiting.pop()
            if asks_N[node]:
                for child, answer in ((nodes[node]["left"], -1), (nodes[node]["right"], 1)):
                    waiting.append((int(child), [*way, (int(question_N[node]), answer)]))
            for question, answer in way if not asks_N[node] else ():
                path_LQ[leaf_N[node], question] = answer
        asking = nodes[asks_N]
        return cls(
            asking["feature_idx"].astype(np.int16),
            rounded_down(asking["num_threshold"]),
            path_LQ,
            nodes[~asks_N]["value"].astype(np.float64),
        )


def rounded_down(value_N: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the largest float32 not above each value: a float32 is above the one just when it is above the other."""
    near_N = value_N.astype(np.float32)
    below_N = np.nextafter(near_N, np.float32(-np.inf))
    return np.where(near_N.astype(np.float64) > value_N, below_N, near_N).astype(np.float32)


class BoostedTrees(nn.Module):
    """Logit of "the close 15 minutes on is higher": what the leaves say that a window's last minute falls into.

    The trees see the inputs of that minute and, behind them, the number of the coin.
    """

    coin: Tensor
    base: Tensor
    input: Tensor
    threshold: Tensor
    path: Tensor
    yes: Tensor
    value: Tensor

    def __init__(self, coins: int) -> None:
        """Build it without any tree: it says 0 until `load_state_dict` brings some."""
        super().__init__()
        for name, value in state_of([], 0.0, coins).items():
            self.register_buffer(name, value)

    def forward(self, x_BTF: Tensor, coin_B: Tensor) -> tuple[Tensor, None]:
        """Return logit_B of scaled windows, and no return."""
        logit_1B = self.value.reshape(1, -1) @ self.leaves(x_BTF, coin_B).flatten(0, 1)
        return logit_1B.squeeze(0) + self.base, None

    def leaves(self, x_BTF: Tensor, coin_B: Tensor) -> Tensor:
        """Return 1 for each window's leaf in each tree, else 0: (M, L, B)."""
        x_FB = torch.cat([x_BTF[:, -1], self.coin[coin_B].unsqueeze(1)], dim=1).T
        # windows last: then a question fetches the inputs of all of them in one piece
        input_MQB = x_FB[self.input.flatten().long()].reshape(*self.input.shape, x_FB.shape[1])
        answer_MQB = (input_MQB > self.threshold.unsqueeze(2)).float()
        return (torch.matmul(self.path.float(), answer_MQB) == self.yes.float().unsqueeze(2)).float()

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:  # noqa: ANN401  # torch's own
        """Take as many trees as the state brings."""
        for name in dict(self.named_buffers()):
            if isinstance(value := state_dict.get(prefix + name), torch.Tensor):
                setattr(self, name, torch.empty_like(value))
        super()._load_from_state_dict(state_dict, prefix, *rest)


def state_of(trees: Sequence[Tree], base: float, coins: int, *, leaves: int = 1) -> dict[str, Tensor]:
    """Return the state of a `BoostedTrees`, for trees of at most ``leaves`` leaves.

    Trees of fewer get questions whose answer is always no, and leaves that say nothing.
    """
    shape_MQ = (len(trees), leaves - 1)
    state: dict[str, NDArray[Any]] = {
        "input": np.zeros(shape_MQ, dtype=np.int16),
        "threshold": np.full(shape_MQ, np.inf, dtype=np.float32),
        "path": np.zeros((len(trees), leaves, leaves - 1), dtype=np.int8),
        "value": np.zeros((len(trees), leaves), dtype=np.float32),
    }
    for number, tree in enumerate(trees):
        own, questions = len(tree.value_L), len(tree.input_Q)
        state["input"][number, :questions] = tree.input_Q
        state["threshold"][number, :questions] = tree.threshold_Q
        state["path"][number, :own, :questions] = tree.path_LQ
        state["value"][number, :own] = tree.value_L
    state["yes"] = (state["path"] > 0).sum(axis=2).astype(np.int8)
    tensors = {name: torch.from_numpy(values) for name, values in state.items()}
    return tensors | {"coin": torch.arange(coins, dtype=torch.float32), "base": torch.tensor(base, dtype=torch.float32)}


def bag(members: Sequence[Mapping[str, Tensor]], rounds: int) -> dict[str, Tensor]:
    """Return the state whose logit is the mean of the members', each with its first ``rounds`` trees."""
    per_tree = ("input", "threshold", "path", "yes", "value")
    bagged = {name: torch.cat([member[name][:rounds] for member in members]) for name in per_tree}
    bagged["value"] /= len(members)
    return bagged | {"coin": members[0]["coin"], "base": torch.stack([member["base"] for member in members]).mean()}
