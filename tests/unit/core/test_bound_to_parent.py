"""A child ends with the process that started it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time

import psutil
import pytest

from core.child_process import bound_to_parent

PARENT = """
import os, subprocess, sys, time
from core.child_process import bound_to_parent
child = subprocess.Popen(bound_to_parent([sys.executable, "-c", "import time; time.sleep(60)"], os.getpid()))
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="util-linux's setpriv is not installed")
def test_child_ends_when_its_parent_is_killed():
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    deadline = time.monotonic() + 20
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="util-linux's setpriv is not installed")
def test_child_of_a_parent_that_ended_first_does_not_start(tmp_path):
    """The parent is killed between its fork and the kernel's word: nobody would have ended the child."""
    started = tmp_path / "started"
    command = bound_to_parent(["touch", str(started)], parent=2**22 + 1)
    assert subprocess.run(command, check=False).returncode == 1
    assert not started.exists()
    assert subprocess.run(bound_to_parent(["touch", str(started)], os.getpid()), check=False).returncode == 0
    assert started.exists()


def test_without_setpriv_the_command_is_unchanged(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert bound_to_parent(["true"]) == ["true"]
