"""Child processes: limits, crashes and refusals become one named error each."""

from __future__ import annotations

import os
import sys
import textwrap
import time

import psutil
import pytest

from core.child_process import run_child
from core.errors import TrainingError


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Return a function that runs a few lines of Python as the child ``module``."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    said = []

    def start(code: str, *, memory_gb: float = 4.0, timeout_seconds: float | None = 60.0):
        (tmp_path / "a_child.py").write_text("import json, os, signal, sys, time\n" + textwrap.dedent(code))
        run_child(
            "a_child",
            {"answer": 42},
            name="lstm-BTC-USD",
            log=tmp_path / "logs" / "train.log",
            on_line=said.append,
            memory_gb=memory_gb,
            timeout_seconds=timeout_seconds,
        )
        return said

    return start


def test_child_gets_its_job_and_its_lines_are_heard(run):
    said = run("""
        job = json.load(sys.stdin)
        print("a library says something")
        print(json.dumps({"told": job["answer"]}))
    """)
    assert said == [{"told": 42}]


def test_child_that_refuses_is_named_with_its_reason(run):
    with pytest.raises(TrainingError, match=r"^lstm-BTC-USD: too few windows$"):
        run('print(json.dumps({"error": "too few windows"})); sys.exit(2)')


def test_child_that_crashes_is_named_with_its_last_line(run, tmp_path):
    with pytest.raises(TrainingError, match=r"lstm-BTC-USD.*status 1.*ValueError: broken.*train\.log"):
        run('raise ValueError("broken")')
    assert "Traceback" in (tmp_path / "logs" / "train.log").read_text()


def test_child_that_dies_before_reading_its_job_is_named(run):
    with pytest.raises(TrainingError, match="status 7"):
        run("os._exit(7)")


def test_child_that_is_killed_is_named_with_the_signal(run):
    with pytest.raises(TrainingError, match=r"SIGKILL.*TRAIN_WORKERS"):
        run("os.kill(os.getpid(), signal.SIGKILL)")


def test_child_over_its_time_is_stopped_and_gone(run):
    began = time.monotonic()
    with pytest.raises(TrainingError, match="stopped after 1 s, its time limit"):
        run("print(json.dumps({'pid': os.getpid()}), flush=True); time.sleep(60)", timeout_seconds=1.0)
    assert time.monotonic() - began < 20


def test_child_over_its_memory_is_stopped(run):
    with pytest.raises(TrainingError, match=r"stopped at 0\.\d\d GB of memory, its limit is 0.15 GB"):
        run("kept = bytearray(300_000_000); kept[::4096] = b'1' * len(kept[::4096]); time.sleep(60)", memory_gb=0.15)


def test_child_is_ended_when_hearing_a_line_fails(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    (tmp_path / "b_child.py").write_text(
        "import json, os, time\nprint(json.dumps({'pid': os.getpid()}), flush=True)\ntime.sleep(60)"
    )
    heard = []

    def stop(line):
        heard.append(line["pid"])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_child("b_child", {}, name="n", log=tmp_path / "log", on_line=stop, memory_gb=4.0)
    assert not psutil.pid_exists(heard[0])


def test_child_runs_on_one_thread_with_this_python(run):
    said = run("""
        print(json.dumps({"threads": os.environ["OMP_NUM_THREADS"], "python": sys.executable}))
    """)
    assert said == [{"threads": "1", "python": sys.executable}]
    assert "MALLOC_MMAP_THRESHOLD_" not in os.environ


def test_child_sees_no_secret_of_its_parent(run, monkeypatch):
    monkeypatch.setenv("COINBASE_API_SECRET", "sealed")
    monkeypatch.setenv("ALERT_URLS", "tgram://sealed/1")
    said = run('print(json.dumps({"told": [name for name, value in os.environ.items() if "sealed" in value]}))')
    assert said == [{"told": []}]
