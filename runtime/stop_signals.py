"""Let SIGTERM and SIGINT end a session at a moment of its own choice."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType, TracebackType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequestedError(Exception):
    """Raised out of the clock's wait, never out of a commit."""


class StopSignals:
    """Let SIGTERM and SIGINT end a session: at once while it waits, after the commit while it works.

    In a thread that is not the main one, where Python allows no handlers, it does nothing.
    """

    def __init__(self) -> None:
        """Install nothing yet."""
        self.number = 0
        """The signal that came, 0 while there is none."""
        self._is_waiting = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        """Install the handlers."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the former handlers back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def is_requested(self) -> bool:
        """Whether the end is asked for."""
        return self.number != 0

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self.number = number
        if self._is_waiting:
            self._is_waiting = False
            raise StopRequestedError

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Let a signal interrupt what runs inside."""
        self._is_waiting = True
        try:
            if self.is_requested:
                raise StopRequestedError
            yield
        finally:
            self._is_waiting = False
