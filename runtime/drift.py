"""How far today's model inputs have moved from those of training: population stability index, per feature and UTC day.

The backtest, which reads the data set anyway, writes each product's training shares beside its baseline; the runtime counts
into the same bins and says one figure per feature when a day is over. Price levels drift by nature: that
is a property of the feature set, and the reason for a scale-free one.

Shapes: N rows, F features, K bins.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from models.statistics.stability import bin_counts, decile_edges, stability_index
from store.signal_rows import DriftRow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date
    from pathlib import Path

    from numpy.typing import NDArray

    from store.feature_sets import FeatureBlock

SHARES_FILE = "training_shares.json"
MINUTES_NEEDED = 360
"""A day of which less was seen says nothing."""
_DAY = 1440


@dataclass(frozen=True, slots=True)
class Shares:
    """One feature's bins and how much of the training rows fell into each."""

    edges: tuple[float, ...]
    shares: tuple[float, ...]


def training_shares(x_NF: NDArray[np.float32], columns: Sequence[str]) -> dict[str, Shares]:  # noqa: N803  # shape suffix
    """Return bins at the deciles of each feature; equal deciles (flags, say) make fewer bins."""
    found: dict[str, Shares] = {}
    for position, name in enumerate(columns):
        values = x_NF[:, position]
        edges = decile_edges(values)
        shares = bin_counts(values, edges) / max(1, len(values))
        found[name] = Shares(tuple(edges.tolist()), tuple(shares.tolist()))
    return found


def write_shares(path: Path, shares: Mapping[str, Mapping[str, Shares]]) -> None:
    """Write product -> feature -> bins, atomically."""
    content = {
        product: {name: {"edges": own.edges, "shares": own.shares} for name, own in features.items()}
        for product, features in shares.items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    fresh.write_text(json.dumps(content), encoding="utf-8")
    fresh.replace(path)


def read_shares(path: Path) -> dict[str, dict[str, Shares]]:
    """Return what `write_shares` wrote; nothing when there is no such file or it is not whole."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {
            product: {name: Shares(tuple(own["edges"]), tuple(own["shares"])) for name, own in features.items()}
            for product, features in content.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


@dataclass(slots=True)
class DriftWatch:
    """Counts live rows into the training bins, day by day."""

    training: Mapping[str, Mapping[str, Shares]]
    columns: Sequence[str]
    _counts: dict[tuple[int, str], list[NDArray[np.int64]]] = field(default_factory=dict)
    _minutes: dict[tuple[int, str], int] = field(default_factory=dict)

    def count(self, block: FeatureBlock, first: int, last: int) -> None:
        """Take in the rows of epoch minutes ``[first, last]``."""
        known = self.training.get(block.product)
        if known is None:
            return
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
            if minutes >= MINUTES_NEEDED:
                known = self.training[product]
                rows += [
                    DriftRow(_date(day), product, name, stability_index(known[name].shares, own.tolist()))
                    for name, own in zip(self.columns, counts, strict=True)
                ]
        return rows


def _date(day: int) -> date:
    return datetime.fromtimestamp(day * 86_400, UTC).date()
