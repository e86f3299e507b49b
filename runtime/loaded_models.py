"""Open the models that serve each product: the promoted ones, or candidates when only shadowing."""

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
    from models.serving.passport import CoverageCut

KINDS = ("lstm", "transformer", "boosting")
_NOT_TRADEABLE = {
    "calibrated": "information, not tradeable after costs",
    "": "its passport names no gate profile; judge it again: make evaluate",
}
"""Gate profile a model passed -> why its signals are no trade; the other profiles ask for an edge."""


class WindowScorer(Protocol):
    """What the loop needs of a model: `models.serving.scorer.Scorer`, or a double in a test."""

    def score(self, x_BTF: NDArray[np.float32], product: str) -> NDArray[np.float64]:  # noqa: N803  # shape suffix
        """Return the probability of a higher close in 15 minutes for each window."""
        ...


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """One model ready to score one product, with what its passport says of that product."""

    kind: str
    model_id: str
    window_minutes: int
    scorer: WindowScorer
    is_shadow: bool = False
    profile: str = "seed"
    """Gate profile it was judged by, empty when its passport names none: decides whether a signal may be called a trade."""
    cuts: Mapping[str, CoverageCut] = field(default_factory=dict)
    """``high`` and ``medium`` -> cut, as far as the passport has them."""

    @property
    def line(self) -> str:
        """The model in words, with how right its most confident calls were in calibration."""
        cut = self.cuts.get("high")
        surest = f" (surest 1 % were right {cut.accuracy:.0%} of the time)" if cut and cut.accuracy is not None else ""
        return f"{self.kind} {self.model_id}{surest}"


@dataclass(frozen=True, slots=True)
class ProductModels:
    """The models loaded for one product, by kind; none at all is a legal state and gives `no_model`."""

    product: str
    models: Mapping[str, LoadedModel] = field(default_factory=dict)

    @property
    def model_ids(self) -> dict[str, str]:
        """Kind -> model id."""
        return {kind: model.model_id for kind, model in self.models.items()}

    @property
    def window_minutes(self) -> int:
        """The longest input window, 0 without a model."""
        return max((model.window_minutes for model in self.models.values()), default=0)

    @property
    def line(self) -> str:
        """The models in words."""
        return ", ".join(model.line for _, model in sorted(self.models.items()))

    def why_not_live(self, mode: str) -> str:
        """Return why signals of these models are no trade, empty if nothing stands against it.

        The profile a model PASSED decides, as its passport has it: the setting GATE_PROFILE may have changed since.
        """
        if any(model.is_shadow for model in self.models.values()):
            return "a model behind it did not pass the gates"
        if mode == "shadow":
            return "the runtime only shadows"
        reasons = [_NOT_TRADEABLE[model.profile] for model in self.models.values() if model.profile in _NOT_TRADEABLE]
        return reasons[0] if reasons else ""


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
        models: dict[str, LoadedModel] = {}
        for kind, (folder, is_shadow) in slots.items():
            # one graph serves several products: it is opened once, its memory held once
            if folder not in opened:
                opened[folder] = _open(settings, folder, products)
            models[kind] = _loaded(kind, product, opened[folder], is_shadow=is_shadow)
        loaded[product] = ProductModels(product, models)
    return loaded


def _require_judged(registry: Registry, products: Sequence[str]) -> None:
    """Refuse promoted files that are gone, or are not those the registry recorded when the model was judged."""
    for slot, promoted in registry.current().items():
        if slot.partition(":")[2] in products:
            registry.require_whole(promoted)


def _open(settings: Settings, folder: Path, products: Sequence[str]) -> Scorer:
    """Open a graph; refuse one of another feature set or market by name, before comparing hashes that only differ."""
    chosen, scorer = feature_set(settings.feature_set), Scorer(folder)
    passport = scorer.passport
    if passport.feature_set != settings.feature_set:
        msg = (
            f"{passport.model_id} was trained on feature set {passport.feature_set}, FEATURE_SET is {settings.feature_set}; "
            f"set FEATURE_SET={passport.feature_set}, or train on {settings.feature_set}: make features, make train"
        )
        raise ModelMismatchError(msg)
    scorer.require(columns=chosen.columns, feature_hash=chosen.sha256)
    if chosen.crosses_products and sorted(passport.market or ()) != sorted(products):
        msg = (
            f"{passport.model_id} was trained on feature set {settings.feature_set} in a market of "
            f"{', '.join(passport.market or ['nobody knows which products'])}, the runtime watches {', '.join(products)}; "
            "set PRODUCTS to the former, or train among the latter: make features, make train"
        )
        raise ModelMismatchError(msg)
    return scorer


def _loaded(kind: str, product: str, scorer: Scorer, *, is_shadow: bool) -> LoadedModel:
    passport = scorer.passport
    profile = passport.judged.profile.name if passport.judged else ""
    minutes, cuts = passport.window_minutes, passport.cuts(product)
    return LoadedModel(kind, passport.model_id, minutes, scorer, is_shadow, profile, cuts)


def _newest_candidates(settings: Settings, registry: Registry) -> dict[str, Path]:
    """Return the folder of the model judged last for each slot, whatever the verdict, if its files are still there."""
    folders: dict[str, Path] = {}
    for path in settings.paths.checkpoints.glob(f"*/{FILE}"):
        if (path.parent / "model.onnx").exists():
            folders[Passport.read(path.parent, with_seal=False).model_id] = path.parent
    judged = [event for event in registry.events() if event.kind in {"candidate", "refusal"}]
    return {event.slot: folders[event.model_id] for event in judged if event.model_id in folders}
