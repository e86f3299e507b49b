"""Sizes of the networks, and what each one may look at."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch

from core.errors import ConfigError, TrainingError
from models.networks.build import (
    HEADS,
    WIDTH,
    DirectionTransformer,
    EncoderLayer,
    build_network,
    joined_weights,
    window_minutes,
)
from models.serving.export import export_graph
from models.training.candidate import PRESETS, train_spec


def parameters(network: torch.nn.Module) -> int:
    return sum(part.numel() for part in network.parameters())


@pytest.mark.parametrize(("architecture", "expected"), [("lstm", 157_313), ("lstm_one_way", 62_337)])
def test_lstm_with_31_inputs_has_the_specified_parameters(architecture, expected):
    assert parameters(build_network(architecture, 31, 1, 0.4)) == expected


def test_transformer_has_the_specified_shape():
    network = build_network("transformer", 31, 3, 0.1)
    assert len(network.layers) == 4
    assert (HEADS, WIDTH, window_minutes("transformer")) == (8, 128, 100)
    assert parameters(network) == 547_714


def test_build_network_of_an_unknown_architecture_names_the_known_ones():
    with pytest.raises(TrainingError, match="choose one of lstm, lstm_one_way, transformer"):
        build_network("gru", 31, 1, 0.0)


def test_encoder_layer_reading_the_last_minute_only_gives_the_same_last_minute():
    torch.manual_seed(0)
    whole = EncoderLayer(0.0).eval()
    short = EncoderLayer(0.0, last_minute_only=True).eval()
    short.load_state_dict(whole.state_dict())
    x_BTD = torch.randn(3, 100, 128)
    torch.testing.assert_close(short(x_BTD)[:, 0], whole(x_BTD)[:, -1])


def test_transformer_is_told_the_coin():
    torch.manual_seed(0)
    network = DirectionTransformer(31, 2, dropout=0.0).eval()
    x_BTF = torch.randn(1, 100, 31).repeat(2, 1, 1)
    logit_B, return_B = network(x_BTF, torch.tensor([0, 1]))
    assert logit_B.shape == return_B.shape == (2,)
    assert logit_B[0] != logit_B[1]


def test_lstm_reads_the_final_state_of_both_directions():
    torch.manual_seed(0)
    network = build_network("lstm", 31, 1, 0.0).eval()
    x_BTF = torch.randn(1, 60, 31)
    changed_first, changed_last = x_BTF.clone(), x_BTF.clone()
    changed_first[:, 0] += 1.0
    changed_last[:, -1] += 1.0
    assert network(x_BTF) != network(changed_first)
    assert network(x_BTF) != network(changed_last)


@pytest.mark.parametrize("preset", PRESETS)
def test_train_spec_of_every_preset_is_a_spec_of_a_known_architecture(preset):
    for architecture in PRESETS[preset]:
        spec = train_spec(architecture, ["BTC-USD"], preset=preset, epochs=2)
        assert (spec.architecture, spec.epochs) == (architecture, 2)


def test_train_spec_of_an_unknown_preset_names_the_known_ones():
    with pytest.raises(ConfigError, match="presets are market, demo"):
        train_spec("lstm", ["BTC-USD"], preset="fast")


def test_ensemble_answers_with_the_mean_logit_of_its_members():
    torch.manual_seed(0)
    network = build_network("lstm", 31, 1, 0.4, members=3).eval()
    x_BTF = torch.randn(2, 60, 31)
    expected = sum(member(x_BTF) for member in network.members) / 3
    torch.testing.assert_close(network(x_BTF), expected)
    assert parameters(network) == 3 * 157_313
    assert not hasattr(network, "coin")
    assert len({member(x_BTF)[0].item() for member in network.members}) == 3


def test_ensemble_of_transformers_is_told_the_coin_and_averages_both_heads():
    torch.manual_seed(0)
    network = build_network("transformer", 31, 2, 0.0, members=2).eval()
    assert hasattr(network, "coin")
    inputs = torch.randn(2, 100, 31), torch.tensor([0, 1])
    expected = [member(*inputs) for member in network.members]
    for place, value_B in enumerate(network(*inputs)):
        torch.testing.assert_close(value_B, (expected[0][place] + expected[1][place]) / 2)


def test_joined_weights_of_one_member_are_its_own():
    state = build_network("lstm_one_way", 31, 1, 0.0).state_dict()
    assert joined_weights([state]).keys() == state.keys()
    build_network("lstm_one_way", 31, 1, 0.0, members=2).load_state_dict(joined_weights([state, state]))


class Served(torch.nn.Module):
    """Answers as a served network does: a probability and its logit."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x_BTF: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logit_B = self.network(x_BTF)
        return torch.sigmoid(logit_B), logit_B


def test_ensemble_becomes_one_graph_that_agrees(tmp_path):
    torch.manual_seed(0)
    network = Served(build_network("lstm_one_way", 31, 1, 0.0, members=2)).eval()
    session = onnxruntime.InferenceSession(export_graph(network, tmp_path, 60, 31))
    x_BTF = torch.randn(3, 60, 31)
    for said_B, wanted_B in zip(session.run(None, {"x": x_BTF.numpy()}), network(x_BTF), strict=True):
        np.testing.assert_allclose(said_B, wanted_B.detach().numpy(), atol=1e-5)
