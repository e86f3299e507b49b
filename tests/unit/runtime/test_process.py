"""The runtime as a process: what it imports, what it weighs, and kill -9 between commit and send."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from runtime.alerts.local_receiver import Receiver
from runtime.risk.signal_limits import rate_rules_from
from store.database import connect
from store.signal_store import SignalStore

if TYPE_CHECKING:
    from core.settings import Settings

DOUBLES = Path(__file__).with_name("conftest.py")
ROOT = Path(__file__).resolve().parents[3]
FORBIDDEN = ("torch", "prefect", "pyarrow", "polars", "pandas", "sklearn", "scipy", "matplotlib", "apprise")

PREPARE = f"""
import importlib.util, json, os, signal, sys
from datetime import timedelta
spec = importlib.util.spec_from_file_location("doubles", {str(DOUBLES)!r})
doubles = importlib.util.module_from_spec(spec)
sys.modules["doubles"] = doubles
spec.loader.exec_module(doubles)
from core.settings import load_settings
settings = load_settings()
"""

WEIGH = """
import desk.run
result = doubles.play(settings, 30, batch=10)
lines = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
status = {name: int(lines[name].split()[0]) for name in ("VmHWM", "RssAnon", "RssFile")}
print(json.dumps({"modules": sorted(sys.modules), "decisions": result.decisions, **status}))
"""

DIE = """
offers = []

def die_before_sending(messages):
    offers.append(messages)
    if any(message.kind == "signal" for message in messages):
        os.kill(os.getpid(), signal.SIGKILL)

doubles.play(settings, 10, notifier=doubles.FakeNotifier(die_before_sending))
"""


def python(code: str, settings: Settings) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "DESK_HOME": str(settings.paths.home), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-c", PREPARE + code], capture_output=True, text=True, check=False, env=environ, cwd=ROOT
    )


@pytest.mark.slow
def test_runtime_process_stays_small_and_free_of_training_libraries(settings: Settings) -> None:
    done = python(WEIGH, settings)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.strip().splitlines()[-1])
    assert seen["decisions"] == 60
    # the doubles import pytest, which the runtime does not
    assert [name for name in FORBIDDEN if name in seen["modules"]] == []
    # private memory; the rest of what a process shows is code of DuckDB and ONNX Runtime, mapped from its file
    assert seen["RssAnon"] < 120_000, seen
    assert seen["VmHWM"] < 230_000, seen


@pytest.mark.slow
def test_kill_between_commit_and_send_is_made_good_by_the_next_start(settings: Settings) -> None:
    done = python(DIE, settings)
    assert done.returncode == -9
    store = SignalStore(settings.paths.signals_db)
    died_at = store.resume_moment()
    assert died_at is not None
    state = store.restore(died_at - rate_rules_from(settings).memory, settings.mode)
    assert len(state.crashed_sessions) == 1
    owed = {message.message_key for message in store.pending_messages(state.crashed_sessions[0][1])}
    assert len(owed) > 1
    with Receiver() as receiver:
        again = python(
            f"""
from runtime.alerts.notifier import Notifier, apprise_targets
from store.signal_store import SignalStore
store = SignalStore(settings.paths.signals_db)
notifier = Notifier(apprise_targets([{receiver.url!r}]), store.record_deliveries)
from runtime.loop import run_loop
from runtime.session import LoopOptions
start = doubles.START + timedelta(minutes=1)
products = ("BTC-USD", "ETH-USD")
run_loop(settings, provider=doubles.FakeProvider(), clock=doubles.ManualClock(start), models=doubles.models(products),
         notifier=notifier, options=LoopOptions(iterations=3))
""",
            settings,
        )
        assert again.returncode == 0, again.stderr
        assert owed <= receiver.keys
        received = [message["key"] for message in receiver.messages]
        assert len(received) == len(set(received))
    connection = connect(settings.paths.signals_copy, read_only=True)
    keys = {key for (key,) in connection.execute("select message_key from outbox").fetchall()}
    delivered = {key for (key,) in connection.execute("select message_key from deliveries where is_ok").fetchall()}
    twice = connection.execute("select count(*), count(distinct (product, open_time)) from decisions").fetchall()
    connection.close()
    assert keys == delivered == set(received)
    assert twice[0][0] == twice[0][1] == 8
