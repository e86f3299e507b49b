"""Hold the kill switch and its lesser degrees: whoever presses wins; nothing but a person with a reason lets go.

`halted`: no signal, and open paper positions are closed. `reducing`: no new signal, open positions run out. A product may be
paused by itself. It is halted if the setting `KILL_SWITCH` says anything it does not know, or the file under `DESK_HOME`
cannot be read, or has vanished after it stopped anything. The runtime asks once per tick. The file is written whole and keeps
its whole history; it lies outside the databases, so restoring one of them from an old backup does not let go of the switch.
What could not be read is kept beside it. Writers wait for each other, so that a press during a re-arming is the last word.
"""

from __future__ import annotations

import json
import os
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from core.errors import ConfigError, DeskError, DiskFullError, FileError
from core.files import write_json
from core.locks import hold

if TYPE_CHECKING:
    from pathlib import Path

VERSION = 2
_OFF_WORDS = frozenset({"", "0", "off", "false", "no", "active"})
_LEVELS = {"on": "halted", "off": "active", "reducing": "reducing"}
"""What the file says -> how far everything is stopped; code that knows no `reducing` reads it as on."""
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, MemoryError)
_LOCK_SECONDS = 5.0
"""How long a press waits for another writer before it writes all the same."""


@dataclass(frozen=True, slots=True)
class Stopping:
    """How far trading is stopped."""

    level: str = "active"
    """``active``, ``reducing`` or ``halted``."""
    paused: frozenset[str] = frozenset()
    """Products of which no signal is made; their open positions run out."""

    def reason(self, product: str) -> str | None:
        """Return why no signal of ``product`` may be made, None if one may."""
        if self.level != "active":
            return self.level
        return "paused" if product in self.paused else None


ACTIVE = Stopping()


def switch_event(stopping: Stopping) -> str:
    """Return the kind of risk event that tells of this state."""
    if stopping.level != "active":
        return "kill_switch_on" if stopping.level == "halted" else "kill_switch_reducing"
    return "kill_switch_paused" if stopping.paused else "kill_switch_off"


@dataclass(frozen=True, slots=True)
class SwitchState:
    """How far it stops trading, what says so and why."""

    stopping: Stopping
    source: str
    """``setting``, ``file``, ``unreadable``, ``vanished`` or ``none``."""
    reason: str
    since: datetime | None = None

    @property
    def is_on(self) -> bool:
        """Whether everything is halted."""
        return self.stopping.level == "halted"

    @property
    def text(self) -> str:
        """What stands so, why, and what says so."""
        paused = f"paused: {', '.join(sorted(self.stopping.paused))}; " if self.stopping.paused else ""
        return f"{paused}{self.reason} ({self.source})"


@dataclass(frozen=True, slots=True)
class SwitchEntry:
    """One press or re-arming, as the file keeps it; ``since`` is ISO text."""

    state: str
    """``on``, ``off``, ``reducing``, ``paused`` or ``resumed``."""
    since: str
    reason: str
    by_user_id: int | None = None
    product: str = ""
    """Empty when it concerns all."""


class KillSwitch:
    """Reads and writes the switch; one object per process, cheap enough to ask every minute."""

    def __init__(self, path: Path, setting: str = "off", *, was_on: bool = False) -> None:
        """Name the file and the setting; ``was_on`` says whether the last session saw anything stopped."""
        self._path = path
        self._setting = setting.strip().lower()
        self.was_on = was_on

    def state(self) -> SwitchState:
        """Return the present state; anything that cannot be understood is halted."""
        if self._setting not in _OFF_WORDS:
            level = "reducing" if self._setting == "reducing" else "halted"
            why = f"KILL_SWITCH says {'reducing' if level == 'reducing' else 'on'} in the environment or .env"
            own = self._file_state().stopping
            if own.level != "halted":
                return SwitchState(Stopping(level, own.paused), "setting", why)
        state = self._file_state()
        self.was_on = state.stopping != ACTIVE
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
            since = datetime.fromisoformat(content["since"])
            paused = frozenset(str(product) for product in content.get("paused", ()))
            return SwitchState(Stopping(_LEVELS[content["state"]], paused), "file", str(content["reason"]), since)
        except FileNotFoundError:
            if self.was_on:
                reason = "something was stopped before, and nothing says that it was let go"
                return SwitchState(Stopping("halted"), "vanished", reason)
            return SwitchState(ACTIVE, "none", "never pressed")
        except _UNREADABLE as error:
            reason = f"{self._path.name} cannot be read ({type(error).__name__}), which counts as on"
            return SwitchState(Stopping("halted"), "unreadable", reason)

    def press(self, reason: str, now: datetime | None = None) -> SwitchState:
        """Halt, whatever the file holds; a reason is welcome but not asked for, speed matters more."""
        return self._pressed("on", reason, now)

    def reduce(self, reason: str, now: datetime | None = None) -> SwitchState:
        """Make no new signal; what is open runs out. What is halted stays halted."""
        return self._pressed("reducing", reason, now)

    def pause(self, product: str, reason: str, now: datetime | None = None) -> SwitchState:
        """Make no new signal of one product."""
        return self._pressed("paused", reason, now, product)

    def _pressed(self, state: str, reason: str, now: datetime | None, product: str = "") -> SwitchState:
        reason = reason.strip() or "pressed without a reason"
        with suppress(OSError, DeskError), self._writing():
            return self._write(state, reason, now, product)
        return self._write(state, reason, now, product)

    def rearm(self, reason: str, now: datetime | None = None) -> SwitchState:
        """Let everything go again, paused products too.

        Raises:
            ConfigError: no reason was given, the setting still says on, or somebody pressed in the meantime.
        """
        return self._let_go("off", reason, now)

    def resume(self, product: str, reason: str, now: datetime | None = None) -> SwitchState:
        """Let one product go again.

        Raises:
            ConfigError: it is not paused, no reason was given, or somebody pressed in the meantime.
        """
        if product not in self._file_state().stopping.paused:
            msg = f"{product} is not paused; look first: desk kill status"
            raise ConfigError(msg)
        return self._let_go("resumed", reason, now, product)

    def _let_go(self, state: str, reason: str, now: datetime | None, product: str = "") -> SwitchState:
        seen = self._bytes()
        if not reason.strip():
            msg = 'letting go of the kill switch needs a reason, none was given; run: desk kill off --reason "why it is safe"'
            raise ConfigError(msg)
        if state == "off" and self._setting not in _OFF_WORDS:
            msg = "KILL_SWITCH is still on in the environment or .env, which wins; set KILL_SWITCH=off first"
            raise ConfigError(msg)
        with self._writing():
            if self._bytes() != seen:
                msg = "the kill switch was pressed or let go by somebody else at this moment; look first: desk kill status"
                raise ConfigError(msg)
            return self._write(state, reason.strip(), now, product)

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
                SwitchEntry(
                    str(entry["state"]),
                    str(entry["since"]),
                    str(entry["reason"]),
                    entry.get("by_user_id"),
                    str(entry.get("product", "")),
                )
                for entry in self._content()["history"]
            ]
        except _UNREADABLE:
            return []

    def _write(self, state: str, reason: str, now: datetime | None, product: str) -> SwitchState:
        moment = now or datetime.now(UTC)
        entry = asdict(SwitchEntry(state, moment.isoformat(), reason, os.getuid(), product))
        history = [*map(asdict, self.history()), entry]
        after = _after(self._file_state().stopping, state, product)
        self._keep_unreadable(moment)
        level = next(word for word, level in _LEVELS.items() if level == after.level)
        content = {**entry, "state": level, "paused": sorted(after.paused)}
        try:
            # the folder is flushed too: a press must outlive a power cut
            write_json(self._path, {"version": VERSION, **content, "history": history})
        except (DiskFullError, FileError) as error:
            msg = f"the kill switch was not written: {error}. Set KILL_SWITCH=on in .env and start the runtime again"
            raise ConfigError(msg) from error
        self.was_on = after != ACTIVE
        return SwitchState(after, "file", reason, moment)


def _after(before: Stopping, state: str, product: str) -> Stopping:
    """Return what is stopped after one more word; a lesser degree never lets go of a greater one."""
    match state:
        case "on":
            return replace(before, level="halted")
        case "reducing":
            return before if before.level == "halted" else replace(before, level="reducing")
        case "paused":
            return replace(before, paused=before.paused | {product})
        case "resumed":
            return replace(before, paused=before.paused - {product})
        case _:
            return ACTIVE
