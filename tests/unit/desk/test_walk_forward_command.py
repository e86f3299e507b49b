"""`desk walk-forward` as a person types it: what is refused and how it is repaired, what is printed, what is counted."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from core.errors import ConfigError, DatasetError, UnknownProductError
from desk import walk_forward as command
from models.registry import Registry
from models.training.candidate import PRESETS
from models.walk_forward.fold_runs import FinishedJob, FoldTraining, WalkForwardStep, jobs
from models.walk_forward.forecasts import Forecasts, write_forecasts
from models.walk_forward.walk_record import WalkForwardRecord
from reports.walk_forward import page as pages
from tests.small_dataset import write_dataset

PRODUCTS = ("BTC-USD", "ETH-USD")
app = typer.Typer()
app.command()(command.walk_forward)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("dataset"), minutes=16_000, products=PRODUCTS)


@pytest.fixture
def desk(dataset, tmp_path, monkeypatch):
    """Return a caller of the command in a folder of its own, on a data set that is there, its trainings made up."""
    monkeypatch.setenv("DESK_HOME", str(tmp_path / "var"))
    monkeypatch.setenv("PRODUCTS", ",".join(PRODUCTS))
    monkeypatch.setattr(command, "_dataset", lambda _settings, _digest: dataset)
    monkeypatch.setattr(command, "run", lambda plan, home, **told: _made_up(plan, tmp_path, told))
    monkeypatch.setattr(pages, "walk_forward_document", lambda record: SimpleNamespace(html=lambda: "drawn elsewhere"))

    def call(*words):
        return CliRunner().invoke(app, list(words), catch_exceptions=True)

    call.home = tmp_path / "var"
    return call


def _made_up(plan, folder, told, fails=()):
    """Return finished folds whose forecasts are noise."""
    found = []
    for job in sorted(jobs(plan), key=lambda job: (job.configuration, job.spec.products, job.fold)):
        told["on_step"](WalkForwardStep(job, 1.0, "done"))
        if job.fold in fails:
            found.append(FinishedJob(job, error=f"{job.spec.name}: out of memory"))
            continue
        borders = plan.folds[job.fold]
        minute_N = np.arange(borders.test, borders.end, borders.every)
        generator = np.random.default_rng([job.configuration, job.fold])
        y_N = np.random.default_rng(job.fold).integers(0, 2, len(minute_N)).astype(np.int8)
        return_N = 0.001 * (2.0 * y_N - 1)
        path = folder / f"{job.configuration}-{job.fold}-{job.spec.name}.parquet"
        p_N = np.clip(0.5 + generator.normal(scale=0.05, size=len(y_N)), 0.01, 0.99)
        says = {"model": p_N}, {"base_rate": np.full(len(y_N), 0.5)}
        for target, said in zip((path, path.with_suffix(".base.parquet")), says, strict=True):
            write_forecasts(target, "", {p: Forecasts(minute_N, y_N, return_N, said) for p in job.spec.products})
        found.append(
            FinishedJob(job, "id", "model", {}, FoldTraining(), str(path), str(path.with_suffix(".base.parquet")))
        )
    return found


@pytest.fixture
def planned(desk, tmp_path, monkeypatch):
    """Return a caller of the command that returns what was planned; every fold fails, so nothing need be reckoned."""
    plans = []

    def note(plan, home, **told):
        plans.append(plan)
        return _made_up(plan, tmp_path, told, fails=range(9))

    monkeypatch.setattr(command, "run", note)

    def call(*words):
        assert desk(*words, "--json").exit_code == 1
        return plans[-1]

    return call


def test_run_prints_tables_and_leaves_page_and_record(desk):
    found = desk("--products", "BTC", "--folds", "2")
    assert found.exit_code == 0, found.output
    assert "BTC-USD: fold by fold" in found.output
    assert "baseline: base rate" in found.output
    (page,) = (desk.home / "reports" / "walk_forward").glob("*.html")
    record = json.loads(page.with_suffix(".json").read_text())
    assert record["products"] == ["BTC-USD"]
    assert record["walks_over_test_part"] is True
    assert len(record["folds"]) == 2


def test_each_configuration_counts_as_one_trial_however_often_it_is_run(desk):
    words = (
        "--products",
        "BTC",
        "--folds",
        "2",
        "--every",
        "30",
        "--set",
        "preset",
        "--set",
        "dropout=0.2",
        "--set",
        "dropout=0.3",
    )
    first, again = desk(*words), desk(*words)
    assert first.exit_code == again.exit_code == 0, first.output
    (data,) = (desk.home / "reports" / "walk_forward").glob("*.json")
    overfitting = WalkForwardRecord.read(data).results["BTC-USD"].overfitting
    assert overfitting is not None
    assert overfitting.configurations == ("preset", "dropout=0.2", "dropout=0.3")
    events = Registry(desk.home / "models" / "registry.json").events()
    assert [event.kind for event in events] == ["trial"] * 3
    assert {event.details["configuration"] for event in events} == {"preset", "dropout:0.2", "dropout:0.3"}
    assert events[0].details["of"] == "BTC-USD"


def test_configurations_are_compared_before_the_test_part_unless_told(planned, dataset):
    several = ("--folds", "2", "--set", "preset", "--set", "dropout=0.2")
    border = json.loads(Path(dataset.manifest_path).read_text())["borders"]["test"]
    last = int(np.datetime64(border[:16], "m").astype(int))
    assert planned(*several).folds[-1].end == last
    assert planned(*several, "--test-part").folds[-1].end == planned("--folds", "2").folds[-1].end > last
    assert planned("--folds", "2", "--no-test-part").folds[-1].end == last


def test_rolling_folds_are_fitted_on_so_many_days(planned):
    for fold in planned("--folds", "2", "--rolling", "5").folds:
        assert fold.test - fold.train == 5 * 1440


def test_plan_follows_settings_and_options(planned, monkeypatch):
    monkeypatch.setenv("TRAIN_STRIDE", "7")
    monkeypatch.setenv("TRAIN_SEED", "3")
    plan = planned("--folds", "2", "--epochs", "2", "--every", "3", "--set", "seed=9,dropout=0.1", "--set", "preset")
    (first, _), (preset, other) = (configuration.specs for configuration in plan.configurations)
    assert (first.seed, first.dropout, first.stride, first.epochs) == (9, 0.1, 7, 2)
    assert (preset.seed, preset.products, other.products) == (3, ("BTC-USD",), ("ETH-USD",))
    assert {fold.every for fold in plan.folds} == {3}


@pytest.mark.parametrize("architecture", ["transformer", "boosting"])
def test_what_learns_all_coins_is_one_model_of_them(planned, architecture):
    (spec,) = planned("--folds", "2", "--architecture", architecture).configurations[0].specs
    assert spec.products == PRODUCTS
    rounds = PRESETS["market"]["boosting"]["epochs"]  # boosting's own; EPOCHS is the networks'
    assert spec.epochs == (rounds if architecture == "boosting" else 15)


def test_a_failed_fold_is_named_and_the_status_is_1(desk, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "run", lambda plan, home, **told: _made_up(plan, tmp_path, told, fails=(1,)))
    found = desk("--products", "BTC", "--folds", "2")
    assert found.exit_code == 1
    assert "failed: lstm-BTC-USD: out of memory" in found.output
    assert Registry(desk.home / "models" / "registry.json").events() == ()


@pytest.mark.parametrize(
    ("words", "error", "said"),
    [
        (("--folds", "40"), DatasetError, "take --folds 5 at most"),
        (("--folds", "0"), DatasetError, "take one at least"),
        (("--products", "SOL-USD"), DatasetError, "holds BTC-USD, ETH-USD, not SOL-USD"),
        (("--products", "DOGE"), UnknownProductError, "no configured product starts with 'DOGE'"),
        (("--rolling", "2"), DatasetError, "take --rolling 5 at least"),
        (("--rolling", "0"), ConfigError, "such as --rolling 90"),
        (("--architecture", "gru"), ConfigError, "architectures lstm"),
        (("--every", "0"), DatasetError, "take 1 or more"),
        (("--set", "dropout=2"), ConfigError, "dropout"),
    ],
)
def test_what_cannot_be_walked_is_refused_with_its_repair(desk, words, error, said):
    found = desk("--folds", "2", *words)
    assert isinstance(found.exception, error)
    assert said in str(found.exception)


def test_without_a_store_the_error_says_what_to_run(tmp_path, monkeypatch):
    monkeypatch.setenv("DESK_HOME", str(tmp_path / "var"))
    found = CliRunner().invoke(app, [])
    assert isinstance(found.exception, DatasetError)
    assert "make backfill, then make features" in str(found.exception)
