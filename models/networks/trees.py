"""Boosted trees that LightGBM grew, as a network: scored by the library, exported as one node of the standard's tree ensembles.

So a boosted model is saved, calibrated, compared and served exactly as the networks are. LightGBM compares doubles, the
graph float32: thresholds are rounded down, which decides the same for every float32 input (`tests/property/test_trees.py`).

Shapes: B windows, T minutes, F inputs, C coins.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from core.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import lightgbm
    from torch import Tensor

# of one minute's inputs a window takes 52 to 73 us to score, an LSTM's hour 260 (docs/log.md)
BOOSTING_MINUTES = 1
ML_DOMAIN, ML_OPSET = "ai.onnx.ml", 3


class BoostedTrees(nn.Module):
    """Logit of "the close 15 minutes on is higher": the mean of a bag of boosted trees over a window's last minute.

    The trees see the inputs of that minute and, behind them, the number of the coin.
    """

    coin: Tensor
    text: Tensor
    """The bag in LightGBM's own text, as bytes."""

    def __init__(self, coins: int) -> None:
        """Build it without any tree: it says 0 until `load_state_dict` brings some."""
        super().__init__()
        self.register_buffer("coin", torch.arange(coins, dtype=torch.float32))
        self.register_buffer("text", as_bytes(json.dumps([])))

    def forward(self, x_BTF: Tensor, coin_B: Tensor) -> tuple[Tensor, None]:
        """Return logit_B of scaled windows, and no return."""
        x_BF = torch.cat([x_BTF[:, -1], self.coin[coin_B].unsqueeze(1)], dim=1)
        logit_B1: Tensor = _MeanOfBag.apply(x_BF, self.text.numpy().tobytes().decode())  # type: ignore[no-untyped-call]
        return logit_B1.squeeze(1), None

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:  # noqa: ANN401  # torch's own
        """Take as many trees as the state brings.

        Raises:
            ModelError: the trees are those of an older version.
        """
        if prefix + "text" not in state_dict:
            msg = "these boosted trees were grown by an older version, which this one can serve but not judge or export again; train them anew: make boosting"
            raise ModelError(msg)
        self.text = torch.empty_like(state_dict[prefix + "text"])
        super()._load_from_state_dict(state_dict, prefix, *rest)


def as_bytes(text: str) -> Tensor:
    """Return a text as a tensor of bytes, which is what a checkpoint of weights may hold."""
    return torch.from_numpy(np.frombuffer(text.encode(), dtype=np.uint8).copy())


def bag(members: Sequence[Mapping[str, Tensor]], rounds: int) -> dict[str, Tensor]:
    """Return the state whose logit is the mean of the members', each with its first ``rounds`` trees."""
    texts = [member["text"].numpy().tobytes().decode() for member in members]
    kept = [own.model_to_string(num_iteration=rounds) for own in _boosters(json.dumps(texts))]
    return {"coin": members[0]["coin"], "text": as_bytes(json.dumps(kept))}


class _MeanOfBag(torch.autograd.Function):
    """What the bag says: by LightGBM here, by a `TreeEnsembleRegressor` in the exported graph."""

    @staticmethod
    def forward(ctx: Any, x_BF: Tensor, text: str) -> Tensor:  # noqa: ANN401, ARG004  # torch's own
        """Return logit_B1."""
        logit_B = np.zeros(len(x_BF))
        boosters = _boosters(text)
        for booster in boosters:
            logit_B += np.asarray(booster.predict(x_BF.numpy(), raw_score=True, num_threads=1)) / len(boosters)
        return torch.from_numpy(logit_B.astype(np.float32)).unsqueeze(1)

    @staticmethod
    def symbolic(g: Any, x_BF: Any, text: str) -> Any:  # noqa: ANN401  # the exporter's own
        """Return the node of the graph."""
        boosters = _boosters(text)
        trees = [tree["tree_structure"] for booster in boosters for tree in booster.dump_model()["tree_info"]]
        # where nothing was left to split there is no tree, and a node without one is no graph
        nodes = [node for tree in trees or [{"leaf_value": 0.0}] for node in _flat(tree)]
        # a node's number counts within its tree; trees are told apart by their place in the bag
        tree_N = np.cumsum([node["number"] == 0 for node in nodes]) - 1
        leaves = [(int(tree), node) for tree, node in zip(tree_N, nodes, strict=True) if "leaf" in node]
        node = g.op(
            f"{ML_DOMAIN}::TreeEnsembleRegressor",
            x_BF,
            n_targets_i=1,
            nodes_treeids_i=[int(tree) for tree in tree_N],
            nodes_nodeids_i=[node["number"] for node in nodes],
            nodes_featureids_i=[node.get("input", 0) for node in nodes],
            nodes_values_f=[node.get("threshold", 0.0) for node in nodes],
            nodes_modes_s=["LEAF" if "leaf" in node else "BRANCH_LEQ" for node in nodes],
            nodes_truenodeids_i=[node.get("left", 0) for node in nodes],
            nodes_falsenodeids_i=[node.get("right", 0) for node in nodes],
            target_treeids_i=[tree for tree, _ in leaves],
            target_nodeids_i=[node["number"] for _, node in leaves],
            target_ids_i=[0] * len(leaves),
            target_weights_f=[own["leaf"] / max(1, len(boosters)) for _, own in leaves],
        )
        # the exporter knows no shapes of this domain, and would warn
        node.setType(x_BF.type().with_sizes([None, 1]))
        return node


@lru_cache(maxsize=4)
def _boosters(text: str) -> tuple[lightgbm.Booster, ...]:
    import lightgbm  # noqa: PLC0415  # 1.8 s, and a second OpenMP runtime beside torch's: only where there are trees

    return tuple(lightgbm.Booster(model_str=own) for own in json.loads(text))


def _flat(tree: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the nodes of a tree of `Booster.dump_model`, the root first, numbered in that order."""
    waiting, number = [tree], 0
    while waiting:
        node, own = waiting.pop(0), {"number": number}
        number += 1
        if "leaf_value" in node:
            yield own | {"leaf": float(node["leaf_value"])}
            continue
        if node["decision_type"] != "<=":
            msg = f"a tree decides by {node['decision_type']}, which is not exported"
            raise ModelError(msg)
        left = number + len(waiting)
        waiting += [node["left_child"], node["right_child"]]
        threshold = float(rounded_down(np.array([node["threshold"]]))[0])
        yield own | {"input": node["split_feature"], "threshold": threshold, "left": left, "right": left + 1}


def rounded_down(value_N: np.ndarray) -> np.ndarray:
    """Return the largest float32 not above each double: a float32 is above the one just when it is above the other."""
    near_N = value_N.astype(np.float32)
    below_N = np.nextafter(near_N, np.float32(-np.inf))
    return np.where(near_N.astype(np.float64) > value_N, below_N, near_N).astype(np.float32)
