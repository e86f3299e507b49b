"""Publish a trained candidate to a shared folder and fetch it again."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import ModelError, RemoteFolderError
from core.files import write_bytes
from core.redaction import redact_uri
from core.remote_folder import open_folder, within
from models.training.candidate import MARKER as _MARKER
from models.training.candidate import TrainedCandidate, finished

if TYPE_CHECKING:
    from core.remote_folder import RemoteFolder
    from models.training.candidate import CandidateRef
_MOST = 1 << 30
"""Bytes of one file of a candidate; the weights of the largest network have some 50 MB."""
_LOG, _WEIGHTS = "train.log", "weights.pt"


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
        RemoteFolderError: the folder cannot be read, or what it gives is not whole or is not this candidate.
    """
    home = folder / candidate_id
    if (candidate := _kept(home)) is not None:
        return candidate
    remote = open_folder(within(uri, candidate_id))
    if remote.size(_MARKER) is None:
        return None
    kept = [name for name in (_LOG, _WEIGHTS, _MARKER) if name != _LOG or remote.size(name) is not None]
    content = {name: _content(remote, name) for name in kept}
    if (fault := _fault(candidate_id, content[_MARKER], content[_WEIGHTS])) is not None:
        msg = f"candidate {candidate_id} at {redact_uri(uri)} is not whole: {fault}; remove it there and train again"
        raise RemoteFolderError(msg)
    # only what was seen to be right gets a name here: a bad file that was kept would hide the one that is put right there
    for name in kept:
        write_bytes(home / name, content[name])
    return finished(home)


def _kept(home: Path) -> CandidateRef | None:
    try:
        return finished(home)
    except ModelError:
        # kept by an older version before it was looked at: fetched again
        return None


def _fault(candidate_id: str, marker: bytes, weights: bytes) -> str | None:
    """Return why these are not the files of that candidate, None if they are."""
    try:
        candidate = TrainedCandidate.parse(marker)
    except (ModelError, ValueError) as error:
        return f"its {_MARKER} is damaged ({error})"
    if candidate.candidate_id != candidate_id:
        return f"its {_MARKER} is that of {candidate.candidate_id}"
    if candidate.weights_sha256 != hashlib.sha256(weights).hexdigest():
        return f"its weights have another hash than its {_MARKER} says"
    return None


def _content(remote: RemoteFolder, name: str) -> bytes:
    sink = io.BytesIO()
    remote.read(name, sink, _MOST)
    return sink.getvalue()
