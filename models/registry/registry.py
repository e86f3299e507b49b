"""Which model serves which slot, and how that came about: one JSON file, switched in one step.

The file holds every event since the beginning; the present is what the last events of each slot say. A promoted
model's files are copied first, under a name of their own; then one rename makes the switch. A crash at any point
leaves the old state or the new one, and the next writer clears away what it left. A slot is ``lstm:BTC-USD``.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from core.errors import ModelError, NoPromotedModelError
from core.failpoints import failpoint
from core.files import put_in_place, read_json, sync_folder, write_bytes, write_draft
from core.integrity import sha256_of
from models.registry.events import KINDS, SWITCHES, News, RegistryEvent, appended, as_file, read_events
from models.registry.judged_files import passed_slots, recorded_passports, require_accepted, require_whole
from models.registry.trials import Trials, count_trials, judging_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from models.gates.judgement import Judgement

__all__ = ["KINDS", "Promoted", "Promotion", "Registry", "RegistryEvent"]

_SERVED = ("model.onnx", "passport.json", "curves.json", "baseline.json")
"""Files of a candidate that are copied on promotion; checkpoints stay behind."""
_LOCK_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Promoted:
    """The model a slot serves now."""

    slot: str
    model_id: str
    path: Path
    since: datetime


@dataclass(frozen=True, slots=True)
class Promotion:
    """What a promotion would change."""

    model_id: str
    changes: dict[str, str]
    """Slot -> the model it serves before, empty for none; a slot that serves the model already is not among them."""


class Registry:
    """The registry file and the folder of promoted models beside it."""

    def __init__(self, path: Path) -> None:
        """Name the file, such as ``var/models/registry.json``; it is created by the first event."""
        self.path = path
        self.promoted = path.parent / "promoted"

    # --- reads

    def events(self) -> tuple[RegistryEvent, ...]:
        """Return every event, oldest first.

        Raises:
            ModelError: the file is damaged, was edited or cut, or is newer than this code.
        """
        return read_events(self.path)

    def current(self) -> dict[str, Promoted]:
        """Return what each slot serves now; a slot that was rolled back to nothing is absent."""
        serving = {event.slot: event for event in self.events() if event.kind in SWITCHES}
        return {
            slot: Promoted(slot, event.model_id, self.promoted / event.model_id, event.happened_at)
            for slot, event in sorted(serving.items())
            if event.model_id
        }

    def serving(self, slot: str) -> Promoted:
        """Return the model ``slot`` serves, its files whole and those that were promoted.

        Raises:
            NoPromotedModelError: none is promoted.
            ModelError: a file of it is gone or was changed; the text names it and the repair.
        """
        events = self.events()
        found = self.current().get(slot)
        if found is None:
            msg = f"no model is promoted for {slot}; train and promote one: make train, or observe with mode shadow"
            raise NoPromotedModelError(msg)
        require_whole(found.path, found.model_id, recorded_passports(events, found.model_id))
        return found

    def candidates(self) -> dict[str, tuple[RegistryEvent, ...]]:
        """Return the events of every model that was ever judged, by model."""
        found: dict[str, list[RegistryEvent]] = {}
        for event in self.events():
            if event.kind in {"candidate", "refusal"}:
                found.setdefault(event.model_id, []).append(event)
        return {model_id: tuple(events) for model_id, events in found.items()}

    def trials(self, candidates: Iterable[str] = ()) -> int:
        """Return the number a lucky result must be weighed with; ``candidates`` are trainings found on the disk."""
        return self.counted(candidates).total

    def counted(self, candidates: Iterable[str] = ()) -> Trials:
        """Return trainings and judgings so far, also those whose folders are gone."""
        return count_trials(self.events(), candidates)

    # --- events that switch nothing

    def record(self, kind: str, slot: str, model_id: str, why: str, *, who: str | None = None) -> RegistryEvent:
        """Append one event that switches nothing.

        Raises:
            ModelError: the kind is unknown, or is one that `promote` and `rollback` write.
        """
        told = [known for known in KINDS if known not in SWITCHES]
        if kind not in told:
            msg = f"{kind!r} is not an event to record; use promote or rollback, or one of {', '.join(told)}"
            raise ModelError(msg)
        with self._locked():
            return self._append(self.events(), [News(kind, slot, model_id, why, who)])[0]

    def record_trainings(self, candidates: Iterable[str], *, who: str | None = None) -> tuple[RegistryEvent, ...]:
        """Append a training for each candidate not yet known, so that it counts when its folder is gone; return those."""
        with self._locked():
            events = self.events()
            known = {event.model_id for event in events if event.kind == "training"}
            fresh = [name for name in dict.fromkeys(candidates) if name not in known]
            return self._append(events, [News("training", name.split("-")[0], name, "trained", who) for name in fresh])

    def record_judgement(self, judgement: Judgement, *, who: str | None = None) -> tuple[RegistryEvent, ...]:
        """Append a trial, and for each product a candidate or a refusal; once per judging, however often called.

        The trial's words hold the sha256 of the passport, so that another one put in its place is noticed.
        """
        with self._locked():
            events = self.events()
            trial = News("trial", judgement.architecture, judgement.model_id, self._judged(judgement), who)
            known = {(event.kind, event.slot, event.model_id, event.why) for event in events}
            wanted = [] if ("trial", trial.slot, trial.model_id, trial.why) in known else [trial]
            for verdict in judgement.verdicts:
                why = f"{judgement.profile}: " + (
                    "all gates passed" if verdict.accepted else "refused by " + ", ".join(verdict.refused_by)
                )
                kind = "candidate" if verdict.accepted else "refusal"
                # a new judging is told whole, also where its verdict is one there was before
                if wanted or (kind, verdict.slot, judgement.model_id, why) not in known:
                    wanted.append(News(kind, verdict.slot, judgement.model_id, why, who))
            return self._append(events, wanted)

    def _judged(self, judgement: Judgement) -> str:
        place = self.path.parent.joinpath(judgement.path, "passport.json")
        if not place.exists():
            return "judged"
        return judging_words(read_json(place), sha256_of(place))

    # --- switches

    def promotion(self, folder: Path, slots: Sequence[str] = ()) -> Promotion:
        """Return what promoting a judged candidate would change; without ``slots`` those whose gates it passed.

        Raises:
            ModelError: it may not be promoted; the text names the gates, or the file that is not the judged one.
        """
        passport = read_json(folder / "passport.json")
        chosen = tuple(slots) or passed_slots(passport)
        require_accepted(passport, chosen)
        model_id = str(passport["model_id"])
        events = self.events()
        require_whole(folder, model_id, recorded_passports(events, model_id)[-1:])
        serving = {slot: found.model_id for slot, found in self.current().items()}
        return Promotion(
            model_id, {slot: serving.get(slot, "") for slot in chosen if serving.get(slot, "") != model_id}
        )

    def promote(self, folder: Path, slots: Sequence[str] = (), *, why: str, who: str | None = None) -> str:
        """Copy a judged candidate's files and let it serve ``slots``; return its model id.

        Raises:
            ModelError: the candidate is not judged, its files are not the judged ones, or a slot was refused.
            DiskFullError: there is no room; what was served before is served on.
        """
        _require_reason(why)
        with self._locked():
            wanted = self.promotion(folder, slots)
            self._copy(folder, wanted.model_id)
            self._append(self.events(), [News("promotion", slot, wanted.model_id, why, who) for slot in wanted.changes])
        return wanted.model_id

    def earlier(self, slot: str) -> str | None:
        """Return what ``slot`` served before its present model and would serve after a rollback, None for nothing.

        Raises:
            NoPromotedModelError: the slot serves nothing.
            ModelError: the files of the earlier model are gone or were changed.
        """
        events = self.events()
        history = _stack(events, slot)
        if not history:
            msg = f"no model is promoted for {slot}, so there is nothing to roll back; see: desk models list"
            raise NoPromotedModelError(msg)
        if len(history) == 1:
            return None
        require_whole(self.promoted / history[-2], history[-2], recorded_passports(events, history[-2]))
        return history[-2]

    def rollback(self, slot: str, *, why: str, who: str | None = None) -> str | None:
        """Let ``slot`` serve again what it served before its present model; return that, None for nothing.

        Raises:
            NoPromotedModelError: the slot serves nothing.
            ModelError: the files of the earlier model are gone or were changed.
            DiskFullError: there is no room; nothing is changed.
        """
        _require_reason(why)
        with self._locked():
            earlier = self.earlier(slot)
            self._append(self.events(), [News("rollback", slot, earlier or "", why, who)])
            return earlier

    def restore(self, rows: Sequence[Mapping[str, Any]]) -> Path | None:
        """Write the file anew from ``rows``, all events there are; return where the damaged one was put, None if there was none.

        Raises:
            ModelError: the file is whole, so there is nothing to restore.
        """
        events = [RegistryEvent(**row) for row in rows]
        with self._locked():
            kept = None
            if self.path.exists():
                self._require_damaged(events)
                kept = self.path.with_name(f"{self.path.name}.damaged-{time.time_ns() // 1_000_000}")
                # a copy first: at no moment is there no file at all
                write_bytes(kept, self.path.read_bytes())
            self._write(events)
            return kept

    def _require_damaged(self, events: Sequence[RegistryEvent]) -> None:
        try:
            found = self.events()
        except ModelError:
            return
        if set(events) <= set(found):
            msg = f"{self.path} is whole and holds all {len(found)} events; there is nothing to restore"
            raise ModelError(msg)

    # --- how it is written

    def _copy(self, folder: Path, model_id: str) -> None:
        """Put the files under ``promoted/<model_id>`` whole: copied beside it, flushed, renamed."""
        home = self.promoted / model_id
        if home.exists():
            # of the same graph, whose hash is in the name; what is missing or older is replaced file by file
            self._copy_files(folder, home)
            return
        fresh = self.promoted / f".{model_id}.tmp"
        self._copy_files(folder, fresh)
        failpoint("registry.before_folder")
        fresh.rename(home)
        sync_folder(self.promoted)
        failpoint("registry.after_folder")

    def _copy_files(self, folder: Path, home: Path) -> None:
        for name in _SERVED:
            if not (folder / name).exists():
                continue
            content = (folder / name).read_bytes()
            if not (home / name).exists() or (home / name).read_bytes() != content:
                failpoint("registry.before_copy")
                write_bytes(home / name, content)

    def _append(self, events: Sequence[RegistryEvent], news: Sequence[News]) -> tuple[RegistryEvent, ...]:
        if not news:
            return ()
        failpoint("registry.before_append")
        fresh = appended(events, news)
        self._write([*events, *fresh])
        return fresh

    def _write(self, events: Sequence[RegistryEvent]) -> None:
        draft = write_draft(self.path, as_file(events))
        failpoint("registry.before_switch")
        put_in_place(draft, self.path)
        failpoint("registry.after_switch")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the kernel lock that every writer of the registry takes; it goes with the process."""
        descriptor = _lock_file(self.path)
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
            failpoint("registry.after_lock")
            self._clear_away()
            yield
        finally:
            os.close(descriptor)

    def _clear_away(self) -> None:
        """Remove what a writer that died left half done; nobody else is at work, for the lock is held."""
        for draft in self.path.parent.glob(f".{self.path.name}.*.tmp"):
            draft.unlink(missing_ok=True)
        for fresh in self.promoted.glob(".*.tmp"):
            shutil.rmtree(fresh, ignore_errors=True)
        for draft in self.promoted.glob("*/.*.tmp"):
            draft.unlink(missing_ok=True)


def _lock_file(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(f"{path}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
    except OSError as error:
        msg = f"{path.parent} cannot be written ({error.strerror}); set DESK_HOME to a folder you own"
        raise ModelError(msg) from error


def _stack(events: Sequence[RegistryEvent], slot: str) -> list[str]:
    """Return the models ``slot`` served: a promotion puts one on top, a rollback takes it off."""
    stack: list[str] = []
    for event in events:
        if event.slot != slot:
            continue
        if event.kind == "promotion":
            stack.append(event.model_id)
        elif event.kind == "rollback" and stack:
            stack.pop()
    return stack


def _require_reason(why: str) -> None:
    if not why.strip():
        msg = "a switch needs a reason, which is kept for ever; say it with --why"
        raise ModelError(msg)
