"""Files that are written whole or not at all, the seal of a passport, and where they came from."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from desk.errors import DiskFullError, ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

SEAL = "seal"
"""Key of a passport that holds the hash over everything else in it."""
_FULL = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file's bytes, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


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


def seal_of(content: Mapping[str, Any]) -> str:
    """Return the sha256 over everything in ``content`` but its seal, whatever the order of its keys."""
    told = {key: value for key, value in content.items() if key != SEAL}
    return hashlib.sha256(json.dumps(told, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()).hexdigest()


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``content`` with its seal, as the last key."""
    told = {key: value for key, value in content.items() if key != SEAL}
    return told | {SEAL: seal_of(told)}


def broken_seal(content: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the seal of ``content``; None where it holds, and where there is none."""
    if SEAL not in content:
        return None
    try:
        found = seal_of(content)
    except ValueError:
        return "it holds figures that are no numbers"
    said = content[SEAL]
    return None if said == found else f"its seal says {str(said)[:12]}, its content gives {found[:12]}"


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


@cache
def commit() -> str:
    """Return the commit of this code, with ``+changes`` if the tree differs from it; ``unknown`` outside git."""
    root = Path(__file__).resolve().parent.parent
    found = _git(root, "rev-parse", "HEAD")
    if found is None:
        return "unknown"
    return found + ("+changes" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
