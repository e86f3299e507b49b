"""How often anyone looked at a test part: each look was a chance to be lucky there, and the gates are told of it.

A look is a finished training of a coin whose test part shares minutes with the one asked about, judged or about to be: so the
count is the same whatever order they are judged in, and judging one again adds nothing. Trainings whose folder is gone are
remembered by the registry.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import ModelError
from core.files import read_json
from models.registry.trials import JudgedPart, candidate_of, judged_part

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from core.dataset_files import DatasetRef
    from core.settings import Paths
    from models.registry.events import RegistryEvent


@dataclass(frozen=True, slots=True)
class _Training:
    candidate: str
    products: frozenset[str]
    part: JudgedPart | None
    """None where nobody can tell any more what it was tested on: counts as a look."""


def looks_at(dataset: DatasetRef, paths: Paths, events: Iterable[RegistryEvent]) -> int:
    """Return how many looks there are at the test part of ``dataset``, at least one.

    Args:
        dataset: The data set whose test part is to be judged on.
        paths: Where checkpoints and data sets lie.
        events: All of the registry's.

    Raises:
        ModelError: the data set's manifest is missing or damaged.
    """
    part = test_part(read_json(Path(dataset.manifest_path)))
    trained = {one.candidate: one for one in (*_remembered(events), *_on_disk(paths))}
    looks = sum(
        len(one.products & part.products) for one in trained.values() if one.part is None or one.part.overlaps(part)
    )
    return max(1, looks)


def test_part(manifest: Mapping[str, Any]) -> JudgedPart:
    """Return the test part of a data set, from its manifest.

    Raises:
        ModelError: the manifest does not say where it begins and ends.
    """
    try:
        start, end = manifest["borders"]["test"], manifest["span"]["end"]
        return JudgedPart(datetime.fromisoformat(start), datetime.fromisoformat(end), frozenset(manifest["products"]))
    except (KeyError, TypeError, ValueError) as error:
        msg = f"the manifest of data set {str(manifest.get('digest'))[:16]} does not say where its test part lies ({error!r}); build it again: make features"
        raise ModelError(msg) from error


def _on_disk(paths: Paths) -> Iterable[_Training]:
    parts: dict[str, JudgedPart | None] = {}
    for marker in sorted(paths.checkpoints.glob("*/candidate.json")):
        told = read_json(marker)
        digest = str(told["dataset_digest"])
        if digest not in parts:
            parts[digest] = _part_of(paths.datasets / f"{digest[:16]}.json")
        yield _Training(marker.parent.name, frozenset(told["products"]), parts[digest])


def _part_of(manifest: Path) -> JudgedPart | None:
    try:
        return test_part(read_json(manifest))
    except ModelError:
        return None


def _remembered(events: Iterable[RegistryEvent]) -> Iterable[_Training]:
    for event in events:
        part = judged_part(event)
        if part is not None:
            yield _Training(candidate_of(event.model_id), part.products, part)
