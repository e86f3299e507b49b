"""The trees as a network decide exactly as scikit-learn's do, window for window and leaf for leaf."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import expit
from sklearn.ensemble import HistGradientBoostingClassifier

from models.networks.trees import BoostedTrees, Tree, bag, rounded_down, state_of

COINS, INPUTS, LEAVES = 3, 6, 8


def grown(seed: int, rows: int, values: str) -> tuple[HistGradientBoostingClassifier, np.ndarray, np.ndarray]:
    """Boost on random inputs: continuous ones, or ones with few values, so that windows fall on thresholds."""
    generator = np.random.default_rng(seed)
    x_NF = generator.normal(size=(rows, INPUTS + 1)).astype(np.float32)
    if values == "few":
        x_NF = np.round(x_NF * 2) / np.float32(3)
    x_NF[:, -1] = generator.integers(0, COINS, rows)
    y_N = (x_NF[:, 0] * x_NF[:, 1] + 0.5 * x_NF[:, -1] + generator.normal(size=rows) > 0.5).astype(int)
    model = HistGradientBoostingClassifier(
        max_iter=6, max_leaf_nodes=LEAVES, min_samples_leaf=5, max_features=0.5, random_state=seed
    )
    return model.fit(x_NF, y_N), x_NF, y_N


def network_of(*models: HistGradientBoostingClassifier) -> BoostedTrees:
    states = [
        state_of(
            [Tree.of(tree.nodes) for (tree,) in m._predictors], m._baseline_prediction.item(), COINS, leaves=LEAVES
        )
        for m in models
    ]
    network = BoostedTrees(COINS)
    network.load_state_dict(bag(states, 6))
    return network.eval()


def on_thresholds(model: HistGradientBoostingClassifier, seed: int) -> np.ndarray:
    """Return windows whose inputs lie on thresholds, and on the float32 just above and below them."""
    nodes = np.concatenate([tree.nodes for (tree,) in model._predictors])
    near = nodes[~nodes["is_leaf"].astype(bool)]["num_threshold"].astype(np.float32)
    near = np.concatenate([near, np.nextafter(near, np.float32(9)), np.nextafter(near, np.float32(-9))])
    generator = np.random.default_rng(seed)
    x_NF = generator.choice(near, size=(300, INPUTS + 1)).astype(np.float32)
    x_NF[:, -1] = generator.integers(0, COINS, 300)
    return x_NF


@pytest.mark.parametrize("values", ["many", "few"])
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000), rows=st.integers(40, 400))
def test_network_finds_the_leaf_and_the_probability_scikit_learn_finds(values, seed, rows):
    model, trained_NF, _ = grown(seed, rows, values)
    network = network_of(model)
    x_NF = np.concatenate([trained_NF, on_thresholds(model, seed)])
    x_BTF, coin_B = torch.from_numpy(x_NF[:, None, :-1]), torch.from_numpy(x_NF[:, -1].astype(np.int64))
    found_MLB = network.leaves(x_BTF, coin_B).numpy()
    for tree, found_LB in zip(model._predictors, found_MLB, strict=True):
        nodes = tree[0].nodes
        value_L = nodes[nodes["is_leaf"].astype(bool)]["value"]
        own_LB = found_LB[: len(value_L)]
        assert (own_LB.sum(axis=0) == 1).all()
        np.testing.assert_array_equal(value_L @ own_LB, raw_values(tree[0], x_NF))
    said_B = torch.sigmoid(network(x_BTF, coin_B)[0]).numpy()
    np.testing.assert_allclose(said_B, model.predict_proba(x_NF)[:, 1], rtol=0, atol=1e-6)


def raw_values(tree, x_NF: np.ndarray) -> np.ndarray:
    """Walk down the tree as scikit-learn stores it, comparing doubles."""
    found = np.empty(len(x_NF))
    for row, x_F in enumerate(x_NF.astype(np.float64)):
        node = tree.nodes[0]
        while not node["is_leaf"]:
            node = tree.nodes[node["left" if x_F[node["feature_idx"]] <= node["num_threshold"] else "right"]]
        found[row] = node["value"]
    return found


def test_bag_says_the_mean_logit_of_its_members():
    (one, x_NF, _), (other, _, _) = grown(1, 200, "many"), grown(2, 200, "many")
    x_BTF, coin_B = torch.from_numpy(x_NF[:, None, :-1]), torch.from_numpy(x_NF[:, -1].astype(np.int64))
    logit_B, return_B = network_of(one, other)(x_BTF, coin_B)
    mean_B = (one.decision_function(x_NF) + other.decision_function(x_NF)) / 2
    assert return_B is None
    np.testing.assert_allclose(expit(logit_B.numpy()), expit(mean_B), rtol=0, atol=1e-6)


@given(
    threshold=st.floats(-1e6, 1e6),
    x=arrays(np.float32, 20, elements=st.floats(-1e6, 1e6, width=32)),
)
def test_threshold_rounded_down_decides_the_same_for_every_float32(threshold, x):
    near = np.float32(threshold)
    x = np.concatenate([x, [near, np.nextafter(near, np.float32(np.inf)), np.nextafter(near, np.float32(-np.inf))]])
    x = x.astype(np.float32)
    np.testing.assert_array_equal(x > rounded_down(np.array([threshold])), x.astype(np.float64) > threshold)


def test_network_without_trees_says_nothing():
    logit_B, _ = BoostedTrees(2)(torch.zeros(3, 1, INPUTS), torch.zeros(3, dtype=torch.int64))
    assert logit_B.tolist() == [0.0, 0.0, 0.0]
