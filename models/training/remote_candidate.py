"""Publish a trained candidate to a shared folder and fetch it again."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import RemoteFolderError
from core.files import write_bytes
from core.remote_folder import open_folder, redacted, within
from models.training.candidate import finished

if TYPE_CHECKING:
    from core.remote_folder import RemoteFolder
    from models.training.candidate import CandidateRef
_LOG, _WEIGHTS, _MARKER = "train.log", "weights.pt", "candidate.json"


def publish_candidate(candidate: CandidateRef, uri: str) -> CandidateRef:
    """Put a finished candidate into the folder ``uri``, its marker last; return the reference to it there.

    Raises:
        RemoteFolderError: the folder cannot be written.
    """
    home, target = Path(candidate.path).absolute(), within(uri, candidate.candidate_id)
    if home.as_uri() != target:
        remote = open_folder(target)
        for name in (_LOG, _WEIGHTS, _MARKER):
            if (home / name).exists():
                remote.write(name, home / name)
    return replace(candidate, path=target)


def fetch_candidate(candidate_id: str, uri: str, folder: Path) -> CandidateRef | None:
    """Return a candidate under ``folder``, fetched from ``uri`` unless it is there; None where it is in neither.

    Raises:
        RemoteFolderError: the folder cannot be read, or what it gives is not whole.
    """
    home = folder / candidate_id
    if (candidate := finished(home)) is not None:
        return candidate
    remote = open_folder(within(uri, candidate_id))
    if remote.size(_MARKER) is None:
        return None
    for name in (_LOG, _WEIGHTS, _MARKER):
        if name != _LOG or remote.size(name) is not None:
            write_bytes(home / name, _content(remote, name))
    fetched = finished(home)
    if fetched is None:
        (home / _MARKER).unlink()
        msg = f"the candidate at {redacted(within(uri, candidate_id))} is not whole: its weights have another hash than its candidate.json says; remove it there and train again"
        raise RemoteFolderError(msg)
    return fetched


def _content(remote: RemoteFolder, name: str) -> bytes:
    sink = io.BytesIO()
    remote.read(name, sink)
    return sink.getvalue()
