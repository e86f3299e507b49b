"""Run child processes for the length of a block and end exactly those; find free ports on loopback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING

from core.child_process import bound_to_parent
from core.errors import DeskError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path


LOOPBACK = "127.0.0.1"
"""The address every server of ours listens on: reachable from this machine alone."""


def free_port() -> int:
    """Return a port on loopback that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


@contextmanager
def child(
    command: Sequence[str], log: Path | None, environ: Mapping[str, str], patience_seconds: float = 10.0
) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``command`` while the block runs, its output in ``log`` or, without one, in a pipe; then end it and its children.

    It has a process group of its own: Ctrl-C reaches this process alone, which ends the group in order.
    """
    with nullcontext(subprocess.PIPE) if log is None else log.open("wb") as sink:
        process = subprocess.Popen(
            bound_to_parent(command, os.getpid()),
            stdout=sink,
            stderr=subprocess.STDOUT,
            env=dict(environ),
            start_new_session=True,
        )
        try:
            yield process
        finally:
            _end(process, patience_seconds)


def _end(process: subprocess.Popen[bytes], patience_seconds: float) -> None:
    """Ask the group of ``process`` to end, then make it."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(patience_seconds)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def wait_for(
    process: subprocess.Popen[bytes], ready: Callable[[], bool], what: str, log: Path, seconds: float = 60.0
) -> None:
    """Return once ``ready()`` is true.

    Raises:
        DeskError: the process ended or the time ran out; the text carries its last line.
    """
    deadline = time.monotonic() + seconds
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
            msg = f"{what} did not start: {lines[-1] if lines else 'it printed nothing'} (log: {log})"
            raise DeskError(msg)
        time.sleep(0.1)


def listens(port: int) -> bool:
    """Whether something accepts connections on loopback ``port``."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((LOOPBACK, port)) == 0
