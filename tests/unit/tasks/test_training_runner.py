"""Where trainings run, and what a worker is sent."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cloudpickle
import pytest
from prefect import flow
from prefect.context import FlowRunContext, serialize_context

from core.dataset_files import DatasetRef
from core.errors import ConfigError, RemoteFolderError, TrainingError
from core.settings import load_settings
from models.training.candidate import CandidateRef, TrainSpec
from tasks import runner, train
from tasks.features import latest_dataset
from tasks.runner import share

ROOT = Path(__file__).resolve().parents[3]
SPEC = TrainSpec("lstm", ("BTC-USD",))
CANDIDATE = CandidateRef("lstm-BTC-USD-1", "lstm", ("BTC-USD",), "/somewhere")


@flow(name="heavy", task_runner=runner.threads())
def heavy():
    """Like every flow of ours it reads the database by a task."""
    return latest_dataset()


class Nowhere:
    """A task runner that runs nothing."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


@pytest.fixture
def in_a_flow(monkeypatch):
    """Pretend that the flow `heavy` runs, with its trainings on a runner that is far away."""
    monkeypatch.setenv("TASK_RUNNER", "dask")
    monkeypatch.setattr(runner, "_runner", lambda _: (Nowhere(), (ZeroDivisionError,)))
    context = FlowRunContext.model_construct(
        flow=heavy, flow_run=None, task_runner=heavy.task_runner, result_store=None, parameters={}
    )
    with context:
        yield context


def test_processes_leave_the_flow_as_it_is(monkeypatch, in_a_flow):
    monkeypatch.setenv("TASK_RUNNER", "processes")
    with runner.training_runner() as lost:
        assert FlowRunContext.get() is in_a_flow
        assert lost == ()


def test_elsewhere_only_what_is_inside_the_block_goes_there(in_a_flow):
    with runner.training_runner() as lost:
        assert isinstance(FlowRunContext.get().task_runner, Nowhere)
        assert lost == (ZeroDivisionError,)
    assert FlowRunContext.get() is in_a_flow


def test_worker_is_sent_nothing_that_needs_the_database(in_a_flow, tmp_path):
    with runner.training_runner():
        context = serialize_context()
    assert context["flow_run_context"]["flow"].name == "heavy"
    sent = tmp_path / "sent"
    sent.write_bytes(cloudpickle.dumps((train.train_model, {"spec": SPEC}, context["flow_run_context"]["flow"])))
    (tmp_path / "duckdb.py").write_text("raise ImportError('no DuckDB here')")
    program = (
        "import cloudpickle, sys, pathlib\n"
        f"task, parameters, flow = cloudpickle.loads(pathlib.Path({str(sent)!r}).read_bytes())\n"
        "import models.training.run_training, models.datasets.remote_dataset\n"
        "print(task.name, parameters['spec'].name, flow.name, [name for name in ('duckdb', 'store', 'torch') if name in sys.modules])"
    )
    environ = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", str(ROOT))])}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environ, capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.stdout == "train-model lstm-BTC-USD heavy []\n", done.stderr


@pytest.mark.parametrize(("name", "library"), [("dask", "prefect_dask"), ("ray", "prefect_ray")])
def test_missing_extra_names_the_command(monkeypatch, name, library):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ConfigError, match=rf"TASK_RUNNER={name} needs the extra {name}.*pip install .*\[{name}\]"):
        runner._runner(load_settings(task_runner=name))


def test_without_a_server_says_how_to_start_one(monkeypatch):
    monkeypatch.setattr(runner, "_dask", lambda _: (Nowhere(), ()))
    monkeypatch.setattr(runner, "get_current_settings", lambda: SimpleNamespace(api=SimpleNamespace(url=None)))
    with pytest.raises(ConfigError, match="make up, or set PREFECT_API_URL"):
        runner._runner(load_settings(task_runner="dask"))


def outcome_of(result, lost=()):
    def ask(raise_on_failure):
        assert not raise_on_failure
        if isinstance(result, ZeroDivisionError):
            raise result
        return result

    return train._outcome(SPEC, SimpleNamespace(wait=lambda: None, result=ask), lost)


def test_outcome_names_what_failed_once():
    assert outcome_of(CANDIDATE) == CANDIDATE
    assert str(outcome_of(TrainingError("lstm-BTC-USD: killed"))) == "lstm-BTC-USD: killed"
    assert str(outcome_of(RemoteFolderError("no such place"))) == "lstm-BTC-USD: no such place"
    assert str(outcome_of(MemoryError())) == "lstm-BTC-USD: MemoryError"


def test_outcome_of_a_lost_worker_is_one_failure_and_leaves_the_others():
    assert "its worker was lost (gone)" in str(outcome_of(ZeroDivisionError("gone"), (ZeroDivisionError,)))


@pytest.fixture
def dataset(tmp_path):
    for name in ("d.parquet", "d.json"):
        (tmp_path / name).write_text("{}")
    return DatasetRef("0" * 64, str(tmp_path / "d.parquet"), str(tmp_path / "d.json"))


def test_share_is_nothing_for_processes(settings, dataset):
    assert share(settings, dataset).dataset is dataset


def test_share_without_places_names_this_desk(tmp_path, dataset):
    settings = load_settings(desk_home=tmp_path / "var", task_runner="dask")
    shared = share(settings, dataset)
    assert shared.dataset.path == (settings.paths.datasets / "d.parquet").as_uri()
    assert shared.candidates == settings.paths.checkpoints.as_uri()


def test_share_puts_candidates_beside_the_data_sets(tmp_path, dataset):
    shared = share(load_settings(task_runner="ray", datasets_uri=(tmp_path / "x").as_uri()), dataset)
    assert shared.candidates == (tmp_path / "x" / "candidates").as_uri()
    assert (tmp_path / "x" / "d.parquet").exists()


@pytest.mark.parametrize(
    ("places", "told"),
    [
        ({"datasets_uri": "/mnt/desk"}, "DATASETS_URI is no URI"),
        ({"datasets_uri": "http://127.0.0.1:9/desk"}, "set CANDIDATES_URI"),
        ({"candidates_uri": "var"}, "CANDIDATES_URI is no URI"),
    ],
)
def test_share_refuses_places_before_anything_is_trained(tmp_path, dataset, places, told):
    with pytest.raises(ConfigError, match=told):
        share(load_settings(desk_home=tmp_path / "var", task_runner="dask", **places), dataset)


def test_candidate_of_other_code_is_refused(settings, make_dataset, tmp_path):
    dataset = make_dataset(minutes=300)
    shared = SimpleNamespace(candidates=tmp_path.as_uri())
    brought = train._bring(
        settings, SPEC, dataset, shared, CandidateRef("lstm-BTC-USD-0", "lstm", ("BTC-USD",), "s3://x")
    )
    assert "its worker runs other code than this machine" in str(brought)
