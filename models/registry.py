"""Which model serves which slot, and how that came about: one JSON file, switched in one step.

The file holds every event since the beginning; the present is what the last events of each slot say. A promoted
model's files are copied first, under a name of their own; then one rename makes the switch. A crash at any point
leaves the old state or the new one. A slot is ``lstm:BTC-USD`` or ``transformer:BTC-USD``.
"""

from __future__ import annotations

import fcntl
import getpass
import os
import shutil
import socket
import time
import uuid
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from desk.errors import ModelError, NoPromotedModelError
from models.artefacts import read_json, sha256_of, sync_folder, write_bytes, write_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from models.judgement import Judgement

KINDS = ("trial", "candidate", "refusal", "promotion", "rollback")
_SERVED = ("model.onnx", "passport.json", "curves.json", "baseline.json")
"""Files of a candidate that are copied on promotion; checkpoints stay behind."""
_LOCK_SECONDS = 60.0
_VERSION = 1


@dataclass(frozen=True, slots=True)
class RegistryEvent:
    """One thing that happened; never changed afterwards."""

    event_id: str
    happened_at: datetime
    kind: str
    slot: str
    model_id: str
    who: str
    why: str


@dataclass(frozen=True, slots=True)
class Promoted:
    """The model a slot serves now."""

    slot: str
    model_id: str
    path: Path
    since: datetime


class Registry:
    """The registry file and the folder of promoted models beside it."""

    def __init__(self, path: Path) -> None:
        """Name the file, such as ``var/models/registry.json``; it is created by the first event."""
        self.path = path
        self.promoted = path.parent / "promoted"

    def events(self) -> tuple[RegistryEvent, ...]:
        """Return every event, oldest first.

        Raises:
            ModelError: the file is damaged, or newer than this code.
        """
        if not self.path.exists():
            return ()
        content = read_json(self.path)
        if content.get("version") != _VERSION:
            msg = f"{self.path} has version {content.get('version')}, this code reads {_VERSION}; update Candledesk"
            raise ModelError(msg)
        try:
            return tuple(_event(entry) for entry in content["events"])
        except (KeyError, TypeError, ValueError) as error:
            msg = f"{self.path} is damaged ({error!r}); restore it from a copy, its events are also in the table registry_events"
            raise ModelError(msg) from error

    def current(self) -> dict[str, Promoted]:
        """Return what each slot serves now; a slot that was rolled back to nothing is absent."""
        serving: dict[str, RegistryEvent | None] = {}
        for event in self.events():
            if event.kind in {"promotion", "rollback"}:
                serving[event.slot] = event if event.model_id else None
        return {
            slot: Promoted(slot, event.model_id, self.promoted / event.model_id, event.happened_at)
            for slot, event in sorted(serving.items())
            if event is not None
        }

    def serving(self, slot: str) -> Promoted:
        """Return the model ``slot`` serves.

        Raises:
            NoPromotedModelError: none is promoted.
        """
        found = self.current().get(slot)
        if found is None:
            msg = f"no model is promoted for {slot}; train and promote one: make train, or observe with mode shadow"
            raise NoPromotedModelError(msg)
        return found

    def candidates(self) -> dict[str, tuple[RegistryEvent, ...]]:
        """Return the events of every model that was ever judged, by model."""
        found: dict[str, list[RegistryEvent]] = {}
        for event in self.events():
            if event.kind in {"candidate", "refusal"}:
                found.setdefault(event.model_id, []).append(event)
        return {model_id: tuple(events) for model_id, events in found.items()}

    def trials(self) -> int:
        """Return how many trainings were ever judged: the number a lucky result must be weighed with."""
        return sum(event.kind == "trial" for event in self.events())

    def record(self, kind: str, slot: str, model_id: str, why: str, *, who: str | None = None) -> RegistryEvent:
        """Append one event that switches nothing.

        Raises:
            ModelError: the kind is unknown, or is one that `promote` and `rollback` write.
        """
        if kind not in KINDS[:3]:
            msg = f"{kind!r} is not an event to record; use promote or rollback, or one of {', '.join(KINDS[:3])}"
            raise ModelError(msg)
        with self._locked():
            return self._append([_new_event(kind, slot, model_id, why, who)])[0]

    def record_judgement(self, judgement: Judgement, *, who: str | None = None) -> tuple[RegistryEvent, ...]:
        """Append a trial, and for each product a candidate or a refusal; once per judgement, however often called."""
        with self._locked():
            known = {(event.kind, event.slot, event.model_id, event.why) for event in self.events()}
            wanted = []
            for verdict in judgement.verdicts:
                why = f"{judgement.profile}: " + (
                    "all gates passed" if verdict.accepted else "refused by " + ", ".join(verdict.refused_by)
                )
                kind = "candidate" if verdict.accepted else "refusal"
                if (kind, verdict.slot, judgement.model_id, why) not in known:
                    wanted.append(_new_event(kind, verdict.slot, judgement.model_id, why, who))
            trial = ("trial", judgement.architecture, judgement.model_id, "judged")
            if trial not in known:
                wanted.insert(0, _new_event(*trial, who))
            return self._append(wanted) if wanted else ()

    def promote(self, folder: Path, slots: Sequence[str], *, why: str, who: str | None = None) -> str:
        """Copy a judged candidate's files and let it serve ``slots``; return its model id.

        Raises:
            ModelError: the candidate is not judged, its graph is not the judged one, or a slot was refused.
        """
        passport = read_json(folder / "passport.json")
        model_id = str(passport["model_id"])
        _require_accepted(passport, slots)
        if sha256_of(folder / "model.onnx") != passport["sha256"]:
            msg = f"the graph in {folder} is not the one that was judged; judge it again: make evaluate"
            raise ModelError(msg)
        with self._locked():
            self._copy(folder, model_id)
            serving = self.current()
            wanted = [slot for slot in slots if slot not in serving or serving[slot].model_id != model_id]
            if wanted:
                self._append([_new_event("promotion", slot, model_id, why, who) for slot in wanted])
        return model_id

    def rollback(self, slot: str, *, why: str, who: str | None = None) -> str | None:
        """Let ``slot`` serve again what it served before its present model; return that, None for nothing.

        Raises:
            NoPromotedModelError: the slot serves nothing.
            ModelError: the files of the earlier model are gone.
        """
        with self._locked():
            history = self._history(slot)
            if not history:
                msg = f"no model is promoted for {slot}, so there is nothing to roll back; see: desk models"
                raise NoPromotedModelError(msg)
            earlier = history[-2] if len(history) > 1 else ""
            if earlier and not (self.promoted / earlier / "model.onnx").exists():
                msg = f"the files of {earlier} are no longer in {self.promoted}; restore them, or promote another model"
                raise ModelError(msg)
            self._append([_new_event("rollback", slot, earlier, why, who)])
            return earlier or None

    def _history(self, slot: str) -> list[str]:
        """Return the stack of models ``slot`` served: a promotion puts one on top, a rollback takes it off."""
        stack: list[str] = []
        for event in self.events():
            if event.slot != slot:
                continue
            if event.kind == "promotion":
                stack.append(event.model_id)
            elif event.kind == "rollback" and stack:
                stack.pop()
        return stack

    def _copy(self, folder: Path, model_id: str) -> None:
        """Put the files under ``promoted/<model_id>`` whole: copied beside it, flushed, renamed."""
        home = self.promoted / model_id
        if home.exists():
            # the graph's hash is in the name; passport and baseline may be newer and are replaced one by one
            for name in _SERVED[1:]:
                if (folder / name).exists():
                    write_bytes(home / name, (folder / name).read_bytes())
            return
        self.promoted.mkdir(parents=True, exist_ok=True)
        fresh = self.promoted / f".{model_id}.tmp"
        shutil.rmtree(fresh, ignore_errors=True)  # of a copy that was interrupted
        fresh.mkdir()
        for name in _SERVED:
            if (folder / name).exists():
                write_bytes(fresh / name, (folder / name).read_bytes())
        fresh.rename(home)
        sync_folder(self.promoted)

    def _append(self, fresh: list[RegistryEvent]) -> tuple[RegistryEvent, ...]:
        events = [*self.events(), *fresh]
        entries: list[dict[str, Any]] = [
            asdict(event) | {"happened_at": event.happened_at.isoformat()} for event in events
        ]
        write_json(self.path, {"version": _VERSION, "current": _current_names(events), "events": entries})
        return tuple(fresh)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the kernel lock that every writer of the registry takes; it goes with the process."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(f"{self.path}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
        try:
            deadline = time.monotonic() + _LOCK_SECONDS
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        msg = f"another process has been writing {self.path} for a minute; end it and run again"
                        raise ModelError(msg) from None
                    time.sleep(0.05)
            yield
        finally:
            os.close(descriptor)


def _require_accepted(passport: dict[str, Any], slots: Sequence[str]) -> None:
    verdicts = {found["slot"]: found for found in passport.get("verdicts", {}).values()}
    for slot in slots:
        verdict = verdicts.get(slot)
        if verdict is None:
            msg = f"{passport['model_id']} was not judged for {slot}; judge it first: make evaluate"
            raise ModelError(msg)
        if not verdict["accepted"]:
            names = ", ".join(gate["name"] for gate in verdict["gates"] if not gate["passed"])
            msg = (
                f"{passport['model_id']} is refused for {slot} by {names}; observe it with mode shadow, or train again"
            )
            raise ModelError(msg)


def _current_names(events: list[RegistryEvent]) -> dict[str, str]:
    """Return slot to model for people who open the file; `current` does not rely on it."""
    names: dict[str, str] = {}
    for event in events:
        if event.kind in {"promotion", "rollback"}:
            names[event.slot] = event.model_id
    return {slot: name for slot, name in sorted(names.items()) if name}


def _new_event(kind: str, slot: str, model_id: str, why: str, who: str | None) -> RegistryEvent:
    return RegistryEvent(uuid.uuid4().hex, datetime.now(UTC), kind, slot, model_id, who or _who(), why)


def _who() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()}"


def _event(entry: dict[str, Any]) -> RegistryEvent:
    return RegistryEvent(**entry | {"happened_at": datetime.fromisoformat(entry["happened_at"])})
