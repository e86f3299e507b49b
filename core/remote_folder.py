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
from core.redaction import credential_in, redact, redact_uri

if TYPE_CHECKING:
    from pathlib import Path

_CHUNK = 1 << 20
_SECONDS = 60.0
"""Longest silence of a web server."""
_ARROW = ("file", "s3", "gs", "abfs", "abfss", "hdfs")
_WEB = ("http", "https")
_FAILURES = (OSError, pa.ArrowException, http.client.HTTPException)


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class RemoteFolder(Protocol):
    """A folder of whole files, wherever it lies."""

    def size(self, name: str) -> int | None:
        """Return the bytes of a file, None where there is none."""

    def read(self, name: str, sink: BinaryIO, most: int) -> None:
        """Copy a file of up to ``most`` bytes into ``sink``; a larger one is refused after ``most`` bytes."""

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


def open_folder(uri: str) -> RemoteFolder:
    """Return the folder that ``uri`` names.

    Raises:
        RemoteFolderError: the URI is of no kind that is known, may hold a credential, or cannot be used.
    """
    parts = urlsplit(uri)
    if part := credential_in(uri):
        msg = (
            f"a {parts.scheme}:// URI may hold no credentials, and this one has {part}; tasks and logs show URIs, so leave "
            "them to the environment (for S3: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)"
        )
        raise RemoteFolderError(msg)
    if parts.scheme in _WEB:
        return _Web(uri)
    if parts.scheme not in _ARROW:
        msg = f"{redact_uri(uri)!r} is no URI of a folder; write for example file:///srv/desk or s3://bucket/desk (known: {', '.join((*_ARROW, *_WEB))})"
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

    def read(self, name: str, sink: BinaryIO, most: int) -> None:
        try:
            with self.filesystem.open_input_stream(f"{self.root}/{name}") as source:
                is_whole = _copy(source, sink, most)
        except _FAILURES as error:
            raise _failed(within(self.uri, name), "read", error) from error
        if not is_whole:
            raise _too_large(within(self.uri, name), most)

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

    def read(self, name: str, sink: BinaryIO, most: int) -> None:
        try:
            with self._open(name, "GET") as answer:
                is_whole = _copy(answer, sink, most)
        except _FAILURES as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            raise _failed(within(self.uri, name), "read", error) from error
        if not is_whole:
            raise _too_large(within(self.uri, name), most)

    def write(self, name: str, source: Path) -> None:
        del source
        msg = f"{_shown_file(within(self.uri, name))} cannot be written: a web server only gives files out; copy the file there by hand, or name a folder that can be written, such as s3://bucket/desk"
        raise RemoteFolderError(msg)

    def _open(self, name: str, method: str) -> http.client.HTTPResponse:
        request = urllib.request.Request(within(self.uri, name), method=method)  # noqa: S310 - http and https only, see open_folder
        answer: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=_SECONDS)  # noqa: S310 - the same
        return answer


def _copy(source: _Readable, sink: BinaryIO, most: int) -> bool:
    """Copy up to ``most`` bytes; return whether there were no more."""
    left = most
    while chunk := source.read(min(_CHUNK, left + 1)):
        if len(chunk) > left:
            return False
        sink.write(chunk)
        left -= len(chunk)
    return True


def _shown_file(uri: str) -> str:
    """Return the file and where it lies; of a web folder no more than the host may be shown, the name of the file is ours."""
    where, name = redact_uri(uri), split(uri)[1]
    return where if not name or where.endswith(f"/{name}") else f"{name} at {where}"


def _too_large(uri: str, most: int) -> RemoteFolderError:
    msg = f"{_shown_file(uri)} is larger than {most:,} bytes and is not read; it is not what was put there: remove it there and run the same again"
    return RemoteFolderError(msg)


def _failed(uri: str, what: str, error: Exception) -> RemoteFolderError | DiskFullError:
    if isinstance(error, OSError) and is_disk_full(error):
        msg = f"no room for {_shown_file(uri)} ({error.strerror}); free some disk space and run the same again, nothing half-written is ever used"
        return DiskFullError(msg)
    cause = redact((str(error).splitlines() or [type(error).__name__])[0], [uri])
    msg = f"{_shown_file(uri)} cannot be {what} ({cause}); check DATASETS_URI and CANDIDATES_URI, and that this machine may reach them"
    return RemoteFolderError(msg)
