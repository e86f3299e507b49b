"""One runtime per `DESK_HOME`: two would spend the same signal budget and decide each minute twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from desk.lease import lease

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path


def runtime_lease(home: Path) -> AbstractContextManager[None]:
    """Return the lease to hold for a session.

    Raises:
        PreflightError: on entering, another runtime holds it; the text names its process.
    """
    return lease(home / "runtime.lock", "runtime")
