"""Events that no writer of this home announced are seen, though their links are right by the public recipe."""

from __future__ import annotations

import shutil

import pytest

from core.errors import ModelError
from models.registry import Registry
from models.registry.chain_head import head_file
from models.registry.events import NewEvent, appended, as_file
from tests.judged_models import SLOT, judgement_of, write_model


@pytest.fixture
def store(tmp_path):
    return Registry(tmp_path / "models" / "registry.json")


def judged(store, tmp_path, model_id, *, accepted=True):
    folder = write_model(tmp_path / "checkpoints" / model_id, model_id, accepted=accepted)
    store.record_judgement(judgement_of(folder, model_id, accepted=accepted))
    return folder


def forged(store, folder, model_id):
    """What whoever may write the folder can do: the files copied, one event more, every link and the head right."""
    shutil.copytree(folder, store.promoted / model_id)
    events = store.events()
    fresh = appended(events, [NewEvent("promotion", SLOT, model_id, "passed every gate of seed", "me")])
    store.path.write_bytes(as_file([*events, *fresh]))


def test_promotion_written_into_the_file_alone_is_refused_and_named(store, tmp_path):
    store.promote(judged(store, tmp_path, "good"), why="a")
    forged(store, judged(store, tmp_path, "bad", accepted=False), "bad")
    for look in (store.events, store.current):
        with pytest.raises(ModelError, match=r"nobody here wrote the promotion of bad for lstm.*desk models restore"):
            look()


def test_refused_model_is_not_served_where_the_head_was_removed_too(store, tmp_path):
    forged(store, judged(store, tmp_path, "bad", accepted=False), "bad")
    head_file(store.path).unlink()
    with pytest.raises(
        ModelError, match=r"no judging accepted: bad is refused for .*desk models rollback lstm:BTC-USD"
    ):
        store.require_whole(store.current()[SLOT])


def test_passport_made_to_accept_does_not_help_where_the_registry_recorded_a_refusal(store, tmp_path):
    folder = write_model(tmp_path / "checkpoints" / "bad", "bad", accepted=True)
    store.record("refusal", SLOT, "bad", "seed: refused by min_accuracy")
    forged(store, folder, "bad")
    head_file(store.path).unlink()
    with pytest.raises(ModelError, match="recorded only refusals of bad"):
        store.require_whole(store.current()[SLOT])


def test_home_of_an_older_version_is_taken_and_given_a_head_by_its_next_writer(store, tmp_path):
    store.promote(judged(store, tmp_path, "good"), why="a")
    head_file(store.path).unlink()
    store.require_whole(store.current()[SLOT])
    assert not head_file(store.path).exists()
    store.record_trainings(["another"])
    assert head_file(store.path).exists()
    assert len(store.events()) == 4


def test_writer_that_died_between_head_and_file_leaves_a_home_that_is_read(store, tmp_path, monkeypatch):
    store.record_trainings(["first"])
    monkeypatch.setattr(store, "_write", lambda events: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        store.record_trainings(["second"])
    monkeypatch.undo()
    assert [event.model_id for event in store.events()] == ["first"]
    store.record_trainings(["third"])
    assert [event.model_id for event in store.events()] == ["first", "third"]


def test_registry_begun_anew_is_not_held_to_the_old_head(store):
    store.record_trainings(["first", "second"])
    store.path.unlink()
    assert store.events() == ()
    store.record_trainings(["third"])
    assert [event.model_id for event in store.events()] == ["third"]


def test_model_judged_again_and_refused_is_served_on(store, tmp_path):
    store.promote(judged(store, tmp_path, "good"), why="a")
    store.record("refusal", SLOT, "good", "prop: refused by min_accuracy")
    assert store.require_whole(store.current()[SLOT]).model_id == "good"


@pytest.mark.parametrize("content", ["", "{}", "[" * 100_000, '{"before": 1}'])
def test_head_that_cannot_be_read_is_refused_with_the_repair_and_restored_from_the_tables(store, content):
    rows = [{name: getattr(event, name) for name in event.__slots__} for event in store.record_trainings(["first"])]
    head_file(store.path).write_text(content)
    with pytest.raises(ModelError, match=r"cannot be read .*desk models restore"):
        store.events()
    store.restore(rows)
    assert [event.model_id for event in store.events()] == ["first"]


def test_forged_events_go_when_the_file_is_restored_from_the_tables(store, tmp_path):
    store.promote(judged(store, tmp_path, "good"), why="a")
    rows = [{name: getattr(event, name) for name in event.__slots__} for event in store.events()]
    folder = write_model(tmp_path / "checkpoints" / "bad", "bad")
    forged(store, folder, "bad")
    assert store.restore(rows).exists()
    assert store.current()[SLOT].model_id == "good"
