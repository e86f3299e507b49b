"""Run one module of this package in a child process, within a memory and a time limit.

Training and judging live in children so that their memory is given back, a crash harms nobody else, and the
caller never imports torch. A child gets its job as JSON on standard input and answers in JSON lines on standard output
(`do_job`, `tell`).
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from pydantic import SecretStr

from core.errors import DeskError, TrainingError
from core.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import IO

REFUSED = 2
"""Exit status of a failure this program foresaw; its last line on standard output names it."""
_POLL_SECONDS = 0.25
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # deterministic matrix products on CUDA
    # glibc would give every large tensor back to the kernel and fault its pages in again: 1.5 times slower (measured)
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "4294967296",
    "MALLOC_TOP_PAD_": "67108864",
}

_SECRETS = {name.upper() for name, own in Settings.model_fields.items() if own.annotation is SecretStr}
"""No child that trains, judges or reads needs a key or an alert address."""
_IF_PARENT_LIVES = 'test "$PPID" = "$0" && exec "$@"'


def bound_to_parent(command: Sequence[str], parent: int | None = None) -> list[str]:
    """Return ``command`` so that the kernel sends it SIGTERM when the thread that starts it ends, also by kill -9.

    With ``parent``, the id of the process that will start it, it does not start at all when that one ended before the kernel
    knew. Without util-linux's `setpriv` it comes back unchanged: there a killed parent leaves its children running.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        return list(command)
    still_there = ["sh", "-c", _IF_PARENT_LIVES, str(parent)] if parent else []
    return [setpriv, "--pdeathsig", "TERM", "--", *still_there, *command]


_running: set[subprocess.Popen[bytes]] = set()


def stop_children() -> None:
    """End every child that a thread of this process waits for, so that the thread ends too; for Ctrl-C in the main one.

    A terminal sends Ctrl-C to the children as well, `kill -INT` and a supervisor do not.
    """
    for child in list(_running):
        child.kill()


def run_child(
    module: str,
    job: dict[str, Any],
    *,
    name: str,
    log: Path,
    on_line: Callable[[dict[str, Any]], None],
    memory_gb: float,
    timeout_seconds: float | None = None,
) -> None:
    """Run ``python -m module`` with ``job`` on its standard input; hand every JSON line it prints to ``on_line``.

    Raises:
        TrainingError: it refused, crashed, was killed, or passed a limit; the text names ``name`` and the cause.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as errors:
        child = subprocess.Popen(
            bound_to_parent([sys.executable, "-m", module], os.getpid()),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={name: value for name, value in os.environ.items() if name not in _SECRETS} | _ENVIRONMENT,
            cwd=Path(__file__).resolve().parent.parent,
        )
        _running.add(child)
        try:
            refusal = _attend(child, job, name, on_line, memory_gb, timeout_seconds)
        finally:
            _running.discard(child)
            if child.poll() is None:
                child.kill()
            child.wait()
            for stream in (child.stdin, child.stdout):
                if stream is not None:
                    stream.close()
    if refusal is not None or child.returncode != 0:
        raise TrainingError(_cause(name, child.returncode, refusal, log))


def _attend(
    child: subprocess.Popen[bytes],
    job: dict[str, Any],
    name: str,
    on_line: Callable[[dict[str, Any]], None],
    memory_gb: float,
    timeout_seconds: float | None,
) -> str | None:
    """Feed the child, pass its lines on and watch its limits until it ends; return its own reason if it refused."""
    deadline = time.monotonic() + timeout_seconds if timeout_seconds else None
    lines: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(child.stdout, lines), daemon=True).start()
    _feed(child, job)
    refusal: str | None = None
    while True:
        try:
            line = lines.get(timeout=_POLL_SECONDS)
        except queue.Empty:
            line = {}
        if line is None:
            child.wait()
            return refusal
        if "error" in line:
            refusal = str(line["error"])
        elif line:
            on_line(line)
        _check_limits(child, name, memory_gb, deadline, timeout_seconds)


def _feed(child: subprocess.Popen[bytes], job: dict[str, Any]) -> None:
    if child.stdin is None:
        return
    try:
        child.stdin.write(json.dumps(job).encode())
        child.stdin.close()
    except BrokenPipeError:
        return  # it died at once; its exit status tells more


def _read(stream: IO[bytes], lines: queue.SimpleQueue[dict[str, Any] | None]) -> None:
    for text in stream:
        try:
            line = json.loads(text)
        except ValueError:
            continue  # some library printed a line of its own
        if isinstance(line, dict):
            lines.put(line)
    lines.put(None)


def _check_limits(
    child: subprocess.Popen[bytes], name: str, memory_gb: float, deadline: float | None, timeout_seconds: float | None
) -> None:
    if deadline is not None and time.monotonic() > deadline:
        msg = (
            f"{name}: stopped after {timeout_seconds:.0f} s, its time limit; its work up to the last check is kept and the same "
            "command goes on from there. Raise the limit or lower EPOCHS"
        )
        raise TrainingError(msg)
    try:
        used_gb = psutil.Process(child.pid).memory_info().rss / 1e9
    except psutil.Error:
        return
    if used_gb > memory_gb:
        msg = f"{name}: stopped at {used_gb:.2f} GB of memory, its limit is {memory_gb:g} GB; raise TRAIN_MEMORY_GB or train on a shorter span"
        raise TrainingError(msg)


def _cause(name: str, status: int, refusal: str | None, log: Path) -> str:
    if refusal is not None:
        return f"{name}: {refusal}"
    if status < 0:
        killed = signal.Signals(-status).name
        hint = ", often the kernel for want of memory: lower TRAIN_WORKERS" if killed == "SIGKILL" else ""
        return f"{name}: its process was ended by {killed}{hint}; run the same command again, it goes on from the last check"
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    last = lines[-1] if lines else "its log is empty"
    return f"{name}: its process ended with status {status} ({last}); the whole text is in {log}"


def do_job(work: Callable[[dict[str, Any]], None]) -> int:
    """Do what standard input describes; return 0, or `REFUSED` with the reason as the last line."""
    try:
        work(json.load(sys.stdin))
    except DeskError as error:
        tell({"error": str(error)})
        return REFUSED
    except MemoryError:
        tell({"error": "out of memory"})
        return REFUSED
    return 0


def tell(line: Mapping[str, Any]) -> None:
    """Say one line to the parent."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()  # a parent that died closes the pipe: this process then ends too
