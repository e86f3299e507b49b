"""The trees in the exported graph decide exactly as LightGBM's do, window for window and leaf for leaf."""

from __future__ import annotations

import io
import json

import lightgbm
import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import expit

from core.errors import ModelError
from models.networks.trees import ML_DOMAIN, ML_OPSET, BoostedTrees, as_bytes, bag, rounded_down

COINS, INPUTS, LEAVES = 3, 6, 8


def grown(seed: int, rows: int, values: str) -> tuple[lightgbm.Booster, np.ndarray]:
    """Boost on random inputs: continuous ones, or ones with few values, so that windows fall on thresholds."""
    generator = np.random.default_rng(seed)
    x_NF = generator.normal(size=(rows, INPUTS + 1)).astype(np.float32)
    if values == "few":
        x_NF = np.round(x_NF * 2) / np.float32(3)
    x_NF[:, -1] = generator.integers(0, COINS, rows)
    y_N = (x_NF[:, 0] * x_NF[:, 1] + 0.5 * x_NF[:, -1] + generator.normal(size=rows) > 0.5).astype(int)
    parameters = {
        "objective": "binary", "num_leaves": LEAVES, "min_data_in_leaf": 5, "feature_fraction_bynode": 0.5, "seed": seed,
        "use_missing": False, "num_threads": 1, "verbosity": -1,
    }  # fmt: skip
    return lightgbm.train(parameters, lightgbm.Dataset(x_NF, y_N), 6), x_NF


def network_of(*models: lightgbm.Booster) -> BoostedTrees:
    coin = torch.arange(COINS, dtype=torch.float32)
    network = BoostedTrees(COINS)
    network.load_state_dict(bag([{"coin": coin, "text": as_bytes(own.model_to_string())} for own in models], 6))
    return network.eval()


def graph_of(network: BoostedTrees) -> onnxruntime.InferenceSession:
    class Logit(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, x_BTF: torch.Tensor, coin_B: torch.Tensor) -> torch.Tensor:
            return self.network(x_BTF, coin_B)[0]

    buffer = io.BytesIO()
    sample = (torch.zeros(2, 1, INPUTS), torch.zeros(2, dtype=torch.int64))
    torch.onnx.export(
        Logit(), sample, buffer, input_names=["x", "coin"], output_names=["logit"], opset_version=18, dynamo=False,
        dynamic_axes={"x": {0: "batch"}, "coin": {0: "batch"}}, custom_opsets={ML_DOMAIN: ML_OPSET},
    )  # fmt: skip
    return onnxruntime.InferenceSession(buffer.getvalue())


def thresholds(node: dict) -> list[float]:
    if "leaf_value" in node:
        return []
    return [node["threshold"], *thresholds(node["left_child"]), *thresholds(node["right_child"])]


def walked(node: dict, x_F: np.ndarray) -> float:
    """Walk down a tree as LightGBM tells it, comparing doubles."""
    while "leaf_value" not in node:
        node = node["left_child" if float(x_F[node["split_feature"]]) <= node["threshold"] else "right_child"]
    return float(node["leaf_value"])


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning", "ignore::UserWarning")
@pytest.mark.parametrize("values", ["many", "few"])
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000), rows=st.integers(40, 400))
def test_graph_finds_the_leaves_lightgbm_finds(values, seed, rows):
    model, trained_NF = grown(seed, rows, values)
    trees = [tree["tree_structure"] for tree in model.dump_model()["tree_info"]]
    # inputs that lie on thresholds, and on the float32 just above and below them
    near = np.array([value for tree in trees for value in thresholds(tree)] or [0.0]).astype(np.float32)
    near = np.concatenate([near, np.nextafter(near, np.float32(9)), np.nextafter(near, np.float32(-9))])
    # LightGBM takes what is nearer to zero than 1e-35 for zero: no input is
    near = np.where(np.abs(near) < 1e-30, np.float32(0), near)
    generator = np.random.default_rng(seed)
    edge_NF = generator.choice(near, size=(200, INPUTS + 1)).astype(np.float32)
    edge_NF[:, -1] = generator.integers(0, COINS, 200)
    x_NF = np.concatenate([trained_NF, edge_NF])
    x_BTF, coin_B = x_NF[:, None, :-1], x_NF[:, -1].astype(np.int64)
    network = network_of(model)
    with torch.inference_mode():
        torch_B = network(torch.from_numpy(x_BTF), torch.from_numpy(coin_B))[0].numpy()
    (graph_B,) = graph_of(network).run(None, {"x": x_BTF, "coin": coin_B})
    oracle_B = np.array([sum(walked(tree, x_F) for tree in trees) for x_F in x_NF])
    np.testing.assert_allclose(torch_B, oracle_B, rtol=0, atol=1e-6)
    np.testing.assert_allclose(graph_B, oracle_B, rtol=0, atol=2e-6)


def test_bag_says_the_mean_logit_of_its_members():
    (one, x_NF), (other, _) = grown(1, 200, "many"), grown(2, 200, "many")
    x_BTF, coin_B = torch.from_numpy(x_NF[:, None, :-1]), torch.from_numpy(x_NF[:, -1].astype(np.int64))
    logit_B, return_B = network_of(one, other)(x_BTF, coin_B)
    mean_B = (one.predict(x_NF, raw_score=True) + other.predict(x_NF, raw_score=True)) / 2
    assert return_B is None
    np.testing.assert_allclose(expit(logit_B.numpy()), expit(mean_B), rtol=0, atol=1e-6)


def test_trees_of_an_older_version_are_refused_with_the_repair():
    with pytest.raises(ModelError, match="make boosting"):
        BoostedTrees(2).load_state_dict({"coin": torch.arange(2.0), "value": torch.zeros(1, 2)})


def test_bag_keeps_the_first_rounds_alone():
    model, _ = grown(1, 200, "many")
    state = bag([{"coin": torch.arange(3.0), "text": as_bytes(model.model_to_string())}], 4)
    (text,) = json.loads(state["text"].numpy().tobytes())
    assert lightgbm.Booster(model_str=text).num_trees() == 4


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
