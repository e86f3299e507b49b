"""Open, write, build and publish a DuckDB file; the only code that knows how.

One process may write a DuckDB file, or many may read it, never both. So every write takes a
kernel lock on a side file first (queued fairly, released by the kernel when a process dies), is short,
and closes the database again; every reader opens the published copy. Nothing in this project opens a live
database file by any other means than DuckDB, and `store.open_file_guard` refuses it: a plain ``open`` and ``close`` of it by
this process would drop DuckDB's own lock and lose committed rows.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from core.errors import DiskFullError, FileError, LockHeldError, StoreBusyError, StoreError
from core.failpoints import failpoint
from core.locks import hold, scratch_folder
from store.error_translation import copying_error, damaged, opening_error, writing_error
from store.open_file_guard import require_closed, watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOCK_TIMEOUT_SECONDS = 60.0
MEMORY = ":memory:"
_MAX_SPILL = "16GB"
"""DuckDB's own bound is 90 % of the free disk."""

# asof joins against a generated grid otherwise fall into a nested loop; the progress bar
# would be printed into files; views must not depend on the machine's time zone
_SESSION = "set enable_progress_bar = false; set asof_loop_join_threshold = 0; set timezone = 'UTC'"

_WAL_OPENING = b"\x64\x00\x62"
"""How a write-ahead log begins: field 100, entry type 98, its version. DuckDB passes over a log that begins otherwise."""


def connect(
    path: Path | str,
    *,
    read_only: bool = False,
    threads: int = 2,
    memory_mb: int | None = None,
    spill: Path | None = None,
) -> duckdb.DuckDBPyConnection:
    """Open a database with Candledesk's session settings; ``memory_mb`` bounds what a small process may use.

    What does not fit into memory spills beside a file; of a database in memory see `memory_session`. A file that is not there is made, empty; one that is no database is refused and left as it is.

    Raises:
        NotADatabaseError: the file is something else, damaged, or written by a newer DuckDB; or its log is.
        LiveFileError: this process has it open already.
        StoreError: it cannot be opened for another reason.
    """
    # without the two, a file of another program would make DuckDB look for an extension in the network
    limits: dict[str, str | bool | int | float | list[str]] = {
        "threads": threads,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "max_temp_directory_size": _MAX_SPILL,
    }
    if path == MEMORY:
        limits["temp_directory"] = str(spill / "duckdb") if spill else ""
    if memory_mb is not None:
        limits["memory_limit"] = f"{memory_mb}MB"
    file = None if path == MEMORY else Path(path)
    is_written = file is not None and not read_only
    if file is not None and is_written:
        require_closed(file)
        _require_sound_log(file)
    try:
        connection = duckdb.connect(str(path), read_only=read_only, config=limits)
        connection.execute(_SESSION)
    except duckdb.Error as error:
        raise opening_error(error, path) from error
    if file is not None and is_written:
        watch(file)
    return connection


@contextmanager
def memory_session(
    spill: Path | None = None, *, threads: int = 2, memory_mb: int | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a database in memory for the length of the block; what does not fit spills into a folder of its own in ``spill``.

    Without ``spill``, or where it cannot be written, nothing spills: DuckDB's own choice is the current folder. What a killed
    process spilled goes with the next session there.
    """
    with ExitStack() as held:
        folder = None
        if spill is not None:
            with suppress(FileError, DiskFullError):
                folder = held.enter_context(scratch_folder("spill", spill))
        connection = connect(MEMORY, threads=threads, memory_mb=memory_mb, spill=folder)
        held.callback(connection.close)
        yield connection


def quoted(path: Path) -> str:
    """Return ``path`` as a string of SQL, where no parameter is allowed."""
    return "'" + str(path).replace("'", "''") + "'"


def _require_sound_log(path: Path) -> None:
    """Refuse a log that DuckDB would silently throw away, and with it what was committed last.

    Raises:
        NotADatabaseError: the log has no database, or is not a log.
    """
    log = path.with_name(path.name + ".wal")
    if not log.exists():
        return
    if not path.exists():
        raise damaged(path, f"its log {log.name} is there, the database itself is gone")
    with log.open("rb") as stream:
        opening = stream.read(len(_WAL_OPENING))
    if len(opening) == len(_WAL_OPENING) and opening != _WAL_OPENING:
        raise damaged(path, f"its log {log.name} is damaged at its very beginning")


@contextmanager
def write_lock(path: Path, timeout_seconds: float = LOCK_TIMEOUT_SECONDS) -> Iterator[int]:
    """Hold the kernel lock beside ``path`` that everyone who opens the live file takes, in turn; yield its descriptor.

    Who waits for the lock itself holds a second one, so that a writer that comes back at once has to queue behind.

    Raises:
        StoreBusyError: another process kept it for longer than ``timeout_seconds``.
        StoreError: the folder cannot be written.
    """
    deadline = time.monotonic() + timeout_seconds
    # the locks lie beside the file itself: who comes by way of a link must wait for the same ones
    real = os.path.realpath(path)
    with ExitStack() as held:
        try:
            with hold(Path(f"{real}.queue"), timeout_seconds=timeout_seconds):
                left = max(deadline - time.monotonic(), 0)
                descriptor = held.enter_context(hold(Path(f"{real}.lock"), timeout_seconds=left))
        except LockHeldError as error:
            msg = (
                f"another process ({error.holder}) has been writing {path.name} for over a minute; wait for it, "
                f"or end it with: kill {error.holder}, and run again"
            )
            raise StoreBusyError(msg) from error
        except FileError as error:
            raise StoreError(str(error)) from error
        yield descriptor


@contextmanager
def write_transaction(path: Path, timeout_seconds: float = LOCK_TIMEOUT_SECONDS) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open ``path`` under its lock, run one transaction, close (and so checkpoint) again.

    Everything written inside the block becomes visible together, or not at all.

    Raises:
        DiskFullError: there was no room; the transaction is rolled back.
        StoreError: as in `connect` and `write_lock`; the transaction is rolled back.
    """
    with write_lock(path, timeout_seconds):
        with _transaction(path) as connection:
            yield connection
        failpoint("write.after_close")


@contextmanager
def read_session(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the live file ``path`` for reading while it is this process's turn; no byte of it, or of its log, changes.

    Raises:
        StoreError: as in `connect` and `write_lock`.
    """
    with write_lock(path):
        require_closed(path)
        _require_sound_log(path)
        connection = connect(path, read_only=True)
        watch(path)
        try:
            yield connection
        except duckdb.Error as error:
            raise writing_error(error, path) or error from error
        finally:
            connection.close()


@contextmanager
def _transaction(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    connection = connect(path)
    try:
        failpoint("write.before_begin")
        connection.execute("begin")
        yield connection
        failpoint("write.before_commit")
        connection.execute("commit")
        failpoint("write.after_commit")
    except BaseException as error:
        # after a fatal error (a full disk, say) the roll-back itself can fail; the cause matters more
        with suppress(duckdb.Error):
            connection.execute("rollback")
        if isinstance(error, duckdb.Error | OSError):
            # only what the machine did is put into other words; a wrong statement stays what it is
            meant = writing_error(error, path)
            if meant is not None:
                raise meant from error
        raise
    finally:
        # what is committed is safe in the log even where closing finds no room for a checkpoint
        with suppress(duckdb.Error):
            connection.close()


def build_file(path: Path, build: Callable[[duckdb.DuckDBPyConnection], bool]) -> bool:
    """Let ``build`` make or bring up to date a database in one transaction, then checkpoint; return what it returned.

    A new database is built beside its place and moved there whole, so that no half-made file is ever met.

    Raises:
        NotADatabaseError: the file is something else, damaged, or newer than this code; it is left as it is.
        StoreError: as in `write_transaction`; the old version stays whole.
    """
    with write_lock(path):
        if path.exists():
            return _built(path, build)
        _require_sound_log(path)
        fresh = path.with_name(path.name + ".new")
        for leftover in (fresh, fresh.with_name(fresh.name + ".wal")):
            leftover.unlink(missing_ok=True)
        _built(fresh, build)
        failpoint("migrate.before_rename")
        fresh.replace(path)
        return True


def _built(path: Path, build: Callable[[duckdb.DuckDBPyConnection], bool]) -> bool:
    with _transaction(path) as connection:
        changed = build(connection)
    if changed:
        _checkpoint(path)
    return changed


def _checkpoint(path: Path) -> None:
    """Bring everything committed from the log into the file itself.

    Raises:
        DiskFullError: there was no room; nothing committed is lost.
    """
    connection = connect(path)
    try:
        connection.execute("checkpoint")
    except duckdb.Error as error:
        raise writing_error(error, path) or opening_error(error, path) from error
    finally:
        with suppress(duckdb.Error):
            connection.close()


@contextmanager
def attached(connection: duckdb.DuckDBPyConnection, path: Path) -> Iterator[None]:
    """Attach the live file ``path`` for reading to an in-memory session, under its lock; unqualified names mean its tables meanwhile.

    Raises:
        StoreError: as in `connect` and `write_lock`.
    """
    with write_lock(path):
        require_closed(path)
        _require_sound_log(path)
        try:
            connection.execute(f"attach {quoted(path)} as live (read_only)")
        except duckdb.Error as error:
            raise opening_error(error, path) from error
        watch(path)
        try:
            connection.execute("use live")
            yield
        finally:
            connection.execute("use memory")
            connection.execute("detach live")


def publish(path: Path, copy: Path) -> Path:
    """Refresh the read copy of ``path`` that every reader opens.

    Readers of the old copy keep it until they close; new ones see the new file. Nobody may write it (mode 0444). It is made by
    a child process, never by opening the live file here.

    Raises:
        DiskFullError: no room for the checkpoint or the copy; the copy before stays.
        NotADatabaseError: the fresh copy cannot be opened; the copy before stays.
        StoreError: there is no database yet.
    """
    with write_lock(path) as lock:
        if not path.exists():
            msg = f"{path} does not exist yet; run: make backfill"
            raise StoreError(msg)
        failpoint("publish.before_checkpoint")
        _checkpoint(path)
        failpoint("publish.before_copy")
        fresh = copy.with_name(copy.name + ".tmp")
        # cp inherits the lock: should this process be killed, nobody writes the file, or another copy, while cp still reads
        done = subprocess.run(
            # never guess at holes: some file systems tell of one where blocks are not written yet
            # what lies at the name of the draft is removed first: a copy nobody may write, or a link to a file of somebody
            ["cp", "--reflink=auto", "--sparse=never", "--remove-destination", str(path), str(fresh)],
            capture_output=True,
            text=True,
            check=False,
            pass_fds=(lock,),
        )
        if done.returncode != 0:
            fresh.unlink(missing_ok=True)
            # a quota on the size of files ends the copying program by a signal
            killed_by = signal.strsignal(-done.returncode) if done.returncode < 0 else None
            raise copying_error(done.stderr.strip() or killed_by or f"status {done.returncode}", copy)
        _require_whole(fresh)
        try:
            fresh.chmod(0o444)
            failpoint("publish.before_rename")
            fresh.replace(copy)
        except OSError as error:
            raise writing_error(error, copy) or error from error
        failpoint("publish.after_rename")
    return copy


def _require_whole(fresh: Path) -> None:
    """Open a copy before readers do: one was met, once in hundreds of kills, whose catalogue could not be read.

    Raises:
        NotADatabaseError: it cannot be opened; it is removed.
    """
    try:
        connect(fresh, read_only=True).close()
    except StoreError:
        fresh.unlink(missing_ok=True)
        raise
