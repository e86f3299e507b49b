"""Read and write whole files in a folder named by a URI, on this machine or another.

``file``, ``s3``, ``gs``, ``abfs`` and ``hdfs`` go through Arrow, which takes its credentials from the environment as their own
tools do; ``http`` and ``https`` can only be read. No duckdb, no torch: workers on other machines come here.
"""

from __future__ import annotations

import http.client
import shutil
import urllib.error
import urllib.request
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Protocol
from urllib.parse import quote, urlsplit, urlunsplit

import pyarrow as pa
from pyarrow import fs

from core.errors import DiskFullError, RemoteFolderError
from core.files import is_disk_full

if TYPE_CHECKING:
    from pathlib import Path

_CHUNK = 1 << 20
_SECONDS = 60.0
"""Longest silence of a web server."""
_ARROW = ("file", "s3", "gs", "abfs", "abfss", "hdfs")
_WEB = ("http", "https")
_FAILURES = (OSError, pa.ArrowException, http.client.HTTPException)


class RemoteFolder(Protocol):
    """A folder of whole files, wherever it lies."""

    def size(self, name: str) -> int | None:
        """Return the bytes of a file, None where there is none."""

    def read(self, name: str, sink: BinaryIO) -> None:
        """Copy a file into ``sink``."""

    def write(self, name: str, source: Path) -> None:
        """Put a file there; a reader never sees a part of it under its name."""


def is_uri(text: str) -> bool:
    """Whether ``text`` is a URI and no path of this machine."""
    return "://" in text


def within(uri: str, name: str) -> str:
    """Return the URI of ``name`` in the folder ``uri``; a query (such as S3's ``endpoint_override``) stays at the end."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{quote(name)}"))


def split(uri: str) -> tuple[str, str]:
    """Return the folder and the name of a file's URI, the inverse of `within`."""
    parts = urlsplit(uri)
    folder, _, name = parts.path.rpartition("/")
    return urlunsplit(parts._replace(path=folder)), name


def redacted(uri: str) -> str:
    """Return the URI as it may be printed: no query, which may hold a token."""
    return urlunsplit(urlsplit(uri)._replace(query="", fragment=""))


def open_folder(uri: str) -> RemoteFolder:
    """Return the folder that ``uri`` names.

    Raises:
        RemoteFolderError: the URI is of no kind that is known, holds a password, or cannot be used.
    """
    parts = urlsplit(uri)
    if "@" in parts.netloc:
        msg = (
            f"a {parts.scheme}:// URI holds credentials; tasks and logs show URIs, so leave them to the environment "
            "(for S3: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)"
        )
        raise RemoteFolderError(msg)
    if parts.scheme in _WEB:
        return _Web(uri)
    if parts.scheme not in _ARROW:
        msg = f"{redacted(uri)!r} is no URI of a folder; write for example file:///srv/desk or s3://bucket/desk (known: {', '.join((*_ARROW, *_WEB))})"
        raise RemoteFolderError(msg)
    try:
        filesystem, root = fs.FileSystem.from_uri(uri)
    except _FAILURES as error:
        raise _failed(uri, "used", error) from error
    return _Files(uri, filesystem, root)


@dataclass(frozen=True, slots=True)
class _Files:
    """A folder that Arrow can reach."""

    uri: str
    filesystem: fs.FileSystem
    root: str

    def size(self, name: str) -> int | None:
        try:
            info = self.filesystem.get_file_info(f"{self.root}/{name}")
        except _FAILURES as error:
            raise _failed(within(self.uri, name), "asked for", error) from error
        return None if info.type == fs.FileType.NotFound else int(info.size)

    def read(self, name: str, sink: BinaryIO) -> None:
        try:
            with self.filesystem.open_input_stream(f"{self.root}/{name}") as source:
                shutil.copyfileobj(source, sink, _CHUNK)
        except _FAILURES as error:
            raise _failed(within(self.uri, name), "read", error) from error

    def write(self, name: str, source: Path) -> None:
        """Write beside it, then move: a stream that is cut off still leaves an object in some stores."""
        path = f"{self.root}/{name}"
        folder, _, last = path.rpartition("/")
        draft = f"{folder}/.{last}.{uuid.uuid4().hex}"
        try:
            self.filesystem.create_dir(folder, recursive=True)
            with source.open("rb") as content, self.filesystem.open_output_stream(draft) as sink:
                shutil.copyfileobj(content, sink, _CHUNK)
            self.filesystem.move(draft, path)
        except _FAILURES as error:
            raise _failed(within(self.uri, name), "written", error) from error


@dataclass(frozen=True, slots=True)
class _Web:
    """A folder that a web server gives out."""

    uri: str

    def size(self, name: str) -> int | None:
        try:
            with self._open(name, "HEAD") as answer:
                return int(answer.headers.get("content-length", -1))
        except urllib.error.HTTPError as error:
            error.close()
            if error.code in {404, 410}:
                return None
            raise _failed(within(self.uri, name), "asked for", error) from error
        except _FAILURES as error:
            raise _failed(within(self.uri, name), "asked for", error) from error

    def read(self, name: str, sink: BinaryIO) -> None:
        try:
            with self._open(name, "GET") as answer:
                shutil.copyfileobj(answer, sink, _CHUNK)
        except _FAILURES as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            raise _failed(within(self.uri, name), "read", error) from error

    def write(self, name: str, source: Path) -> None:
        del source
        msg = f"{redacted(within(self.uri, name))} cannot be written: a web server only gives files out; copy the file there by hand, or name a folder that can be written, such as s3://bucket/desk"
        raise RemoteFolderError(msg)

    def _open(self, name: str, method: str) -> http.client.HTTPResponse:
        request = urllib.request.Request(within(self.uri, name), method=method)  # noqa: S310 - http and https only, see open_folder
        answer: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=_SECONDS)  # noqa: S310 - the same
        return answer


def _failed(uri: str, what: str, error: Exception) -> RemoteFolderError | DiskFullError:
    if isinstance(error, OSError) and is_disk_full(error):
        msg = f"no room for {redacted(uri)} ({error.strerror}); free some disk space and run the same again, nothing half-written is ever used"
        return DiskFullError(msg)
    cause = (str(error).splitlines() or [type(error).__name__])[0].replace(uri, redacted(uri))
    msg = f"{redacted(uri)} cannot be {what} ({cause}); check DATASETS_URI and CANDIDATES_URI, and that this machine may reach them"
    return RemoteFolderError(msg)
