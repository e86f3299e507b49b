"""Shares with honest 95 % intervals: neighbouring minutes are not independent, so they do not count in full.

Signals of the same quarter of an hour share their outcome's minutes, and tiers persist; a plain
binomial interval would be too narrow. The variance is therefore taken between clusters (a
quarter of an hour, or a few hours), turned into the number of independent rows it is worth, and that
number goes into Wilson's interval.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

Z_95 = 1.959964


@dataclass(frozen=True, slots=True)
class Share:
    """A share of rows with its 95 % interval, all between 0 and 1."""

    value: float
    low: float
    high: float
    count: int
    effective: float
    """Independent rows the ``count`` is worth, never more than ``count``."""

    @property
    def half_width(self) -> float:
        """Half the interval."""
        return (self.high - self.low) / 2


def wilson(hits: float, count: float) -> tuple[float, float]:
    """Return Wilson's 95 % interval of ``hits`` out of ``count``; (0, 1) without any row."""
    if count <= 0:
        return 0.0, 1.0
    share = hits / count
    scale = 1 + Z_95**2 / count
    centre = (share + Z_95**2 / (2 * count)) / scale
    reach = Z_95 / scale * math.sqrt(share * (1 - share) / count + Z_95**2 / (4 * count**2))
    return max(0.0, centre - reach), min(1.0, centre + reach)


def clustered_share(rows: Iterable[tuple[Hashable, float, int]]) -> Share | None:
    """Return the share of hits over rows grouped in clusters, None without any row.

    Args:
        rows: (cluster, hits, rows) triples; a cluster may occur many times.
    """
    hits: dict[Hashable, float] = defaultdict(float)
    counts: dict[Hashable, int] = defaultdict(int)
    for cluster, hit, count in rows:
        hits[cluster] += hit
        counts[cluster] += count
    total = sum(counts.values())
    if total == 0:
        return None
    share = sum(hits.values()) / total
    effective = _effective(share, total, [(hits[key], counts[key]) for key in counts])
    low, high = wilson(share * effective, effective)
    return Share(share, low, high, total, effective)


def _effective(share: float, total: int, clusters: list[tuple[float, int]]) -> float:
    groups = sum(1 for _, count in clusters if count)
    naive = share * (1 - share) / total
    if naive == 0 or groups < 2:
        # no spread to measure: a cluster counts once
        return float(groups)
    between = sum((hit - share * count) ** 2 for hit, count in clusters)
    variance = between * groups / (groups - 1) / total**2
    # never more than the rows there are: clusters that happen to balance each other are luck, not information
    return min(float(total), total * naive / variance) if variance > 0 else float(total)


def rows_needed(share: Share, half_width: float) -> int:
    """Return how many rows in all bring the interval down to ``half_width``, at the same clustering."""
    # as of a share of 0.053: one that is 0 or 1 so far shows no spread yet, which does not mean that a few rows will do
    spread = max(share.value * (1 - share.value), 0.05)
    independent = Z_95**2 * (spread / half_width**2)
    return math.ceil(independent * share.count / max(share.effective, 1.0))
