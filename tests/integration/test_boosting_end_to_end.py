"""The boosting member walks the same path as the networks: own process, judge, registry, verify, runtime."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from core.settings import load_settings
from models.gates import gate_profile
from models.judging.promotion import judge_in_process
from models.passport.verify_passport import verify
from models.registry import Registry
from models.training import run_training
from models.training.candidate import TrainSpec
from models.training.run_training import train_in_process
from runtime.loaded_models import load_models
from tests.small_dataset import COLUMNS, write_dataset

pytestmark = pytest.mark.slow
COINS = ("BTC-USD", "ETH-USD")
SPEC = TrainSpec("boosting", COINS, epochs=30, members=2, stride=4, dropout=0.7, learning_rate=0.1)
PROFILE = gate_profile("seed", min_accuracy=0.55, max_calibration_error=0.2)


def test_boosting_is_trained_judged_verified_and_served_like_the_networks(tmp_path, monkeypatch):
    settings = load_settings(desk_home=tmp_path, products=COINS, feature_set="seed39", mode="shadow")
    checkpoints = settings.paths.make().checkpoints
    (tmp_path / "data").mkdir()
    dataset = write_dataset(tmp_path / "data", products=COINS, minutes=4_500, strength=0.8)
    told = []
    trained = train_in_process(SPEC, dataset, checkpoints, on_progress=told.append)
    assert trained.candidate_id.startswith("boosting-all-")
    assert [(one.member, one.share) for one in told] == [(1, 0.5), (2, 1.0)]
    with monkeypatch.context() as nothing:
        nothing.setattr(run_training, "run_child", lambda *_, **__: pytest.fail("trained again"))
        assert train_in_process(SPEC, dataset, checkpoints) == trained

    folder = Path(trained.path)
    judgement = judge_in_process(trained, dataset, PROFILE, cost_bps=15.0, trials=1)
    assert [verdict.slot for verdict in judgement.verdicts] == ["boosting:BTC-USD", "boosting:ETH-USD"]
    passport = json.loads((folder / "passport.json").read_text())
    assert passport["window_minutes"] == 1
    assert max(passport["parity"]["largest_difference"], passport["parity"]["largest_difference_one_by_one"]) <= 1e-5
    assert (folder / "model.onnx").stat().st_size < 500_000
    assert verify(folder, dataset).is_true

    Registry(settings.paths.registry).record_judgement(judgement)
    known = SimpleNamespace(columns=COLUMNS, sha256="f" * 64, crosses_products=False)
    monkeypatch.setattr("runtime.loaded_models.feature_set", lambda _name: known)
    loaded = load_models(settings, COINS)
    x_BTF = np.random.default_rng(0).normal(size=(3, 1, 31)).astype(np.float32)
    for product in COINS:
        (model,) = loaded[product].models.values()
        assert (model.kind, model.window_minutes, model.is_shadow) == ("boosting", 1, True)
        p_B = model.scorer.score(x_BTF, product)
        assert ((p_B > 0) & (p_B < 1)).all()
