"""How one session of the loop runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runtime.engine import CostsFor
    from runtime.loaded_models import ProductModels
    from store.feature_store import FeatureStore

Reload = Callable[[], Mapping[str, "ProductModels"]]
"""Opens the models that serve now."""


@dataclass(slots=True)
class LoopOptions:
    """How a session runs; the defaults are what `desk run` means."""

    iterations: int = -1
    """Minutes to decide, -1 for ever."""
    sleep_seconds: float = 0.0
    """Extra pause after each tick."""
    mode: str | None = None
    """None: the one in the settings."""
    costs_for: CostsFor | None = None
    features: FeatureStore | None = None
    reload: Reload | None = None
    """Opens the models that serve now; asked when the registry has changed."""
    drain_seconds: float = 20.0
    on_progress: Callable[[int, int, str], None] | None = None
