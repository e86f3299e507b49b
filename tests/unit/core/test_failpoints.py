"""Failpoints: nothing at all unless asked for, and then exactly that."""

from __future__ import annotations

import errno
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core import failpoints
from core.errors import ConfigError
from core.failpoints import PLACES, VARIABLE, failpoint

ROOT = Path(__file__).resolve().parents[3]
PLACE = "write.before_commit"


@pytest.fixture
def armed(monkeypatch):
    """Return a function that sets the variable as a process would find it at its start."""

    def arm(text):
        monkeypatch.setenv(VARIABLE, text)
        failpoints.rearm()

    yield arm
    monkeypatch.delenv(VARIABLE, raising=False)
    failpoints.rearm()


def test_failpoint_without_the_variable_does_nothing_any_more(armed):
    armed(f"{PLACE}=full")
    armed("")
    assert [failpoint(name) for name in PLACES] == [None] * len(PLACES)


def test_failpoint_full_strikes_at_its_pass_and_only_there(armed):
    armed(f"{PLACE}:3=full")
    failpoint(PLACE)
    failpoint("write.after_commit")
    failpoint(PLACE)
    with pytest.raises(OSError, match="No space left") as caught:
        failpoint(PLACE)
    assert caught.value.errno == errno.ENOSPC
    failpoint(PLACE)


def test_failpoint_sleep_holds_up_for_so_long(armed):
    armed(f" {PLACE}=sleep:0.05 , write.after_close=sleep:0")
    began = time.perf_counter()
    failpoint(PLACE)
    assert time.perf_counter() - began >= 0.05


@pytest.mark.parametrize("text", [f"{PLACE}=kill", f"{PLACE}", f"{PLACE}:1"])
def test_failpoint_kill_leaves_no_time_for_anything(text):
    program = (
        f"import atexit; atexit.register(print, 'ended'); from core.failpoints import failpoint; failpoint('{PLACE}')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env={VARIABLE: text}, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "")


def test_failpoint_unknown_place_is_refused_at_the_first_pass_of_any(armed):
    armed("write.before_comit=kill")
    with pytest.raises(ConfigError, match=r"'write.before_comit'; there are .*write\.before_commit"):
        failpoint("publish.before_copy")


@pytest.mark.parametrize("text", ["=explode", ":0=kill", ":x=kill", "=sleep:long", "=sleep:-1"])
def test_failpoint_wrong_entry_is_refused_with_the_form(armed, text):
    armed(PLACE + text)
    with pytest.raises(ConfigError, match="write name:pass=action"):
        failpoint(PLACE)


def test_failpoint_places_are_those_of_the_code():
    files = [file for room in ("tasks", "market", "models", "store") for file in (ROOT / room).rglob("*.py")]
    named = [
        name for file in files for name in re.findall(r'\bfailpoint\("([^"]+)"\)', file.read_text(encoding="utf-8"))
    ]
    assert sorted(named) == sorted(PLACES), "each place is in the list, and passed in exactly one line"
