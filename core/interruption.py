"""Ctrl-C while a command is still being imported: one line and status 130, where Python would show where it was.

Imported before anything else, so it imports next to nothing itself.
"""

from __future__ import annotations

import os
import signal
import sys

INTERRUPTED = 130
"""Status of a process that Ctrl-C ended, as shells count it."""


def end_while_importing(*programs: str) -> None:
    """End this process at Ctrl-C until `unwind_from_now`, if it was started as ``python -m`` or by a file named in ``programs``.

    Where SIGINT is ignored, as in a shell's background, it stays so.
    """
    # while python -m imports the package of what it starts, the name of the program is still -m
    is_ours = sys.argv[0] == "-m" or sys.argv[0].rpartition("/")[2] in programs
    if is_ours and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def unwind_from_now() -> None:
    """Let Ctrl-C raise KeyboardInterrupt again: what was imported knows how to end."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(_number: int, _frame: object) -> None:
    os.write(2, b"interrupted\n")
    os._exit(INTERRUPTED)
