"""Bring the tables of the market database up to what the registry's file says, and the file back from the tables."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from desk.errors import ModelError
from desk.failpoints import failpoint
from models.registry.events import RegistryEvent
from store.feature_store import FeatureStore

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from desk.config import Settings
    from models.judgement import MetricRow
    from models.registry import Registry


def keep_history(settings: Settings, registry: Registry, metrics: Iterable[MetricRow] = ()) -> int | None:
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
    store.migrate()
    events = [asdict(event) for event in registry.events()]
    failpoint("registry.before_table")
    fresh = store.record_model_history(events, [asdict(row) for row in metrics])
    failpoint("registry.after_table")
    return fresh


def restore_registry(settings: Settings, registry: Registry) -> tuple[int, Path | None]:
    """Write the registry's file anew from the tables; return how many events, and where the damaged file was put.

    Raises:
        ModelError: the file is whole, or there is no database to restore from.
        StoreError: the table was edited too.
    """
    if not settings.paths.market_db.exists():
        msg = f"{settings.paths.market_db} is not there, so nothing can be restored from it; put a copy of {registry.path.name} back"
        raise ModelError(msg)
    store = FeatureStore(settings.paths.market_db)
    store.migrate()
    events = [RegistryEvent(**row) for row in store.registry_events()]
    if not events:
        msg = f"the table registry_events holds no event; put a copy of {registry.path} back"
        raise ModelError(msg)
    return len(events), registry.restore(events)
