"""Show the progress of long work: an artifact in the Prefect UI and a log line now and then."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, cast

from prefect import get_run_logger
from prefect.artifacts import create_progress_artifact, update_progress_artifact

if TYPE_CHECKING:
    from uuid import UUID

_ARTIFACT_SECONDS = 3.0
_LOG_SECONDS = 8.0


def artifact_key(*parts: str) -> str:
    """Join ``parts`` into a key as Prefect wants it: lower case letters, digits, dashes."""
    text = "-".join(parts).lower()
    return "".join(letter if letter.isalnum() else "-" for letter in text)


class ProgressArtifact:
    """One bar: call it with the share done, 0 to 1, as often as you like; it throttles itself."""

    def __init__(self, what: str) -> None:
        """Show an empty bar for ``what`` in the task run this is called from."""
        self.what = what
        self.logger = get_run_logger()
        # in a task that is not async the call returns the id itself
        self._artifact = cast(
            "UUID", create_progress_artifact(0.0, key=artifact_key("progress", what), description=what)
        )
        self._started = time.monotonic()
        self._shown = self._logged = self._started

    def __call__(self, share: float, note: str = "", at_most: float | None = None) -> None:
        """Show ``share`` of the work as done, with the time left at the pace so far, or the seconds it takes ``at_most``."""
        now = time.monotonic()
        share = min(max(share, 0.0), 1.0)
        if share < 1.0 and now - self._shown < _ARTIFACT_SECONDS:
            return
        self._shown = now
        left = (now - self._started) * (1 - share) / share if share > 0 else 0.0
        remaining = f"about {left:.0f} s left" if at_most is None else f"at most {at_most:.0f} s left"
        text = f"{self.what}: {100 * share:.0f} %, {remaining}{'; ' if note else ''}{note}"
        update_progress_artifact(self._artifact, progress=100 * share, description=text)
        if share < 1.0 and now - self._logged >= _LOG_SECONDS:
            self._logged = now
            self.logger.info("%s", text)
