"""Bring the tables of the market database up to what the registry's file says, and the file back from the tables."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Protocol

from core.errors import ModelError
from core.failpoints import failpoint
from store.feature_store import FeatureStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from _typeshed import DataclassInstance

    from core.settings import Settings


class RegistryFile(Protocol):
    """The registry's file as the store needs it: `models.registry.Registry` is one, and the store never imports it."""

    @property
    def path(self) -> Path:
        """The file."""

    def events(self) -> Sequence[DataclassInstance]:
        """Return every event of the file, oldest first; field names are the columns of `registry_events`."""

    def restore(self, rows: Sequence[Mapping[str, Any]]) -> Path | None:
        """Write the file anew from the table's rows; return where a damaged one was put."""


def mirror_registry(
    settings: Settings, registry: RegistryFile, metrics: Iterable[DataclassInstance] = ()
) -> int | None:
    """Append every event the tables lack, and ``metrics``; return how many events, None where there is no database yet.

    The file is switched first and alone decides what is served; a process that died in between is made good here by
    whoever comes next.

    Raises:
        StoreError: the tables hold events the file lacks, or cannot be written now.
        ModelError: the registry's file is damaged.
    """
    if not settings.paths.market_db.exists():
        return None
    store = FeatureStore(settings.paths.market_db)
    events = [asdict(event) for event in registry.events()]
    failpoint("registry.before_table")
    fresh = store.record_model_history(events, [asdict(row) for row in metrics])
    failpoint("registry.after_table")
    return fresh


def restore_registry(settings: Settings, registry: RegistryFile) -> tuple[int, Path | None]:
    """Write the registry's file anew from the tables; return how many events, and where the damaged file was put.

    Raises:
        ModelError: the file is whole, or there is no database to restore from.
        StoreError: the table was edited too.
    """
    if not settings.paths.market_db.exists():
        msg = f"{settings.paths.market_db} is not there, so nothing can be restored from it; put a copy of {registry.path.name} back"
        raise ModelError(msg)
    store = FeatureStore(settings.paths.market_db)
    events = store.registry_events()
    if not events:
        msg = f"the table registry_events holds no event; put a copy of {registry.path} back"
        raise ModelError(msg)
    return len(events), registry.restore(events)
