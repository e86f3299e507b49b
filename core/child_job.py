"""The child's half of `core.child_process`: a job as JSON on standard input, JSON lines on standard output."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from core.errors import DeskError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

REFUSED = 2
"""Exit status of a failure this program foresaw; its last line on standard output names it."""


def do_job(work: Callable[[dict[str, Any]], None]) -> int:
    """Do what standard input describes; return 0, or `REFUSED` with the reason as the last line."""
    try:
        work(json.load(sys.stdin))
    except DeskError as error:
        tell({"error": str(error)})
        return REFUSED
    except MemoryError:
        tell({"error": "out of memory"})
        return REFUSED
    return 0


def tell(line: Mapping[str, Any]) -> None:
    """Say one line to the parent."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()  # a parent that died closes the pipe: this process then ends too
