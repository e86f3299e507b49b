"""How often the verdict is wrong when somebody looks every day: `python -m benchmarks.verdict_errors`.

Every run draws a backtest and an observation from known chances, hands both to `judge_observation` as `gather_evidence` would,
once a day, and counts the words. Everything but the edge is met (clock, drills, alerts), so that only the edge decides.
"""

from __future__ import annotations

import argparse
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from reports.observation.exit_criteria import judge_observation
from reports.observation.exit_evidence import AlertCount, ExitEvidence, LimitProof, Sides, Standing

TIERS = {"high": 0.10, "medium": 0.30, "low": 0.60}
BLOCKS_A_DAY = 6


@dataclass(frozen=True, slots=True)
class Market:
    """What is true in one simulated market."""

    name: str
    promised: float
    """Chance that a signal of the backtest is right."""
    live: float
    """Chance that a signal of the observation is right."""
    go_bound: float | None = None
    """How often GO, which is wrong here, may be said; None where it is right."""
    no_go_bound: float | None = None
    """How often NO-GO, which is wrong here, may be said; None where it is right."""
    win_bps: float = 20.0
    loss_bps: float = -20.0
    cost_bps: float = 0.0
    high_tier: float = 0.10
    """Share of the high tier in the observation; what it gains, the low tier loses."""
    tier_spread: float = 0.0
    """Standard deviation of the tiers' shares of four hours, where tiers are what is looked at."""


MARKETS = (
    Market("coin flip, costs of 2 bps, backtest 55 %", 0.55, 0.50, go_bound=0.001, cost_bps=2),
    Market("coin flip without any costs, backtest 52 %", 0.52, 0.50, go_bound=0.001, no_go_bound=0.05),
    Market("as promised (60 %), but costs eat all of it", 0.60, 0.60, go_bound=0.001, no_go_bound=0.05, cost_bps=4),
    Market("5 points below its backtest, earning", 0.65, 0.60, go_bound=0.05, no_go_bound=0.05),
    Market(
        "high tier 5 points above its backtest, earning",
        0.77,
        0.77,
        go_bound=0.05,
        no_go_bound=0.05,
        high_tier=0.15,
        tier_spread=0.05,
    ),
    Market("weak edge as promised, 55 %", 0.55, 0.55, no_go_bound=0.05),
    Market("edge as promised, 60 %", 0.60, 0.60, no_go_bound=0.05),
    Market("planted edge as promised, 77 %", 0.77, 0.77, no_go_bound=0.05),
    Market("edge gone: 50 % of promised 60, costs of 2 bps", 0.60, 0.50, go_bound=0.001, cost_bps=2),
)


@dataclass(frozen=True, slots=True)
class Horizon:
    """How long one looks, and at how much."""

    days: int
    signals_a_day: int
    backtest_days: int


def _shares(dice: np.random.Generator, mean: float, spread: float, count: int) -> tuple[float, ...]:
    """Return shares of four hours, in steps of 0.02 around their mean so that equal ones are computed once."""
    steps = np.round(dice.normal(0, spread / 0.02, count))
    return tuple(np.clip(mean + 0.02 * steps, 0, 1).tolist())


def one_run(seed: int, market: Market, horizon: Horizon) -> dict[str, int]:
    """Return the first day of each word that was said."""
    dice = np.random.default_rng(seed)
    baseline = dice.random(horizon.backtest_days * horizon.signals_a_day) < market.promised
    wins = dice.random(horizon.days * horizon.signals_a_day) < market.live
    net = np.where(wins, market.win_bps, market.loss_bps) - market.cost_bps
    moved = {**TIERS, "high": market.high_tier, "low": TIERS["low"] - (market.high_tier - TIERS["high"])}
    tiers = {
        tier: Sides(
            _shares(dice, moved[tier], market.tier_spread, horizon.days * BLOCKS_A_DAY),
            _shares(dice, share, market.tier_spread, horizon.backtest_days * BLOCKS_A_DAY),
        )
        for tier, share in TIERS.items()
    }
    whole = ExitEvidence(
        mode="dryrun",
        clean_minutes=72 * 60,
        reset_cause="",
        standings=(Standing("BTC-USD", ("model",)),),
        proofs=(LimitProof("daily", is_blocked=True, detail=""),),
        alerts=AlertCount(owed=1, delivered=1),
        wins=Sides(tuple(wins.astype(float).tolist()), tuple(baseline.astype(float).tolist())),
        win_share=None,
        net_bps=tuple(net.tolist()),
        tiers=tiers,
        tier_shares={},
        signals_per_hour=horizon.signals_a_day / 24,
    )
    said: dict[str, int] = {}
    for day in range(1, horizon.days + 1):
        said.setdefault(judge_observation(_until(whole, day, horizon)).word, day)
    return said


def _until(whole: ExitEvidence, day: int, horizon: Horizon) -> ExitEvidence:
    signals, blocks = day * horizon.signals_a_day, day * BLOCKS_A_DAY
    return replace(
        whole,
        wins=Sides(whole.wins.live[:signals], whole.wins.baseline),
        net_bps=whole.net_bps[:signals],
        tiers={tier: Sides(own.live[:blocks], own.baseline) for tier, own in whole.tiers.items()},
    )


def main() -> None:
    """Simulate every market and print how often each word was said."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000, help="observations a market (default 2000)")
    parser.add_argument("--days", type=int, default=60, help="days one looks, once a day (default 60)")
    parser.add_argument("--signals", type=int, default=40, help="independent signals a day (default 40)")
    parser.add_argument("--backtest-days", type=int, default=110, help="days of the test part (default 110)")
    parser.add_argument("--seed", type=int, default=1, help="first seed (default 1)")
    given = parser.parse_args()
    horizon = Horizon(given.days, given.signals, given.backtest_days)
    print(
        f"{given.runs} runs of {given.days} daily looks, {given.signals} independent signals a day, seed {given.seed}"
    )
    print(f"{'market':48} {'GO':>16} {'NO-GO':>16}  days to GO: median, 90 of 100")
    with ProcessPoolExecutor() as pool:
        for market in MARKETS:
            runs = range(given.seed, given.seed + given.runs)
            said = list(pool.map(partial(one_run, market=market, horizon=horizon), runs, chunksize=10))
            words = Counter(word for own in said for word in own)
            go = _rate(words["GO"] / given.runs, market.go_bound)
            no_go = _rate(words["NO-GO"] / given.runs, market.no_go_bound)
            days = sorted(own.get("GO", given.days + 1) for own in said)
            told = "-" if market.go_bound else f"{_day(days, 0.5, given.days)}, {_day(days, 0.9, given.days)}"
            print(f"{market.name:48} {go:>16} {no_go:>16}  {told}", flush=True)


def _rate(rate: float, bound: float | None) -> str:
    return f"{rate:.2%}" + ("" if bound is None else f" (<= {bound:.1%})")


def _day(days: list[int], quantile: float, last: int) -> str:
    day = days[int(quantile * (len(days) - 1))]
    return f"more than {last}" if day > last else str(day)


if __name__ == "__main__":
    main()
