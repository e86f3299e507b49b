"""Data sets and candidates in places that several machines reach, so that a worker needs no database and no common disk.

A data set is named by its hash: what was fetched is hashed before it takes its name here, so whatever a place gives, only the
right bytes are ever read. A candidate's ``candidate.json``, written last and holding the hash of the weights, says it is whole.
"""

from __future__ import annotations

import fcntl
import io
import json
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from core.dataset_files import DatasetRef
from core.errors import DatasetError
from core.files import sync_folder, write_bytes
from core.integrity import sha256_of
from core.remote_folder import is_uri, open_folder, redacted, split, within

if TYPE_CHECKING:
    from collections.abc import Iterator


def publish_dataset(reference: DatasetRef, uri: str) -> DatasetRef:
    """Put a data set into the folder ``uri``, unless it is there; return the reference by which any machine finds it.

    Raises:
        RemoteFolderError: the folder cannot be written.
    """
    place = open_folder(uri)
    files = [Path(reference.path), Path(reference.manifest_path)]
    for file in files:
        if place.size(file.name) != file.stat().st_size:
            place.write(file.name, file)
    parquet, manifest = (within(uri, file.name) for file in files)
    return DatasetRef(reference.digest, parquet, manifest)


def fetch_dataset(reference: DatasetRef, cache: Path) -> DatasetRef:
    """Return ``reference`` with its files in the folder ``cache``, fetched unless they are there whole.

    Several processes may ask at once: one fetches, the others wait for it.

    Raises:
        DatasetError: what the place gives is not the data set.
        DiskFullError: there is no room for it here.
        RemoteFolderError: the place cannot be read.
    """
    if not is_uri(reference.path):
        return reference
    name = reference.digest[:16]
    path, manifest_path = cache / f"{name}.parquet", cache / f"{name}.json"
    with _alone(cache, name):
        if not (manifest_path.exists() and _digest_told(manifest_path.read_bytes()) == reference.digest):
            _fetch_manifest(reference, manifest_path)
        if not (path.exists() and sha256_of(path) == reference.digest):
            _fetch_rows(reference, path)
    return DatasetRef(reference.digest, str(path), str(manifest_path))


def _fetch_manifest(reference: DatasetRef, path: Path) -> None:
    folder, name = split(reference.manifest_path)
    sink = io.BytesIO()
    open_folder(folder).read(name, sink)
    if (found := _digest_told(sink.getvalue())) != reference.digest:
        msg = f"{redacted(reference.manifest_path)} is the manifest of {found[:16] or 'nothing'}, not of data set {reference.digest[:16]}; {_REPAIR}"
        raise DatasetError(msg)
    write_bytes(path, sink.getvalue())


def _fetch_rows(reference: DatasetRef, path: Path) -> None:
    folder, name = split(reference.path)
    draft = path.with_name(f".{path.name}.fetching")
    try:
        with draft.open("wb") as sink:
            open_folder(folder).read(name, sink)
            sink.flush()
            os.fsync(sink.fileno())
        if (found := sha256_of(draft)) != reference.digest:
            msg = f"{redacted(reference.path)} has sha256 {found[:16]}, expected {reference.digest[:16]}; {_REPAIR}"
            raise DatasetError(msg)
        draft.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        msg = f"{path} cannot be written ({error.strerror}); set DESK_HOME to a folder you own"
        raise DatasetError(msg) from error
    finally:
        draft.unlink(missing_ok=True)


_REPAIR = "remove it there and run the same flow again, which puts the data set there anew"


def _digest_told(manifest: bytes) -> str:
    try:
        content = json.loads(manifest)
    except ValueError:
        return ""
    return str(content.get("digest", "")) if isinstance(content, dict) else ""


@contextmanager
def _alone(folder: Path, name: str) -> Iterator[None]:
    """Wait until no other process fetches the same; the kernel lets go when a process dies."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / f".{name}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
