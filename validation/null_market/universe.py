"""Define small universes whose truth is known, make their data sets, and hold what training and gating made of each.

Nothing here imports torch; what trains is `validation.null_market.universe_process`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from core.candles import Page, Span
from market.exchange.simulated_market import EPOCH, simulated_market
from models.gates import PROFILE_GATES
from models.training.candidate import train_spec
from store.feature_store import FeatureStore
from validation.null_market.shuffled_labels import BY_DAY, BY_MINUTE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from core.dataset_files import DatasetRef
    from models.gates.judgement import Judgement
    from models.training.candidate import TrainSpec

PRODUCT = "BTC-USD"
PLANTED_ACCURACY = 0.75
"""What the best possible forecast of a planted universe reaches; `market.exchange.simulated_market` solves the strength of the drift for it."""
PLANTED, NULL = "planted", "null"
EPOCHS, EPOCH_WINDOWS = 4, 2_500
"""Of a training: enough to find the planted edge, and chances enough to find what is not there."""
TRAIN_SHARE = 0.7
FIRST_PLANTED = 100_000
PLANTED_SET = "seed39"
"""Its rows see twenty minutes, the network sixty. A row of a set that sums up the hour holds the planted edge by itself; there
logistic regression does as well, and `beats_baselines` rightly refuses the network."""
ALWAYS_ON = "always-on gates alone"
"""Stands beside the profiles: what would be promoted if no profile asked for accuracy or calibration."""
AUDITS = ("no_leak_canary", "future_control", "shuffled_label_control", "export_parity", "audit")
"""Gates that ask whether the judging can be trusted, not how good the forecast is. Shuffled labels alarm them, so for
those universes it is also counted what would pass without them."""
FIGURES = ("accuracy_above_base_rate", "brier_skill", "beats_baselines", "calibration_error")
"""Gates whose figures are kept for every universe."""
_NULLS = ((NULL, ""), (NULL, ""), (PLANTED, BY_MINUTE), (PLANTED, BY_DAY), (NULL, BY_DAY))
"""Markets without an edge take turns: market, and how its labels are shuffled."""


@dataclass(frozen=True, slots=True)
class Universe:
    """One world: its market, what is done to its labels, and the seeds of market and training."""

    number: int
    market: str
    """``planted`` or ``null``."""
    shuffle: str
    """``by minute``, ``by day``, or nothing."""
    features: str
    """Feature set."""
    days: int
    market_seed: int
    train_seed: int

    @property
    def is_null(self) -> bool:
        """Whether there is nothing to find, so that a promotion is a false one."""
        return self.market == NULL or bool(self.shuffle)

    @property
    def kind(self) -> str:
        """Return what a table calls it."""
        return f"{self.market}, labels shuffled {self.shuffle}" if self.shuffle else self.market


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many worlds, how long each, and which feature sets those without an edge take turns with."""

    nulls: int
    planted: int
    null_days: int
    planted_days: int
    features: tuple[str, ...]


def universes(sizes: Sizes, seed: int) -> list[Universe]:
    """Return worlds without an edge and with one, spread among each other.

    Each has seeds of its own that depend on ``seed`` and its number alone: more worlds leave the first ones as they were.
    """
    ordered = []
    for number in range(sizes.nulls):
        market, shuffle = _NULLS[number % len(_NULLS)]
        features = sizes.features[number % len(sizes.features)]
        null = _universe(number, market, shuffle, features, sizes.null_days, seed)
        ordered.append(((number + 0.5) / sizes.nulls, null))
    for number in range(sizes.planted):
        # their numbers begin high, so that they too keep their seeds when there are more of the others
        planted = _universe(FIRST_PLANTED + number, PLANTED, "", PLANTED_SET, sizes.planted_days, seed)
        ordered.append(((number + 0.5) / sizes.planted, planted))
    return [universe for _, universe in sorted(ordered, key=lambda pair: (pair[0], pair[1].number))]


def _universe(number: int, market: str, shuffle: str, features: str, days: int, seed: int) -> Universe:
    market_seed, train_seed = np.random.SeedSequence([seed, number]).generate_state(2).tolist()
    return Universe(number, market, shuffle, features, days, int(market_seed), int(train_seed % 1_000_000))


@dataclass(frozen=True, slots=True)
class UniverseOutcome:
    """What became of one universe."""

    universe: Universe
    promoted: bool
    """Whether the registry serves its model."""
    refused_by: tuple[str, ...]
    refused_under: Mapping[str, tuple[str, ...]]
    """The gates that would refuse it, by profile, and under `ALWAYS_ON`; an empty tuple is an acceptance."""
    figures: Mapping[str, float | None]
    seconds: float
    failure: str = ""

    def passes(self, profile: str, *, without: Sequence[str] = ()) -> bool:
        """Return whether ``profile`` would accept it if the gates ``without`` did not exist."""
        return not self.failure and not set(self.refused_under[profile]) - set(without)


def outcome_from_json(content: Mapping[str, Any]) -> UniverseOutcome:
    """Read what `dataclasses.asdict` made of an outcome, past JSON."""
    return UniverseOutcome(
        **{
            **content,
            "universe": Universe(**content["universe"]),
            "refused_by": tuple(content["refused_by"]),
            "refused_under": {name: tuple(gates) for name, gates in content["refused_under"].items()},
        }
    )


def outcome(
    universe: Universe, judgement: Judgement, profiles: Mapping[str, Sequence[str]], *, promoted: bool, seconds: float
) -> UniverseOutcome:
    """Return what the judgement of a universe's only product comes to.

    Args:
        universe: The world it was trained and judged in.
        judgement: The verdict under the profile that was tried.
        profiles: Gates that would refuse it under each profile, from its passport.
        promoted: Whether the registry serves it now.
        seconds: How long training and judging took.
    """
    verdict = judgement.verdicts[0]
    always = tuple(gate.name for gate in verdict.gates if not gate.passed and gate.name not in PROFILE_GATES)
    refused = {name: tuple(gates) for name, gates in profiles.items()} | {ALWAYS_ON: always}
    figures: dict[str, float | None] = {}
    for gate in (gate for gate in verdict.gates if gate.name in FIGURES):
        figures |= {gate.name: gate.figure, f"{gate.name} bound": gate.bound, f"{gate.name} low": gate.low}
    return UniverseOutcome(universe, promoted, verdict.refused_by, refused, figures, round(seconds, 2))


def failed(universe: Universe, why: str) -> UniverseOutcome:
    """Return what is left of a universe whose training or judging was refused: it counts against the claim."""
    return UniverseOutcome(universe, False, (), {}, {}, 0.0, why)  # noqa: FBT003  # fields in their order


def training_of(universe: Universe, architecture: str, product: str) -> TrainSpec:
    """Return the training of a universe: about so many windows that the planted edge is found, whatever its days."""
    train_minutes = int(universe.days * 1440 * TRAIN_SHARE)
    chosen = {"stride": max(1, train_minutes // EPOCH_WINDOWS), "epochs": EPOCHS}
    return train_spec(architecture, (product,), preset="demo", seed=universe.train_seed, **chosen)


def dataset_of(universe: Universe, folder: Path, best_accuracy: float = PLANTED_ACCURACY) -> DatasetRef:
    """Simulate the universe's market, store its candles and export a data set; labels are not shuffled here."""
    market = simulated_market(universe.market, PRODUCT, universe.market_seed, best_accuracy=best_accuracy)
    span = Span(EPOCH, EPOCH + timedelta(days=universe.days))
    page = Page(PRODUCT, span, tuple(market.candles(span)), span.end + timedelta(hours=1), f"local:{universe.market}")
    with FeatureStore.in_memory() as store:
        store.record_pages([page])
        return store.export_dataset([PRODUCT], span, folder, feature_set=universe.features, threads=1)
