"""Start child processes for a while, and end exactly those."""

from __future__ import annotations

import socket
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

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
def child(command: Sequence[str], log: Path, environ: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``command`` with its output in ``log`` while the block runs; then end it."""
    with log.open("wb") as sink:
        process = subprocess.Popen(list(command), stdout=sink, stderr=subprocess.STDOUT, env=dict(environ))
        try:
            yield process
        finally:
            stop(process)


def stop(process: subprocess.Popen[bytes], patience_seconds: float = 10.0) -> None:
    """Ask ``process`` to end, then make it."""
    process.terminate()
    try:
        process.wait(patience_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


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
