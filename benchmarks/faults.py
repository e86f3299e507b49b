"""Kill the backfill again and again while the exchange misbehaves, and hold the store against the truth.

Run: ``python -m benchmarks.faults --kills 500 --seed 1``. Everything that is decided is decided by the seed; only when
exactly a kill strikes is the machine's own. See `benchmarks.fault_campaign` for what is promised and compared.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks.fault_campaign import KILLS_AN_EPISODE, Campaign
from benchmarks.fault_flows import FlowCampaign
from benchmarks.fault_plan import DAYS, LATE, LISTED_AT, MARKET, PRESENT, PRODUCTS
from benchmarks.surroundings import console, exchange_process, new_key, show

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.fault_life import Tally
    from benchmarks.surroundings import ExchangeProcess


@dataclass(frozen=True)
class Order:
    """What to do."""

    seed: int
    kills: int
    flows: int = 0
    """How many of the kills strike `flows/backfill.py` itself."""
    only: int | None = None
    """Repeat this episode instead of all."""
    days: tuple[int, int] = DAYS


@contextmanager
def exchange_for(home: Path) -> Iterator[tuple[ExchangeProcess, dict[str, str]]]:
    """Start the exchange of a campaign; yields it and the settings of a key that it knows."""
    key, registered = new_key(home)
    names = [option for product in (*PRODUCTS, LATE) for option in ("--product", product)]
    options = ["--market", MARKET, *names, "--listed-at", f"{LATE}={LISTED_AT.isoformat()}", *registered]
    with exchange_process(home, *options, "--public-rate", "0", "--private-rate", "0", present=PRESENT) as exchange:
        yield exchange, key


def campaign(order: Order, home: Path, on_kill: Callable[[int, str], None] = lambda _killed, _note: None) -> Tally:
    """Start an exchange and run a campaign under ``home``."""
    with exchange_for(home) as (exchange, key):
        run = Campaign(order.seed, home, exchange, key, days=order.days)
        if order.only is not None:
            run.episode(order.only, order.kills, on_kill)
            return run.tally
        if order.flows:
            FlowCampaign(order.seed, home, exchange).run(order.flows, run.tally, on_kill)
        return run.run(order.kills, on_kill)


def _watched(order: Order, home: Path) -> Tally:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
        bar = progress.add_task("kills", total=order.kills)

        def on_kill(killed: int, note: str) -> None:
            progress.update(bar, completed=killed, description=note)
            if killed % 25 == 0:
                # a line that stays, also where no bar can be drawn
                console.print(f"{killed} of {order.kills} kills, {note}")

        return campaign(order, home, on_kill)


def report(tally: Tally, seconds: float) -> None:
    """Print the counts."""
    show("kills by place", ("place", "kills"), tally.kills.most_common())
    show("lives that ended otherwise", ("end", "lives"), tally.ends.most_common())
    show("faults injected by the exchange", ("kind", "answers"), tally.faults.most_common())
    verdict = tally.verdict
    rows = [
        ("kills", tally.killed),
        ("episodes, each from an empty folder", tally.episodes),
        ("comparisons after a kill", tally.checks),
        ("pages acknowledged and found again", tally.acknowledged),
        ("reads of the published copy, none refused", tally.reads),
        ("requests made", tally.requests),
        ("requests needed to fetch each page once", tally.needed),
        ("requests repeated because of a fault", tally.retried),
        ("answers thrown away by a death, mean", round(statistics.fmean(tally.thrown_away or [0]), 1)),
        ("answers thrown away by a death, most", max(tally.thrown_away, default=0)),
        ("minutes of truth compared at the end", tally.minutes),
        ("minutes lost", verdict.lost + verdict.unacknowledged + verdict.unasked),
        ("minutes doubled", verdict.doubled),
        ("minutes invented", verdict.invented),
        ("minutes different", verdict.different),
        ("seconds", seconds),
        ("seconds a kill", seconds / max(tally.killed, 1)),
    ]
    show("fault campaign", ("what", "figure"), rows)


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=50, help="how many processes to kill (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="decides the whole plan (default %(default)s)")
    parser.add_argument("--episode", type=int, help="only this episode of the campaign, to repeat a finding")
    parser.add_argument("--flows", type=int, help="kills of flows/backfill.py itself (default one in a hundred)")
    parser.add_argument("--output", type=Path, help="write all counts to this file as JSON")
    return parser.parse_args(list(arguments))


def main(arguments: Sequence[str] = ()) -> int:
    """Run, print, and return 1 when a promise was broken."""
    options = _arguments(arguments)
    home = Path(tempfile.mkdtemp(prefix="candledesk-faults-"))
    began = time.perf_counter()
    flows = options.kills // 100 if options.flows is None else options.flows
    tally = _watched(Order(options.seed, options.kills, flows, options.episode), home)
    seconds = time.perf_counter() - began
    report(tally, seconds)
    if options.output:
        told = {"seed": options.seed, "kills_wanted": options.kills, "seconds": round(seconds, 1), **tally.as_json()}
        options.output.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    for finding in tally.findings:
        where, _, _ = finding.partition(":")
        again = f"--episode {where.removeprefix('episode ')} --kills {KILLS_AN_EPISODE}"
        if not where.startswith("episode"):
            again = f"--kills {options.kills} --flows {flows}"
        console.print(
            f"broken promise in {finding}\nrepeat it: python -m benchmarks.faults --seed {options.seed} {again}"
        )
    if tally.findings:
        console.print(f"its files are under {home}")
    else:
        shutil.rmtree(home)
    return int(bool(tally.findings))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
