"""Hold the kill switch: whoever presses it wins; nothing but a person with a reason lets go.

It is on if the setting `KILL_SWITCH` says anything but off, or the file under `DESK_HOME` says on, cannot be read, or has
vanished after it was on. The runtime asks once per tick. The file is written whole and keeps its whole history; it
lies outside the databases, so restoring one of them from an old backup does not let go of the switch. What could not be
read is kept beside it. Writers wait for each other, so that a press during a re-arming is the last word.
"""

from __future__ import annotations

import json
import os
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from core.errors import ConfigError, DeskError, DiskFullError, FileError
from core.files import write_json
from core.locks import hold

if TYPE_CHECKING:
    from pathlib import Path

VERSION = 1
_OFF_WORDS = frozenset({"", "0", "off", "false", "no"})
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, MemoryError)
_LOCK_SECONDS = 5.0
"""How long a press waits for another writer before it writes all the same."""


@dataclass(frozen=True, slots=True)
class SwitchState:
    """Whether it is on, what says so and why."""

    is_on: bool
    source: str
    """``setting``, ``file``, ``unreadable``, ``vanished`` or ``none``."""
    reason: str
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class SwitchEntry:
    """One press or re-arming, as the file keeps it; ``since`` is ISO text."""

    state: str
    since: str
    reason: str
    by_user_id: int | None = None


class KillSwitch:
    """Reads and writes the switch; one object per process, cheap enough to ask every minute."""

    def __init__(self, path: Path, setting: str = "off", *, was_on: bool = False) -> None:
        """Name the file and the setting; ``was_on`` is what the last session saw."""
        self._path = path
        self._setting = setting.strip().lower()
        self.was_on = was_on

    def state(self) -> SwitchState:
        """Return the present state; anything that cannot be understood is on."""
        if self._setting not in _OFF_WORDS:
            return SwitchState(is_on=True, source="setting", reason="KILL_SWITCH is set in the environment or .env")
        state = self._file_state()
        self.was_on = state.is_on
        return state

    def _content(self) -> dict[str, Any]:
        # a pipe would never end, and a link into nothing is not "never pressed"
        if os.path.lexists(self._path) and not self._path.is_file():
            raise IsADirectoryError(self._path)
        content: dict[str, Any] = json.loads(self._path.read_text(encoding="utf-8"))
        return content

    def _file_state(self) -> SwitchState:
        try:
            content = self._content()
            is_on = {"on": True, "off": False}[content["state"]]
            since = datetime.fromisoformat(content["since"])
            return SwitchState(is_on=is_on, source="file", reason=str(content["reason"]), since=since)
        except FileNotFoundError:
            if self.was_on:
                reason = "it was on before, and nothing says it was let go"
                return SwitchState(is_on=True, source="vanished", reason=reason)
            return SwitchState(is_on=False, source="none", reason="never pressed")
        except _UNREADABLE as error:
            reason = f"{self._path.name} cannot be read ({type(error).__name__}), which counts as on"
            return SwitchState(is_on=True, source="unreadable", reason=reason)

    def press(self, reason: str, now: datetime | None = None) -> SwitchState:
        """Switch on, whatever the file holds; a reason is welcome but not asked for, speed matters more."""
        reason = reason.strip() or "pressed without a reason"
        with suppress(OSError, DeskError), self._writing():
            return self._write("on", reason, now)
        return self._write("on", reason, now)

    def rearm(self, reason: str, now: datetime | None = None) -> SwitchState:
        """Switch off again.

        Raises:
            ConfigError: no reason was given, the setting still says on, or somebody pressed in the meantime.
        """
        seen = self._bytes()
        if not reason.strip():
            msg = 'letting go of the kill switch needs a reason, none was given; run: desk kill off --reason "why it is safe"'
            raise ConfigError(msg)
        if self._setting not in _OFF_WORDS:
            msg = "KILL_SWITCH is still on in the environment or .env, which wins; set KILL_SWITCH=off first"
            raise ConfigError(msg)
        with self._writing():
            if self._bytes() != seen:
                msg = "the kill switch was pressed or let go by somebody else at this moment; look first: desk kill status"
                raise ConfigError(msg)
            return self._write("off", reason.strip(), now)

    def _writing(self) -> AbstractContextManager[int]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return hold(self._path.with_name(f"{self._path.name}.lock"), timeout_seconds=_LOCK_SECONDS)

    def _bytes(self) -> bytes | None:
        try:
            return self._path.read_bytes() if self._path.is_file() else None
        except OSError:
            return None

    def _keep_unreadable(self, moment: datetime) -> None:
        """Keep what cannot be read: it is evidence, and a folder in its place could not be overwritten."""
        if self._file_state().source != "unreadable":
            return
        kept = self._path.with_name(f"{self._path.name}.unreadable-{moment:%Y%m%dT%H%M%S%f}")
        with suppress(OSError):
            # a second name for a file: at no moment is it missing
            os.link(self._path, kept) if self._path.is_file() else self._path.rename(kept)

    def history(self) -> list[SwitchEntry]:
        """Return every press and re-arming, oldest first; an unreadable file has none."""
        try:
            return [
                SwitchEntry(str(entry["state"]), str(entry["since"]), str(entry["reason"]), entry.get("by_user_id"))
                for entry in self._content()["history"]
            ]
        except _UNREADABLE:
            return []

    def _write(self, state: str, reason: str, now: datetime | None) -> SwitchState:
        moment = now or datetime.now(UTC)
        entry = asdict(SwitchEntry(state, moment.isoformat(), reason, os.getuid()))
        history = [*map(asdict, self.history()), entry]
        self._keep_unreadable(moment)
        try:
            # the folder is flushed too: a press must outlive a power cut
            write_json(self._path, {"version": VERSION, **entry, "history": history})
        except (DiskFullError, FileError) as error:
            msg = f"the kill switch was not written: {error}. Set KILL_SWITCH=on in .env and start the runtime again"
            raise ConfigError(msg) from error
        self.was_on = state == "on"
        return SwitchState(is_on=state == "on", source="file", reason=reason, since=moment)
