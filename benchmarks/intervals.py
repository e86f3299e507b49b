"""Do the 95 % intervals hold the truth 95 times in 100? Counted on series whose truth is known.

Run: ``python -m benchmarks.intervals`` (about 3 minutes on one quiet core; ``--quick`` a tenth of the series, ``--series N``). Nothing is read
but what is drawn here: a slow input (correlation 0.98 from minute to minute), labels over 15 minutes of which neighbours share 14, forecasts
that are true or wrong in a known way. Three ways are counted:

* rows: every minute taken for independent of its neighbour.
* plain: days resampled, the middle 95 % of what comes out.
* ours: as `models.statistics.bootstrap` does it: wider for few days; the calibration error's by turning the question round.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from rich.progress import track
from scipy.signal import lfilter
from scipy.special import expit
from scipy.stats import norm

from benchmarks.surroundings import console, show
from models.statistics import metrics
from models.statistics.bootstrap import MINUTES_OF_DAY, DayBootstrap, Interval

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    Truth = Callable[[NDArray[np.float64]], NDArray[np.float64]]

SEED = 5
DAYS = (5, 20, 60)
SERIES = 400
REPLICATES = 400
OVERLAP = 15
SLOWNESS = 0.98
SIZE = 0.3
"""Forecasts are ``sigmoid(0.3 z)``: as timid as those of a real market."""
DISTORTIONS: dict[str, Truth] = {
    "true": lambda z_N: expit(SIZE * z_N),
    "0.02 too low": lambda z_N: expit(SIZE * z_N) + 0.02,
    "twice too sure": lambda z_N: expit(0.5 * SIZE * z_N),
    "half as sure as it may be": lambda z_N: expit(2 * SIZE * z_N),
    "wrong in the top tenth": lambda z_N: np.where(z_N > 1.28, expit(SIZE * z_N) + 0.15, expit(SIZE * z_N)),
    "0.03 up and down": lambda z_N: expit(SIZE * z_N) + 0.03 * np.sign(np.sin(6 * z_N)),
}


@dataclass(frozen=True)
class Series:
    """Minutes of forecasts with their true probabilities and what then happened."""

    minute_N: NDArray[np.int64]
    p_N: NDArray[np.float64]
    truth_N: NDArray[np.float64]
    y_N: NDArray[np.int8]


def series(generator: np.random.Generator, days: int, truth: Truth) -> Series:
    """Draw one series."""
    rows = days * MINUTES_OF_DAY
    z_N = lfilter([np.sqrt(1 - SLOWNESS**2)], [1, -SLOWNESS], generator.normal(size=rows))
    luck_N = lfilter(np.full(OVERLAP, OVERLAP**-0.5), [1], generator.normal(size=rows + OVERLAP))[OVERLAP:]
    truth_N = np.clip(truth(z_N), 0, 1)
    return Series(np.arange(rows), expit(SIZE * z_N), truth_N, (norm.cdf(luck_N) < truth_N).astype(np.int8))


def intervals_of_means(drawn: Series, days: DayBootstrap) -> Iterator[tuple[str, str, Interval, float]]:
    """Yield (figure, way, interval, what it should hold) of accuracy and log loss given the inputs of this series."""
    up_N = drawn.p_N >= 0.5
    losses = {side: metrics.log_losses(drawn.p_N, np.full(len(up_N), side, np.int8)) for side in (0, 1)}
    for name, value_N, expected_N in (
        ("accuracy", metrics.hits(drawn.p_N, drawn.y_N), np.where(up_N, drawn.truth_N, 1 - drawn.truth_N)),
        (
            "log loss",
            np.where(drawn.y_N == 1, losses[1], losses[0]),
            drawn.truth_N * losses[1] + (1 - drawn.truth_N) * losses[0],
        ),
    ):
        truth, mean = float(expected_N.mean()), float(value_N.mean())
        reach = 1.96 * float(value_N.std()) / np.sqrt(len(value_N))
        yield name, "rows", Interval(mean, mean - reach, mean + reach), truth
        yield name, "plain", plain(mean, _daily_means(days, value_N)), truth
        yield name, "ours", days.mean(value_N), truth


def intervals_of_ece(drawn: Series, days: DayBootstrap) -> Iterator[tuple[str, str, Interval, float]]:
    """Yield the same of the calibration error, equal mass; what it should hold is the error of the true shares."""
    bin_N = metrics.equal_mass_bins(drawn.p_N)
    gaps_K = np.bincount(bin_N, weights=drawn.p_N - drawn.truth_N, minlength=metrics.BINS)
    truth = float(np.abs(gaps_K).sum() / len(bin_N))
    ours = days.calibration_error(drawn.p_N, drawn.y_N, bin_N)
    gap_NK = np.zeros((len(bin_N), metrics.BINS))
    gap_NK[np.arange(len(bin_N)), bin_N] = drawn.p_N - drawn.y_N
    yield "ECE", "plain", plain(ours.value, np.abs(days.sums(gap_NK)).sum(axis=1) / len(bin_N)), truth
    yield "ECE", "ours", ours, truth


def plain(value: float, value_R: NDArray[np.float64]) -> Interval:
    """Return the middle 95 % of the replicates."""
    low, high = np.quantile(value_R, (0.025, 0.975))
    return Interval(value, float(low), float(high))


def _daily_means(days: DayBootstrap, value_N: NDArray[np.float64]) -> NDArray[np.float64]:
    total_R2 = days.sums(np.stack([value_N, np.ones(len(value_N))], axis=1))
    return np.asarray(total_R2[:, 0] / total_R2[:, 1])


@dataclass
class Count:
    """How one way fared."""

    held: int = 0
    asked: int = 0
    width: float = 0.0
    value: float = 0.0
    truth: float = 0.0
    outside: int = 0

    def add(self, found: Interval, truth: float) -> None:
        """Count one interval."""
        low, high = found.low if found.low is not None else -np.inf, found.high if found.high is not None else np.inf
        self.asked += 1
        self.held += low - 1e-12 <= truth <= high + 1e-12
        self.outside += not low <= found.value <= high
        self.width, self.value, self.truth = self.width + high - low, self.value + found.value, self.truth + truth


def count(distortion: str, days: int, wanted: int) -> dict[tuple[str, str], Count]:
    """Draw series and count; the seed depends on nothing but the question."""
    generator = np.random.default_rng([SEED, days, list(DISTORTIONS).index(distortion)])
    found: dict[tuple[str, str], Count] = defaultdict(Count)
    for _ in range(wanted):
        drawn = series(generator, days, DISTORTIONS[distortion])
        blocks = DayBootstrap(drawn.minute_N, replicates=REPLICATES)
        told = list(intervals_of_ece(drawn, blocks))
        told += intervals_of_means(drawn, blocks) if distortion == "true" else []
        for figure, way, interval, truth in told:
            found[figure, way].add(interval, truth)
    return found


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=SERIES, help="series a question (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="a tenth of the series")
    options = parser.parse_args(sys.argv[1:] if arguments is None else arguments)
    wanted = max(2, options.series // (10 if options.quick else 1))
    rows = []
    questions = [(distortion, days) for distortion in DISTORTIONS for days in DAYS]
    for distortion, days in track(questions, "counting", console=console, transient=True):
        for (figure, way), one in count(distortion, days, wanted).items():
            share = one.held / one.asked
            error = 100 * np.sqrt(max(share * (1 - share), 0.01) / one.asked)
            means = [f"{total / one.asked:.4f}" for total in (one.truth, one.value, one.width)]
            rows.append((figure, distortion, days, way, f"{100 * share:.1f} ± {error:.1f}", *means, one.outside))
    rows.sort(key=lambda row: (row[0], list(DISTORTIONS).index(row[1]), row[2]))
    columns = ("figure", "forecast", "days", "way", "held the truth, %", "truth", "figure", "width", "figure outside")
    show(f"95 % intervals, {wanted} series a question", columns, rows)


if __name__ == "__main__":
    main()
