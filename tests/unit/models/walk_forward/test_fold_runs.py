"""A whole walk-forward run on a planted market, its children run in this process to spare their imports."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from core.dataset_files import DatasetRef
from core.errors import ModelError, TrainingError
from core.files import read_json
from models.datasets.dataset import load_dataset
from models.datasets.folds import FoldBorders, minutes_of
from models.datasets.scaler import Scaler, fit_scaler
from models.gates import GateProfile, gate_profile
from models.judging import baselines, judge, promotion
from models.training import run_training
from models.training.candidate import CandidateRef, spec_from_json, train_spec
from models.walk_forward import fold_runs as walk_forward
from models.walk_forward.fold_figures import best_configurations, figures, search_luck, walk_forward_record
from models.walk_forward.fold_runs import Configuration, WalkForwardPlan, jobs, run
from models.walk_forward.forecast_process import forecast_baselines, forecast_model
from models.walk_forward.forecasts import Forecasts, known_forecasts, one_after_another, read_forecasts, write_forecasts
from models.walk_forward.walk_record import WalkForwardRecord
from reports.walk_forward.page import terminal_tables, walk_forward_document
from store.splits import require_folds
from tests.small_dataset import write_dataset

PRODUCT = "BTC-USD"


def _in_process(module, job, **_):
    """Do a child's work here."""
    from models.training.train_process import train

    reference = DatasetRef(**job["dataset"])
    if module == "models.training.train_process":
        Path(job["folder"]).mkdir(parents=True, exist_ok=True)
        train(spec_from_json(job["spec"]), reference, Path(job["folder"]))
    elif module == "models.judging.judge":
        candidate = CandidateRef(**job["candidate"] | {"products": tuple(job["candidate"]["products"])})
        judge.judge(candidate, reference, GateProfile(**job["gates"]), cost_bps=job["cost_bps"], trials=job["trials"])
    else:
        forecast_model(Path(job["candidate"]), reference, Path(job["forecasts"]))
        forecast_baselines(job["products"], reference, Path(job["baselines"]))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("walk_forward")


@pytest.fixture(scope="module")
def plan(home):
    base = write_dataset(home, minutes=14_400, strength=1.0)
    borders = tuple(
        FoldBorders(fold.train_start, fold.early_stop, fold.calibration, fold.test_start, fold.test_end, 10)
        for fold in require_folds(*minutes_of(base), 2)
    )
    spec = train_spec("lstm", (PRODUCT,), preset="demo", epochs=1, stride=40)
    return WalkForwardPlan(
        base, (PRODUCT,), borders, (Configuration("preset", {}, (spec,)),), gate_profile("seed", min_accuracy=0.6, max_calibration_error=0.2), 15.0
    )  # fmt: skip


@pytest.fixture(scope="module")
def done(plan, home):
    steps = []
    with pytest.MonkeyPatch.context() as patch:
        for room in (run_training, promotion, walk_forward):
            patch.setattr(room, "run_child", _in_process)
        patch.setattr(baselines, "SHUFFLES", 20)
        found = run(plan, home / "runs", on_step=steps.append)
    assert sum(step.job.weight for step in steps if step.words == "done") == pytest.approx(1.0)
    return found


@pytest.fixture(scope="module")
def record(plan, done):
    return walk_forward_record(
        plan, done, trials=7, manifest=plan.base.manifest(), walks_over_test_part=True, seconds=1.0
    )


def test_walk_forward_finds_the_planted_relation_in_every_fold(record):
    found = record.results[PRODUCT].configurations["preset"]
    assert [fold.fold for fold in found.folds] == [1, 2]
    for fold in found.folds:
        model = fold.figures.forecasters["model"]
        assert model.gain.low_95 > 0
        assert model.accuracy.value > 0.65
        assert fold.model_id.startswith(fold.candidate_id)
    assert found.pooled.rows == sum(fold.figures.rows for fold in found.folds)


def test_walk_forward_shows_every_baseline_on_the_same_minutes(record):
    pooled = record.results[PRODUCT].configurations["preset"].pooled.forecasters
    assert list(pooled) == ["model", "base_rate", "last_move_sign", "logistic_regression", "gradient_boosting"]
    for name, own in pooled.items():
        if name != "model":
            ahead = own.log_loss.value - pooled["model"].log_loss.value
            assert own.ahead.value == pytest.approx(ahead)
    assert pooled["base_rate"].gain.value == 0.0


def test_record_comes_back_from_its_file_and_older_or_newer_ones_are_told_apart(record, tmp_path):
    path = tmp_path / "record.json"
    record.write(path)
    assert WalkForwardRecord.read(path) == record
    content = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in content.items() if key != "version"}))
    assert WalkForwardRecord.read(path) == replace(record, version=0)
    for broken, why in (({"version": 99}, "git pull"), ({"trials": None}, "damaged .trials.*desk walk-forward")):
        path.write_text(json.dumps(content | broken))
        with pytest.raises(ModelError, match=why):
            WalkForwardRecord.read(path)


def test_each_fold_is_trained_on_its_own_past_alone(plan, done, home):
    for one, borders in zip(done, plan.folds, strict=True):
        marker = read_json(home / "runs" / "candidates" / one.candidate / "candidate.json")
        view = next((home / "runs" / "folds").glob(f"{marker['dataset_digest'][:16]}.json"))
        data = load_dataset(DatasetRef(marker["dataset_digest"], plan.base.path, str(view)))
        for part in ("train", "early_stop", "calibration"):
            assert data.minute_N[data.rows(PRODUCT, part)].max() + 15 < borders.test
        assert np.array_equal(Scaler.from_json(marker["scaler"]).mean_CF, fit_scaler(data).mean_CF)
        said = read_forecasts(Path(one.forecasts), PRODUCT)
        assert said.minute_N.min() >= borders.test
        assert said.minute_N.max() + 15 < borders.end


def test_a_finished_run_is_read_back_without_any_training(plan, done, home, monkeypatch):
    for room, work in ((run_training, "trained"), (walk_forward, "forecast")):
        monkeypatch.setattr(room, "run_child", lambda *_, work=work, **__: pytest.fail(f"{work} again"))
    monkeypatch.setattr(promotion, "run_child", _in_process)  # the judge reads back what it left
    monkeypatch.setattr(judge, "load_dataset", lambda *_: pytest.fail("judged again"))
    again = run(plan, home / "runs")
    assert [replace(one, training=None) for one in again] == [replace(one, training=None) for one in done]


def test_report_of_a_run_renders_with_baselines_and_borders(record):
    page = walk_forward_document(record)
    html = page.html()
    for said in ("gradient boosting", "fold by fold", f"{record.folds[1].test:%Y-%m-%d}", record.dataset_digest):
        assert said in html
    assert len(page.pictures) == 3
    titles = [title for title, _, _ in terminal_tables(record)]
    told = ("all folds together, beside the baselines", "fold by fold", "how much of it is luck")
    assert titles == [f"{PRODUCT}: {title}" for title in told]


def test_a_fold_that_fails_leaves_the_others_and_is_named(plan, done, home, monkeypatch):
    def fail_first(spec, view, folder, **options):
        if load_dataset(view).minute_N.max() < plan.folds[0].end:
            raise TrainingError("lstm-BTC-USD: its process was ended by SIGKILL")
        return CandidateRef(
            done[1].candidate, "lstm", (PRODUCT,), str(home / "runs" / "candidates" / done[1].candidate)
        )

    monkeypatch.setattr(walk_forward, "train_in_process", fail_first)
    monkeypatch.setattr(promotion, "run_child", _in_process)
    monkeypatch.setattr(walk_forward, "run_child", _in_process)
    found = run(plan, home / "runs")
    assert [bool(one.error) for one in found] == [True, False]
    record = walk_forward_record(plan, found, trials=1, manifest=plan.base.manifest())
    assert record.failures == ("lstm-BTC-USD: its process was ended by SIGKILL",)
    assert record.results[PRODUCT].configurations["preset"].pooled is None
    assert "SIGKILL" in walk_forward_document(record).html()


def test_ctrl_c_ends_the_trainings_at_work_and_begins_no_other(plan, tmp_path, monkeypatch):
    began, told = [], SimpleNamespace(name="lstm-BTC-USD", epoch=1, epochs=9, step=1, steps=9)

    def train_for_a_minute(spec, view, folder, *, on_progress, memory_gb):
        began.append(view)
        for _ in range(6000):
            on_progress(told)
            time.sleep(0.01)

    def interrupt(*_, **__):
        while not began:
            time.sleep(0.01)
        raise KeyboardInterrupt

    monkeypatch.setattr(walk_forward, "train_in_process", train_for_a_minute)
    monkeypatch.setattr(walk_forward, "wait", interrupt)
    steps = []
    with pytest.raises(KeyboardInterrupt):
        run(plan, tmp_path, on_step=steps.append)
    assert len(began) == 1
    assert steps[-1].words == "failed: lstm-BTC-USD: stopped; the same command goes on from there"


def test_jobs_begin_with_the_longest_and_weigh_one_together(plan):
    found = jobs(plan)
    assert [job.fold for job in found] == [1, 0]
    assert sum(job.weight for job in found) == pytest.approx(1.0)


def test_run_is_named_by_all_that_decides_it(plan):
    other = replace(plan.configurations[0].specs[0], seed=1)
    assert plan.run_id != replace(plan, cost_bps=1.0).run_id
    assert plan.run_id != replace(plan, configurations=(Configuration("preset", {}, (other,)),)).run_id
    assert plan.run_id == replace(plan).run_id


def _rivals(sharp):
    """Return forecasts of several made-up configurations: the truth seen through more or less noise."""
    generator = np.random.default_rng(0)
    minute_N = np.arange(12_000) * 10
    y_N = generator.integers(0, 2, len(minute_N)).astype(np.int8)
    return_N = 0.002 * (2.0 * y_N - 1) + generator.normal(scale=0.001, size=len(y_N))
    base_N = np.full(len(y_N), 0.5)

    def said(edge):
        p_N = 0.5 + edge * (y_N - 0.5) + generator.normal(scale=0.05, size=len(y_N))
        return Forecasts(minute_N, y_N, return_N, {"model": np.clip(p_N, 0.01, 0.99), "base_rate": base_N})

    return {f"rival {number}": said(edge) for number, edge in enumerate(sharp)}


@pytest.mark.parametrize(("sharp", "low", "high"), [((0.1, 0.0, 0.0, 0.0), 0.0, 0.01), ((0.0,) * 4, 0.1, 0.9)])
def test_rivals_are_told_apart_only_where_one_is_better(sharp, low, high):
    whole = _rivals(sharp)
    luck = search_luck(whole, 0.0)
    assert low <= luck.gain.probability <= high
    assert luck.configurations == tuple(whole)
    best = best_configurations(whole, 0.0, 40)["gain"]
    assert best.of_the_best.trials == 40
    if sharp[0]:
        assert best.best == "rival 0"


def test_record_of_several_configurations_shows_how_much_is_luck(record):
    whole = _rivals((0.1, 0.05, 0.0))
    result = replace(
        record.results[PRODUCT],
        configurations=dict.fromkeys(whole, record.results[PRODUCT].configurations["preset"]),
        selection=best_configurations(whole, 15.0, 3),
        overfitting=search_luck(whole, 15.0),
    )
    several = replace(
        record,
        configurations=tuple(replace(record.configurations[0], name=name) for name in whole),
        results={PRODUCT: result},
    )
    page = walk_forward_document(several)
    assert len(page.pictures) == 5
    html = page.html()
    assert "over-fitting (PBO)" in html
    assert "compared on the data set" in html  # the test part was walked over: said before any figure
    assert len(list(terminal_tables(several))) == 3


def test_figures_agree_with_hand_sums_on_four_minutes():
    said = Forecasts(
        np.array([0, 5, 1440, 1445]),
        np.array([1, 0, 1, 1], np.int8),
        np.array([0.001, -0.001, 0.002, -0.001]),
        {"model": np.array([0.8, 0.4, 0.6, 0.4]), "base_rate": np.full(4, 0.5)},
    )
    found = figures(said, 10.0).forecasters
    assert found["model"].accuracy.value == 0.75
    assert found["model"].net_bps.value == pytest.approx((10 + 10 + 20 + 10) / 4 - 10)
    expected = np.log(2) + np.mean(np.log([0.8, 0.6, 0.6, 0.4]))
    assert found["model"].gain.value == pytest.approx(expected)
    assert found["base_rate"].ahead.value == pytest.approx(expected)


def test_forecasts_come_back_as_written_and_a_changed_file_does_not_count(tmp_path):
    path = tmp_path / "forecasts.parquet"
    one = Forecasts(
        np.array([10, 20]), np.array([0, 1], np.int8), np.array([0.1, -0.1]), {"model": np.array([0.25, 0.5])}
    )
    write_forecasts(path, "key", {PRODUCT: one, "ETH-USD": one})
    assert known_forecasts(path, "key")
    assert not known_forecasts(path, "another")
    back = read_forecasts(path, PRODUCT)
    assert back.p_N["model"].tolist() == [0.25, 0.5]
    assert back.minute_N.tolist() == [10, 20]
    path.write_bytes(path.read_bytes() + b" ")
    assert not known_forecasts(path, "key")


def test_forecasts_side_by_side_keep_the_minutes_both_speak_of():
    one = Forecasts(
        np.array([10, 20, 30]), np.array([0, 1, 1], np.int8), np.zeros(3), {"model": np.array([0.1, 0.2, 0.3])}
    )
    other = Forecasts(
        np.array([20, 30, 40]), np.array([1, 1, 0], np.int8), np.ones(3), {"base": np.array([0.5, 0.6, 0.7])}
    )
    both = one.beside(other)
    assert both.minute_N.tolist() == [20, 30]
    assert both.p_N["model"].tolist() == [0.2, 0.3]
    assert both.p_N["base"].tolist() == [0.5, 0.6]
    assert list(one_after_another([one, both]).p_N) == ["model"]
