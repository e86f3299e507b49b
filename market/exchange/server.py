"""Run the local exchange on a loopback port."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING

import uvicorn

from core.errors import ConfigError
from market.exchange.app import BASE_PATH, build_app
from market.exchange.control_guard import guarded, published_token

if TYPE_CHECKING:
    from collections.abc import Iterator

    from market.exchange.state import Exchange

HOST = "127.0.0.1"


def listen(port: int = 0) -> socket.socket:
    """Return a loopback socket on ``port``, a free one for 0.

    Raises:
        ConfigError: another program has the port.
    """
    # the protocol is named so that asyncio switches Nagle off: 44 ms a request without it, 2 ms with it
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        listener.close()
        msg = f"port {port} on {HOST} is taken ({error.strerror}); choose another one, or --port 0 for a free one"
        raise ConfigError(msg) from error
    return listener


def base_url(listener: socket.socket) -> str:
    """Return the base URL to give as COINBASE_BASE_URL."""
    return f"http://{HOST}:{listener.getsockname()[1]}{BASE_PATH}"


def server(exchange: Exchange, token: str) -> uvicorn.Server:
    """Return a quiet server of ``exchange``, whose controls need ``token``."""
    config = uvicorn.Config(
        guarded(build_app(exchange), token),
        access_log=False,
        log_level="critical",
        lifespan="off",
        loop="asyncio",
        ws="none",
        timeout_keep_alive=75,
        timeout_graceful_shutdown=2,
    )
    return uvicorn.Server(config)


@contextlib.contextmanager
def running(exchange: Exchange, port: int = 0) -> Iterator[str]:
    """Serve in a thread of this process for the length of the block; yields the base URL."""
    listener = listen(port)
    with contextlib.closing(listener), published_token(listener.getsockname()[1]) as token:
        running_server = server(exchange, token)
        thread = threading.Thread(target=running_server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            while not running_server.started and thread.is_alive():
                time.sleep(0.01)
            yield base_url(listener)
        finally:
            running_server.should_exit = True
            thread.join(timeout=10)
