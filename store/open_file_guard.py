"""Refuse every touch of a database file by this process while DuckDB has it open here.

DuckDB guards its file with a POSIX lock, and such a lock has a trap: when a process that holds it opens and closes the
same file in any other way (to hash it, copy it, upload it), the kernel drops the lock. Another process can then write
the file too, and what it commits vanishes without an error once the first one checkpoints. So the interpreter itself is
asked to refuse: an audit hook sees every open, removal, renaming and truncation that Python code makes, and raises if
the file is one that DuckDB has open in this process. Whether it has is read from the kernel's list of descriptors, so
no bookkeeping can go wrong: it holds for connections, for attached files and for those somebody forgot to close.

Not seen: C libraries that open files by themselves. None of them reads databases here, and a test of the house forbids
naming a live file outside `store.database`.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from typing import TYPE_CHECKING

from core.errors import LiveFileError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# audit event -> which of its arguments are files
_TOUCHING = {
    "open": (0,),
    "os.remove": (0,),
    "os.rename": (0, 1),
    "os.truncate": (0,),
    "sqlite3.connect": (0,),
}
_DESCRIPTORS = "/dev/fd"

# the databases this process opened, until their path leads elsewhere; whether one is open now is asked of the kernel
_known: dict[str, tuple[int, int]] = {}


def require_closed(path: Path) -> None:
    """Refuse to open ``path`` a second time in this process, whoever has it open.

    Raises:
        LiveFileError: a descriptor of it is open here.
    """
    identity = _identity(path)
    if identity is not None and _is_open(identity):
        msg = (
            f"{path.name} is open in this process already; close that connection (or file) first: closing one of two "
            "drops DuckDB's lock, and committed rows could vanish"
        )
        raise LiveFileError(msg)


def watch(path: Path) -> None:
    """From now on refuse, in this process, to touch ``path`` and its ``.wal`` whenever a descriptor of them is open."""
    identity = _identity(path)
    if identity is not None:
        _known[os.path.realpath(path)] = identity
    _install()


@cache
def _install() -> None:
    # a hook can never be taken out again, so it comes only with the first database this process writes
    sys.addaudithook(_refuse)


def _refuse(event: str, arguments: Sequence[object]) -> None:
    places = _TOUCHING.get(event)
    if places is None:
        return
    for position in places:
        touched = arguments[position]
        if isinstance(touched, str | bytes | os.PathLike):
            _require_untouched(os.fsdecode(touched))


def _require_untouched(touched: str) -> None:
    identity = _identity(touched)
    # copied at one stroke: another thread may open its first database while this one imports a module
    for path, known in list(_known.items()):
        if _identity(path) != known:
            # deleted or replaced: its number may belong to any other file by now
            _known.pop(path, None)
            continue
        is_it = identity in {known, _identity(f"{path}.wal")} if identity is not None else _is_named_so(touched, path)
        if is_it and _is_open(known):
            msg = (
                f"{touched} is a database that DuckDB has open in this process; touching it any other way would drop its "
                "lock and lose committed rows. Read the published copy instead, or copy it after the connection is closed"
            )
            raise LiveFileError(msg)


def _is_named_so(touched: str, path: str) -> bool:
    # a bare name that leads nowhere from here may be relative to a folder that the event does not tell (dir_fd)
    name = path.rpartition(os.sep)[2]
    return touched in {name, f"{name}.wal"}


def _identity(path: Path | str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)  # noqa: PTH116  # the hook sees every open of the process, so it has to be quick
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def _is_open(identity: tuple[int, int]) -> bool:
    try:
        names = os.listdir(_DESCRIPTORS)  # noqa: PTH208  # quick, for the same reason
    except OSError:
        return False
    return any(_descriptor(int(name)) == identity for name in names if name.isdigit())


def _descriptor(number: int) -> tuple[int, int] | None:
    try:
        status = os.fstat(number)
    except OSError:
        return None
    return status.st_dev, status.st_ino
