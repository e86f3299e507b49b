"""Define small universes whose truth is known, make their data sets, and hold what training and gating made of each.

Nothing here imports torch; what trains is `validation.null_market.universe_process`.

Shapes: N rows.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core.candles import Page, Span, epoch_minute
from core.dataset_files import DatasetRef
from core.errors import DatasetError
from core.files import read_json, write_json
from core.integrity import sha256_of
from market.exchange.simulated_market import EPOCH, simulated_market
from models.datasets.dataset import PARTS, UNLABELLED
from models.gates import PROFILE_GATES
from models.training.candidate import train_spec
from store.feature_store import FeatureStore

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from models.gates.judgement import Judgement
    from models.training.candidate import TrainSpec

BY_MINUTE, BY_DAY = "by minute", "by day"
"""How labels are shuffled, so that the inputs have nothing to do with them.

``by minute``   labels change places at random, each with any other of its part. Every pattern of the labels themselves is gone
                too, and the data set shows what was done to it (a canary sees that labels are not what closes say).
``by day``      closes and labels of a part move on together, round its end, by a day or more. Neighbouring labels still share
                their minutes, moods still last hours, every label is what the closes beside it say: only the inputs are of
                another day. This is the harder null, and no canary can see it.
"""
_DAY = 1440
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


@dataclass(slots=True)
class _Labels:
    """What moves: the four columns that say what became of a minute."""

    close_N: NDArray[np.float64]
    direction_N: NDArray[np.int8]
    return_N: NDArray[np.float64]
    labelled_N: NDArray[np.bool_]


def shuffled(reference: DatasetRef, folder: Path, seed: int, how: str) -> DatasetRef:
    """Write a copy of a data set with its labels shuffled inside each part, under a hash and manifest of its own.

    Args:
        reference: The data set to start from; it is left alone.
        folder: Where the copy is written.
        seed: Decides the order.
        how: `BY_MINUTE` or `BY_DAY`.

    Raises:
        DatasetError: there is no such way, or a part is too short to be moved by a day.
    """
    if how not in {BY_MINUTE, BY_DAY}:
        msg = f"labels are shuffled {BY_MINUTE} or {BY_DAY}, not {how!r}"
        raise DatasetError(msg)
    table = pq.read_table(reference.path)
    manifest = read_json(Path(reference.manifest_path))
    horizon, generator = int(manifest["horizon_minutes"]), np.random.default_rng(seed)
    minute_N, labels = table["minute"].to_numpy(), _read(table)
    region_N = _regions(minute_N, manifest["borders"])
    for product in manifest["products"]:
        own_N = table["product"].to_numpy(zero_copy_only=False) == product
        for region in range(len(PARTS)):
            rows = np.flatnonzero(own_N & (region_N == region))
            if how == BY_MINUTE:
                _mix(labels, rows, generator)
            else:
                _move(labels, rows, generator, horizon)
    return _write(table, labels, region_N, manifest, folder, f"{how}, seed {seed}")


def _read(table: pa.Table) -> _Labels:
    return _Labels(
        table["close"].to_numpy().copy(),
        table["direction_15m"].fill_null(UNLABELLED).to_numpy().astype(np.int8),
        table["return_15m"].to_numpy(zero_copy_only=False).astype(np.float64),
        # a label that reaches into the next part stays out of the parts
        ~table["part"].is_null().to_numpy(zero_copy_only=False),
    )


def _regions(minute_N: NDArray[np.int64], borders: dict[str, str]) -> NDArray[np.int64]:
    """Return which part each minute lies in, whether it carries a label or not."""
    edges = [epoch_minute(datetime.fromisoformat(borders[name])) for name in PARTS[1:]]
    return np.array(edges).searchsorted(minute_N, side="right")


def _mix(labels: _Labels, rows: NDArray[np.int64], generator: np.random.Generator) -> None:
    labelled = rows[labels.labelled_N[rows]]
    order = generator.permutation(labelled)
    labels.direction_N[labelled], labels.return_N[labelled] = labels.direction_N[order], labels.return_N[order]
    bare = rows[~labels.labelled_N[rows]]
    labels.direction_N[bare], labels.return_N[bare] = UNLABELLED, np.nan


def _move(labels: _Labels, rows: NDArray[np.int64], generator: np.random.Generator, horizon: int) -> None:
    """Move closes and labels on by at least a day; what would look over the seam loses its label."""
    if len(rows) < 2 * _DAY + 1:
        msg = f"a part of {len(rows)} minutes cannot be moved by a day against its inputs; take a longer span"
        raise DatasetError(msg)
    by = int(generator.integers(_DAY, len(rows) - _DAY + 1))
    for column in (labels.close_N, labels.direction_N, labels.return_N, labels.labelled_N):
        column[rows] = np.roll(column[rows], by)
    for end in (by, len(rows)):
        seam = rows[max(0, end - horizon) : end]
        labels.direction_N[seam], labels.return_N[seam], labels.labelled_N[seam] = UNLABELLED, np.nan, False


def _write(
    table: pa.Table,
    labels: _Labels,
    region_N: NDArray[np.int64],
    manifest: dict[str, object],
    folder: Path,
    how: str,
) -> DatasetRef:
    bare_N = labels.direction_N == UNLABELLED
    columns = {
        "close": pa.array(labels.close_N),
        "direction_15m": pa.array(labels.direction_N, mask=bare_N),
        "return_15m": pa.array(labels.return_N, mask=bare_N),
        "part": pa.DictionaryArray.from_arrays(pa.array(region_N, mask=~labels.labelled_N | bare_N), list(PARTS)).cast(
            pa.string()
        ),
    }
    for name, column in columns.items():
        table = table.set_column(table.schema.names.index(name), table.field(name), column.cast(table.field(name).type))
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / ".draft.parquet"
    pq.write_table(table, draft, compression="zstd")
    digest = sha256_of(draft)
    path = draft.replace(folder / f"{digest[:16]}.parquet")
    write_json(path.with_suffix(".json"), json.loads(json.dumps(manifest)) | {"digest": digest, "shuffled": how})
    return DatasetRef(digest, str(path), str(path.with_suffix(".json")))
