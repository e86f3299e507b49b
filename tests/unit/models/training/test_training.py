"""The training loop: the same bytes twice, resumable, stopped when told to, guarded by a golden curve."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from core.errors import TrainingError
from models.datasets.dataset import load_dataset
from models.judging.judge import network_of
from models.networks.build import build_network
from models.training.candidate import TrainedCandidate, TrainSpec
from models.training.fit import fit
from models.training.progress_reporter import TrainingClock
from models.training.train_process import train

GOLDEN = Path(__file__).resolve().parents[3] / "golden" / "loss_lstm_cpu.txt"
QUICK = TrainSpec("lstm", ("BTC-USD",), epochs=3, stride=10, batch_size=32, learning_rate=3e-3, dropout=0.1)
PAIR = replace(QUICK, members=2)


def without_time(history):
    return [replace(entry, seconds=0.0) for entry in history]


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def test_fit_twice_gives_the_same_bits(make_dataset):
    reference = make_dataset(minutes=1200)
    first, second = (fit(QUICK, load_dataset(reference)) for _ in range(2))
    assert same(first.weights, second.weights)
    assert [row.train_loss for row in first.history] == [row.train_loss for row in second.history]


def test_fit_resumed_after_each_check_gives_the_bits_of_one_run(make_dataset, tmp_path):
    reference, checkpoint = make_dataset(minutes=1200), tmp_path / "training.pt"
    whole = fit(PAIR, load_dataset(reference))

    class Killed(Exception):
        pass

    def kill(progress):
        if progress.early_stop_loss is not None:
            raise Killed

    for _ in range(len(whole.history)):
        with pytest.raises(Killed):
            fit(PAIR, load_dataset(reference), checkpoint=checkpoint, on_progress=kill)
    resumed = fit(PAIR, load_dataset(reference), checkpoint=checkpoint)
    assert same(whole.weights, resumed.weights)
    assert without_time(resumed.history) == without_time(whole.history)
    assert resumed.train_windows == whole.train_windows


KILLS = """
import hashlib, json, os, signal, sys
from dataclasses import replace
from pathlib import Path
from core.dataset_files import DatasetRef
from models.training.candidate import TrainSpec
from models.training import checkpoint, fit
from models.datasets.dataset import load_dataset

job = json.load(sys.stdin)
spec = TrainSpec(**job["spec"] | {"products": tuple(job["spec"]["products"])})
data, path = load_dataset(DatasetRef(**job["dataset"])), Path(job["checkpoint"])

def bits(place):
    fitted = fit.fit(spec, replace(data, x_NF=data.x_NF.copy()), checkpoint=place)
    digest = hashlib.sha256()
    for name in sorted(fitted.weights):
        digest.update(name.encode() + fitted.weights[name].numpy().tobytes())
    return digest.hexdigest()

def dying(original, left):
    def call(*arguments):
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments)
    return call

def part(allowed):
    pid = os.fork()
    if pid == 0:
        left = [allowed]
        fit._average = dying(fit._average, left)  # in the middle of a stretch
        checkpoint.write_bytes = dying(checkpoint.write_bytes, left)  # a check is done and not yet saved
        path.with_suffix(".said").write_text(bits(path))
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

whole = bits(None)  # first, so that the forked ones find every kernel compiled
said = [part(allowed) for allowed in job["kills"]]
print(json.dumps({"said": said, "killed": path.with_suffix(".said").read_text(), "whole": whole}))
"""


def test_fit_killed_in_and_between_members_gives_the_bytes_of_one_run(make_dataset, tmp_path):
    reference = make_dataset(minutes=900)
    spec = asdict(replace(PAIR, architecture="lstm_one_way", batch_size=16, epochs=2))
    job = {"spec": spec, "dataset": asdict(reference), "checkpoint": str(tmp_path / "training.pt")}
    # four steps to each of two checks of two members: killed in the first step, before a save, after one, between members
    job["kills"] = [0, 4, 5, 6, 1, 1000]
    root = Path(__file__).resolve().parents[4]
    environ = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", KILLS],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        env=environ,
        cwd=root,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["said"] == [-signal.SIGKILL] * 5 + [0]
    assert told["killed"] == told["whole"]


def test_fit_with_a_damaged_checkpoint_says_to_remove_it(make_dataset, tmp_path):
    checkpoint = tmp_path / "training.pt"
    checkpoint.write_bytes(b"half a file")
    with pytest.raises(TrainingError, match=r"training\.pt cannot be read .*; remove it and train again"):
        fit(QUICK, load_dataset(make_dataset(minutes=900)), checkpoint=checkpoint)


def test_fit_of_an_ensemble_holds_what_each_seed_gives_alone(make_dataset):
    reference = make_dataset(minutes=1200)
    together = fit(PAIR, load_dataset(reference))
    assert together.members == 2
    for place in range(2):
        alone = fit(replace(PAIR, members=1, seed=PAIR.seed + place), load_dataset(reference))
        mine = {
            name.removeprefix(f"members.{place}."): value
            for name, value in together.weights.items()
            if name.startswith(f"members.{place}.")
        }
        assert same(alone.weights, mine)
    network = build_network("lstm", 31, 1, 0.0, members=2)
    network.load_state_dict(together.weights)


def test_fit_of_the_transformer_learns_two_coins(make_dataset):
    data = load_dataset(make_dataset(products=("BTC-USD", "ETH-USD"), minutes=1500, strength=3.0))
    spec = TrainSpec(
        "transformer", ("BTC-USD", "ETH-USD"), epochs=2, stride=12, batch_size=16, learning_rate=1e-3, dropout=0.0
    )
    fitted = fit(spec, data)
    assert min(row.early_stop_log_loss for row in fitted.history) < 0.68
    assert fitted.train_windows > 100


def test_fit_matches_the_golden_curve(make_dataset):
    """Twenty epochs of one step each. If a change is wanted: raise RECIPE in models/training/candidate.py, write the file anew."""
    data = load_dataset(make_dataset(minutes=700))
    spec = TrainSpec("lstm", ("BTC-USD",), epochs=20, stride=4, batch_size=256, learning_rate=2e-3, patience=0)
    losses = [row.train_loss for row in fit(spec, data, precision="float32").history]
    assert len(losses) == 20
    np.testing.assert_allclose(losses, np.loadtxt(GOLDEN), rtol=2e-3)


def test_fit_stops_early_when_the_early_stop_part_gets_no_better(make_dataset):
    data = load_dataset(make_dataset(minutes=900, strength=0.0))
    spec = TrainSpec(
        "lstm", ("BTC-USD",), epochs=40, stride=5, batch_size=16, learning_rate=1e-2, dropout=0.0, patience=2
    )
    fitted = fit(spec, data, precision="float32")
    assert len(fitted.history) == fitted.best_checks[0] + 2 < 40
    assert fitted.ended_by == ["patience"]


def test_fit_checks_several_times_an_epoch_and_early_on(make_dataset):
    spec = TrainSpec("lstm_one_way", ("BTC-USD",), epochs=1, stride=1, batch_size=16, check_windows=256, patience=0)
    fitted = fit(spec, load_dataset(make_dataset(minutes=1200)))
    assert [row.windows for row in fitted.history] == [32, 64, 128, 256, 512, fitted.train_windows]
    assert fitted.ended_by == ["epochs"]


def test_fit_over_its_budget_ends_after_a_step_with_a_usable_network(make_dataset):
    spec = TrainSpec("lstm", ("BTC-USD",), epochs=50, stride=10, members=3, batch_size=16, budget_seconds=0.001)
    fitted = fit(spec, load_dataset(make_dataset(minutes=900)))
    assert (len(fitted.history), fitted.members, fitted.ended_by) == (1, 1, ["budget"])
    assert fitted.history[0].windows == 16
    build_network("lstm", 31, 1, 0.0).load_state_dict(fitted.weights)


def test_fit_leaves_out_a_member_that_the_budget_cut_short(make_dataset, monkeypatch):
    monkeypatch.setattr(TrainingClock, "is_over", lambda clock: len(told) > 4)
    told = []
    spec = replace(PAIR, members=3, budget_seconds=60.0)
    fitted = fit(spec, load_dataset(make_dataset(minutes=1200)), on_progress=told.append)
    assert (fitted.members, fitted.ended_by) == (1, ["epochs", "budget"])
    assert not any(name.startswith("members.") for name in fitted.weights)


def test_clock_counts_what_killed_processes_spent():
    assert TrainingClock(10.0, before=11.0).is_over()
    assert not TrainingClock(10.0, before=1.0).is_over()
    assert not TrainingClock(0.0, before=1e9).is_over()


def test_fit_tells_how_long_it_still_takes(make_dataset):
    told = []
    fit(PAIR, load_dataset(make_dataset(minutes=900)), on_progress=told.append)
    ends = [progress for progress in told if progress.early_stop_loss is not None]
    assert [(progress.member, progress.epoch) for progress in ends] == [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3)]
    assert [progress.share for progress in ends] == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1.0])
    assert ends[0].seconds_left > ends[2].seconds_left > 0
    assert ends[-1].seconds_left == 0
    assert (ends[-1].ended_by, ends[-1].checks_left) == ("epochs", PAIR.patience)


def test_fit_without_windows_says_what_to_do(make_dataset):
    with pytest.raises(TrainingError, match="backfill a longer span"):
        fit(QUICK, load_dataset(make_dataset(minutes=80)))


def test_fit_with_an_absurd_rate_says_the_loss_is_no_number(make_dataset):
    spec = TrainSpec("transformer", ("BTC-USD",), epochs=3, stride=30, batch_size=8, learning_rate=1e30)
    with pytest.raises(TrainingError, match="lower learning rate"):
        fit(spec, load_dataset(make_dataset(minutes=900)), precision="float32")


def test_train_leaves_a_marker_that_tells_members_and_what_ended_them(make_dataset, tmp_path, capsys):
    reference = make_dataset(minutes=900)
    for name, spec in {"whole": PAIR, "short": replace(PAIR, budget_seconds=1e-3)}.items():
        train(replace(spec, architecture="lstm_one_way", epochs=1), reference, tmp_path / name)
    trained = [TrainedCandidate.read(tmp_path / name) for name in ("whole", "short")]
    assert [(own.members, own.ended_by) for own in trained] == [(2, ("epochs", "epochs")), (1, ("budget",))]
    assert not (tmp_path / "whole" / "training.pt").exists()
    for own, members in zip(trained, (2, 1), strict=True):
        network = network_of(own, tmp_path / ("whole" if members == 2 else "short"))
        assert len(getattr(network, "members", [network])) == members
    last = json.loads(capsys.readouterr().out.splitlines()[-1])["progress"]
    assert (last["ended_by"], last["seconds_left"]) == ("budget", 0.0)
