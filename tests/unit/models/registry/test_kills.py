"""A real process is killed at every step of a promotion and of a rollback: old or new, never neither."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from core import failpoints
from core.errors import ModelError, StoreError
from core.failpoints import PLACES, VARIABLE
from core.settings import load_settings
from models.registry import Registry
from models.registry.events import as_file
from store.database import connect
from store.feature_store import FeatureStore
from store.registry_mirror import mirror_registry, restore_registry
from store.sql_files import load_sql
from tests.campaign.harness import forks
from tests.judged_models import SLOT, judged_model

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess

    from core.settings import Settings

ROOT = Path(__file__).resolve().parents[4]
FILES = ("model.onnx", "passport.json", "curves.json", "baseline.json")


def act(home: str, what: str, folder: str, armed: str) -> None:
    """Promote or roll back, then bring the tables up to date, with places armed; in a process of its own."""
    os.environ[VARIABLE] = armed
    failpoints.rearm()
    settings = load_settings(desk_home=home)
    registry = Registry(settings.paths.registry)
    if what == "promote":
        registry.promote(Path(folder), [SLOT], why="because", who="a test")
    else:
        registry.rollback(SLOT, why="because", who="a test")
    mirror_registry(settings, registry)


PLACES_OF = {
    "promote": [
        ("registry.after_lock", 1),
        *(("registry.before_copy", number) for number in range(1, len(FILES) + 1)),
        ("registry.before_folder", 1),
        ("registry.after_folder", 1),
        ("registry.before_append", 1),
        ("registry.before_switch", 1),
        ("registry.after_switch", 1),
        ("registry.before_table", 1),
        ("registry.after_events", 1),
        ("write.before_commit", 1),
        ("write.after_commit", 1),
        ("registry.after_table", 1),
    ],
}
PLACES_OF["rollback"] = [
    (place, 1)
    for place in ("registry.after_lock", "registry.before_append", "registry.before_switch", "registry.after_switch")
] + [("registry.before_table", 1), ("registry.after_table", 1)]
SWITCHED = PLACES_OF["promote"].index(("registry.after_switch", 1))


def judged(settings: Settings, model_id: str) -> Path:
    """Leave what a judging leaves, as far as a promotion looks at it, and record it."""
    home = settings.paths.checkpoints / model_id.rpartition("-")[0]
    home.mkdir(parents=True)
    for name in FILES:
        (home / name).write_bytes(f"{name} of {model_id}".encode())
    return judged_model(settings, model_id)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """A folder with one promoted model, and another one judged."""
    settings = load_settings(desk_home=tmp_path_factory.mktemp("home"))
    FeatureStore(settings.paths.make().market_db).migrate()
    Registry(settings.paths.registry).promote(judged(settings, "lstm-BTC-old-1"), why="first")
    judged(settings, "lstm-BTC-new-2")
    return settings.paths.home


@pytest.fixture
def settings(prepared, tmp_path) -> Settings:
    shutil.copytree(prepared, tmp_path / "home")
    return load_settings(desk_home=tmp_path / "home")


def started(settings: Settings, what: str, armed: str = "", candidate: str = "lstm-BTC-new") -> ForkServerProcess:
    child = forks("store.registry_mirror", "core.settings", "pytest").Process(
        target=act, args=(str(settings.paths.home), what, str(settings.paths.checkpoints / candidate), armed)
    )
    child.start()
    return child


def run(settings: Settings, what: str, armed: str = "") -> int:
    child = started(settings, what, armed)
    child.join()
    assert child.exitcode in {0, -signal.SIGKILL}
    return child.exitcode


def require_whole(settings: Settings, wanted: tuple[str, ...]) -> str:
    """The lookup gives one of ``wanted``, with every file as that model has it."""
    found = Registry(settings.paths.registry).current()[SLOT]
    Registry(settings.paths.registry).require_whole(found)
    assert found.model_id in wanted
    source = settings.paths.checkpoints / found.model_id.rpartition("-")[0]
    assert all((found.path / name).read_bytes() == (source / name).read_bytes() for name in FILES)
    return found.model_id


def table(settings: Settings) -> list[str]:
    """The events of the table, after its check found nothing."""
    connection = connect(settings.paths.market_db)
    try:
        assert connection.execute(load_sql("checks/registry_events_edited")).fetchall() == []
        rows = connection.execute(load_sql("queries/registry_events_linked")).fetchall()
    finally:
        connection.close()
    return [row[0] for row in rows]


def file_ids(settings: Settings) -> list[str]:
    return [event.event_id for event in Registry(settings.paths.registry).events()]


def left_over(settings: Settings) -> list[Path]:
    return [path for path in settings.paths.registry.parent.rglob("*") if path.name.endswith(".tmp")]


def test_every_place_of_the_registry_is_killed_at():
    tried = {place for places in PLACES_OF.values() for place, _ in places}
    assert tried >= {place for place in PLACES if place.startswith("registry.")}


@pytest.mark.parametrize(("place", "number"), PLACES_OF["promote"], ids=str)
def test_promote_killed_leaves_old_or_new_and_the_next_one_repairs(settings, place, number):
    before = len(file_ids(settings))
    assert run(settings, "promote", f"{place}:{number}=kill") == -signal.SIGKILL, "the place was not passed"
    is_switched = PLACES_OF["promote"].index((place, number)) >= SWITCHED
    assert require_whole(settings, ("lstm-BTC-new-2",) if is_switched else ("lstm-BTC-old-1",))
    known = table(settings)
    assert known == file_ids(settings)[: len(known)], "the table never tells more than the file"
    assert run(settings, "promote") == 0
    assert require_whole(settings, ("lstm-BTC-new-2",))
    assert table(settings) == file_ids(settings)
    assert len(file_ids(settings)) == before + 1, "promoted once, however often it was tried"
    assert left_over(settings) == []


@pytest.mark.parametrize(("place", "number"), PLACES_OF["rollback"], ids=str)
def test_rollback_killed_leaves_old_or_new(settings, place, number):
    registry = Registry(settings.paths.registry)
    registry.promote(settings.paths.checkpoints / "lstm-BTC-new", why="second")
    assert run(settings, "rollback", f"{place}:{number}=kill") == -signal.SIGKILL, "the place was not passed"
    is_switched = PLACES_OF["promote"].index((place, number)) >= SWITCHED
    assert require_whole(settings, ("lstm-BTC-old-1",) if is_switched else ("lstm-BTC-new-2",))
    # whoever comes next brings the table up to date and clears away
    assert run(settings, "promote") == 0
    assert require_whole(settings, ("lstm-BTC-new-2",))
    assert left_over(settings) == []


def test_promotions_of_two_processes_follow_each_other(settings):
    Registry(settings.paths.registry).rollback(SLOT, why="to nothing")
    running = [
        started(settings, "promote", "registry.before_append=sleep:0.2", candidate)
        for candidate in ("lstm-BTC-new", "lstm-BTC-old")
    ]
    seen = set()
    while any(one.is_alive() for one in running):
        # a reader meanwhile: never a half-written file, never a model without its files
        found = Registry(settings.paths.registry).current().get(SLOT)
        if found is not None:
            seen.add(require_whole(settings, ("lstm-BTC-new-2", "lstm-BTC-old-1")))
    assert [one.exitcode for one in running] == [0, 0]
    assert seen
    switches = [event.model_id for event in Registry(settings.paths.registry).events() if event.kind == "promotion"]
    assert sorted(switches[-2:]) == ["lstm-BTC-new-2", "lstm-BTC-old-1"]
    assert table(settings) == file_ids(settings)


def test_full_disk_at_every_file_leaves_the_old_model_and_says_so(settings):
    code = f"""
import resource, sys
from pathlib import Path
from core.errors import DiskFullError
from models.registry import Registry
from models.registry.events import as_file
registry = Registry(Path({str(settings.paths.registry)!r}))
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
def attempt(limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        registry.promote(Path({str(settings.paths.checkpoints / "lstm-BTC-new")!r}), why="because")
        return ""
    except DiskFullError as error:
        return str(error)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
sizes = [Path({str(settings.paths.checkpoints / "lstm-BTC-new" / "passport.json")!r}).stat().st_size, registry.path.stat().st_size]
for limit in (0, 5, 30, 200, max(sizes)):
    print(attempt(limit), registry.current()["{SLOT}"].model_id, sep="|")
print(attempt(hard), registry.current()["{SLOT}"].model_id, sep="|")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    lines = [line.split("|") for line in done.stdout.splitlines()]
    assert [model for _, model in lines] == ["lstm-BTC-old-1"] * 5 + ["lstm-BTC-new-2"]
    assert all("no room to write" in told and "run the same command again" in told for told, _ in lines[:5])
    assert "model.onnx" in lines[0][0] and "registry.json" in lines[4][0]
    assert left_over(settings) == []


def test_table_that_knows_more_than_the_file_refuses_and_restores_it(settings):
    registry = Registry(settings.paths.registry)
    assert run(settings, "promote") == 0
    whole = registry.events()
    content = json.loads(registry.path.read_text())
    registry.path.write_text(registry.path.read_text()[:400])
    with pytest.raises(ModelError, match="desk models restore"):
        mirror_registry(settings, registry)
    # somebody who cuts the file skilfully is found out by the table
    registry.path.write_bytes(as_file(whole[:-1]))
    assert registry.current()[SLOT].model_id == "lstm-BTC-old-1"
    with pytest.raises(StoreError, match=r"holds 1 that it lacks.*desk models restore"):
        mirror_registry(settings, registry)
    count, kept = restore_registry(settings, registry)
    assert (count, json.loads(registry.path.read_text())) == (len(whole), content)
    assert kept is not None and kept.exists()
    assert registry.current()[SLOT].model_id == "lstm-BTC-new-2"
    with pytest.raises(ModelError, match="nothing to restore"):
        restore_registry(settings, registry)
