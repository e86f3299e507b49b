"""Count how often luck was given a chance: trainings, judgings, and looks at one test part, from the registry's events.

A judging's event says its terms in words, `name=value`, which people read, old versions of the code keep and the tables hold
as they are. A look at a test part is a finished training of a product whose test part shares minutes with it, judged or about
to be: so the count is the same whatever order they are judged in, and judging one again adds nothing.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.dataset_files import DatasetManifest
from core.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from core.dataset_files import DatasetRef
    from models.registry.events import RegistryEvent
    from models.serving.passport import Passport


@dataclass(frozen=True, slots=True)
class JudgedPart:
    """The minutes a judging looked at, and of which products."""

    start: datetime
    end: datetime
    products: frozenset[str]

    def overlaps(self, other: JudgedPart) -> bool:
        """Return whether any minute of any product is in both."""
        return self.start < other.end and other.start < self.end and bool(self.products & other.products)


@dataclass(frozen=True, slots=True)
class Trials:
    """What a lucky result must be weighed with."""

    trainings: int
    """Trained candidates, also those whose folder is gone."""
    judgings: int
    """Looks at a test part: a model under some terms (gates, costs, stride). The same look again adds nothing."""
    unjudged: int
    """Trainings that nobody has judged."""

    @property
    def total(self) -> int:
        """Every judging, and every training that was never judged: a training and its first judging are one chance."""
        return self.judgings + self.unjudged


def count_trials(events: Iterable[RegistryEvent], candidates: Iterable[str] = ()) -> Trials:
    """Count the trials in ``events``; ``candidates`` are trainings on the disk, recorded or not."""
    recorded = list(events)
    trained = set(candidates) | {event.model_id for event in recorded if event.kind == "training"}
    looks = _looks(event for event in recorded if event.kind == "trial")
    judged = {candidate_of(model_id) for model_id, _ in looks}
    return Trials(len(trained | judged), len(looks), len(trained - judged))


def uses_of(part: JudgedPart, events: Iterable[RegistryEvent]) -> int:
    """Return how many looks were taken at any of the minutes and products of ``part``.

    A test part that many models were chosen on is no test any more: take a later one.
    """
    judgings = (event for event in events if event.kind == "trial")
    return len(_looks(event for event in judgings if (seen := judged_part(event)) is not None and seen.overlaps(part)))


def _looks(judgings: Iterable[RegistryEvent]) -> set[tuple[str, str]]:
    """Return model and terms of each; a judging of an older version, without terms, only where no other is."""
    looks = {(event.model_id, event.details.get("terms", "")) for event in judgings}
    with_terms = {model_id for model_id, terms in looks if terms}
    return {(model_id, terms) for model_id, terms in looks if terms or model_id not in with_terms}


def judged_part(event: RegistryEvent) -> JudgedPart | None:
    """Return the test part a judging looked at; None for other events, and where an older version did not say."""
    words = event.details
    start, _, end = words.get("test", "").partition("/")
    try:
        return JudgedPart(datetime.fromisoformat(start), datetime.fromisoformat(end), frozenset(words["of"].split(",")))
    except (KeyError, ValueError):
        return None


def candidate_of(model_id: str) -> str:
    """Return the candidate a model was made of: its id without the beginning of its graph's hash."""
    return model_id.rpartition("-")[0] or model_id


def looks_at(
    dataset: DatasetRef, trained: Mapping[str, tuple[str, frozenset[str]]], events: Iterable[RegistryEvent]
) -> int:
    """Return how many looks there are at the test part of ``dataset``, at least one.

    Args:
        dataset: The data set whose test part is to be judged on; the manifests of others lie beside its own.
        trained: Data set digest and products of every training on the disk, by candidate.
        events: All of the registry's: they remember trainings whose folder is gone.

    Raises:
        DatasetError: the data set's manifest is missing or damaged.
    """
    part, folder = test_part(Path(dataset.manifest_path)), Path(dataset.manifest_path).parent
    known: dict[str, tuple[frozenset[str], JudgedPart | None]] = {}
    for event in events:
        if (judged := judged_part(event)) is not None:
            known[candidate_of(event.model_id)] = judged.products, judged
    parts = {digest: _part_or_none(folder / f"{digest[:16]}.json") for digest, _ in trained.values()}
    known |= {candidate: (products, parts[digest]) for candidate, (digest, products) in trained.items()}
    # where nobody can tell any more what it was tested on, it counts as a look
    seen = (products for products, own in known.values() if own is None or own.overlaps(part))
    return max(1, sum(len(products & part.products) for products in seen))


def test_part(path: Path) -> JudgedPart:
    """Return the test part of a data set, from its manifest.

    Raises:
        DatasetError: the manifest is missing or damaged.
    """
    manifest = DatasetManifest.read(path)
    return JudgedPart(manifest.borders.test, manifest.span.end, frozenset(manifest.products))


def _part_or_none(path: Path) -> JudgedPart | None:
    try:
        return test_part(path)
    except DatasetError:
        return None


def judging_words(passport: Passport, sha256: str) -> str:
    """Return what the event of a judging says: gates, terms, data set, test part, and the passport's own hash."""
    judged = passport.judged
    start, end = (passport.borders or {}).get("test"), (passport.span or {}).get("end")
    words = {
        "profile": judged.profile.name if judged else "unknown",
        "terms": _terms_hash(passport),
        "dataset": (passport.dataset_digest or "")[:16],
        "test": f"{start}/{end}" if start and end else "",
        "of": ",".join(passport.products),
        "passport": sha256,
    }
    return "judged " + " ".join(f"{name}={value}" for name, value in words.items() if value)


def _terms_hash(passport: Passport) -> str:
    terms: dict[str, Any] = {"profile": {}, "cost_bps": None, "stride_minutes": None}
    if (judged := passport.judged) is not None:
        # how often others looked before is no term of its own: judged again after them it is the same look
        profile = {name: value for name, value in asdict(judged.profile).items() if name != "looks"}
        terms = {"profile": profile, "cost_bps": judged.cost_bps, "stride_minutes": judged.stride_minutes}
    return hashlib.sha256(json.dumps(terms, sort_keys=True).encode()).hexdigest()[:12]
