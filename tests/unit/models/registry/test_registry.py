"""The registry: one atomic switch, a history that only grows, and a crash anywhere leaves old or new."""

from __future__ import annotations

import json
import multiprocessing
from datetime import datetime
from pathlib import Path

import pytest

from core import files
from core.errors import ModelError, NoPromotedModelError
from core.integrity import sealed
from models.registry import Promoted, Promotion, Registry
from tests.judged_models import SLOT, judgement_of, write_model


def candidate(folder: Path, model_id: str, *, accepted: bool = True, slots: tuple[str, ...] = (SLOT,)) -> Path:
    """Write what a judging leaves, as far as the registry looks at it."""
    home = write_model(folder / "checkpoints" / model_id, model_id, accepted=accepted, slots=slots)
    (home / "weights.pt").write_bytes(b"weights")
    return home


def serving(store: Registry) -> Promoted:
    """The model that serves, its files seen to be those that were judged."""
    promoted = store.current()[SLOT]
    store.require_whole(promoted)
    return promoted


@pytest.fixture
def store(tmp_path) -> Registry:
    return Registry(tmp_path / "models" / "registry.json")


def test_registry_without_a_file_is_empty(store):
    assert store.events() == ()
    assert store.current() == {}


def test_promote_copies_the_files_and_switches(store, tmp_path):
    home = candidate(tmp_path, "first")
    assert store.promote(home, [SLOT], why="gates passed", who="me") == Promotion("first", {SLOT: ""})
    served = serving(store)
    assert served.model_id == "first"
    assert (served.path / "model.onnx").read_bytes() == b"graph of first"
    assert not (served.path / "weights.pt").exists()
    assert store.path.exists()
    event = store.events()[-1]
    assert (event.kind, event.slot, event.who, event.why) == ("promotion", SLOT, "me", "gates passed")
    assert event.happened_at.tzinfo is not None


def test_promote_twice_is_one_event(store, tmp_path):
    home = candidate(tmp_path, "first")
    store.promote(home, [SLOT], why="a")
    store.promote(home, [SLOT], why="b")
    assert [event.kind for event in store.events()] == ["promotion"]


def test_promote_serves_only_the_slots_asked_for(store, tmp_path):
    slots = ("transformer:BTC-USD", "transformer:ETH-USD")
    store.promote(candidate(tmp_path, "all", slots=slots), [slots[1]], why="a")
    assert list(store.current()) == [slots[1]]


def test_promote_of_a_refused_model_names_the_gate(store, tmp_path):
    with pytest.raises(ModelError, match="refused for lstm:BTC-USD by min_accuracy"):
        store.promote(candidate(tmp_path, "bad", accepted=False), [SLOT], why="please")
    assert store.events() == ()


def test_promote_of_another_slot_is_refused(store, tmp_path):
    with pytest.raises(ModelError, match="not judged for lstm:ETH-USD"):
        store.promote(candidate(tmp_path, "first"), ["lstm:ETH-USD"], why="a")


def test_promote_of_a_changed_graph_is_refused(store, tmp_path):
    home = candidate(tmp_path, "first")
    (home / "model.onnx").write_bytes(b"other")
    with pytest.raises(ModelError, match="not the one that was judged"):
        store.promote(home, [SLOT], why="a")


def test_rollback_serves_what_was_served_before(store, tmp_path):
    for name in ("first", "second", "third"):
        store.promote(candidate(tmp_path, name), [SLOT], why="a")
    assert store.rollback(SLOT, why="worse") == "second"
    assert serving(store).model_id == "second"
    assert store.rollback(SLOT, why="worse still") == "first"
    assert store.rollback(SLOT, why="all of it") is None
    assert store.current() == {}
    with pytest.raises(NoPromotedModelError, match="nothing to roll back"):
        store.rollback(SLOT, why="again")
    assert [event.kind for event in store.events()] == ["promotion"] * 3 + ["rollback"] * 3


def test_rollback_to_files_that_are_gone_changes_nothing(store, tmp_path):
    for name in ("first", "second"):
        store.promote(candidate(tmp_path, name), [SLOT], why="a")
    (store.promoted / "first" / "model.onnx").unlink()
    with pytest.raises(ModelError, match=r"model\.onnx of first is missing; put the judged files back"):
        store.rollback(SLOT, why="worse")
    assert serving(store).model_id == "second"


def test_record_judgement_is_written_once(store):
    judgement = judgement_of(Path("path"), "m", accepted=False)
    assert len(store.record_judgement(judgement)) == 2
    assert store.record_judgement(judgement) == ()
    assert [event.kind for event in store.events()] == ["trial", "refusal"]
    assert "refused by min_accuracy" in store.events()[1].why
    assert store.count_trials().total == 1


def test_record_of_a_switch_is_refused(store):
    with pytest.raises(ModelError, match="use promote or rollback"):
        store.record("promotion", SLOT, "m", "sneaky")


HALF_A_CHARACTER = (
    '{"version": 1, "events": [{"event_id": "\\ud800", "happened_at": "2026-01-01T00:00:00+00:00", "kind": "trial", '
    '"slot": "", "model_id": "m", "who": "a", "why": "b"}]}'
)


@pytest.mark.parametrize(
    "content",
    ['{"version": 1}', '{"version": 1, "events": [{"kind": "promotion"}]}', "[]", "{", HALF_A_CHARACTER],
    ids=["no events", "half an event", "a list", "cut", "half a character"],
)
def test_damaged_registry_is_refused_by_name(store, content):
    store.path.parent.mkdir(parents=True)
    store.path.write_text(content)
    with pytest.raises(ModelError, match=r"registry\.json"):
        store.events()


def test_registry_of_newer_code_is_refused(store):
    store.path.parent.mkdir(parents=True)
    store.path.write_text('{"version": 99, "events": []}')
    with pytest.raises(ModelError, match="update Candledesk"):
        store.events()


class Crash(BaseException):
    """Stands for kill -9; the lock goes with the process there, and here when the block is left."""


def crash_at(monkeypatch, number: int) -> None:
    """Die at the ``number``-th step that touches the disk during a promotion."""
    left = [number]

    def dying(function):
        def step(*arguments, **options):
            left[0] -= 1
            if left[0] == 0:
                raise Crash
            return function(*arguments, **options)

        return step

    monkeypatch.setattr(files.os, "fsync", dying(files.os.fsync))
    monkeypatch.setattr(Path, "replace", dying(Path.replace))
    monkeypatch.setattr(Path, "rename", dying(Path.rename))
    monkeypatch.setattr(Path, "mkdir", dying(Path.mkdir))


def test_crash_at_every_step_of_a_promotion_leaves_old_or_new(tmp_path):
    seen = set()
    for number in range(1, 40):
        place = tmp_path / str(number)
        place.mkdir()
        store = Registry(place / "models" / "registry.json")
        store.promote(candidate(place, "old"), [SLOT], why="a")
        home = candidate(place, "new")
        finished = False
        with pytest.MonkeyPatch.context() as patch:
            crash_at(patch, number)
            try:
                store.promote(home, [SLOT], why="b")
                finished = True
            except Crash:
                pass
        served = serving(Registry(store.path))
        seen.add(served.model_id)
        assert served.path.joinpath("model.onnx").read_bytes() == f"graph of {served.model_id}".encode()
        Registry(store.path).promote(home, [SLOT], why="again")
        assert serving(Registry(store.path)).model_id == "new"
        if finished:
            break
    assert finished
    assert number > 8
    assert seen == {"old", "new"}


def _record_many(path: str, name: str) -> None:
    for number in range(20):
        Registry(Path(path)).record("trial", "lstm", f"{name}-{number}", "judged")


def test_two_processes_lose_no_event(store):
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_record_many, args=(str(store.path), name)) for name in ("a", "b")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert {event.model_id for event in store.events()} == {f"{name}-{n}" for name in "ab" for n in range(20)}
    assert len({event.event_id for event in store.events()}) == 40


# what the first version wrote: random ids, no head
V1_EVENTS = [
    {
        "event_id": f"{number:032x}",
        "happened_at": f"2025-11-0{number}T12:00:00.000001+00:00",
        "kind": kind,
        "slot": slot,
        "model_id": model,
        "who": "me@here",
        "why": why,
    }
    for number, (kind, slot, model, why) in enumerate(
        [
            ("trial", "lstm", "lstm-a-1", "judged"),
            ("candidate", SLOT, "lstm-a-1", "seed: all gates passed"),
            ("promotion", SLOT, "lstm-a-1", "passed every gate of seed"),
        ],
        1,
    )
]


@pytest.fixture
def old_store(store) -> Registry:
    store.path.parent.mkdir(parents=True)
    store.path.write_text(json.dumps({"version": 1, "current": {SLOT: "lstm-a-1"}, "events": V1_EVENTS}, indent=1))
    return store


def test_file_of_the_first_version_is_read_and_extended_without_loss(old_store, tmp_path):
    before = old_store.events()
    assert [event.event_id for event in before] == [entry["event_id"] for entry in V1_EVENTS]
    assert old_store.current()[SLOT].model_id == "lstm-a-1"
    old_store.promote(candidate(tmp_path, "lstm-b-2"), [SLOT], why="better")
    assert old_store.events()[:3] == before
    content = json.loads(old_store.path.read_text())
    assert content["events"][:3] == V1_EVENTS
    assert len(content["events"][3]["event_id"]) == 64


def test_older_code_reads_and_extends_a_file_of_today(old_store, tmp_path):
    old_store.promote(candidate(tmp_path, "lstm-b-2"), [SLOT], why="better")
    content = json.loads(old_store.path.read_text())
    # as `Registry.events` of the first version did
    fields = {"event_id", "happened_at", "kind", "slot", "model_id", "who", "why"}
    assert content["version"] == 1
    assert all(set(entry) == fields for entry in content["events"])
    # and as it wrote: everything anew, its own ids, no head
    fresh = V1_EVENTS[2] | {"event_id": "f" * 32, "happened_at": "2025-12-01T12:00:00+00:00", "model_id": "lstm-c-3"}
    written = {"version": 1, "current": {SLOT: "lstm-c-3"}, "events": [*content["events"], fresh]}
    old_store.path.write_text(json.dumps(written))
    # it announces nothing: what it wrote counts once it is taken back from the tables, which it keeps too
    with pytest.raises(
        ModelError, match=r"nobody here wrote the promotion of lstm-c-3 .*older version.*desk models restore"
    ):
        old_store.current()
    moments = [datetime.fromisoformat(entry["happened_at"]) for entry in written["events"]]
    old_store.restore([entry | {"happened_at": at} for entry, at in zip(written["events"], moments, strict=True)])
    assert old_store.current()[SLOT].model_id == "lstm-c-3"
    old_store.rollback(SLOT, why="back")
    assert serving(old_store).model_id == "lstm-b-2"
    # what older code wrote is covered by the next link
    spoiled = json.loads(old_store.path.read_text())
    spoiled["events"][4]["why"] = "another reason"
    old_store.path.write_text(json.dumps(spoiled))
    with pytest.raises(ModelError, match=r"event 6 .*changed, removed or put in"):
        old_store.events()


@pytest.mark.parametrize("field", ["event_id", "happened_at", "kind", "slot", "model_id", "who", "why"])
@pytest.mark.parametrize("number", [0, 2])
def test_every_field_of_every_event_is_guarded(store, tmp_path, field, number):
    for name in ("first", "second", "third"):
        store.promote(candidate(tmp_path, name), [SLOT], why="a", who="me")
    content = json.loads(store.path.read_text())
    entry = content["events"][number]
    entry[field] = "2020-01-01T00:00:00+00:00" if field == "happened_at" else entry[field][:-1] + "x"
    store.path.write_text(json.dumps(content))
    with pytest.raises(ModelError, match="desk models restore"):
        store.events()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: content["events"].pop(0),
        lambda content: content["events"].pop(1),
        lambda content: content["events"].pop(),
        lambda content: content["events"].insert(1, dict(content["events"][2])),
        lambda content: content["events"].reverse(),
        lambda content: content["events"].append(content["events"][-1] | {"event_id": "0" * 64}),
        lambda content: content.pop("head"),
        lambda content: content["head"].update(count=2),
        lambda content: content["current"].clear(),
    ],
)
def test_events_removed_added_or_moved_are_refused(store, tmp_path, spoil):
    for name in ("first", "second", "third"):
        store.promote(candidate(tmp_path, name), [SLOT], why="a", who="me")
    content = json.loads(store.path.read_text())
    spoil(content)
    store.path.write_text(json.dumps(content))
    with pytest.raises(ModelError, match=r"is not as it was written.*desk models restore"):
        serving(store)
    # and nobody builds on it
    with pytest.raises(ModelError, match="is not as it was written"):
        store.record("trial", "lstm", "m", "judged")


def test_serving_refuses_files_that_are_not_the_promoted_ones(store, tmp_path):
    store.promote(candidate(tmp_path, "first"), [SLOT], why="a")
    home = serving(store).path
    whole = (home / "model.onnx").read_bytes()
    (home / "model.onnx").write_bytes(b"other")
    with pytest.raises(ModelError, match=r"graph beside it is not the one that was judged.*desk evaluate"):
        serving(store)
    # promoting again puts the files right and is no event
    store.promote(tmp_path / "checkpoints" / "first", [SLOT], why="repair")
    assert (serving(store).path / "model.onnx").read_bytes() == whole
    assert len(store.events()) == 1


def test_promote_without_a_slot_takes_those_it_passed(store, tmp_path):
    home = candidate(tmp_path, "all", slots=("lstm:BTC-USD", "lstm:ETH-USD"))
    wanted = store.promotion(home)
    assert wanted.changes == {"lstm:BTC-USD": "", "lstm:ETH-USD": ""}
    assert store.events() == (), "asking changes nothing"
    store.promote(home, why="both")
    assert sorted(store.current()) == ["lstm:BTC-USD", "lstm:ETH-USD"]
    with pytest.raises(ModelError, match="refused for lstm:BTC-USD by min_accuracy"):
        store.promotion(candidate(tmp_path, "bad", accepted=False))


def test_passport_exchanged_after_the_judging_is_not_promoted(store, tmp_path):
    home = candidate(tmp_path, "lstm-a-1", accepted=False)
    store.record_judgement(judgement_of(home, "lstm-a-1", accepted=False))
    passport = json.loads((home / "passport.json").read_text())
    passport["verdicts"]["BTC-USD"] |= {"accepted": True, "gates": []}
    # sealed anew by who made it pass: the registry knows another hash
    (home / "passport.json").write_text(json.dumps(sealed(passport)))
    with pytest.raises(ModelError, match=r"not the one the registry recorded.*desk evaluate --model lstm-a"):
        store.promote(home, [SLOT], why="please")
    assert store.current() == {}


def test_switch_without_a_reason_is_refused(store, tmp_path):
    with pytest.raises(ModelError, match="--why"):
        store.promote(candidate(tmp_path, "first"), [SLOT], why=" ")
    with pytest.raises(ModelError, match="--why"):
        store.rollback(SLOT, why="")


def test_reason_that_is_no_text_is_kept_as_far_as_it_is(store):
    event = store.record("trial", "lstm", "m", "half a \ud83d character")
    assert event.why == "half a ? character"
    assert store.events() == (event,)
