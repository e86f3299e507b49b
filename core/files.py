"""Files that are written whole or not at all, the seal of a passport, and where they came from."""

from __future__ import annotations

import errno
import json
import os
from typing import TYPE_CHECKING, Any

from core.errors import DiskFullError, ModelError

if TYPE_CHECKING:
    from pathlib import Path

_FULL = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}


def write_bytes(path: Path, content: bytes) -> None:
    """Replace ``path`` in one step: a crash leaves the old file or the new one, never a part.

    Raises:
        DiskFullError: there was no room; the old file stays.
        ModelError: the folder cannot be written.
    """
    put_in_place(write_draft(path, content), path)


def write_draft(path: Path, content: bytes) -> Path:
    """Write ``content`` beside ``path``, flushed to the disk; return the file that `put_in_place` makes ``path``.

    Raises:
        DiskFullError: there was no room; nothing is left beside.
        ModelError: the folder cannot be written.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise _unwritable(error, path) from error
    return draft


def put_in_place(draft: Path, path: Path) -> None:
    """Make a draft the file itself, and that survive a power cut."""
    draft.replace(path)
    sync_folder(path.parent)


def _unwritable(error: OSError, path: Path) -> DiskFullError | ModelError:
    if error.errno in _FULL:
        msg = f"no room to write {path} ({error.strerror}); free some disk space and run the same command again, what was there before stays"
        return DiskFullError(msg)
    msg = (
        f"{path} cannot be written ({error.strerror}); make its folder yours to write, or set DESK_HOME to one you own"
    )
    return ModelError(msg)


def sync_folder(folder: Path) -> None:
    """Make a rename inside ``folder`` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, content: object) -> None:
    """Write ``content`` as indented JSON, in one step; NaN is refused."""
    write_bytes(path, as_json_bytes(content))


def as_json_bytes(content: object) -> bytes:
    """Return the bytes that `write_json` writes: the only ones, so that a file with others was touched by someone else."""
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ModelError: the file is missing or is not a JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        msg = f"{path} is missing; train and judge the model again: make train"
        raise ModelError(msg) from None
    except (OSError, ValueError) as error:
        msg = f"{path} cannot be read ({error}); train and judge the model again: make train"
        raise ModelError(msg) from error
    if not isinstance(content, dict):
        msg = f"{path} holds a {type(content).__name__}, not an object; train and judge the model again: make train"
        raise ModelError(msg)
    return content
