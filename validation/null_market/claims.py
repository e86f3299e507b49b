"""What many universes together say: counts with their intervals, and whether the two claims hold."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scipy.stats import binomtest

from validation.null_market.universe import AUDITS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from validation.null_market.universe import Outcome

LEAST_PROMOTED = 0.9
"""Share of planted universes that must be promoted."""


@dataclass(frozen=True, slots=True)
class Count:
    """So many of so many, with the exact 95 % interval of Clopper and Pearson (1934)."""

    hits: int
    of: int

    @property
    def interval(self) -> tuple[float, float]:
        """Return the ends of the interval, shares; all of [0, 1] where nothing was counted."""
        if not self.of:
            return 0.0, 1.0
        found = binomtest(self.hits, self.of).proportion_ci(0.95, method="exact")
        return float(found.low), float(found.high)

    def __str__(self) -> str:
        """Return ``0 of 100 (95 %: 0.0 to 3.6 %)``."""
        low, high = self.interval
        return f"{self.hits} of {self.of} (95 %: {100 * low:.1f} to {100 * high:.1f} %)"


@dataclass(frozen=True, slots=True)
class Claims:
    """The two claims, counted."""

    false: Count
    """Promotions where there is nothing to find."""
    false_by_figures: Count
    """What would be promoted there if the gates that audit the judging did not exist."""
    true: Count
    """Promotions where there is an edge."""
    failures: int

    @property
    def no_luck(self) -> bool:
        """Whether nothing was promoted where there is nothing to find."""
        return not self.false.hits and not self.failures

    @property
    def finds_edges(self) -> bool:
        """Whether enough was promoted where there is an edge."""
        return self.true.hits >= LEAST_PROMOTED * self.true.of and not self.failures

    @property
    def hold(self) -> bool:
        """Whether both claims hold; a claim of which nothing was tried does."""
        return self.no_luck and self.finds_edges


def claims(outcomes: Sequence[Outcome], profile: str) -> Claims:
    """Count promotions under the profile that was tried."""
    nulls = [one for one in outcomes if one.universe.is_null]
    planted = [one for one in outcomes if not one.universe.is_null]
    return Claims(
        Count(sum(one.promoted for one in nulls), len(nulls)),
        Count(sum(one.passes(profile, without=AUDITS) for one in nulls), len(nulls)),
        Count(sum(one.promoted for one in planted), len(planted)),
        sum(bool(one.failure) for one in outcomes),
    )


def refusals(outcomes: Sequence[Outcome]) -> tuple[Counter[str], Counter[str]]:
    """Return how often each gate refused, and how often it was the only one to."""
    every = Counter(name for one in outcomes for name in one.refused_by)
    alone = Counter(one.refused_by[0] for one in outcomes if len(one.refused_by) == 1)
    return every, alone
