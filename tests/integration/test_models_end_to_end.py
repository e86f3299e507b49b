"""Train, judge, promote, score and verify in processes of their own, on a data set with a planted relation."""

from __future__ import annotations

import json
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from core.errors import DatasetError, ModelError, TrainingError
from core.files import as_json_bytes
from core.integrity import sealed, sha256_of
from models.datasets.dataset import load_dataset
from models.gates import gate_profile
from models.judging.promotion import judge_in_process
from models.passport.verify_passport import verify
from models.registry import Registry
from models.serving.scorer import Scorer
from models.training import run_training
from models.training.candidate import TrainSpec
from models.training.run_training import train_in_process
from tests.small_dataset import write_dataset

if TYPE_CHECKING:
    from core.dataset_files import DatasetRef

pytestmark = pytest.mark.slow
QUICK = TrainSpec("lstm", ("BTC-USD",), epochs=3, stride=10, batch_size=32, learning_rate=3e-3, dropout=0.1)
PROFILE = gate_profile("seed", min_accuracy=0.6, max_calibration_error=0.1)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> DatasetRef:
    return write_dataset(
        tmp_path_factory.mktemp("dataset"), products=("BTC-USD", "ETH-USD"), minutes=27_000, strength=0.5
    )


@pytest.fixture(scope="module")
def trained(dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    return train_in_process(QUICK, dataset, folder)


@pytest.fixture(scope="module")
def judgement(trained, dataset):
    return judge_in_process(trained, dataset, PROFILE, cost_bps=15.0, trials=3)


def test_train_in_process_leaves_a_whole_candidate(trained, dataset):
    marker = json.loads((Path(trained.path) / "candidate.json").read_text())
    assert trained.candidate_id.startswith("lstm-BTC-USD-")
    assert marker["dataset_digest"] == dataset.digest
    assert marker["weights_sha256"] == sha256_of(Path(trained.path) / "weights.pt")
    assert len(marker["history"]) == 3
    assert not (Path(trained.path) / "training.pt").exists()


def test_train_in_process_again_reuses_the_candidate(trained, dataset, monkeypatch):
    monkeypatch.setattr(run_training, "run_child", lambda *_, **__: pytest.fail("trained again"))
    assert train_in_process(QUICK, dataset, Path(trained.path).parent) == trained


def test_train_killed_half_way_goes_on_to_the_same_bytes(trained, dataset, tmp_path):
    import psutil

    def kill(progress):
        if progress.epoch == 2:
            child = next(
                part for part in psutil.Process().children() if "models.training.train_process" in part.cmdline()
            )
            child.send_signal(signal.SIGKILL)

    with pytest.raises(TrainingError, match=r"lstm-BTC-USD.*SIGKILL"):
        train_in_process(QUICK, dataset, tmp_path, on_progress=kill)
    told = []
    again = train_in_process(QUICK, dataset, tmp_path, on_progress=told.append)
    assert told[0].epoch >= 2
    assert sha256_of(Path(again.path) / "weights.pt") == sha256_of(Path(trained.path) / "weights.pt")


def test_train_at_once_trains_the_same_once_and_one_out_of_memory_leaves_the_others(dataset, tmp_path):
    spec = replace(QUICK, architecture="lstm_one_way", epochs=1, stride=60)
    with ThreadPoolExecutor(3) as pool:
        first, second = [pool.submit(train_in_process, spec, dataset, tmp_path) for _ in range(2)]
        greedy = pool.submit(train_in_process, replace(spec, products=("ETH-USD",)), dataset, tmp_path, memory_gb=0.05)
    assert first.result() == second.result()
    with pytest.raises(TrainingError, match=r"lstm_one_way-ETH-USD: stopped at .* GB of memory.*TRAIN_MEMORY_GB"):
        greedy.result()
    assert [path.parent.name for path in tmp_path.glob("*/candidate.json")] == [first.result().candidate_id]


def test_train_in_process_of_a_coin_the_data_set_lacks_is_a_named_refusal(dataset, tmp_path):
    spec = TrainSpec("lstm", ("SOL-USD",), epochs=1)
    with pytest.raises(TrainingError, match=r"lstm-SOL-USD.*holds BTC-USD, ETH-USD, not SOL-USD"):
        train_in_process(spec, dataset, tmp_path)


def test_judge_measures_every_product_and_leaves_the_files(judgement, trained):
    assert [verdict.slot for verdict in judgement.verdicts] == ["lstm:BTC-USD"]
    verdict = judgement.verdicts[0]
    assert verdict.accepted or set(verdict.refused_by) == {"beats_baselines"}
    assert {"model.onnx", "passport.json", "curves.json", "judgement.json"} <= {
        path.name for path in Path(trained.path).iterdir()
    }
    rows = {(row.slice, row.metric): row for row in judgement.metrics}
    accuracy = rows["all", "accuracy"]
    assert accuracy.low_95 < accuracy.value < accuracy.high_95
    assert ("baseline=gradient_boosting", "log_loss") in rows
    assert ("coverage=0.1", "accuracy") in rows
    assert ("month=2025-01", "accuracy") in rows
    assert ("session=tokyo", "accuracy") in rows


def test_passport_says_what_the_runtime_and_reports_need(judgement, trained, dataset):
    passport = json.loads((Path(trained.path) / "passport.json").read_text())
    assert passport["model_id"] == judgement.model_id
    assert passport["dataset_digest"] == dataset.digest
    assert passport["judged"]["trials"] == 3
    assert passport["parity"]["windows"] == 1000
    details = passport["verdicts"]["BTC-USD"]
    chosen = [candidate["kind"] for candidate in details["calibration"]["candidates"] if candidate["chosen"]]
    assert chosen == [details["calibration"]["kind"]]
    assert set(details["calibrated"]["before"]) == {"ece_mass", "ece_width", "brier", "log_loss"}
    # two sums of the same losses, whose last bit may differ
    assert details["calibrated"]["after"]["log_loss"] == pytest.approx(
        details["metrics"]["log_loss"]["value"], rel=1e-12
    )
    assert details["against_baselines"]["base_rate"]["high_95"] < 0
    assert details["feasibility"]["cost_bps"] == 15.0
    assert details["selection"]["trials"] == 3
    assert details["coverage_cuts"]["high"]["confidence"] >= details["coverage_cuts"]["medium"]["confidence"]
    assert len(details["controls"]["shuffled_auc"]) == 200


def test_judge_again_reads_the_same_verdict_back(judgement, trained, dataset):
    before = (Path(trained.path) / "judgement.json").stat().st_mtime_ns
    assert judge_in_process(trained, dataset, PROFILE, cost_bps=15.0, trials=3) == judgement
    assert (Path(trained.path) / "judgement.json").stat().st_mtime_ns == before


def test_judge_on_another_data_set_is_refused(trained, tmp_path):
    other = write_dataset(tmp_path, minutes=500)
    with pytest.raises(TrainingError, match="was trained on data set"):
        judge_in_process(trained, other, PROFILE, cost_bps=15.0, trials=1)


def test_graph_scores_what_verify_recomputes(judgement, trained, dataset):
    found = verify(Path(trained.path), dataset, recorded=[sha256_of(Path(trained.path) / "passport.json")])
    assert found.is_true, found.differences
    assert found.figures > 300
    assert found.remarks == (), (
        "with the weights at hand nothing is left unchecked, and the graph comes out byte for byte"
    )
    data = load_dataset(dataset, ["BTC-USD"])
    p_B = Scorer(Path(trained.path)).score(data.x_NF[None, 100:160], "BTC-USD")
    assert 0 < p_B[0] < 1


def test_verify_names_a_figure_that_was_embellished(judgement, trained, dataset, tmp_path):
    for name in ("model.onnx", "passport.json"):
        (tmp_path / name).write_bytes((Path(trained.path) / name).read_bytes())
    passport = json.loads((tmp_path / "passport.json").read_text())
    passport["verdicts"]["BTC-USD"]["metrics"]["accuracy"]["value"] += 0.01
    # sealed anew by who embellished it: the figure is recomputed all the same, and the registry knows another hash
    (tmp_path / "passport.json").write_bytes(as_json_bytes(sealed(passport)))
    found = verify(tmp_path, dataset, recorded=[sha256_of(Path(trained.path) / "passport.json")])
    assert len(found.differences) == 2
    assert "the registry recorded" in found.differences[0]
    assert "verdicts.BTC-USD.metrics.accuracy.value: the passport says" in found.differences[1]


def test_verify_names_a_graph_that_was_exchanged(judgement, trained, dataset, tmp_path):
    (tmp_path / "passport.json").write_bytes((Path(trained.path) / "passport.json").read_bytes())
    (tmp_path / "model.onnx").write_bytes(b"another")
    assert "sha256" in verify(tmp_path, dataset).differences[0]


def test_verify_on_another_data_set_names_the_right_one(judgement, trained, tmp_path):
    other = write_dataset(tmp_path, minutes=500)
    with pytest.raises(DatasetError, match="was judged on data set"):
        verify(Path(trained.path), other)


def test_accepted_model_can_be_promoted_and_a_refused_one_not(judgement, trained, tmp_path):
    registry = Registry(tmp_path / "registry.json")
    registry.record_judgement(judgement)
    if judgement.verdicts[0].accepted:
        registry.promote(Path(trained.path), ["lstm:BTC-USD"], why="gates passed")
        assert Scorer(registry.current()["lstm:BTC-USD"].path).passport.model_id == judgement.model_id
    else:
        with pytest.raises(ModelError, match="beats_baselines"):
            registry.promote(Path(trained.path), ["lstm:BTC-USD"], why="gates passed")


def test_transformer_gets_a_verdict_per_coin(dataset, tmp_path):
    spec = TrainSpec(
        "transformer", ("BTC-USD", "ETH-USD"), epochs=1, stride=120, batch_size=16, learning_rate=1e-3, dropout=0.0
    )
    candidate = train_in_process(spec, dataset, tmp_path)
    found = judge_in_process(candidate, dataset, gate_profile("calibrated"), cost_bps=15.0, trials=1)
    assert [verdict.slot for verdict in found.verdicts] == ["transformer:BTC-USD", "transformer:ETH-USD"]
    assert found.profile == "calibrated"


def test_train_in_process_keeps_torch_out_of_the_caller():
    import subprocess

    code = "import models.training.run_training, models.passport.verify_passport, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_probabilities_come_true(judgement, trained):
    curves = json.loads((Path(trained.path) / "curves.json").read_text())["BTC-USD"]
    table = curves["reliability_equal_mass"]
    gap = np.mean([abs(row["mean_probability"] - row["up_share"]) for row in table])
    assert len(table) == 10
    assert gap < 0.1
