"""Translate the failures of DuckDB and the machine into errors that name the repair."""

from __future__ import annotations

from pathlib import Path

import duckdb

from core.errors import DiskFullError, NotADatabaseError, StoreBusyError, StoreError
from core.files import is_disk_full

# DuckDB has one class for most of these, so its words have to tell them apart
_FULL = ("No space left", "File too large", "File size limit", "Disk quota", "not enough disk space")
_NEWER = ("version number",)
_DAMAGED = (
    "not a valid DuckDB",
    "Corrupt",
    "checksum",
    "WAL",
    "Could not read enough bytes",
    "erializ",
    "existing extension",
)
_BUSY = ("lock on file",)


def opening_error(error: duckdb.Error, path: Path | str) -> StoreError:
    """Return what it means that ``path`` could not be opened."""
    text = _first_line(error)
    if any(words in text for words in _FULL):
        return _full(path, text)
    if any(words in text for words in _BUSY):
        msg = f"{path} is held open by another program ({text}); close it, or read the published copy beside it"
        return StoreBusyError(msg)
    if any(words in text for words in _NEWER):
        return newer(path, text)
    # some of DuckDB's messages say what is the matter only in their second line
    if any(words in str(error) for words in _DAMAGED) or isinstance(error, duckdb.FatalException):
        return damaged(path, text)
    msg = f"{path} cannot be opened ({text}); check that the folder exists and is yours to write"
    return StoreError(msg)


def writing_error(error: duckdb.Error | OSError, path: Path | str) -> StoreError | None:
    """Return what the machine did to a write to ``path``; None where ``error`` is a mistake in a statement or a value."""
    text = _first_line(error)
    if isinstance(error, OSError):
        return _full(path, text) if is_disk_full(error) else None
    if any(words in text for words in _FULL):
        return _full(path, text)
    if "Corrupt" in text or "checksum" in text:
        return damaged(path, text)
    if isinstance(error, duckdb.IOException | duckdb.FatalException):
        msg = f"writing {Path(path).name} failed ({text}); look at the disk and run again, nothing committed is lost"
        return StoreError(msg)
    return None


def copying_error(words: str, copy: Path) -> StoreError:
    """Return what it means that ``cp`` failed with ``words``."""
    if any(full in words for full in _FULL):
        return _full(copy, words)
    return StoreError(f"the read copy {copy.name} could not be made ({words}); check that its folder is yours to write")


def unreadable_copy(error: duckdb.Error, copy: Path) -> NotADatabaseError:
    """Return what it means that a published copy cannot be opened: it can always be made again."""
    msg = f"the read copy {copy} is damaged or of newer code ({_first_line(error)}); make it again: desk publish"
    return NotADatabaseError(msg)


def copy_of_another_version(copy: Path, version: int, known: int) -> StoreError:
    """Return the refusal of a published copy that older or newer code made."""
    if version > known:
        return newer(copy, f"its schema is {version}, this code knows {known}")
    msg = f"the read copy {copy} was published by an older version (schema {version} of {known}); make it again: desk publish"
    return StoreError(msg)


def damaged(path: Path | str, text: str) -> NotADatabaseError:
    """Return the refusal of a file that is something else or broken; it is never changed or replaced by us."""
    name = Path(path)
    copy = name.with_name(f"{name.stem}_read{name.suffix}")
    msg = (
        f"{path} is not a database this version can read ({text}); it was left as it is. Move it and its .wal away, "
        f"then go back to the published copy: cp {copy} {path}, or fetch again: make backfill"
    )
    return NotADatabaseError(msg)


def newer(path: Path | str, text: str) -> NotADatabaseError:
    """Return the refusal of a file that newer code wrote."""
    msg = (
        f"{path} was written by newer code ({text}); it was left as it is. Bring Candledesk up to date (git pull, then: make setup), "
        "or set DESK_HOME to another folder"
    )
    return NotADatabaseError(msg)


def foreign(path: Path | str, what: str) -> NotADatabaseError:
    """Return the refusal of a sound DuckDB file that is not the database it should be."""
    msg = f"{path} holds {what}; it was left as it is. Move it away, or set DESK_HOME to another folder"
    return NotADatabaseError(msg)


def _full(path: Path | str, text: str) -> DiskFullError:
    name = Path(path).name
    msg = f"no room to write {name} ({text}); free some disk space and run the same command again, nothing committed is lost"
    return DiskFullError(msg)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
