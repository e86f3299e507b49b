"""One process of a kind per `DESK_HOME`: a file lock that the kernel releases however its holder ends."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from core.errors import PreflightError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path


@contextmanager
def lease(file: Path, what: str) -> Iterator[None]:
    """Hold the lease ``file`` while the block runs.

    Args:
        file: The lock; its folder is what is served, and is made when it is not there.
        what: What holds it, for the message: "runtime".

    Raises:
        PreflightError: another process holds it; the text names that process.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            msg = f"another {what} (process {holder}) already serves {file.parent}; end it with: kill {holder}, or set DESK_HOME to another folder"
            raise PreflightError(msg) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def runtime_lease(home: Path) -> AbstractContextManager[None]:
    """Return the lease of the one runtime per `DESK_HOME`: two would decide each minute twice and spend the same signal budget.

    Raises:
        PreflightError: on entering, another runtime holds it; the text names its process.
    """
    return lease(home / "runtime.lock", "runtime")
