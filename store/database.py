"""How a DuckDB file is opened, written and published; the only code that knows.

One process may write a DuckDB file, or many may read it, never both. So every write takes a
kernel lock on a side file first (queued fairly, released by the kernel when a process dies), is short,
and closes the database again; every reader opens the published copy. Nothing here, and nothing else
in this project, opens a live database file by any other means than DuckDB: a plain ``open`` and
``close`` of it by this process would drop DuckDB's own lock and lose committed rows.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import duckdb

from desk.errors import NotADatabaseError, StoreBusyError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCK_TIMEOUT_SECONDS = 60.0
_POLL_SECONDS = 0.02

# asof joins against a generated grid otherwise fall into a nested loop; the progress bar
# would be printed into files; views must not depend on the machine's time zone
_SESSION = "set enable_progress_bar = false; set asof_loop_join_threshold = 0; set timezone = 'UTC'"


def connect(
    path: Path | str, *, read_only: bool = False, threads: int = 2, memory_mb: int | None = None
) -> duckdb.DuckDBPyConnection:
    """Open a database with Candledesk's session settings; ``memory_mb`` bounds what a small process may use.

    Raises:
        NotADatabaseError: the file is something else, damaged, or written by a newer DuckDB.
        StoreError: it cannot be opened for another reason.
    """
    try:
        limits: dict[str, str | bool | int | float | list[str]] = {"threads": threads}
        if memory_mb is not None:
            limits["memory_limit"] = f"{memory_mb}MB"
        connection = duckdb.connect(str(path), read_only=read_only, config=limits)
        connection.execute(_SESSION)
    except duckdb.Error as error:
        raise _translated(error, path) from error
    return connection


def _translated(error: duckdb.Error, path: Path | str) -> StoreError:
    text = str(error).splitlines()[0]
    if (
        "not a valid DuckDB" in text
        or "version number" in text
        or "WAL" in text
        or isinstance(error, duckdb.FatalException)
    ):
        msg = f"{path} is not a database this version can read ({text}); move it away, then backfill again or restore a copy"
        return NotADatabaseError(msg)
    if "lock" in text:
        msg = f"{path} is held open by another program ({text}); close it, or read the published copy beside it"
        return StoreBusyError(msg)
    msg = f"{path} cannot be opened ({text}); check that the folder exists and is yours to write"
    return StoreError(msg)


@contextmanager
def write_lock(path: Path, timeout_seconds: float = LOCK_TIMEOUT_SECONDS) -> Iterator[None]:
    """Hold the kernel lock beside ``path`` that every writer of it takes.

    Raises:
        StoreBusyError: another process kept it for longer than ``timeout_seconds``.
        StoreError: the folder cannot be written.
    """
    try:
        descriptor = os.open(f"{path}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
    except OSError as error:
        msg = f"{path.parent} cannot be written ({error.strerror}); set DESK_HOME to a folder you own"
        raise StoreError(msg) from error
    try:
        _take(descriptor, path, time.monotonic() + timeout_seconds)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, path: Path, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                msg = f"another process has been writing {path.name} for over a minute; wait for it, or end it, and run again"
                raise StoreBusyError(msg) from None
            time.sleep(_POLL_SECONDS)
        else:
            return


@contextmanager
def write_transaction(path: Path, timeout_seconds: float = LOCK_TIMEOUT_SECONDS) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open ``path`` under its lock, run one transaction, close (and so checkpoint) again.

    Everything written inside the block becomes visible together, or not at all.

    Raises:
        StoreError: as in `connect` and `write_lock`; the transaction is rolled back.
    """
    with write_lock(path, timeout_seconds):
        connection = connect(path)
        try:
            connection.execute("begin")
            yield connection
            connection.execute("commit")
        except BaseException as error:
            # after a fatal error (a full disk, say) the roll-back itself can fail; the cause matters more
            with suppress(duckdb.Error):
                connection.execute("rollback")
            if isinstance(error, duckdb.IOException | duckdb.FatalException):
                msg = f"writing {path.name} failed ({str(error).splitlines()[0]}); free some disk space and run again, nothing committed is lost"
                raise StoreError(msg) from error
            raise
        finally:
            with suppress(duckdb.Error):
                connection.close()


def publish(path: Path, copy: Path) -> Path:
    """Refresh the read copy of ``path`` that every reader opens.

    Readers of the old copy keep it until they close; new ones see the new file. The copy is made by
    a child process, never by opening the live file here.

    Raises:
        StoreError: there is no database yet, or no room for the copy.
    """
    with write_lock(path):
        if not path.exists():
            msg = f"{path} does not exist yet; run: make backfill"
            raise StoreError(msg)
        connection = connect(path)
        try:
            connection.execute("checkpoint")
        finally:
            connection.close()
        fresh = copy.with_name(copy.name + ".tmp")
        done = subprocess.run(
            ["cp", "--reflink=auto", str(path), str(fresh)], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            fresh.unlink(missing_ok=True)
            msg = f"the read copy {copy.name} could not be made ({done.stderr.strip()}); free some disk space"
            raise StoreError(msg)
        fresh.replace(copy)
    return copy
