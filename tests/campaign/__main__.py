"""Kill the backfill again and again while the exchange misbehaves, and hold the store against the truth.

Run: ``python -m tests.campaign --kills 500 --seed 1``. Everything that is decided is decided by the seed; only when
exactly a kill strikes is the machine's own. See `tests.campaign.fault_campaign` for what is promised and compared.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks.surroundings import console, show
from tests.campaign.fault_campaign import KILLS_AN_EPISODE, Campaign, exchange_for
from tests.campaign.fault_flows import FlowCampaign
from tests.campaign.fault_plan import DAYS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.campaign.fault_oracle import CampaignCounts


@dataclass(frozen=True)
class CampaignOrder:
    """What to do."""

    seed: int
    kills: int
    flows: int = 0
    """How many of the kills strike `flows/backfill.py` itself."""
    only: int | None = None
    """Repeat this episode instead of all."""
    days: tuple[int, int] = DAYS


def run_campaign(order: CampaignOrder, home: Path, on_kill: Callable[[int, str], None]) -> CampaignCounts:
    """Start an exchange and run a campaign under ``home``."""
    with exchange_for(home) as (exchange, key):
        run = Campaign(order.seed, home, exchange, key, days=order.days)
        if order.only is not None:
            run.episode(order.only, order.kills, on_kill)
            return run.counts
        if order.flows:
            FlowCampaign(order.seed, home, exchange).run(order.flows, run.counts, on_kill)
        return run.run(order.kills, on_kill)


def _watched(order: CampaignOrder, home: Path) -> CampaignCounts:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
        bar = progress.add_task("kills", total=order.kills)

        def on_kill(killed: int, note: str) -> None:
            progress.update(bar, completed=killed, description=note)
            if killed % 25 == 0:
                # a line that stays, also where no bar can be drawn
                console.print(f"{killed} of {order.kills} kills, {note}")

        return run_campaign(order, home, on_kill)


def report(counts: CampaignCounts, seconds: float) -> None:
    """Print the counts."""
    show("kills by place", ("place", "kills"), counts.kills.most_common())
    show("lives that ended otherwise", ("end", "lives"), counts.ends.most_common())
    show("faults injected by the exchange", ("kind", "answers"), counts.faults.most_common())
    differences = counts.differences
    rows = [
        ("kills", counts.killed),
        ("episodes, each from an empty folder", counts.episodes),
        ("comparisons after a kill", counts.checks),
        ("pages acknowledged and found again", counts.acknowledged),
        ("reads of the published copy, none refused", counts.reads),
        ("requests made", counts.requests),
        ("requests needed to fetch each page once", counts.needed),
        ("requests repeated because of a fault", counts.retried),
        ("answers thrown away by a death, mean", round(statistics.fmean(counts.thrown_away or [0]), 1)),
        ("answers thrown away by a death, most", max(counts.thrown_away, default=0)),
        ("minutes of truth compared at the end", counts.minutes),
        ("minutes lost", differences.lost + differences.unacknowledged + differences.unasked),
        ("minutes doubled", differences.doubled),
        ("minutes invented", differences.invented),
        ("minutes different", differences.different),
        ("seconds", seconds),
        ("seconds a kill", seconds / max(counts.killed, 1)),
    ]
    show("fault campaign", ("what", "figure"), rows)


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
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
    counts = _watched(CampaignOrder(options.seed, options.kills, flows, options.episode), home)
    seconds = time.perf_counter() - began
    report(counts, seconds)
    if options.output:
        figures = {
            "seed": options.seed,
            "kills_wanted": options.kills,
            "seconds": round(seconds, 1),
            **counts.as_json(),
        }
        options.output.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    for finding in counts.findings:
        where, _, _ = finding.partition(":")
        again = f"--episode {where.removeprefix('episode ')} --kills {KILLS_AN_EPISODE}"
        if not where.startswith("episode"):
            again = f"--kills {options.kills} --flows {flows}"
        console.print(f"broken promise in {finding}\nrepeat it: python -m tests.campaign --seed {options.seed} {again}")
    if counts.findings:
        console.print(f"its files are under {home}")
    else:
        shutil.rmtree(home)
    return int(bool(counts.findings))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
