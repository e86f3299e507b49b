"""Which models serve which coin: the promoted ones, or candidates when only shadowing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from core.errors import ModelMismatchError
from models.registry import Registry
from models.serving.passport import FILE, Passport
from models.serving.scorer import Scorer
from store.feature_sets import feature_set

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from core.settings import Settings


KINDS = ("lstm", "transformer", "boosting")


class Scores(Protocol):
    """What the loop needs of a model: `models.serving.scorer.Scorer`, or a double in a test."""

    def score(self, x_BTF: NDArray[np.float32], product: str) -> NDArray[np.float64]:  # noqa: N803  # shape suffix
        """Return the probability of a higher close in 15 minutes for each window."""
        ...


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """One model ready to score."""

    kind: str
    model_id: str
    window_minutes: int
    scorer: Scores
    is_shadow: bool = False
    passport: Passport | None = None


@dataclass(frozen=True, slots=True)
class ProductModels:
    """The models loaded for one coin, by kind; none at all is a legal state and gives `no_model`."""

    product: str
    models: Mapping[str, LoadedModel] = field(default_factory=dict)
    why_not_live: str = ""

    @property
    def is_shadow(self) -> bool:
        """Whether any of them never passed the gates."""
        return any(model.is_shadow for model in self.models.values())

    @property
    def model_ids(self) -> dict[str, str]:
        """Kind -> model id."""
        return {kind: model.model_id for kind, model in self.models.items()}

    @property
    def window_minutes(self) -> int:
        """The longest input window, 0 without a model."""
        return max((model.window_minutes for model in self.models.values()), default=0)


def load_models(settings: Settings, products: Sequence[str], mode: str | None = None) -> dict[str, ProductModels]:
    """Open the models that serve ``products``; a product may be left with none.

    In mode shadow a slot without a promoted model is served by the newest judged candidate, marked as such.

    Raises:
        ModelMismatchError: a model's file, columns, feature set or market are not what its passport or this code says.
        ModelError: the registry is damaged, or promoted files are not those that were judged.
    """
    registry = Registry(settings.paths.registry)
    folders = {slot: (promoted.path, False) for slot, promoted in registry.current().items()}
    _require_judged(registry, products)
    if (mode or settings.mode) == "shadow":
        folders = {slot: (folder, True) for slot, folder in _newest_candidates(settings, registry).items()} | folders
    opened: dict[Path, Scorer] = {}
    loaded: dict[str, ProductModels] = {}
    for product in products:
        slots = {kind: folders[f"{kind}:{product}"] for kind in KINDS if f"{kind}:{product}" in folders}
        models = {kind: _open(settings, kind, *slot, opened) for kind, slot in slots.items()}
        for model in models.values():
            _require_market(settings, model, products)
        loaded[product] = ProductModels(product, models)
    return loaded


def _require_judged(registry: Registry, products: Sequence[str]) -> None:
    """Refuse promoted files that are gone, or are not those the registry recorded when the model was judged."""
    for slot, promoted in registry.current().items():
        if slot.partition(":")[2] in products:
            registry.require_whole(promoted)


def _open(settings: Settings, kind: str, folder: Path, is_shadow: bool, opened: dict[Path, Scorer]) -> LoadedModel:
    if folder not in opened:
        chosen = feature_set(settings.feature_set)
        scorer = Scorer(folder)
        _require_set(settings, scorer)
        scorer.require(columns=chosen.columns, feature_hash=chosen.sha256)
        opened[folder] = scorer
    scorer = opened[folder]
    passport = scorer.passport
    return LoadedModel(kind, passport.model_id, passport.window_minutes, scorer, is_shadow, passport)


def _require_set(settings: Settings, scorer: Scorer) -> None:
    """Name the setting at once: the hashes of two different sets would only say that something differs."""
    passport = scorer.passport
    if passport.feature_set != settings.feature_set:
        msg = (
            f"{passport.model_id} was trained on feature set {passport.feature_set}, FEATURE_SET is {settings.feature_set}; "
            f"set FEATURE_SET={passport.feature_set}, or train on {settings.feature_set}: make features, make train"
        )
        raise ModelMismatchError(msg)


def _require_market(settings: Settings, model: LoadedModel, products: Sequence[str]) -> None:
    """Refuse a model whose inputs read other coins than those it was trained among."""
    trained = model.passport.market if model.passport else None
    if feature_set(settings.feature_set).crosses_products and sorted(trained or ()) != sorted(products):
        msg = (
            f"{model.model_id} was trained on feature set {settings.feature_set} in a market of "
            f"{', '.join(trained or ['nobody knows which coins'])}, the runtime watches {', '.join(products)}; "
            "set PRODUCTS to the former, or train among the latter: make features, make train"
        )
        raise ModelMismatchError(msg)


def _newest_candidates(settings: Settings, registry: Registry) -> dict[str, Path]:
    """Return the folder of the model judged last for each slot, whatever the verdict, if its files are still there."""
    folders: dict[str, Path] = {}
    for path in settings.paths.checkpoints.glob(f"*/{FILE}"):
        if (path.parent / "model.onnx").exists():
            folders[Passport.read(path.parent, with_seal=False).model_id] = path.parent
    judged = [event for event in registry.events() if event.kind in {"candidate", "refusal"}]
    return {event.slot: folders[event.model_id] for event in judged if event.model_id in folders}
