"""One runtime per `DESK_HOME`: two would spend the same signal budget and decide each minute twice."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from desk.errors import PreflightError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def runtime_lease(home: Path) -> Iterator[None]:
    """Hold the lease; the kernel releases it when the process ends, however it ends.

    Raises:
        PreflightError: another runtime holds it; the text names its process.
    """
    home.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(home / "runtime.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            msg = f"another runtime (process {holder}) already serves {home}; end it with: kill {holder}, or set DESK_HOME to another folder"
            raise PreflightError(msg) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
