"""Write a file whole or not at all, and read JSON."""

from __future__ import annotations

import errno
import json
import math
import os
import threading
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from core.errors import DiskFullError, FileError, ModelError

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator
    from pathlib import Path

_T = TypeVar("_T")
_DISK_FULL = frozenset({errno.ENOSPC, errno.EFBIG, errno.EDQUOT})


def is_disk_full(error: OSError) -> bool:
    """Return whether ``error`` says that there is no room: a full disk, a quota, or a limit on a file's size."""
    return error.errno in _DISK_FULL


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a draft beside ``path`` to write to; it becomes ``path`` in one step when the block ends without an error.

    A crash leaves the old file or the new one, never a part. The draft is flushed to the disk before it takes the name.

    Raises:
        DiskFullError: there was no room; the old file stays and nothing is left beside it.
        FileError: the folder cannot be written.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield draft
        descriptor = os.open(draft, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        put_in_place(draft, path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise writing_error(error, path) from error
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def write_bytes(path: Path, content: bytes) -> None:
    """Replace ``path`` in one step; see `whole_file` for what it raises."""
    with whole_file(path) as draft:
        draft.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Replace ``path`` by ``content`` in UTF-8, in one step; see `whole_file` for what it raises."""
    write_bytes(path, content.encode())


def put_in_place(draft: Path, path: Path) -> None:
    """Make a draft the file itself, and that survive a power cut."""
    draft.replace(path)
    sync_folder(path.parent)


def writing_error(error: OSError, path: Path) -> DiskFullError | FileError:
    """Return the error, with its repair, that says why ``path`` could not be written."""
    if is_disk_full(error):
        msg = f"no room to write {path} ({error.strerror}); free some disk space and run the same command again, what was there before stays"
        return DiskFullError(msg)
    msg = (
        f"{path} cannot be written ({error.strerror}); make its folder yours to write, or set DESK_HOME to one you own"
    )
    return FileError(msg)


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


def plain_json(content: Any) -> Any:  # noqa: ANN401  # any JSON value
    """Return ``content`` as a reader of the file sees it: tuples as lists, a figure that is no finite number as None."""
    if isinstance(content, dict):
        return {key: plain_json(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [plain_json(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def read_bytes(path: Path) -> bytes:
    """Return the bytes of a model's file.

    Raises:
        ModelError: the file is missing or cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        msg = f"{path} is missing; train and judge the model again: make train"
        raise ModelError(msg) from None
    except OSError as error:
        msg = f"{path} cannot be read ({error}); train and judge the model again: make train"
        raise ModelError(msg) from error


def parse_json(kind: type[_T], content: bytes) -> _T:
    """Return JSON text as a dataclass, lists as tuples where it has tuples; keys it does not know are passed over.

    Raises:
        ValueError: it is no JSON, or a value is missing or of another type than its field; the text names the path of keys.
    """
    try:
        return cast("_T", _adapter(cast("Hashable", kind)).validate_json(content, strict=True))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        msg = f"{'.'.join(map(str, first['loc'])) or 'content'}: {first['msg']}"
        raise ValueError(msg) from None


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:  # noqa: ANN401  # a type, which mypy does not take for hashable
    # building one walks the whole type: milliseconds for a passport, too much for each file of a folder of models
    return TypeAdapter(kind)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ModelError: the file is missing or is not a JSON object.
    """
    try:
        content = json.loads(read_bytes(path).decode())
    except (ValueError, RecursionError) as error:
        msg = f"{path} cannot be read ({error}); train and judge the model again: make train"
        raise ModelError(msg) from error
    if not isinstance(content, dict):
        msg = f"{path} holds a {type(content).__name__}, not an object; train and judge the model again: make train"
        raise ModelError(msg)
    return content
