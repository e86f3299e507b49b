from __future__ import annotations

import json
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from core.errors import ConfigError
from runtime.risk import kill_switch
from runtime.risk.kill_switch import KillSwitch

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "kill_switch.json"


def test_switch_never_pressed_is_off(path: Path) -> None:
    assert not KillSwitch(path).state().is_on


def test_pressed_switch_survives_a_restart(path: Path) -> None:
    KillSwitch(path).press("market is odd")
    state = KillSwitch(path).state()
    assert state.is_on
    assert state.reason == "market is odd"


@pytest.mark.parametrize("content", [b"", b"{", b"\x00\xff", b"[]", b'{"state": "maybe"}', b'{"state": "off"}'])
def test_unreadable_switch_is_on(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    assert KillSwitch(path).state().is_on


def test_folder_in_place_of_the_switch_is_on(path: Path) -> None:
    path.mkdir(parents=True)
    assert KillSwitch(path).state().source == "unreadable"


def test_vanished_switch_stays_on(path: Path) -> None:
    switch = KillSwitch(path)
    switch.press("halt")
    assert switch.state().is_on
    path.unlink()
    assert switch.state().source == "vanished"
    assert KillSwitch(path, was_on=True).state().is_on


def test_letting_go_needs_a_reason_and_keeps_history(path: Path) -> None:
    switch = KillSwitch(path)
    switch.press("halt")
    with pytest.raises(ConfigError, match="needs a reason"):
        switch.rearm("  ")
    switch.rearm("checked the model")
    assert not KillSwitch(path).state().is_on
    assert [entry.state for entry in switch.history()] == ["on", "off"]


@pytest.mark.parametrize(
    ("setting", "is_on"), [("on", True), ("1", True), ("ture", True), ("off", False), ("FALSE", False)]
)
def test_setting_that_is_not_off_is_on(path: Path, setting: str, is_on: bool) -> None:
    assert KillSwitch(path, setting).state().is_on == is_on


def test_setting_wins_over_letting_go(path: Path) -> None:
    with pytest.raises(ConfigError, match="KILL_SWITCH=off"):
        KillSwitch(path, "on").rearm("it is fine")


@pytest.mark.parametrize("content", ['{"state": "off", "history": null}', '{"history": [1]}', "[" * 200_000])
def test_damaged_switch_can_always_be_pressed(path: Path, content: str) -> None:
    path.parent.mkdir()
    path.write_text(content)
    KillSwitch(path).press("halt")
    assert KillSwitch(path).state().reason == "halt"
    if content != '{"state": "off", "history": null}':
        assert [kept.read_text() for kept in path.parent.glob("*.unreadable-*")] == [content]


@pytest.mark.parametrize("kind", ["folder", "pipe", "dangling link"])
def test_anything_in_place_of_the_switch_is_on_and_can_be_pressed(path: Path, kind: str) -> None:
    path.parent.mkdir()
    if kind == "folder":
        (path / "full").mkdir(parents=True)
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(path.parent / "nowhere")
    assert KillSwitch(path).state().source == "unreadable"
    KillSwitch(path).press("halt")
    assert KillSwitch(path).state().reason == "halt"
    assert len(list(path.parent.glob("*.unreadable-*"))) == 1


def test_press_during_a_rearming_is_the_last_word(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    switch, pressing = KillSwitch(path), KillSwitch(path)
    switch.press("first")
    thread = threading.Thread(target=pressing.press, args=("second",))
    write = kill_switch.write_json

    def slow(file: Path, content: dict[str, object]) -> None:
        if content["state"] == "off":
            thread.start()
            thread.join(0.3)
        write(file, content)

    monkeypatch.setattr(kill_switch, "write_json", slow)
    switch.rearm("it is fine")
    thread.join()
    assert KillSwitch(path).state().reason == "second"
    assert [entry.state for entry in switch.history()] == ["on", "off", "on"]


def test_rearming_is_refused_when_somebody_pressed_after_it_was_looked_at(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    switch = KillSwitch(path)
    switch.press("first")
    wait = kill_switch.hold

    def after_a_press(file: Path, **options: Any) -> AbstractContextManager[None]:
        monkeypatch.setattr(kill_switch, "hold", wait)
        KillSwitch(path).press("second")
        return wait(file, **options)

    monkeypatch.setattr(kill_switch, "hold", after_a_press)
    with pytest.raises(ConfigError, match="desk kill status"):
        switch.rearm("it is fine")
    assert switch.state().reason == "second"


def test_switch_written_by_an_older_version_keeps_its_history(path: Path) -> None:
    path.parent.mkdir()
    entry = {"state": "on", "since": "2025-01-15T12:00:00+00:00", "reason": "halt", "by_user_id": 0}
    path.write_text(json.dumps(entry | {"history": [entry]}))
    KillSwitch(path).rearm("checked")
    assert [past.reason for past in KillSwitch(path).history()] == ["halt", "checked"]


def test_unreadable_switch_can_be_let_go_with_a_reason(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("garbage")
    KillSwitch(path).rearm("disk was repaired")
    assert not KillSwitch(path).state().is_on
    assert json.loads(path.read_text())["reason"] == "disk was repaired"
