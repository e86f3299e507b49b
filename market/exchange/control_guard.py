"""Keep strangers off the local exchange: only this machine's names as Host, no web page's Origin, a token for the controls.

A web page can make a browser ask loopback; it cannot leave out its Origin, nor read a file of this user.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.responses import JSONResponse

from core.errors import ConfigError
from core.loopback import is_loopback_host

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import ASGIApp, Receive, Scope, Send

TOKEN_HEADER = "x-desk-token"  # noqa: S105  # the name of a header


def guarded(app: ASGIApp, token: str) -> ASGIApp:
    """Return ``app`` behind the guard; ``token`` is what requests under ``/_control`` must carry."""

    async def guard(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (fault := _fault(scope, token)) is not None:
            status, text = fault
            await JSONResponse({"error": text}, status)(scope, receive, send)
        else:
            await app(scope, receive, send)

    return guard


def _fault(scope: Scope, token: str) -> tuple[int, str] | None:
    headers = Headers(scope=scope)
    if not is_loopback_host(headers.get("host", "")):
        return 403, "this exchange answers to 127.0.0.1 and localhost alone"
    if "origin" in headers:
        return 403, "this exchange answers to no web page"
    is_known = secrets.compare_digest(headers.get(TOKEN_HEADER, "").encode(), token.encode())
    if scope["path"].startswith("/_control") and not is_known:
        return 401, f"the controls need the token of {token_file('PORT')} in the header {TOKEN_HEADER}"
    return None


def token_file(port: int | str) -> Path:
    """Return the file in which the exchange on ``port`` leaves its token, for this user's other processes alone."""
    return Path(tempfile.gettempdir()) / f"candledesk-{os.getuid()}" / f"exchange-{port}.token"


def read_token(port: int) -> str:
    """Return the token of the exchange on ``port``, empty where it left none."""
    try:
        return token_file(port).read_text(encoding="ascii")
    except (OSError, ValueError):
        return ""


@contextmanager
def published_token(port: int) -> Iterator[str]:
    """Leave a fresh token where `read_token` finds it, for the length of the block.

    Raises:
        ConfigError: the folder is another user's, or open to others.
    """
    path, token = token_file(port), secrets.token_urlsafe(32)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    state = path.parent.lstat()
    if state.st_uid != os.getuid() or state.st_mode & 0o077:
        msg = f"{path.parent} is not this user's alone, so the exchange's token cannot lie there; remove it, or set TMPDIR to a folder of your own"
        raise ConfigError(msg)
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="ascii") as file:  # noqa: PTH123  # a descriptor, so that its mode is right from the start
        file.write(token)
    try:
        yield token
    finally:
        path.unlink(missing_ok=True)
