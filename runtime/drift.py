"""Watch how far today's model inputs have moved from those of training: a stability index per feature and UTC day.

The backtest, which reads the data set anyway, writes each product's training shares beside its baseline; the runtime counts
into the same bins and gives one index per feature when a day is over. Price levels drift by nature: that is a property of the
feature set, and the reason for a scale-free one.

Shapes: N rows, F features, K bins.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from core.candles import minute_start
from core.files import write_json
from models.statistics.stability import bin_counts, decile_edges, stability_index
from store.signal_rows import DriftRow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from store.feature_sets import FeatureBlock

SHARES_FILE = "training_shares.json"
VERSION = 1
MIN_MINUTES = 360
"""Below this many minutes of a day no index is given: a part of a day differs from whole ones by its hours alone."""
_DAY = 1440


@dataclass(frozen=True, slots=True)
class FeatureShares:
    """One feature's bins and how much of the training rows fell into each."""

    edges: tuple[float, ...]
    shares: tuple[float, ...]


def training_shares(x_NF: NDArray[np.float32], columns: Sequence[str]) -> dict[str, FeatureShares]:  # noqa: N803  # shape suffix
    """Return bins at the deciles of each feature; equal deciles (flags, say) make fewer bins."""
    shares: dict[str, FeatureShares] = {}
    for position, name in enumerate(columns):
        values = x_NF[:, position]
        edges = decile_edges(values)
        counted = bin_counts(values, edges) / max(1, len(values))
        shares[name] = FeatureShares(tuple(edges.tolist()), tuple(counted.tolist()))
    return shares


def write_shares(path: Path, shares: Mapping[str, Mapping[str, FeatureShares]]) -> None:
    """Write product -> feature -> bins, whole."""
    products = {name: {feature: asdict(own) for feature, own in features.items()} for name, features in shares.items()}
    write_json(path, {"version": VERSION, "products": products})


def read_shares(path: Path) -> dict[str, dict[str, FeatureShares]]:
    """Return what `write_shares` wrote, or an older version; nothing when there is no such file or it is not whole."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        products = content["products"] if "version" in content else content
        return {
            product: {name: FeatureShares(tuple(own["edges"]), tuple(own["shares"])) for name, own in features.items()}
            for product, features in products.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


@dataclass(slots=True)
class DriftWatch:
    """Counts live rows into the training bins, day by day."""

    training: Mapping[str, Mapping[str, FeatureShares]]
    columns: Sequence[str]
    _counts: dict[tuple[int, str], list[NDArray[np.int64]]] = field(default_factory=dict)
    _minutes: dict[tuple[int, str], int] = field(default_factory=dict)

    def count(self, block: FeatureBlock, first: int, last: int) -> None:
        """Take in the rows of epoch minutes ``[first, last]``."""
        known = self.training.get(block.product)
        if known is None or not known.keys() >= set(self.columns):
            return  # the shares are of another feature set: nothing to compare with
        chosen = (block.minute_N >= first) & (block.minute_N <= last)
        for day in np.unique(block.minute_N[chosen] // _DAY).tolist():
            x_NF = block.x_NF[chosen & (block.minute_N // _DAY == day)]  # noqa: N806  # shape suffix
            key = (day, block.product)
            counts = self._counts.setdefault(
                key, [np.zeros(len(known[name].shares), np.int64) for name in self.columns]
            )
            for position, name in enumerate(self.columns):
                counts[position] += bin_counts(x_NF[:, position], known[name].edges)
            self._minutes[key] = self._minutes.get(key, 0) + len(x_NF)

    def finished(self, last: int) -> list[DriftRow]:
        """Return the rows of each day that is over once epoch minute ``last`` is, and forget it."""
        rows: list[DriftRow] = []
        for key in sorted(self._counts):
            day, product = key
            if (day + 1) * _DAY > last + 1:
                continue
            counts, minutes = self._counts.pop(key), self._minutes.pop(key)
            if minutes >= MIN_MINUTES:
                known = self.training[product]
                rows += [
                    DriftRow(
                        minute_start(day * _DAY).date(),
                        product,
                        name,
                        stability_index(known[name].shares, own.tolist()),
                    )
                    for name, own in zip(self.columns, counts, strict=True)
                ]
        return rows
