"""Reports are of one observation: what came before it counts no more, and stays readable."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from typer.testing import CliRunner

from core.candles import MINUTE
from core.errors import StoreError
from desk.observation import app
from reports.observation.day_page import write_daily
from reports.observation.record import read_extent, read_observations, read_record
from runtime.observation_terms import of_older_code
from store.signal_store import SignalStore


@pytest.fixture
def parted(fake_observation, monkeypatch):
    """Ten hours, a message lost in each five; a second observation begins in the middle."""
    settings = fake_observation(minutes=600, undelivered=2)
    monkeypatch.setenv("DESK_HOME", str(settings.desk_home))
    store = SignalStore(settings.paths.signals_db)
    start = read_extent(settings).since
    store.begin_observation(of_older_code(start))
    store.publish(settings.paths.signals_copy)
    return settings, start


def part(settings, why="new models"):
    done = CliRunner().invoke(app, ["new", "--why", why])
    assert done.exit_code == 0, done.output
    return read_observations(settings)[-1]


def test_new_observation_has_nothing_to_report_until_a_minute_is_decided(parted):
    settings, start = parted
    newest = part(settings)
    assert newest.began_at == start + timedelta(minutes=600)
    assert newest.why == "new models"
    with pytest.raises(StoreError, match=f"no minute was decided in observation {newest.observation_id}"):
        read_record(settings)


def test_record_of_an_observation_holds_nothing_of_the_one_before(parted):
    settings, start = parted
    middle = start + timedelta(minutes=300)
    store = SignalStore(settings.paths.signals_db)
    store.begin_observation(of_older_code(middle))
    store.publish(settings.paths.signals_copy)
    whole, newest = read_observations(settings)
    before, after = read_record(settings, observation=whole.observation_id), read_record(settings)
    assert (before.until, after.since) == (middle, middle)
    assert all(signal.open_time >= middle for signal in after.signals)
    assert all(alert.created_at >= middle for alert in after.alerts)
    assert len(before.signals) + len(after.signals) > max(len(before.signals), len(after.signals)) > 0
    assert before.until - before.since == after.until - after.since == 300 * MINUTE
    assert (before.extent.is_newest, after.extent.is_newest) == (False, True)
    assert newest.observation_id == after.extent.observation


def test_pages_of_the_observation_before_are_moved_out_of_the_way(parted):
    settings, start = parted
    (first,) = read_observations(settings)
    write_daily(settings, 0)
    store = SignalStore(settings.paths.signals_db)
    store.begin_observation(of_older_code(start + timedelta(minutes=300)))
    store.publish(settings.paths.signals_copy)
    folder = settings.paths.observation
    old = (folder / "day0.md").read_text()
    write_daily(settings, 0)
    assert (folder / first.observation_id / "day0.md").read_text() == old
    assert (folder / first.observation_id / "plots").is_dir()
    assert (folder / "day0.md").read_text() != old


def test_commands_list_and_show_an_observation(parted):
    settings, _ = parted
    (first,) = read_observations(settings)
    part(settings, "a new challenge")
    runner = CliRunner()
    assert "a new challenge" in runner.invoke(app, ["list"], env={"COLUMNS": "200"}).output
    listed = json.loads(runner.invoke(app, ["list", "--json"]).output)
    assert [row["observation_id"] for row in listed] == [row.observation_id for row in read_observations(settings)]
    shown = runner.invoke(app, ["show", first.observation_id[:5]]).output
    assert "before observations were kept apart" in shown
    assert (settings.paths.observation / first.observation_id / "day0.html").exists()


def test_unknown_observation_names_the_command_that_lists_them(parted):
    settings, _ = parted
    with pytest.raises(StoreError, match="desk observation list"):
        read_record(settings, observation="nonsense")
