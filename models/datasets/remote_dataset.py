"""Publish data sets to folders that several machines reach, and fetch them, so that a worker needs no database and no common disk.

A data set is named by its hash: what was fetched is hashed before it takes its name here, so whatever a folder gives, only
the right bytes are ever read.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from core.dataset_files import DatasetRef
from core.errors import DatasetError
from core.files import whole_file, write_bytes
from core.integrity import sha256_of
from core.locks import hold
from core.redaction import redact_uri
from core.remote_folder import is_uri, open_folder, split, within

if TYPE_CHECKING:
    from core.remote_folder import RemoteFolder

_MOST_MANIFEST = 64 << 20
"""Bytes; one has some 10 kB."""
_MOST_ROWS = 64 << 30
"""Bytes; ten years of forty coins have some 10 GB."""
_REPAIR = "remove it there and run the same flow again, which puts the data set there anew"


def publish_dataset(reference: DatasetRef, uri: str) -> DatasetRef:
    """Put a data set into the folder ``uri``, unless it is there; return the reference by which any machine finds it.

    Raises:
        RemoteFolderError: the folder cannot be written.
    """
    remote = open_folder(uri)
    files = [Path(reference.path), Path(reference.manifest_path)]
    for file, is_there in zip(files, (_has_size, _has_content), strict=True):
        if not is_there(remote, file):
            remote.write(file.name, file)
    parquet, manifest = (within(uri, file.name) for file in files)
    return replace(reference.with_manifest(), path=parquet, manifest_path=manifest)


def _has_size(remote: RemoteFolder, file: Path) -> bool:
    return remote.size(file.name) == file.stat().st_size


def _has_content(remote: RemoteFolder, file: Path) -> bool:
    """A manifest may differ from another of its size, which the reference's hash would tell whoever fetches it."""
    if not _has_size(remote, file):
        return False
    sink = io.BytesIO()
    remote.read(file.name, sink, file.stat().st_size)
    return sink.getvalue() == file.read_bytes()


def fetch_dataset(reference: DatasetRef, cache: Path) -> DatasetRef:
    """Return ``reference`` with its files in the folder ``cache``, fetched unless they are there whole.

    Several processes may ask at once: one fetches, the others wait for it.

    Raises:
        DatasetError: what the folder gives is not the data set.
        DiskFullError: there is no room for it here.
        FileError: ``cache`` cannot be written.
        RemoteFolderError: the folder cannot be read.
    """
    if not is_uri(reference.path):
        return reference
    name = reference.digest[:16]
    local = replace(
        DatasetRef.at(reference.digest, cache / f"{name}.parquet"), manifest_sha256=reference.manifest_sha256
    )
    path, manifest_path = Path(local.path), Path(local.manifest_path)
    with hold(cache / f".{name}.lock"):
        if not (manifest_path.exists() and _manifest_fault(reference, manifest_path.read_bytes()) is None):
            _fetch_manifest(reference, manifest_path)
        if not (path.exists() and sha256_of(path) == reference.digest):
            _fetch_rows(reference, path)
    return local


def _fetch_manifest(reference: DatasetRef, path: Path) -> None:
    folder, name = split(reference.manifest_path)
    sink = io.BytesIO()
    open_folder(folder).read(name, sink, _MOST_MANIFEST)
    if (fault := _manifest_fault(reference, sink.getvalue())) is not None:
        msg = f"{name} at {redact_uri(folder)} {fault}; {_REPAIR}"
        raise DatasetError(msg)
    write_bytes(path, sink.getvalue())


def _fetch_rows(reference: DatasetRef, path: Path) -> None:
    folder, name = split(reference.path)
    with whole_file(path) as draft:
        with draft.open("wb") as sink:
            open_folder(folder).read(name, sink, _MOST_ROWS)
        if (digest := sha256_of(draft)) != reference.digest:
            msg = (
                f"{name} at {redact_uri(folder)} has sha256 {digest[:16]}, expected {reference.digest[:16]}; {_REPAIR}"
            )
            raise DatasetError(msg)


def _manifest_fault(reference: DatasetRef, manifest: bytes) -> str | None:
    """Return why these bytes are not the data set's manifest, None if they are."""
    if (digest := _digest_in(manifest)) != reference.digest:
        return f"is the manifest of {digest[:16] or 'nothing'}, not of data set {reference.digest[:16]}"
    sha256 = hashlib.sha256(manifest).hexdigest()
    if reference.manifest_sha256 not in ("", sha256):
        return f"has sha256 {sha256[:16]}, expected {reference.manifest_sha256[:16]}"
    return None


def _digest_in(manifest: bytes) -> str:
    try:
        content = json.loads(manifest)
    except (ValueError, RecursionError):
        return ""
    return str(content.get("digest", "")) if isinstance(content, dict) else ""
