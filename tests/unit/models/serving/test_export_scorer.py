"""From weights to a graph and back: parity, equal bytes, and every kind of tampering refused."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
import torch

from core.errors import ModelError, ModelMismatchError
from core.files import write_json
from core.integrity import sealed, sha256_of
from models.datasets.scaler import Scaler
from models.gates.judgement import Judgement
from models.judging.judge import known_judgement
from models.networks.build import build_network, window_minutes
from models.serving.calibration import Calibration
from models.serving.export import OPSET, export_graph, parity, served, torch_probabilities
from models.serving.scorer import Scorer, external_data, require_probabilities
from tests.judged_models import write_passport

if TYPE_CHECKING:
    from pathlib import Path

KINDS = (
    Calibration("platt", 0.9, 0.05, 500),
    Calibration("temperature", 0.4, rows=500),
    Calibration("none"),
)
COINS = {"lstm": ["BTC-USD"], "lstm_one_way": ["BTC-USD"], "transformer": ["BTC-USD", "ETH-USD", "SOL-USD"]}


def export(folder: Path, architecture: str) -> torch.nn.Module:
    """Export fresh seeded weights with a passport that fits."""
    coins = COINS[architecture]
    torch.manual_seed(1)
    generator = np.random.default_rng(1)
    scaler = Scaler(
        generator.normal(size=(len(coins), 31)).astype(np.float32),
        generator.uniform(0.5, 2.0, size=(len(coins), 31)).astype(np.float32),
    )
    calibrations = [KINDS[coin % len(KINDS)] for coin in range(len(coins))]
    model = served(build_network(architecture, 31, len(coins), 0.3).eval(), scaler, calibrations)
    export_graph(model, folder, window_minutes(architecture), 31)
    write_passport(
        folder,
        f"{architecture}-test",
        architecture=architecture,
        products=coins,
        inputs=[f"input_{position:02d}" for position in range(31)],
        window_minutes=window_minutes(architecture),
        opset=OPSET,
    )
    return model


def rewrite(folder: Path, **changes: object) -> None:
    passport = json.loads((folder / "passport.json").read_text())
    write_json(folder / "passport.json", sealed(passport | changes))


def edit_graph(folder: Path, change) -> None:
    """Change the graph and its hash, so that only what was changed can be noticed."""
    graph = onnx.load(folder / "model.onnx")
    change(graph)
    onnx.save(graph, folder / "model.onnx")
    rewrite(folder, sha256=sha256_of(folder / "model.onnx"))


@pytest.mark.parametrize("architecture", COINS)
def test_graph_and_torch_agree_at_any_batch_size(tmp_path, architecture):
    model = export(tmp_path, architecture)
    coins = COINS[architecture]
    x_BTF = np.random.default_rng(2).normal(size=(40, window_minutes(architecture), 31)).astype(np.float32) * 3
    coin_B = np.arange(40) % len(coins)
    proof = parity(model, Scorer(tmp_path), x_BTF, coins, coin_B)
    assert proof.windows == 40
    assert proof.largest_difference <= 1e-5
    assert proof.largest_difference_one_by_one <= 1e-5


def test_each_coin_has_its_own_scaler_and_calibration(tmp_path):
    model = export(tmp_path, "transformer")
    x_BTF = np.random.default_rng(2).normal(size=(2, 100, 31)).astype(np.float32)
    said = [Scorer(tmp_path).score(x_BTF, coin) for coin in COINS["transformer"]]
    assert not np.allclose(said[0], said[1])
    np.testing.assert_allclose(said[2], torch_probabilities(model, x_BTF, np.array([2, 2])), atol=1e-6)


@pytest.mark.parametrize("architecture", ["lstm", "transformer"])
def test_export_of_the_same_weights_gives_the_same_bytes(tmp_path, architecture):
    digests = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        export(tmp_path / name, architecture)
        digests.append(sha256_of(tmp_path / name / "model.onnx"))
    assert digests[0] == digests[1]


def test_score_is_the_same_whatever_batch_a_window_comes_in(tmp_path):
    export(tmp_path, "lstm")
    x_BTF = np.random.default_rng(3).normal(size=(300, 60, 31)).astype(np.float32)
    scorer = Scorer(tmp_path)
    whole = scorer.score(x_BTF, "BTC-USD")
    assert whole.dtype == np.float64
    # to the last bit: a replay scores one window where the loop may have scored sixty
    np.testing.assert_array_equal(whole[271:], scorer.score(x_BTF[271:], "BTC-USD"))
    np.testing.assert_array_equal(whole[:3], [scorer.score(x_BTF[row : row + 1], "BTC-USD")[0] for row in range(3)])


def test_score_of_no_windows_is_empty(tmp_path):
    export(tmp_path, "lstm")
    assert Scorer(tmp_path).score(np.empty((0, 60, 31), np.float32), "BTC-USD").shape == (0,)


def test_scorer_refuses_a_graph_with_one_byte_changed(tmp_path):
    export(tmp_path, "lstm")
    content = bytearray((tmp_path / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(ModelMismatchError, match="has sha256"):
        Scorer(tmp_path)


def test_scorer_refuses_a_graph_that_is_none(tmp_path):
    export(tmp_path, "lstm")
    (tmp_path / "model.onnx").write_bytes(b"not a graph")
    rewrite(tmp_path, sha256=sha256_of(tmp_path / "model.onnx"))
    with pytest.raises(ModelMismatchError, match="cannot be opened"):
        Scorer(tmp_path)


def test_scorer_refuses_another_opset(tmp_path):
    export(tmp_path, "lstm")
    rewrite(tmp_path, opset=11)
    with pytest.raises(ModelMismatchError, match="opset 11"):
        Scorer(tmp_path)


def test_scorer_refuses_a_graph_with_another_input_name(tmp_path):
    export(tmp_path, "lstm")

    def change(graph):
        graph.graph.input[0].name = "windows"
        for node in graph.graph.node:
            node.input[:] = ["windows" if name == "x" else name for name in node.input]

    edit_graph(tmp_path, change)
    with pytest.raises(ModelMismatchError, match="its passport says"):
        Scorer(tmp_path)


def outside(tensor: onnx.TensorProto, home: Path) -> None:
    """Move a tensor's numbers into a file beside the graph, as `onnx.save` does with large ones."""
    raw = onnx.numpy_helper.to_array(tensor).tobytes()
    (home / "weights.bin").write_bytes(raw)
    onnx.external_data_helper.set_external_data(tensor, "weights.bin", 0, len(raw))
    tensor.ClearField("raw_data")


def test_scorer_refuses_a_graph_whose_weights_lie_beside_it(tmp_path):
    export(tmp_path, "lstm")

    def change(graph):
        tensor = max(graph.graph.initializer, key=lambda own: len(own.raw_data))
        outside(tensor, tmp_path)

    edit_graph(tmp_path, change)
    with pytest.raises(
        ModelMismatchError, match=r"reads weights from another file \(weights.bin\).*desk models rollback"
    ):
        Scorer(tmp_path)


def test_tensors_outside_are_seen_in_constants_branches_and_functions(tmp_path):
    tensor = onnx.numpy_helper.from_array(np.ones((4, 4), np.float32), "inner")
    outside(tensor, tmp_path)
    constant = onnx.helper.make_node("Constant", [], ["inner"], value=tensor)
    branch = onnx.helper.make_graph([constant], "branch", [], [])
    hidden = [
        onnx.helper.make_graph([constant], "constant", [], []),
        onnx.helper.make_graph([onnx.helper.make_node("If", ["c"], ["y"], then_branch=branch)], "if", [], []),
    ]
    models = [onnx.helper.make_model(graph) for graph in hidden]
    function = onnx.helper.make_function("desk", "f", [], ["inner"], [constant], [onnx.helper.make_opsetid("", OPSET)])
    models.append(onnx.helper.make_model(onnx.helper.make_graph([], "empty", [], []), functions=[function]))
    assert [external_data(model.SerializeToString()) for model in models] == ["weights.bin"] * 3


def test_graph_with_a_node_named_after_a_location_is_taken(tmp_path):
    export(tmp_path, "lstm")

    def change(graph):
        graph.graph.doc_string = "location"

    edit_graph(tmp_path, change)
    assert Scorer(tmp_path).passport.model_id == "lstm-test"


@pytest.mark.parametrize("bad", [1.5, -0.1, np.nan, np.inf])
def test_judging_refuses_what_is_no_probability(bad):
    with pytest.raises(ModelMismatchError, match=r"lstm-test scored .*no probability, in 1 of 3 windows"):
        require_probabilities(np.array([0.0, bad, 1.0]), "lstm-test")


def test_scorer_refuses_a_passport_with_a_column_less(tmp_path):
    export(tmp_path, "lstm")
    rewrite(tmp_path, inputs=[f"input_{position:02d}" for position in range(30)])
    with pytest.raises(ModelMismatchError, match="its passport says"):
        Scorer(tmp_path)


def test_scorer_refuses_a_passport_that_is_not_whole(tmp_path):
    export(tmp_path, "lstm")
    (tmp_path / "passport.json").write_text('{"model_id": "lstm-test"}')
    with pytest.raises(ModelMismatchError, match="architecture"):
        Scorer(tmp_path)


def test_scorer_without_files_names_the_command(tmp_path):
    with pytest.raises(ModelError, match="make train"):
        Scorer(tmp_path)


@pytest.mark.parametrize(
    ("columns", "feature_hash", "told"),
    [
        ([f"input_{position:02d}" for position in range(30)], "f" * 64, "the features have 30"),
        (["input_01", "input_00", *(f"input_{p:02d}" for p in range(2, 31))], "f" * 64, "'input_00' as column 1"),
        ([f"input_{position:02d}" for position in range(31)], "e" * 64, "with hash ffffffffffff"),
    ],
)
def test_scorer_names_which_column_or_hash_differs(tmp_path, columns, feature_hash, told):
    export(tmp_path, "lstm")
    with pytest.raises(ModelMismatchError, match=told):
        Scorer(tmp_path).require(columns=columns, feature_hash=feature_hash)


def test_scorer_refuses_a_coin_it_does_not_serve(tmp_path):
    export(tmp_path, "lstm")
    with pytest.raises(ModelMismatchError, match="serves BTC-USD, not ETH-USD"):
        Scorer(tmp_path).score(np.zeros((1, 60, 31), np.float32), "ETH-USD")


@pytest.mark.parametrize("window", [np.zeros((1, 59, 31), np.float32), np.zeros((1, 60, 31), np.float64)])
def test_scorer_refuses_windows_of_another_shape_or_type(tmp_path, window):
    export(tmp_path, "lstm")
    with pytest.raises(ModelMismatchError, match="reads float32 windows"):
        Scorer(tmp_path).score(window, "BTC-USD")


def test_scorer_and_registry_need_none_of_the_training_libraries():
    code = "import models.serving.scorer, models.registry, models.gates, models.gates.judgement, sys; print(','.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.strip().split(","))
    assert not loaded & {"torch", "sklearn", "scipy", "pyarrow", "polars", "matplotlib", "prefect", "duckdb"}


def test_judging_is_not_read_back_where_passport_or_graph_was_changed(tmp_path):
    export(tmp_path, "lstm")
    passport_sha256 = sha256_of(tmp_path / "passport.json")
    Judgement("m", "lstm", "p", "seed", (), (), key="k", passport_sha256=passport_sha256).write(tmp_path)
    assert known_judgement(tmp_path, "k") is not None
    assert known_judgement(tmp_path, "other terms") is None
    whole = (tmp_path / "passport.json").read_bytes()
    (tmp_path / "passport.json").write_bytes(whole + b" ")
    assert known_judgement(tmp_path, "k") is None
    (tmp_path / "passport.json").write_bytes(whole)
    (tmp_path / "model.onnx").write_bytes(b"another")
    assert known_judgement(tmp_path, "k") is None
    (tmp_path / "model.onnx").unlink()
    assert known_judgement(tmp_path, "k") is None
