"""Count what many universes together say, and print it: do the two claims of `desk null-check` hold?"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text
from scipy.stats import binomtest

from models.gates import PROFILES
from validation.null_market.universe import ALWAYS_ON, AUDITS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from validation.null_market.universe import UniverseOutcome

MIN_PROMOTED = 0.9
"""PromotionCount of planted universes that must be promoted."""


@dataclass(frozen=True, slots=True)
class PromotionCount:
    """So many of so many, with the exact 95 % interval of Clopper and Pearson (1934)."""

    hits: int
    of: int

    @property
    def interval(self) -> tuple[float, float]:
        """Return the ends of the interval, shares; all of [0, 1] where nothing was counted."""
        if not self.of:
            return 0.0, 1.0
        interval = binomtest(self.hits, self.of).proportion_ci(0.95, method="exact")
        return float(interval.low), float(interval.high)

    def __str__(self) -> str:
        """Return ``0 of 100 (95 %: 0.0 to 3.6 %)``."""
        low, high = self.interval
        return f"{self.hits} of {self.of} (95 %: {100 * low:.1f} to {100 * high:.1f} %)"


@dataclass(frozen=True, slots=True)
class Claims:
    """The two claims, counted."""

    false: PromotionCount
    """Promotions where there is nothing to find."""
    false_by_figures: PromotionCount
    """What would be promoted there if the gates that audit the judging did not exist."""
    true: PromotionCount
    """Promotions where there is an edge."""
    failures: int

    @property
    def no_luck(self) -> bool:
        """Whether nothing was promoted where there is nothing to find."""
        return not self.false.hits and not self.failures

    @property
    def finds_edges(self) -> bool:
        """Whether enough was promoted where there is an edge."""
        return self.true.hits >= MIN_PROMOTED * self.true.of and not self.failures

    @property
    def hold(self) -> bool:
        """Whether both claims hold; a claim of which nothing was tried does."""
        return self.no_luck and self.finds_edges


def claims(outcomes: Sequence[UniverseOutcome], profile: str) -> Claims:
    """Count promotions under the profile that was tried."""
    nulls = [each for each in outcomes if each.universe.is_null]
    planted = [each for each in outcomes if not each.universe.is_null]
    return Claims(
        PromotionCount(sum(each.promoted for each in nulls), len(nulls)),
        PromotionCount(sum(each.passes(profile, without=AUDITS) for each in nulls), len(nulls)),
        PromotionCount(sum(each.promoted for each in planted), len(planted)),
        sum(bool(each.failure) for each in outcomes),
    )


def refusals(outcomes: Sequence[UniverseOutcome]) -> tuple[Counter[str], Counter[str]]:
    """Return how often each gate refused, and how often it was the only one to."""
    every = Counter(name for each in outcomes for name in each.refused_by)
    alone = Counter(each.refused_by[0] for each in outcomes if len(each.refused_by) == 1)
    return every, alone


def show(console: Console, outcomes: Sequence[UniverseOutcome], profile: str, seconds: float) -> None:
    """Print every universe, the counts by kind, which gates refused, and the two claims."""
    console.print(universe_table(outcomes))
    console.print(kind_table(outcomes, profile))
    console.print(gate_table(outcomes))
    for each in (each for each in outcomes if each.failure):
        console.print(f"universe {each.universe.number} failed: {each.failure}", style="bold red", soft_wrap=True)
    counted = claims(outcomes, profile)
    lines = [
        (f"{counted.false} promoted where there is no edge; none may be", counted.no_luck),
        (f"{counted.true} promoted where an edge is planted; {MIN_PROMOTED:.0%} must be", counted.finds_edges),
    ]
    for line, is_good in lines:
        console.print(line, style="bold green" if is_good else "bold red", soft_wrap=True, highlight=False)
    console.print(
        f"by the figures of the forecast alone, without the gates that audit the judging, {counted.false_by_figures} would be "
        "promoted where there is no edge",
        soft_wrap=True,
        highlight=False,
    )
    spent = sum(each.seconds for each in outcomes)
    console.print(
        f"{len(outcomes)} universes, {spent:.0f} s of training and judging, {seconds:.0f} s now",
        style="dim",
        highlight=False,
    )


def universe_table(outcomes: Sequence[UniverseOutcome]) -> Table:
    """Return one row per universe."""
    table = Table(box=None, header_style="bold", pad_edge=False, title="universes", title_justify="left")
    for name in ("", "universe", "set", "days"):
        table.add_column(name)
    for name in ("accuracy", "base rate", "Brier skill", "log loss", "best baseline", "ECE", "seconds"):
        table.add_column(name, justify="right")
    table.add_column("refused by", overflow="fold")
    for each in outcomes:
        wrong = each.promoted == each.universe.is_null
        mark = Text("promoted" if each.promoted else "refused", style="bold red" if wrong else "green")
        figures = (
            "accuracy_above_base_rate",
            "accuracy_above_base_rate bound",
            "brier_skill",
            "beats_baselines",
            "beats_baselines bound",
            "calibration_error",
        )
        table.add_row(
            mark,
            each.universe.kind,
            each.universe.features,
            str(each.universe.days),
            *(_number(each.figures.get(name)) for name in figures),
            f"{each.seconds:.1f}",
            each.failure or ", ".join(each.refused_by),
        )
    return table


def kind_table(outcomes: Sequence[UniverseOutcome], profile: str) -> Table:
    """Return, by kind of universe, how many were promoted, and how many each profile would have accepted."""
    table = Table(box=None, header_style="bold", pad_edge=False, title="\nby kind", title_justify="left")
    table.add_column("universe")
    for name in ("tried", "promoted", *PROFILES, ALWAYS_ON, f"{profile}, audits left out"):
        table.add_column(name, justify="right")
    for kind in dict.fromkeys(
        each.universe.kind for each in sorted(outcomes, key=lambda each: not each.universe.is_null)
    ):
        own = [each for each in outcomes if each.universe.kind == kind]
        accepted = [sum(each.passes(name) for each in own) for name in (*PROFILES, ALWAYS_ON)]
        by_figures = sum(each.passes(profile, without=AUDITS) for each in own)
        promoted = PromotionCount(sum(each.promoted for each in own), len(own))
        table.add_row(kind, str(len(own)), str(promoted), *(str(count) for count in (*accepted, by_figures)))
    return table


def gate_table(outcomes: Sequence[UniverseOutcome]) -> Table:
    """Return how often each gate refused, and how often it was the only each."""
    groups = {
        "no edge": [each for each in outcomes if each.universe.is_null],
        "edge": [each for each in outcomes if not each.universe.is_null],
    }
    counts: dict[str, tuple[Counter[str], Counter[str]]] = {name: refusals(own) for name, own in groups.items()}
    names = dict.fromkeys(name for every, _ in counts.values() for name, _ in every.most_common())
    table = Table(box=None, header_style="bold", pad_edge=False, title="\nwhat refused", title_justify="left")
    table.add_column("gate")
    for group, own in groups.items():
        table.add_column(f"{group}: of {len(own)}", justify="right")
        table.add_column("alone", justify="right")
    for name in names:
        cells = [str(count[name]) for pair in counts.values() for count in pair]
        table.add_row(name, *cells)
    return table


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
