"""Hold the runtime's money against an oracle over random weeks: other code, exact fractions, every minute.

Run: ``python -m tests.campaign.money_weeks --weeks 100000 --seed 1``. A week is seven days of a random firm: both sides
of every reset, a stretch inside every day, jumps that reach limits, closes aimed at a limit to the cent, holes,
unanswered minutes, silences in which positions wait for their candles, nights of 23 and 25 hours, and in every twentieth week restarts through the real store. Status 1 if
anything differs; each difference is printed as it comes, with the seed that repeats it.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time as clock
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

from core.candles import Candle
from core.settings import Settings, load_settings
from runtime.decision import (
    DecisionRules,
    MinuteInput,
    MinuteResult,
    ProductInput,
    ProductRules,
    TradingState,
    decide,
    settle,
)
from runtime.restored_state import fresh_state, restored_state
from runtime.risk.execution_costs import costs_from
from runtime.risk.signal_limits import TierRules
from store.signal_rows import RiskEventRow, SessionRow, TickRows
from store.signal_store import SignalStore
from tests.campaign.money_oracle import MINUTE, Bar, Firm, MinuteTruth, Oracle

NIGHTS = [datetime(2025, 3, 27, tzinfo=UTC), datetime(2025, 10, 23, tzinfo=UTC), datetime(2024, 3, 28, tzinfo=UTC)]
"""Days before which clocks change within the week."""
PRICES = {
    "BTC-USD": Decimal(60_000),
    "ETH-USD": Decimal(2_500),
    "SHIB-USD": Decimal("0.000013"),
    "SOL-USD": Decimal(100),
}
CALM_MINUTES = 17
"""At the end of a stretch nothing is opened, so that nothing is open where the runtime does not look."""


@dataclass
class Tally:
    """What a run of weeks came to."""

    weeks: int = 0
    minutes: int = 0
    signals: int = 0
    restarts: int = 0
    late: int = 0
    """Minutes that were settled when the exchange spoke again."""
    events: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Count what another run came to."""
        self.weeks += other.weeks
        self.minutes += other.minutes
        self.signals += other.signals
        self.restarts += other.restarts
        self.late += other.late
        self.events += other.events
        self.reasons += other.reasons
        self.differences += other.differences


@dataclass(frozen=True)
class Seen:
    """One minute: its candles, what was wished for each product, and what must come of it."""

    candles: dict[str, Candle | None]
    wishes: dict[str, int | None]
    truth: MinuteTruth


def fraction(value: Decimal | float) -> Fraction:
    """Return a number by its shortest decimal text."""
    return Fraction(str(value))


@cache
def _defaults() -> Settings:
    return load_settings(_env_file=None)


class Week:
    """One random week: its firm, its market, and both accounts."""

    def __init__(self, seed: int, home: Path) -> None:
        self.seed, self.home, self.random = seed, home, random.Random(seed)  # a repeatable market
        pick = self.random
        self.products = pick.sample(sorted(PRICES), 2)
        self.is_free = pick.random() < 0.4
        self.start = (
            pick.choice(NIGHTS)
            if pick.random() < 0.4
            else datetime(2025, 1, 1, tzinfo=UTC) + timedelta(days=pick.randrange(360))
        )
        self.settings, self.firm = self._terms()
        self.prices = {name: Decimal(100) if self.is_free else PRICES[name] for name in self.products}
        tiers = TierRules(0.75, 0.65, 0.02)
        costs = costs_from(self.settings)
        self.rules = DecisionRules(
            "s", "dryrun", "x", {"lstm": 1.0},
            {name: ProductRules(tiers, 0.75, {"lstm": "m"}) for name in self.products}, lambda *_: costs,
        )  # fmt: skip

    def _terms(self) -> tuple[Settings, Firm]:
        pick, free = self.random, self.is_free
        values = {
            "initial_capital_usd": pick.choice([30_000, 50_000, 70_000, 90_000, 100_000]),
            "risk_per_trade_pct": pick.choice([0.5, 1, 1.5, 3]),
            "stop_pct": pick.choice([0.5, 1, 2]),
            "target_pct": pick.choice([1, 2, 3]),
            "max_leverage": pick.choice([1, 3, 10]),
            "max_positions_per_product": pick.choice([1, 1, 2, 3]),
            "spread_bps": 0 if free else pick.choice([0, 7, 12]),
            "slippage_bps": 0 if free else pick.choice([0, 3]),
            "fee_bps": 0 if free else pick.choice([0, 3.25]),
            "signals_per_hour": pick.choice([10, 100]),
            "losses_to_block": pick.choice([2, 50]),
        }
        zone, reset = pick.choice(
            [
                ("Europe/Prague", time()),
                ("Europe/Prague", time()),
                ("UTC", time(0, 30)),
                ("UTC", time(22)),
                ("America/New_York", time(17)),
            ]
        )
        daily, total = (
            pick.choice(["day_start_balance", "day_start_higher"]),
            pick.choice(["initial_capital", "highest_day_start_balance", "highest_equity"]),
        )
        daily_limit, total_limit = pick.choice([2, 3, 5]), pick.choice([4, 6, 10])
        of_base, total_of_base, locks = pick.random() < 0.3, pick.random() < 0.2, pick.random() < 0.4
        locks = locks and not total_of_base
        target = pick.choice([1, 3, 10])
        of = {True: "base", False: "initial_capital"}
        products, own = [], {"max_lots": {}, "lot_step": {}, "contract": {}, "own_leverage": {}}  # type: ignore[var-annotated]
        for name in self.products:
            if pick.random() < 0.4 and name != "SHIB-USD":
                contract, lots, lever = pick.choice([1, 10]), pick.choice([5, 50]), pick.choice([1, 3])
                own["contract"][name], own["max_lots"][name] = Fraction(contract), Fraction(lots)
                own["own_leverage"][name], own["lot_step"][name] = Fraction(lever), Fraction(1, 100)
                products.append(
                    f"[products.{name}]\ncontract_size = {contract}\nmax_lots = {lots}\nlot_step = 0.01\nmax_leverage = {lever}\n"
                )
        path = self.home / f"firm-{self.seed}.toml"
        path.write_text(
            f'title = "w"\nread_on = 2026-12-01\nreset_time = {reset}\nreset_zone = "{zone}"\nprofit_target_pct = [{target}]\n'
            f'daily_loss = {{base = "{daily}", limit_pct = {daily_limit}, percent_of = "{of[of_base]}"}}\n'
            f'total_loss = {{base = "{total}", limit_pct = {total_limit}, percent_of = "{of[total_of_base]}", '
            f"locks_at_initial_capital = {str(locks).lower()}}}\n" + "".join(products),
            encoding="utf-8",
        )
        home = {"desk_home": self.home / f"w{self.seed}", "firm_rules": str(path), "high_signals_per_hour": 1000}
        settings = _defaults().model_copy(update={**values, **home})
        firm = Firm(
            capital=Fraction(values["initial_capital_usd"]), zone=zone, reset=reset,
            daily_base=daily, daily_limit=Fraction(daily_limit), daily_stop=Fraction(daily_limit) * 9 / 10, daily_of_base=of_base,
            total_base=total, total_limit=Fraction(total_limit), total_stop=Fraction(total_limit) * 9 / 10,
            total_of_base=total_of_base, locks=locks, target=Fraction(target),
            risk=fraction(values["risk_per_trade_pct"]), stop=fraction(values["stop_pct"]), take=fraction(values["target_pct"]),
            leverage=Fraction(values["max_leverage"]), per_product=int(values["max_positions_per_product"]),
            price_bps=fraction(values["spread_bps"]) / 2 + fraction(values["slippage_bps"]), fee_bps=fraction(values["fee_bps"]),
            per_hour=int(values["signals_per_hour"]), losses=int(values["losses_to_block"]), **own,
        )  # fmt: skip
        return settings, firm

    def stretches(self) -> list[tuple[datetime, int]]:
        """Return (first minute, how many): around every reset, and somewhere inside every day."""
        found, moment = [], self.start
        for _ in range(7):
            day = self.firm.day(moment)
            reset = datetime.combine(day + timedelta(days=1), self.firm.reset, ZoneInfo(self.firm.zone)).astimezone(UTC)
            if self.random.random() < 0.4:
                inside = moment + timedelta(minutes=self.random.randrange(60, 600))
                found.append((inside, CALM_MINUTES + self.random.randrange(5, 30)))
            before = self.random.randrange(2, 12)
            found.append((reset - before * MINUTE, CALM_MINUTES + before + self.random.randrange(2, 10)))
            moment = reset + timedelta(hours=1)
        ordered, last = [], self.start
        for first, count in sorted(found):
            if first >= last:
                ordered.append((first, count))
                last = first + count * MINUTE
        return ordered

    def bars(self, oracle: Oracle) -> dict[str, Candle | None]:
        """Return the next candle of each product; the start is filled in by the caller."""
        found: dict[str, Candle | None] = {}
        for name in self.products:
            pick, last = self.random, self.prices[name]
            if pick.random() < 0.04:
                found[name] = None
                continue
            jump = pick.choice([-8, -4, -2, -1, 1, 2, 5]) / 100 if pick.random() < 0.02 else pick.gauss(0, 0.001)
            close = last * Decimal(repr(1 + jump))
            aimed = self._aimed(oracle, name) if self.is_free and pick.random() < 0.3 else None
            close = max(Decimal("0.0000001"), (aimed or close).quantize(Decimal("0.00000001")))
            opening = close if aimed or pick.random() < 0.3 else last
            spread = abs(Decimal(repr(pick.gauss(0, 0.001 if pick.random() < 0.9 else 0.02))))
            high = (max(opening, close) * (1 + spread / 2)).quantize(Decimal("0.00000001"))
            low = max(Decimal("0.0000001"), (min(opening, close) * (1 - spread / 2)).quantize(Decimal("0.00000001")))
            if aimed:
                high = low = close
            self.prices[name] = close
            found[name] = Candle(
                name, self.start, opening, max(high, opening, close), min(low, opening, close), close, Decimal(1)
            )
        return found

    def _aimed(self, oracle: Oracle, name: str) -> Decimal | None:
        """Return a close that puts equity exactly at a limit or a stop, or one cent beside it."""
        own = [held for held in oracle.held if held.product == name]
        if len(own) != 1:
            return None
        base, allowed, ours = self.random.choice([oracle.daily(), oracle.total()])
        wanted = base - self.random.choice([allowed, ours]) + Fraction(self.random.choice([-1, 0, 0, 1]), 100)
        others = oracle.equity() - oracle.worth(own[0], oracle.last.get(name, own[0].reference))
        price = own[0].entry * (1 + own[0].side * (wanted - others) / own[0].size)
        return (
            None
            if not Fraction(1, 100) < price / own[0].entry < 4
            else Decimal(price.numerator) / Decimal(price.denominator)
        )


def run_week(seed: int, home: Path) -> Tally:
    """Let both accounts live through the week of ``seed``."""
    week, tally = Week(seed, home), Tally(weeks=1)
    stretches = week.stretches()
    oracle = Oracle(week.firm, stretches[0][0])
    desk = Desk(week, fresh_state(week.settings, stretches[0][0]), tally)
    store = SignalStore(week.settings.paths.signals_db) if seed % 20 == 0 else None
    if store is not None:
        week.settings.paths.home.mkdir(parents=True)
        store.migrate()
        store.open_session(SessionRow("s", week.start, "dryrun", ",".join(week.products), "", "x", "system"))
    for first, count in stretches:
        if oracle.ended and week.random.random() < 0.8:
            # an account that is over has little left to show
            return tally
        for number in range(count):
            start, is_calm = first + number * MINUTE, number >= count - CALM_MINUTES
            if is_calm and not oracle.held and not desk.waiting:
                break
            if oracle.held and not desk.silent and not is_calm and week.random.random() < 0.03:
                product = week.random.choice(oracle.held).product
                desk.silent = {product: week.random.randrange(1, 12)}
            candles = week.bars(oracle)
            wishes = _wishes(week, candles, is_calm=is_calm, is_known=not desk.silent and not desk.waiting)
            truth = oracle.minute(start, {name: _bar(candle) for name, candle in candles.items()}, wishes)
            desk.live_through(start, Seen(candles, wishes, truth))
            if len(tally.differences) > 3:
                return tally
            if store is not None and not desk.waiting and week.random.random() < 0.02:
                desk.restart(store, start)
        desk.speak_again()
    return tally


@dataclass
class Desk:
    """The runtime's side: its state, what it would store, and the minutes whose candles it has not seen yet."""

    week: Week
    state: TradingState
    tally: Tally
    rows: TickRows = field(default_factory=TickRows)
    silent: dict[str, int] = field(default_factory=dict)
    """A product of which the exchange says nothing -> for how many minutes yet."""
    waiting: list[tuple[datetime, Seen]] = field(default_factory=list)

    def live_through(self, start: datetime, seen: Seen) -> None:
        """Decide one minute, and settle what waited once the exchange speaks again."""
        if not self.silent:
            self.speak_again()
        hidden = frozenset(self.silent)
        self.silent = {name: left - 1 for name, left in self.silent.items() if left > 1}
        result = decide(MinuteInput(start, _inputs(start, seen, hidden)), self.state, self.week.rules)
        self._keep(result)
        self.rows.decisions.extend(decision.row for decision in result.decisions)
        self.rows.signals.extend(own.signal for own in result.decisions if own.signal is not None)
        sizes = [fraction(own.signal.size_usd) for own in result.decisions if own.signal is not None]
        reasons = [decision.row.reason for decision in result.decisions]
        self._compare(start, ("reasons", reasons, seen.truth.reasons), ("sizes", sizes, seen.truth.sizes))
        if result.equity is None:
            self.waiting.append((start, seen))
        else:
            self._compare_account(start, result, seen.truth)
        self.tally.minutes += 1
        self.tally.signals += len(sizes)
        self.tally.events.update(seen.truth.events)
        self.tally.reasons.update(seen.truth.reasons)

    def speak_again(self) -> None:
        """Settle, in order, what waited."""
        self.silent = {}
        self.tally.late += len(self.waiting)
        for start, seen in self.waiting:
            result = settle(MinuteInput(start, _inputs(start, seen, frozenset())), self.state, self.week.rules)
            self._keep(result)
            self._compare_account(start, result, seen.truth)
        self.waiting = []

    def restart(self, store: SignalStore, start: datetime) -> None:
        """Store everything, forget everything, and take it up again."""
        store.commit_tick(self.rows)
        self.rows = TickRows()
        restored = store.restore(start - timedelta(hours=3), "dryrun")
        self.state = restored_state(self.week.settings, self.week.rules, restored, start + MINUTE)
        self.tally.restarts += 1

    def _keep(self, result: MinuteResult) -> None:
        self.state = result.state
        if result.equity is not None:
            self.rows.equity.append(result.equity)
        self.rows.outcomes.extend(result.outcomes)
        self.rows.risk_events.extend(
            RiskEventRow(event.happened_at, "s", event.kind, event.severity, "") for event in result.events
        )

    def _compare_account(self, start: datetime, result: MinuteResult, truth: MinuteTruth) -> None:
        row = result.equity
        if row is None:
            self.tally.differences.append(f"week {self.week.seed}, {start:%Y-%m-%d %H:%M}: the account still waits")
            return
        self._compare(
            start,
            ("events", [event.kind for event in result.events], truth.events),
            ("exits", [(own.exit_reason, fraction(own.pnl_usd)) for own in result.outcomes], truth.exits),
            ("balance", fraction(row.balance_usd), truth.balance),
            ("open positions", row.open_positions, truth.open_positions),
            ("equity in cents", abs(fraction(row.equity_usd) - truth.equity) <= Fraction(5001, 10**6), True),
        )

    def _compare(self, start: datetime, *pairs: tuple[str, object, object]) -> None:
        self.tally.differences += [
            f"week {self.week.seed}, {start:%Y-%m-%d %H:%M}: {what} {ours}, must be {right}"
            for what, ours, right in pairs
            if ours != right
        ]


def _inputs(start: datetime, seen: Seen, hidden: frozenset[str]) -> dict[str, ProductInput]:
    sure = {1: 0.9, -1: 0.1, 0: 0.5, None: 0.9}
    return {
        name: ProductInput(
            None if name in hidden else candle,
            start + MINUTE,
            0.0,
            is_stale=False,
            probabilities={"lstm": sure[seen.wishes[name]]},
            is_answered=seen.wishes[name] is not None,
            is_known=name not in hidden,
        )
        for name, candle in seen.candles.items()
    }


def _wishes(week: Week, candles: dict[str, Candle | None], *, is_calm: bool, is_known: bool) -> dict[str, int | None]:
    pick = week.random
    wishes: dict[str, int | None] = {}
    for name, candle in candles.items():
        if not is_known or (candle is None and pick.random() < 0.5):
            wishes[name] = None
        else:
            wishes[name] = 0 if is_calm or pick.random() < 0.4 else pick.choice([1, -1])
    return wishes


def _bar(candle: Candle | None) -> Bar | None:
    if candle is None:
        return None
    return Bar(*(Fraction(value) for value in (candle.open, candle.high, candle.low, candle.close)))


def run_weeks(seeds: range) -> Tally:
    """Run the weeks of these seeds, each on its own."""
    tally = Tally()
    for seed in seeds:
        with tempfile.TemporaryDirectory() as home:
            tally.add(run_week(seed, Path(home)))
    return tally


def main() -> int:
    """Run by command; return the status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weeks", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1, help="the first week's seed")
    parser.add_argument("--jobs", type=int, default=2)
    order = parser.parse_args()
    began, whole, step = clock.monotonic(), Tally(), 100
    ranges = [
        range(n, min(n + step, order.seed + order.weeks)) for n in range(order.seed, order.seed + order.weeks, step)
    ]
    with ProcessPoolExecutor(order.jobs) as pool:
        for tally in pool.map(run_weeks, ranges):
            whole.add(tally)
            for line in tally.differences:
                print(line, flush=True)
            if whole.weeks % 1_000 == 0:
                print(
                    f"{whole.weeks:,} weeks, {len(whole.differences)} differences, {clock.monotonic() - began:.0f} s",
                    flush=True,
                )
    print(
        f"{whole.weeks:,} weeks, {whole.minutes:,} minutes, {whole.signals:,} signals, {whole.restarts:,} restarts, {whole.late:,} minutes settled late"
    )
    print("events: " + ", ".join(f"{kind} {count:,}" for kind, count in whole.events.most_common()))
    print("reasons: " + ", ".join(f"{kind} {count:,}" for kind, count in whole.reasons.most_common()))
    print(f"differences: {len(whole.differences)}")
    return 1 if whole.differences else 0


if __name__ == "__main__":
    sys.exit(main())
