"""How often luck was given a chance: trainings, judgings, and looks at one test part, counted from the registry's events.

A judging tells its terms in the words of its event, `name=value`, which people read, old versions of the code keep and
the tables hold as they are.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from models.registry.events import RegistryEvent

_TERMS = ("profile", "cost_bps", "stride_minutes")


@dataclass(frozen=True, slots=True)
class JudgedPart:
    """The minutes a judging looked at, and of which coins."""

    start: datetime
    end: datetime
    products: frozenset[str]

    def overlaps(self, other: JudgedPart) -> bool:
        """Return whether any minute of any coin is in both."""
        return self.start < other.end and other.start < self.end and bool(self.products & other.products)


@dataclass(frozen=True, slots=True)
class Trials:
    """What a lucky result must be weighed with."""

    trainings: int
    """Trained candidates, also those whose folder is gone."""
    judgings: int
    """Looks at a test part: a model under some terms (gates, costs, stride). The same look again tells nothing new."""
    unjudged: int
    """Trainings that nobody has judged."""

    @property
    def total(self) -> int:
        """Every judging, and every training that was never judged: a training and its first judging are one chance."""
        return self.judgings + self.unjudged


def count_trials(events: Iterable[RegistryEvent], candidates: Iterable[str] = ()) -> Trials:
    """Count the trials ``events`` tell of; ``candidates`` are trainings found on the disk, recorded or not."""
    told = list(events)
    trained = set(candidates) | {event.model_id for event in told if event.kind == "training"}
    looks = _looks(event for event in told if event.kind == "trial")
    judged = {candidate_of(model_id) for model_id, _ in looks}
    return Trials(len(trained | judged), len(looks), len(trained - judged))


def uses_of(part: JudgedPart, events: Iterable[RegistryEvent]) -> int:
    """Return how many looks were taken at any of the minutes and coins of ``part``.

    A test part that many models were chosen on is no test any more: take a later one.
    """
    judgings = (event for event in events if event.kind == "trial")
    return len(_looks(event for event in judgings if (seen := judged_part(event)) is not None and seen.overlaps(part)))


def _looks(judgings: Iterable[RegistryEvent]) -> set[tuple[str, str]]:
    """Return model and terms of each; a judging of an older version, which told no terms, only where no other is."""
    looks = {(event.model_id, event.details.get("terms", "")) for event in judgings}
    told = {model_id for model_id, terms in looks if terms}
    return {(model_id, terms) for model_id, terms in looks if terms or model_id not in told}


def judged_part(event: RegistryEvent) -> JudgedPart | None:
    """Return the test part a judging looked at; None for other events, and where an older version did not tell."""
    told = event.details
    start, _, end = told.get("test", "").partition("/")
    try:
        return JudgedPart(datetime.fromisoformat(start), datetime.fromisoformat(end), frozenset(told["of"].split(",")))
    except (KeyError, ValueError):
        return None


def candidate_of(model_id: str) -> str:
    """Return the candidate a model was made of: its id without the beginning of its graph's hash."""
    return model_id.rpartition("-")[0] or model_id


def judging_words(passport: Mapping[str, Any], sha256: str) -> str:
    """Return what the event of a judging tells: gates, terms, data set, test part, and the passport's own hash."""
    judged = passport.get("judged") or {}
    words = {
        "profile": str((judged.get("profile") or {}).get("name", "unknown")),
        "terms": _terms(judged),
        "dataset": str(passport.get("dataset_digest", ""))[:16],
        "test": _test_words(passport),
        "of": ",".join(_products(passport)),
        "passport": sha256,
    }
    return "judged " + " ".join(f"{name}={value}" for name, value in words.items() if value)


def _terms(judged: Mapping[str, Any]) -> str:
    terms = {name: judged.get(name) for name in _TERMS}
    # how often others looked before is no term of its own: judged again after them it is the same look
    terms["profile"] = {name: value for name, value in (judged.get("profile") or {}).items() if name != "looks"}
    told = json.dumps(terms, sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:12]


def _test_words(passport: Mapping[str, Any]) -> str:
    start, end = (passport.get("borders") or {}).get("test"), (passport.get("span") or {}).get("end")
    return f"{start}/{end}" if start and end else ""


def _products(passport: Mapping[str, Any]) -> Sequence[str]:
    return [str(product) for product in passport.get("products", ())]
