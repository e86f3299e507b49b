"""Put together what watches a runtime: the board, its server, and the heartbeat where one is set."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from runtime.health.board import StatusBoard
from runtime.health.heartbeat import Heartbeat, beating, check_heartbeat_url
from runtime.health.status_server import served

if TYPE_CHECKING:
    from collections.abc import Iterator

    from core.settings import Settings
    from runtime.alerts.notifier import Notifier


def open_board(settings: Settings, notifier: Notifier) -> StatusBoard:
    """Return a board that is served, and whose health is sent to HEARTBEAT_URL, while the loop serves its folder.

    Raises:
        ConfigError: HEARTBEAT_URL is no address of the web.
    """
    url = settings.heartbeat_url.get_secret_value().strip()
    if url:
        check_heartbeat_url(url)

    @contextmanager
    def watchers(board: StatusBoard) -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(served(board, settings.runtime_port, settings.paths.runtime_address))
            if url:
                stack.enter_context(beating(Heartbeat(url, board.health)))
            yield

    return StatusBoard(settings, notifier, watchers)
