"""Could anything earn here at all? What the costs ask of a forecast, and what a perfect one would get; no torch.

Assumed throughout: a position is opened at the close of the chosen minute, in the called direction, all of one size, and
closed a horizon later at that minute's close; ``cost_bps`` is its whole round trip. Minutes are chosen in one of two ways: by
the model's confidence (what a live system can do), and by the size of the move that is to come (which nobody can know, so it
is the most that any choice could give). A day's figure takes the chosen minutes in order, one position at a time.

Shapes: N rows, K chosen rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from core.candles import HORIZON_MINUTES
from models.statistics.metrics import COVERAGES, base_rate, break_even_accuracy, covered, hits, mean_move_bps

if TYPE_CHECKING:
    from numpy.typing import NDArray

# over five months walked forward the surest tenth is right in 56.7 % (BTC) and 56.5 % (ETH) of its minutes; after a round trip of
# 18 bps nothing of that is left (docs/log.md)
SENTENCE_COVERAGE = 0.1
"""The coverage that the sentence speaks of, one of `COVERAGES`."""
_DAY_MINUTES = 1440


@dataclass(frozen=True, slots=True)
class CoverageFigures:
    """What minutes chosen at one coverage are worth; bps are per signal and after the cost unless said otherwise."""

    coverage: float
    signals: int
    mean_move_bps: float
    """Mean size of the move after the chosen minutes, up or down."""
    break_even_accuracy: float | None
    """``0.5 + cost / (2 E|r|)`` over these minutes; above 1 no forecast pays, None where nothing moves."""
    accuracy: float
    """The model's, over these minutes."""
    model_net_bps: float
    oracle_net_bps: float
    """Of a perfect call of direction on these minutes, every one of them traded."""
    signals_per_day: float
    """One position at a time."""
    model_net_bps_per_day: float
    oracle_net_bps_per_day: float


@dataclass(frozen=True, slots=True)
class Feasibility:
    """What the costs ask, what a perfect forecast would get, and what this one bears; plain values, none of them NaN."""

    cost_bps: float
    rows: int
    days: int
    mean_move_bps: float
    break_even_accuracy: float | None
    accuracy: float
    base_rate: float
    gross_bps: float
    """What a signal of the model earned before costs, every minute traded: the largest cost it would have borne."""
    cost_borne_bps: float
    """``(2 accuracy - 1) E|r|``: the largest cost at which the model's accuracy breaks even if moves it calls right and
    moves it calls wrong are of one size; below 0 not even free trading pays."""
    paying_share: float
    """Share of minutes whose move is larger than the cost."""
    by_confidence: tuple[CoverageFigures, ...]
    by_move: tuple[CoverageFigures, ...]
    sentence: str


def feasibility(
    return_N: NDArray[np.float64],
    minute_N: NDArray[np.int64],
    p_N: NDArray[np.float64],
    cost_bps: float,
    *,
    horizon_minutes: int = HORIZON_MINUTES,
) -> Feasibility | None:
    """Return what the costs ask of a forecast on these rows; None if there is no row, or any figure is not finite.

    Args:
        return_N: Return over the horizon after each row, a fraction.
        minute_N: Epoch minute of each row, ascending.
        p_N: The model's probability of up.
        cost_bps: Round trip: spread, slippage and fee.
        horizon_minutes: How long a position is held.
    """
    if not len(return_N) or not math.isfinite(cost_bps) or not (np.isfinite(return_N) & np.isfinite(p_N)).all():
        return None
    up_N = (return_N > 0).astype(np.int8)
    move_bps = mean_move_bps(return_N)
    accuracy = float(np.mean(hits(p_N, up_N)))
    days = len(np.unique(minute_N // _DAY_MINUTES))
    rows = _Rows(return_N, minute_N, p_N, cost_bps, days, horizon_minutes)
    by_confidence = tuple(rows.figures(coverage, covered(p_N, coverage)) for coverage in COVERAGES)
    by_move = tuple(rows.figures(coverage, _largest(np.abs(return_N), coverage)) for coverage in COVERAGES)
    return Feasibility(
        cost_bps=cost_bps,
        rows=len(return_N),
        days=days,
        mean_move_bps=move_bps,
        break_even_accuracy=_needed(cost_bps, move_bps),
        accuracy=accuracy,
        base_rate=base_rate(up_N),
        gross_bps=float(np.mean(_called(p_N) * return_N)) * 1e4,
        cost_borne_bps=(2.0 * accuracy - 1.0) * move_bps,
        paying_share=float(np.mean(np.abs(return_N) * 1e4 > cost_bps)),
        by_confidence=by_confidence,
        by_move=by_move,
        sentence=_sentence(cost_bps, move_bps, accuracy, by_confidence, by_move),
    )


def _needed(cost_bps: float, move_bps: float) -> float | None:
    """Return the break-even accuracy as the record holds it: None where nothing moves."""
    needed = break_even_accuracy(move_bps, cost_bps)
    return needed if math.isfinite(needed) else None


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows that coverages choose from."""

    return_N: NDArray[np.float64]
    minute_N: NDArray[np.int64]
    p_N: NDArray[np.float64]
    cost_bps: float
    days: int
    horizon_minutes: int

    def figures(self, coverage: float, chosen_N: NDArray[np.bool_]) -> CoverageFigures:
        return_K, p_K = self.return_N[chosen_N], self.p_N[chosen_N]
        oracle_K = np.abs(return_K) * 1e4 - self.cost_bps
        model_K = _called(p_K) * return_K * 1e4 - self.cost_bps
        held = _one_at_a_time(self.minute_N[chosen_N], self.horizon_minutes)
        move_bps = mean_move_bps(return_K)
        return CoverageFigures(
            coverage=coverage,
            signals=len(return_K),
            mean_move_bps=move_bps,
            break_even_accuracy=_needed(self.cost_bps, move_bps),
            accuracy=float(np.mean(hits(p_K, (return_K > 0).astype(np.int8)))),
            model_net_bps=float(np.mean(model_K)),
            oracle_net_bps=float(np.mean(oracle_K)),
            signals_per_day=len(held) / self.days,
            model_net_bps_per_day=float(np.sum(model_K[held])) / self.days,
            oracle_net_bps_per_day=float(np.sum(oracle_K[held])) / self.days,
        )


def _called(p_N: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(p_N >= 0.5, 1.0, -1.0)


def _largest(size_N: NDArray[np.float64], coverage: float) -> NDArray[np.bool_]:
    """Return which rows are the share ``coverage`` of the largest; at least one."""
    return np.asarray(size_N >= np.quantile(size_N, 1.0 - coverage, method="higher"))


def _one_at_a_time(minute_K: NDArray[np.int64], horizon_minutes: int) -> list[int]:
    """Return which positions could be opened, each after the one before it was closed."""
    held, free_at = [], -math.inf
    for position, minute in enumerate(minute_K.tolist()):
        if minute >= free_at:
            held.append(position)
            free_at = minute + horizon_minutes
    return held


def _sentence(
    cost_bps: float,
    move_bps: float,
    accuracy: float,
    by_confidence: tuple[CoverageFigures, ...],
    by_move: tuple[CoverageFigures, ...],
) -> str:
    """Say it for people, in one sentence."""
    needed = _needed(cost_bps, move_bps)
    if needed is None:
        return f"No price moved here, so no forecast can earn the round trip of {cost_bps:.1f} bps."
    whole, position = by_confidence[0], COVERAGES.index(SENTENCE_COVERAGE)
    tenth, most = by_confidence[position], by_move[position]
    asks = (
        f"needs an accuracy of {needed:.3f} to break even"
        if needed <= 1
        else "cannot break even at any accuracy if every minute is traded"
    )
    chosen = "nothing moves where the model is surest"
    if (surest := tenth.break_even_accuracy) is not None:
        chosen = f"{surest:.3f}" if surest <= 1 else "at none either"
        chosen += f" on the {tenth.coverage:.0%} the model is surest of"
    bears = (2.0 * accuracy - 1.0) * move_bps
    own = (
        f"this model's accuracy {accuracy:.3f} bears {bears:.2f} bps"
        if bears > 0
        else f"this model's accuracy {accuracy:.3f} bears no cost at all"
    )
    return (
        f"A round trip of {cost_bps:.1f} bps against an average move of {move_bps:.1f} bps {asks} ({chosen}); a perfect "
        f"direction oracle would net {whole.oracle_net_bps:+.1f} bps a signal on every minute and "
        f"{most.oracle_net_bps:+.1f} on the {most.coverage:.0%} with the largest moves ({most.oracle_net_bps_per_day:+.0f} a "
        f"day, one position at a time); {own}."
    )
