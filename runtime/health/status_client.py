"""Find the runtime that serves a folder, and ask it for its status."""

from __future__ import annotations

import time
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING

from core.errors import FileError
from core.files import parse_json
from core.loopback import LOOPBACK
from runtime.health.snapshot import VERSION, RuntimeAddress, RuntimeStatus

if TYPE_CHECKING:
    from pathlib import Path

ANSWER_SECONDS = 0.9
"""A status is computed within milliseconds; a runtime that takes longer is not well."""
MAX_STATUS_BYTES = 4_000_000


@dataclass(frozen=True, slots=True)
class StatusAnswer:
    """What came of asking."""

    address: RuntimeAddress | None
    """None where no runtime left one."""
    status: RuntimeStatus | None
    """None where none answered."""
    is_running: bool
    why: str
    """Why there is no status; empty with one."""


def ask_status(address_file: Path, timeout_seconds: float = ANSWER_SECONDS) -> StatusAnswer:
    """Ask the runtime whose address lies in the file, for at most about ``timeout_seconds``.

    Raises:
        FileError: the file is there but cannot be read.
    """
    address = read_address(address_file)
    if address is None:
        return StatusAnswer(None, None, is_running=False, why="no runtime serves this folder")
    ended = f"no runtime serves this folder; process {address.pid} did, and ended without a word"
    try:
        status = _fetch(address, timeout_seconds)
    except ConnectionRefusedError:
        return StatusAnswer(address, None, is_running=False, why=ended)
    except (OSError, HTTPException, ValueError) as error:
        why = f"process {address.pid} gave no status within {timeout_seconds:g} s ({type(error).__name__}: {error})"
        return StatusAnswer(address, None, is_running=True, why=why)
    if status is None or (status.pid, status.started_at) != (address.pid, address.started_at):
        why = f"{ended}; port {address.port} now belongs to another program"
        return StatusAnswer(address, None, is_running=False, why=why)
    return StatusAnswer(address, status, is_running=True, why="")


def read_address(file: Path) -> RuntimeAddress | None:
    """Return where a runtime said it answers, None where none did.

    Raises:
        FileError: it cannot be read.
    """
    try:
        return parse_json(RuntimeAddress, file.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        msg = (
            f"{file} cannot be read ({error}); a runtime writes it at its start: remove it and start the runtime again"
        )
        raise FileError(msg) from error


def _fetch(address: RuntimeAddress, timeout_seconds: float) -> RuntimeStatus | None:
    """Return the status, None where what answers is no runtime.

    Raises:
        OSError: no answer in time.
        ValueError: a runtime of another version answers.
    """
    deadline = time.monotonic() + timeout_seconds
    connection = HTTPConnection(LOOPBACK, address.port, timeout=timeout_seconds)
    try:
        connection.request("GET", "/status")
        answer = connection.getresponse()
        body = b""
        while chunk := answer.read1(65_536):
            body += chunk
            if time.monotonic() > deadline or len(body) > MAX_STATUS_BYTES:
                raise TimeoutError(f"{len(body)} bytes so far")  # noqa: EM102, TRY003  # worded by the caller
    finally:
        connection.close()
    if answer.status != HTTPStatus.OK or not answer.getheader("Server", "").startswith("candledesk"):
        return None
    try:
        return parse_json(RuntimeStatus, body)
    except ValueError as error:
        msg = f"its status is not of version {VERSION} ({error}); restart it with this code"
        raise ValueError(msg) from error
