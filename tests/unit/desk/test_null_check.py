"""`desk null-check`: counting, the log that lets a killed run go on, and what a person sees."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import pytest
from rich.console import Console
from typer import Typer
from typer.testing import CliRunner

from core.errors import TrainingError
from desk import null_check
from models.gates import gate_profile
from validation.null_market.null_tables import PromotionCount, claims, refusals, show
from validation.null_market.universe import ALWAYS_ON, Sizes, UniverseOutcome, failed, universes
from validation.null_market.universe_runs import NullTerms, OutcomeLog, exclusively, try_universes

if TYPE_CHECKING:
    from pathlib import Path

TERMS = NullTerms(1, "lstm_one_way", 0.75, gate_profile("seed"), 18.0)
WORLDS = universes(Sizes(9, 2, null_days=30, planted_days=120, features=("flow",)), 1)


def outcome(universe, refused_by: tuple[str, ...] | None = None) -> UniverseOutcome:
    """An outcome as it should be, or with the refusals named."""
    gates = (("min_accuracy", "brier_skill") if universe.is_null else ()) if refused_by is None else refused_by
    under = dict.fromkeys(("seed", "selective", "calibrated", ALWAYS_ON), gates)
    return UniverseOutcome(universe, not gates, gates, under, {"brier_skill": 0.01}, 1.5)


GOOD = [outcome(one) for one in WORLDS]


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"),
    # published: rule of three, and Clopper and Pearson's tables
    [(0, 100, 0.0, 0.0362), (18, 20, 0.6830, 0.9877), (20, 20, 0.8316, 1.0), (0, 0, 0.0, 1.0)],
)
def test_count_has_the_exact_interval(hits, of, low, high):
    assert PromotionCount(hits, of).interval == pytest.approx((low, high), abs=1e-4)


def test_count_reads_as_a_share():
    assert str(PromotionCount(0, 100)) == "0 of 100 (95 %: 0.0 to 3.6 %)"


def test_claims_hold_when_nothing_false_and_nine_of_ten_true_are_promoted():
    found = claims(GOOD, "seed")
    assert (found.false.hits, found.false.of, found.true.hits, found.true.of) == (0, 9, 2, 2)
    assert found.hold


@pytest.mark.parametrize("spoil", ["lucky", "missed", "failed"])
def test_claims_fail_on_one_lucky_one_missed_or_one_failed_universe(spoil):
    null, planted = (next(one for one in WORLDS if one.is_null is is_null) for is_null in (True, False))
    changed = {
        "lucky": outcome(null, ()),
        "missed": outcome(planted, ("calibration_error",)),
        "failed": failed(null, "out of luck"),
    }[spoil]
    found = [changed if one.universe == changed.universe else one for one in GOOD]
    assert not claims(found, "seed").hold


def test_claims_count_what_the_figures_alone_would_promote():
    audited = [outcome(one, ("future_control", "no_leak_canary")) if one.is_null else outcome(one) for one in WORLDS]
    found = claims(audited, "seed")
    assert found.no_luck
    assert found.false_by_figures.hits == 9


def test_refusals_count_every_gate_and_those_that_stood_alone():
    every, alone_ = refusals([outcome(WORLDS[0], ("brier_skill",)), outcome(WORLDS[1], ("brier_skill", "audit"))])
    assert every == {"brier_skill": 2, "audit": 1}
    assert alone_ == {"brier_skill": 1}


def test_log_keeps_the_last_word_and_forgets_a_line_that_was_cut_off(tmp_path: Path):
    path = tmp_path / "universes.jsonl"
    log = OutcomeLog(path)
    for one in (failed(WORLDS[0], "no"), GOOD[0], GOOD[1]):
        log.add(one)
    with path.open("a") as file:
        file.write('{"universe": {"number"')  # killed here
    again = OutcomeLog(path)
    assert again.outcomes() == {WORLDS[0]: GOOD[0], WORLDS[1]: GOOD[1]}
    again.add(GOOD[2])
    assert len(again.outcomes()) == 3


def test_lock_refuses_a_second_process_and_sweeps_out_what_a_killed_one_left(tmp_path: Path):
    (tmp_path / "work-1-0" / "datasets").mkdir(parents=True)
    with exclusively(tmp_path):
        assert not (tmp_path / "work-1-0").exists()
        with pytest.raises(TrainingError, match=r"another null-check .* is at work"), exclusively(tmp_path):
            pass
    with exclusively(tmp_path):
        pass


def test_terms_of_another_seed_or_gate_have_another_folder(tmp_path: Path):
    others = [replace(TERMS, seed=2), replace(TERMS, gates=gate_profile("seed", min_accuracy=0.6))]
    assert len({one.folder(tmp_path) for one in (TERMS, *others)}) == 3
    assert replace(TERMS).folder(tmp_path) == TERMS.folder(tmp_path)


@pytest.fixture
def fake_child(monkeypatch):
    """Children that train nothing and say what is right; a test may make the n-th of them die."""
    tried: list[list[int]] = []
    dies: set[int] = set()

    def run(module, job, *, on_line, **_):
        assert module == "validation.null_market.universe_process"
        numbers = [entry["universe"]["number"] for entry in job["runs"]]
        tried.append(numbers)
        for entry in job["runs"]:
            if entry["universe"]["number"] in dies:
                msg = "null-check: its process was ended by SIGKILL"
                raise TrainingError(msg)
            world = next(one for one in WORLDS if one.number == entry["universe"]["number"])
            on_line({"outcome": json.loads(json.dumps(asdict(outcome(world))))})

    monkeypatch.setattr("validation.null_market.universe_runs.run_child", run)
    monkeypatch.setattr(
        "validation.null_market.universe_runs._run", lambda universe, terms, folder: {"universe": asdict(universe)}
    )
    return tried, dies


def test_try_universes_tries_each_once_and_logs_it_at_once(fake_child, tmp_path: Path):
    tried, _ = fake_child
    seen: list[UniverseOutcome] = []
    try_universes(WORLDS, TERMS, tmp_path, 2, seen.append)
    assert sorted(number for batch in tried for number in batch) == sorted(one.number for one in WORLDS)
    assert OutcomeLog(tmp_path / "universes.jsonl").outcomes() == {one.universe: one for one in seen}
    assert {one.universe: one for one in seen} == {one.universe: one for one in GOOD}


def test_try_universes_after_a_dead_child_keeps_what_was_done(fake_child, tmp_path: Path):
    _, dies = fake_child
    dies.add(WORLDS[5].number)
    with pytest.raises(TrainingError, match="SIGKILL"):  # of the second child's four
        try_universes(WORLDS, TERMS, tmp_path, 1, lambda _: None)
    kept = set(OutcomeLog(tmp_path / "universes.jsonl").outcomes())
    assert set(WORLDS[:5]) <= kept
    assert not {WORLDS[5], WORLDS[6]} & kept  # the dead child's


@pytest.fixture
def desk(monkeypatch, tmp_path: Path):
    """The command as a person runs it, in an empty folder."""
    monkeypatch.setenv("DESK_HOME", str(tmp_path))
    app = Typer()
    app.command()(null_check.null_check)

    def run(*arguments: str):
        sizes = ("--universes", "9", "--planted", "2", "--set", "flow", "--null-days", "30", "--planted-days", "120")
        return CliRunner().invoke(app, [*sizes, *arguments], catch_exceptions=False)

    return run


def test_command_prints_counts_and_goes_on_where_it_stood(fake_child, desk):
    tried, dies = fake_child
    dies.add(WORLDS[8].number)
    with pytest.raises(TrainingError):
        desk("--workers", "1")
    dies.clear()
    tried.clear()
    done = desk("--workers", "1")
    assert done.exit_code == 0
    assert sorted(number for batch in tried for number in batch) == sorted(one.number for one in WORLDS[8:])
    assert "0 of 9 (95 %: 0.0 to 33.6 %) promoted where there is no edge" in done.stdout
    assert "2 of 2 (95 %: 15.8 to 100.0 %) promoted where an edge is planted" in done.stdout
    assert "planted, labels shuffled by day" in done.stdout
    tried.clear()
    again = desk("--format", "json")
    assert not tried
    assert len(json.loads(again.stdout)) == 11
    assert desk("--fresh").exit_code == 0
    assert len(tried) > 0


def test_command_ends_with_one_when_luck_is_promoted(fake_child, desk, monkeypatch):
    lucky = next(one for one in WORLDS if one.is_null)
    true = outcome
    monkeypatch.setitem(globals(), "outcome", lambda one: true(one, () if one == lucky else None))
    done = desk()
    assert done.exit_code == 1
    assert "1 of 9" in done.stdout


def test_tables_name_failures_and_cut_no_row(capsys):
    console = Console(width=250, force_terminal=False)
    show(console, [*GOOD, failed(WORLDS[0], "the loss is no longer a number")], "seed", 10.0)
    printed = capsys.readouterr().out
    assert f"universe {WORLDS[0].number} failed: the loss is no longer a number" in printed
    assert printed.count("min_accuracy, brier_skill") == 9
    assert "alone" in printed
