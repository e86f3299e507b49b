"""The registry: which model serves which slot, and how that came about; one JSON file, switched in one step.

The file holds every event since the beginning; the present is what the last events of each slot say. A promoted
model's files are copied first, under a name of their own; then one rename makes the switch. A crash at any point
leaves the old state or the new one, and the next writer clears away what it left. A slot is ``lstm:BTC-USD``.
"""

from __future__ import annotations

import shutil
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from core.errors import ModelError, NoPromotedModelError
from core.failpoints import failpoint
from core.files import sync_folder, whole_file, write_bytes
from core.integrity import sha256_of
from core.locks import hold
from models.registry.events import KINDS, SWITCHES, NewEvent, RegistryEvent, appended, as_file, read_events
from models.registry.trials import Trials, candidate_of, count_trials, judging_words
from models.serving import passport as passports
from models.serving.passport import Passport

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from models.gates.judgement import Judgement

_SERVED = ("model.onnx", "passport.json", "curves.json", "baseline.json")
"""Files of a candidate that are copied on promotion; checkpoints stay behind."""
_LOCK_SECONDS = 60.0
"""A writer holds the lock for the copy of a few megabytes at most; who keeps it for a minute hangs."""


@dataclass(frozen=True, slots=True)
class Promoted:
    """The model a slot serves now."""

    slot: str
    model_id: str
    path: Path
    since: datetime


@dataclass(frozen=True, slots=True)
class Promotion:
    """What a promotion changes."""

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
        switches = {event.slot: event for event in self.events() if event.kind in SWITCHES}
        return {
            slot: Promoted(slot, event.model_id, self.promoted / event.model_id, event.happened_at)
            for slot, event in sorted(switches.items())
            if event.model_id
        }

    def count_trials(self, candidates: Iterable[str] = ()) -> Trials:
        """Return trainings and judgings so far, also those whose folders are gone; ``candidates`` are those on the disk."""
        return count_trials(self.events(), candidates)

    def recorded_passports(self, model_id: str) -> tuple[str, ...]:
        """Return the sha256 of every passport a judging of ``model_id`` left, the newest last; none from older versions."""
        trials = (event for event in self.events() if event.kind == "trial" and event.model_id == model_id)
        return tuple(event.details["passport"] for event in trials if event.details.get("passport"))

    def require_whole(self, model: Promoted) -> Passport:
        """Return the passport of a promoted model after seeing that its files are those that were judged.

        Raises:
            ModelError: a file is missing, is of another model, or was changed since; the text names it and the repair.
        """
        return _require_whole(model.path, model.model_id, self.recorded_passports(model.model_id))

    # --- events that switch nothing

    def record(self, kind: str, slot: str, model_id: str, why: str, *, who: str | None = None) -> RegistryEvent:
        """Append one event that switches nothing.

        Raises:
            ModelError: the kind is unknown, or is one that `promote` and `rollback` write.
        """
        allowed = [known for known in KINDS if known not in SWITCHES]
        if kind not in allowed:
            msg = f"{kind!r} is not an event to record; use promote or rollback, or one of {', '.join(allowed)}"
            raise ModelError(msg)
        with self._locked():
            return self._append(self.events(), [NewEvent(kind, slot, model_id, why, who)])[0]

    def record_trainings(self, candidates: Iterable[str], *, who: str | None = None) -> tuple[RegistryEvent, ...]:
        """Append a training for each candidate not yet known, so that it counts when its folder is gone; return those."""
        with self._locked():
            events = self.events()
            known = {event.model_id for event in events if event.kind == "training"}
            fresh = [name for name in dict.fromkeys(candidates) if name not in known]
            trainings = [NewEvent("training", name.split("-")[0], name, "trained", who) for name in fresh]
            return self._append(events, trainings)

    def record_judgement(self, judgement: Judgement, *, who: str | None = None) -> tuple[RegistryEvent, ...]:
        """Append a trial, and for each product a candidate or a refusal; once per judging, however often called.

        The trial's words hold the sha256 of the passport, so that another one put in its place is noticed.
        """
        with self._locked():
            events = self.events()
            trial = NewEvent("trial", judgement.architecture, judgement.model_id, self._judging_words(judgement), who)
            known = {(event.kind, event.slot, event.model_id, event.why) for event in events}
            wanted = [] if ("trial", trial.slot, trial.model_id, trial.why) in known else [trial]
            for verdict in judgement.verdicts:
                outcome = "all gates passed" if verdict.accepted else "refused by " + ", ".join(verdict.refused_by)
                why, kind = f"{judgement.profile}: {outcome}", "candidate" if verdict.accepted else "refusal"
                # a new judging is recorded whole, also where its verdict is one there was before
                if wanted or (kind, verdict.slot, judgement.model_id, why) not in known:
                    wanted.append(NewEvent(kind, verdict.slot, judgement.model_id, why, who))
            return self._append(events, wanted)

    def _judging_words(self, judgement: Judgement) -> str:
        folder = self.path.parent.joinpath(judgement.path)
        path = folder / passports.FILE
        return judging_words(Passport.read(folder), sha256_of(path)) if path.exists() else "judged"

    # --- switches

    def promotion(self, folder: Path, slots: Sequence[str] = ()) -> Promotion:
        """Return what promoting a judged candidate would change; without ``slots`` those whose gates it passed.

        Raises:
            ModelError: it may not be promoted; the text names the gates, or the file that is not the judged one.
        """
        passport = Passport.read(folder)
        # of one that passed nowhere every slot is asked for, so that the refusal names the gates
        chosen = tuple(slots) or passport.accepted_slots or tuple(own.slot for own in passport.verdicts.values())
        _require_accepted(passport, chosen)
        model_id = passport.model_id
        _require_whole(folder, model_id, self.recorded_passports(model_id)[-1:])
        serving = {slot: model.model_id for slot, model in self.current().items()}
        return Promotion(
            model_id, {slot: serving.get(slot, "") for slot in chosen if serving.get(slot, "") != model_id}
        )

    def promote(self, folder: Path, slots: Sequence[str] = (), *, why: str, who: str | None = None) -> Promotion:
        """Copy a judged candidate's files and let it serve ``slots``; return what that changed.

        Raises:
            ModelError: the candidate is not judged, its files are not the judged ones, or a slot was refused.
            DiskFullError: there is no room; what was served before is served on.
        """
        _require_reason(why)
        with self._locked():
            wanted = self.promotion(folder, slots)
            self._copy(folder, wanted.model_id)
            switches = [NewEvent("promotion", slot, wanted.model_id, why, who) for slot in wanted.changes]
            self._append(self.events(), switches)
        return wanted

    def earlier(self, slot: str) -> str | None:
        """Return what ``slot`` served before its present model and would serve after a rollback, None for nothing.

        Raises:
            NoPromotedModelError: the slot serves nothing.
            ModelError: the files of the earlier model are gone or were changed.
        """
        history = _stack(self.events(), slot)
        if not history:
            msg = f"no model is promoted for {slot}, so there is nothing to roll back; see: desk models list"
            raise NoPromotedModelError(msg)
        if len(history) == 1:
            return None
        _require_whole(self.promoted / history[-2], history[-2], self.recorded_passports(history[-2]))
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
            self._append(self.events(), [NewEvent("rollback", slot, earlier or "", why, who)])
            return earlier

    def restore(self, rows: Sequence[Mapping[str, Any]]) -> Path | None:
        """Write the file anew from ``rows``, all events there are; return where the damaged one was put, None if there was none.

        Raises:
            ModelError: the file is whole, so there is nothing to restore.
        """
        try:
            events = [RegistryEvent(**row) for row in rows]
        except ValueError as error:
            msg = f"the table registry_events holds an event that no registry wrote ({error}); go back to a copy of the database"
            raise ModelError(msg) from None
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
            present = self.events()
        except ModelError:
            return
        if set(events) <= set(present):
            msg = f"{self.path} is whole and holds all {len(present)} events; there is nothing to restore"
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

    def _append(self, events: Sequence[RegistryEvent], fresh: Sequence[NewEvent]) -> tuple[RegistryEvent, ...]:
        if not fresh:
            return ()
        failpoint("registry.before_append")
        linked = appended(events, fresh)
        self._write([*events, *linked])
        return linked

    def _write(self, events: Sequence[RegistryEvent]) -> None:
        with whole_file(self.path) as draft:
            draft.write_bytes(as_file(events))
            failpoint("registry.before_switch")
        failpoint("registry.after_switch")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the kernel lock that every writer of the registry takes; it goes with the process."""
        with hold(self.path.with_name(f"{self.path.name}.lock"), timeout_seconds=_LOCK_SECONDS):
            failpoint("registry.after_lock")
            self._clear_away()
            yield

    def _clear_away(self) -> None:
        """Remove what a writer that died left half done; nobody else is at work, for the lock is held."""
        for fresh in self.promoted.glob(".*.tmp"):
            shutil.rmtree(fresh, ignore_errors=True)
        for draft in (*self.path.parent.glob(f".{self.path.name}.*.tmp"), *self.promoted.glob("*/.*.tmp")):
            draft.unlink(missing_ok=True)


def _require_whole(folder: Path, model_id: str, recorded: Sequence[str]) -> Passport:
    """Return the passport in ``folder`` after seeing that graph and passport are those that were judged."""
    repair = f"put the judged files back, or judge and promote again: desk evaluate --model {candidate_of(model_id)}"
    graph, path = folder / "model.onnx", folder / passports.FILE
    for file in (graph, path):
        if not file.exists():
            msg = f"{file} of {model_id} is missing; {repair}"
            raise ModelError(msg)
    passport = Passport.read(folder)
    fault = None
    if passport.model_id != model_id:
        fault = f"it is of {passport.model_id}, not of {model_id}"
    elif recorded and sha256_of(path) not in recorded:
        fault = "it is not the one the registry recorded when the model was judged"
    elif sha256_of(graph) != passport.sha256:
        fault = "the graph beside it is not the one that was judged"
    if fault is not None:
        msg = f"{path}: {fault}; {repair}"
        raise ModelError(msg)
    return passport


def _require_accepted(passport: Passport, slots: Sequence[str]) -> None:
    """See that the model passed every gate for each of ``slots``; the refusal names the gates."""
    verdicts = {verdict.slot: verdict for verdict in passport.verdicts.values()}
    model_id = passport.model_id
    if not slots:
        msg = f"{model_id} was not judged; judge it first: desk evaluate --model {candidate_of(model_id)}"
        raise ModelError(msg)
    for slot in slots:
        verdict = verdicts.get(slot)
        if verdict is None:
            known = ", ".join(verdicts) or "nothing"
            msg = (
                f"{model_id} was not judged for {slot}, but for {known}; name one of these, or judge it: make evaluate"
            )
            raise ModelError(msg)
        if not verdict.accepted:
            msg = f"{model_id} is refused for {slot} by {', '.join(verdict.refused_by)}; observe it with mode shadow, or train again"
            raise ModelError(msg)


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
