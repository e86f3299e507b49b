"""Measure a backfill of years from the local exchange: at the exchange's limit, without any, and killed ten times.

Run: ``python -m benchmarks.backfill``, or with ``--full`` for two years of three coins (about ten minutes). Client, rate
limiter and store are the real ones, in a process of their own that does what the flow's tasks do; the exchange is
another process, which checks every token and counts every request.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.surroundings import console, folder, show
from core.candles import Span
from core.settings import Paths
from market.providers import PAGE_MINUTES
from store.feature_store import FeatureStore
from tests.campaign.fault_oracle import Differences, Truth, judge
from tests.campaign.fault_worker import WorkerJob, measured_job
from tests.campaign.harness import exchange_process, new_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.campaign.harness import ExchangeProcess

PRODUCTS = ("BTC-USD", "ETH-USD", "SOL-USD")
MARKET = "null"
PRESENT = datetime(2026, 1, 2, tzinfo=UTC)
"""Two years and a day after the simulated markets begin."""
FULL_DAYS, FLOW_DAYS = 731, 3
PRIVATE_RATE = 30
KILLS = 10
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Run:
    """What one backfill cost, seen from outside."""

    label: str
    span: Span
    seconds: float
    pages_needed: int
    requests: int
    stored: int
    refused: int
    """Answers 429."""
    client_cpu: float
    exchange_cpu: float
    peak_mb: float
    database_mb: float
    verdict: Differences
    rate: int = 0
    """Requests a second that were allowed, 0 for no limit."""
    lives: int = 1

    @property
    def share_kept(self) -> float:
        """Share of the allowed rate that was used, in percent, starts included."""
        return 100 * self.requests / self.rate / self.seconds if self.rate else float("nan")


def _needed(span: Span) -> int:
    return len(PRODUCTS) * sum(1 for _ in span.pages(PAGE_MINUTES))


def _job(home: Path, environ: dict[str, str], span: Span, name: str) -> WorkerJob:
    settings = {"DESK_HOME": str(home / "var"), **environ}
    # the retry policy of every day, and no journal: this is about speed
    return WorkerJob(settings, PRODUCTS, span, home, name, {}, retry=None)


def _once(job: WorkerJob) -> dict[str, Any]:
    """Run one worker to its end, in a fresh process, and return what it says of itself."""
    result = job.folder / f"{job.name}.json"
    process = multiprocessing.get_context("spawn").Process(target=measured_job, args=(job, result))
    process.start()
    process.join()
    if process.exitcode != 0:
        log = (job.folder / f"{job.name}.log").read_text(encoding="utf-8")
        msg = f"the backfill ended with status {process.exitcode}: {log[-500:]}"
        raise RuntimeError(msg)
    return dict(json.loads(result.read_text(encoding="utf-8")))


def _killed(job: WorkerJob, exchange: ExchangeProcess, needed: int, kills: int) -> tuple[dict[str, Any], int]:
    """Kill the worker ``kills`` times, evenly over the work, then let it finish; return its last words and its lives."""
    began, lives = exchange.requests(), 0
    for number in range(kills):
        process = multiprocessing.get_context("spawn").Process(
            target=measured_job, args=(job, job.folder / "never.json")
        )
        process.start()
        lives += 1
        while exchange.requests() - began < needed * (number + 1) // (kills + 1) and process.is_alive():
            time.sleep(0.02)
        process.kill()
        process.join()
    return _once(job), lives + 1


def _measure(label: str, days: int, rate: int, kills: int = 0) -> Run:
    """Backfill ``days`` of three coins; with a ``rate`` by a signed client against an exchange that insists on it."""
    span = Span(PRESENT - timedelta(days=days), PRESENT)
    with folder() as home:
        key, registered = new_key(home)
        limits = ("--private-rate", str(rate), "--public-rate", "0")
        with exchange_process(home, "--market", MARKET, *registered, *limits, present=PRESENT) as exchange:
            client = (
                key | {"PRIVATE_REQUESTS_PER_SECOND": str(rate)} if rate else {"PUBLIC_REQUESTS_PER_SECOND": "1000"}
            )
            job = _job(home, exchange.environ | client, span, "worker")
            cpu, began = exchange.cpu_seconds(), time.perf_counter()
            told, lives = _killed(job, exchange, _needed(span), kills) if kills else (_once(job), 1)
            seconds = time.perf_counter() - began
            paths = Paths(home / "var")
            with FeatureStore(paths.market_db) as store:
                verdict = sum((judge(store, _truth(name, span), whole=True) for name in PRODUCTS), Differences())
                stored = sum(row["stored_minutes"] for row in store.coverage())
            return Run(
                label,
                span,
                seconds if kills else told["seconds"],
                _needed(span),
                exchange.requests(),
                stored,
                int(exchange.stats()["counts"].get("status_429", 0)),
                told["cpu_seconds"],
                exchange.cpu_seconds() - cpu,
                told["peak_mb"],
                paths.market_db.stat().st_size / 1e6,
                verdict,
                rate,
                lives,
            )


def _truth(product: str, span: Span) -> Truth:
    return Truth.of(MARKET, product, span)


def _through_the_flow(days: int) -> tuple[float, float]:
    """Return the seconds of one whole process, ours and `flows/backfill.py`, for the same few days."""
    span = Span(PRESENT - timedelta(days=days), PRESENT)
    with (
        folder() as home,
        exchange_process(home, "--market", MARKET, "--public-rate", "0", present=PRESENT) as exchange,
    ):
        environ = exchange.environ | {"PUBLIC_REQUESTS_PER_SECOND": "1000"}
        began = time.perf_counter()
        _once(_job(home, environ, span, "worker"))
        ours = time.perf_counter() - began
        flow = {"DESK_HOME": str(home / "flow"), "PREFECT_HOME": str(home / "prefect"), "PREFECT_API_URL": ""}
        quiet = {"PREFECT_LOGGING_LEVEL": "WARNING", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
        command = [sys.executable, str(ROOT / "flows" / "backfill.py"), "-p", f"days={days}"]
        began = time.perf_counter()
        subprocess.run(
            command,
            env={**os.environ, **environ, **flow, **quiet},
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        )
        return ours, time.perf_counter() - began


def _rows(run: Run) -> list[tuple[object, ...]]:
    bound = run.requests / run.rate if run.rate else float("nan")
    limited = [
        ("seconds by the limit's own arithmetic, requests / rate", round(bound, 1)),
        ("share of the allowed rate kept, percent", round(run.share_kept, 2)),
    ]
    cpu = [
        ("CPU of the worker, percent of one core", round(100 * run.client_cpu / run.seconds)),
        ("CPU of the exchange, percent of one core", round(100 * run.exchange_cpu / run.seconds)),
    ]
    return [
        ("minutes asked for", run.span.minutes * len(PRODUCTS)),
        ("candles stored", run.stored),
        ("seconds", round(run.seconds, 1)),
        *(limited if run.rate else []),
        ("candles a second", int(run.stored / run.seconds)),
        ("requests a second", round(run.requests / run.seconds, 1)),
        ("requests made", run.requests),
        ("requests needed, one a page; each coin looks for its listing besides", run.pages_needed),
        ("answers 429", run.refused),
        *(cpu if run.lives == 1 else []),
        ("peak memory of the worker, MB", round(run.peak_mb)),
        ("database, MB", round(run.database_mb, 1)),
        ("lives of the worker", run.lives),
        ("minutes lost, doubled, invented, different", _differences(run.verdict)),
    ]


def _differences(verdict: Differences) -> str:
    return f"{verdict.lost + verdict.unasked}, {verdict.doubled}, {verdict.invented}, {verdict.different}"


def main(arguments: Sequence[str] = ()) -> int:
    """Measure and print; return 1 when a store differs from the truth."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.backfill", description=__doc__)
    parser.add_argument("--full", action="store_true", help="two years of three coins instead of weeks of them")
    parser.add_argument("--days", type=int, help="so many days in every part")
    options = parser.parse_args(list(arguments))
    most = FULL_DAYS if options.full else None
    parts = (
        ("at the exchange's limit", options.days or most or 30, PRIVATE_RATE, 0),
        ("without any limit", options.days or most or 60, 0, 0),
        (f"without any limit, killed {KILLS} times", options.days or most or 60, 0, KILLS),
    )
    is_clean = True
    for part in parts:
        run = _measure(*part)
        show(f"backfill {run.label}: {len(PRODUCTS)} coins, {run.span}", ("what", "figure"), _rows(run))
        is_clean = is_clean and run.verdict.is_clean
    ours, flow = _through_the_flow(FLOW_DAYS)
    rows = [("the worker alone", ours), ("flows/backfill.py, its own Prefect server included", flow)]
    show(f"{FLOW_DAYS} days of {len(PRODUCTS)} coins, whole processes", ("what", "seconds"), rows)
    if not is_clean:
        console.print("a store differs from the exchange's truth; repeat with the same command")
    return int(not is_clean)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
