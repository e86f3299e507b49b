"""The kill switch: whoever presses it wins; nothing but a person with a reason lets go.

It is on if the setting `KILL_SWITCH` says anything but off, or the file under `DESK_HOME` says on, cannot be read, or has
vanished after it was on. The runtime asks once per tick. The file is written atomically and keeps its whole history; it
lies outside the databases, so restoring one of them from an old backup does not let go of the switch.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from core.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

_OFF_WORDS = frozenset({"", "0", "off", "false", "no"})


@dataclass(frozen=True, slots=True)
class SwitchState:
    """Whether it is on, what says so and why."""

    is_on: bool
    source: str
    """``setting``, ``file``, ``unreadable``, ``vanished`` or ``none``."""
    reason: str
    since: datetime | None = None


class KillSwitch:
    """Reads and writes the switch; one object per process, cheap enough to ask every minute."""

    def __init__(self, path: Path, setting: str = "off", *, was_on: bool = False) -> None:
        """Name the file and the setting; ``was_on`` is what the last session saw."""
        self._path = path
        self._setting = setting.strip().lower()
        self._was_on = was_on

    def state(self) -> SwitchState:
        """Return the present state; anything that cannot be understood is on."""
        if self._setting not in _OFF_WORDS:
            return SwitchState(is_on=True, source="setting", reason="KILL_SWITCH is set in the environment or .env")
        state = self._file_state()
        self._was_on = state.is_on
        return state

    def _file_state(self) -> SwitchState:
        try:
            record = json.loads(self._path.read_text(encoding="utf-8"))
            is_on = {"on": True, "off": False}[record["state"]]
            since = datetime.fromisoformat(record["since"])
            return SwitchState(is_on=is_on, source="file", reason=str(record["reason"]), since=since)
        except FileNotFoundError:
            if self._was_on:
                return SwitchState(
                    is_on=True, source="vanished", reason="it was on before, and nothing says it was let go"
                )
            return SwitchState(is_on=False, source="none", reason="never pressed")
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = f"{self._path.name} cannot be read ({type(error).__name__}), which counts as on"
            return SwitchState(is_on=True, source="unreadable", reason=reason)

    def press(self, reason: str, now: datetime | None = None) -> SwitchState:
        """Switch on; a reason is welcome but not asked for, speed matters more."""
        return self._write("on", reason.strip() or "pressed without a reason", now)

    def rearm(self, reason: str, now: datetime | None = None) -> SwitchState:
        """Switch off again.

        Raises:
            ConfigError: no reason was given, or the setting still says on.
        """
        if not reason.strip():
            msg = 'letting go of the kill switch needs a reason, none was given; run: desk kill off --reason "why it is safe"'
            raise ConfigError(msg)
        if self._setting not in _OFF_WORDS:
            msg = "KILL_SWITCH is still on in the environment or .env, which wins; set KILL_SWITCH=off first"
            raise ConfigError(msg)
        return self._write("off", reason.strip(), now)

    def history(self) -> list[dict[str, Any]]:
        """Return every press and re-arming, oldest first; an unreadable file has none."""
        try:
            history = json.loads(self._path.read_text(encoding="utf-8"))["history"]
        except (OSError, ValueError, KeyError, TypeError):
            return []
        return list(history)

    def _write(self, state: str, reason: str, now: datetime | None) -> SwitchState:
        moment = now or datetime.now(UTC)
        entry = {"state": state, "since": moment.isoformat(), "reason": reason, "by_user_id": os.getuid()}
        record = {**entry, "history": [*self.history(), entry]}
        fresh = self._path.with_name(f"{self._path.name}.{os.getpid()}.tmp")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with fresh.open("w", encoding="utf-8") as file:
                json.dump(record, file, indent=2)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path)
        except OSError as error:
            msg = f"{self._path} cannot be written ({error.strerror}); set KILL_SWITCH=on in .env and start the runtime again"
            raise ConfigError(msg) from error
        self._was_on = state == "on"
        return SwitchState(is_on=state == "on", source="file", reason=reason, since=moment)
