"""Be the processes of the fault campaign: a worker that is killed, and a reader that must never notice.

A worker does what the flow's tasks do, a thread for each product, by the same functions (`market.ingest.backfill`,
`FeatureStore.publish`), and writes down every page whose commit has returned. It is forked from a process that has
imported everything already, so that a start costs some ten milliseconds instead of a second.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import resource
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core import failpoints
from core.errors import CredentialsError, DeskError, DiskFullError, ExchangeUnavailableError
from core.settings import load_settings
from market.ingest.backfill import BackfillResult, backfill, fetch
from market.ingest.repair import RepairResult, repair
from market.providers import RetryPolicy
from market.providers.coinbase import CoinbaseProvider
from store.feature_store import FeatureStore
from store.reader import Reader
from store.schema import migrate_databases
from tests.campaign.fault_plan import RANDOM

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from multiprocessing.process import BaseProcess
    from pathlib import Path

    from core.candles import Page, Span
    from core.settings import Settings
    from store.ingest import WriteCount
    from tests.campaign.fault_plan import Death

QUICK = RetryPolicy(attempts=6, wait_initial=0.02, wait_max=0.3, wait_jitter=0.03)
"""As often as ever, but with short waits: a campaign of thousands of faults is not spent asleep."""

STUCK_SECONDS = 120.0
PARTIAL, REFUSED, BROKEN = 3, 2, 4
"""Exit statuses: some windows failed and are noted; the disk was full or the key refused; any other error."""


@dataclass(frozen=True)
class WorkerJob:
    """One life of a worker."""

    environ: Mapping[str, str]
    """Settings, and perhaps failpoints."""
    products: tuple[str, ...]
    span: Span
    folder: Path
    """For the journal and the log."""
    name: str
    again: Mapping[str, Sequence[Span]]
    """Windows to ask again by product, instead of what is missing."""
    repairs: bool = False
    """Ask again for what is doubtful, instead of what is missing."""
    publish_share: float = 0.0
    """How many of the commits are followed by a new read copy."""
    export: bool = False
    """Write the raw export of each product instead of asking for anything."""
    seed: int = 0
    retry: RetryPolicy | None = QUICK

    @property
    def journal(self) -> Path:
        """Where acknowledged pages are written down."""
        return self.folder / f"{self.name}.jsonl"


def work(job: WorkerJob) -> None:
    """Be the worker: exits with 0, PARTIAL, REFUSED or, which is a finding, BROKEN; or is killed."""
    os.environ.update(job.environ)
    failpoints.rearm()
    sys.stdout = sys.stderr = (job.folder / f"{job.name}.log").open("w", buffering=1)
    settings = load_settings()
    try:
        sys.exit(_worked(settings, job))
    except DeskError as error:
        print(type(error).__name__, error)
        sys.exit(REFUSED if isinstance(error, DiskFullError | CredentialsError) else BROKEN)


def _worked(settings: Settings, job: WorkerJob) -> int:
    migrate_databases(settings.paths)
    if job.export:
        with FeatureStore(settings.paths.market_db) as store:
            for product in job.products:
                store.export_raw(product, job.span, settings.paths.raw)
        return 0
    Journal(job, settings).keep()
    with ThreadPoolExecutor(len(job.products)) as threads:
        results = list(threads.map(lambda product: asyncio.run(_fetch_product(settings, job, product)), job.products))
    with FeatureStore(settings.paths.market_db) as store:
        store.publish(settings.paths.market_copy)
    return PARTIAL if any(result is None or result.state == "partial" for result in results) else 0


async def _fetch_product(settings: Settings, job: WorkerJob, product: str) -> BackfillResult | RepairResult | None:
    """Fetch one product; None when the exchange could not be asked, which costs the others nothing."""
    provider = CoinbaseProvider(settings, retry=job.retry)
    try:
        if job.repairs:
            return await repair(settings, product, provider=provider)
        if job.again:
            with FeatureStore(settings.paths.market_db) as store:
                return await fetch(store, provider, product, job.again.get(product, ()))
        return await backfill(settings, product, job.span, provider=provider)
    except ExchangeUnavailableError as error:
        print(product, error)
        return None
    finally:
        await provider.aclose()


class Journal:
    """Writes down what was acknowledged: a line for each page, on the disk before the worker goes on."""

    def __init__(self, job: WorkerJob, settings: Settings) -> None:
        """Open the journal of one life."""
        self._descriptor = os.open(job.journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)
        self._dice = random.Random(job.seed)
        self._job = job
        self._copy = settings.paths.market_copy

    def keep(self) -> None:
        """From now on see every commit of this process."""
        committed = FeatureStore.record_pages

        def record_pages(store: FeatureStore, pages: Sequence[Page]) -> WriteCount:
            count = committed(store, pages)
            self._write(pages)
            if self._dice.random() < self._job.publish_share:
                store.publish(self._copy)
            return count

        FeatureStore.record_pages = record_pages  # type: ignore[method-assign]

    def _write(self, pages: Sequence[Page]) -> None:
        lines = [
            json.dumps([page.product, page.window.start.isoformat(), page.window.end.isoformat(), len(page.candles)])
            for page in pages
        ]
        os.write(self._descriptor, "".join(f"{line}\n" for line in lines).encode())
        os.fsync(self._descriptor)


def read_on(home: Path, until: Path, result: Path) -> None:
    """Be a reader of the published copy until the file ``until`` appears; leave what was seen in ``result``.

    What counts against the copy: any error, a minute twice, fewer minutes than an older copy had.
    """
    os.environ["DESK_HOME"] = str(home)
    paths = load_settings().paths
    reads = went_back = doubled = most = 0
    errors: list[str] = []
    while not until.exists():
        time.sleep(0.15)
        if not paths.market_copy.exists():
            continue
        try:
            with Reader(paths) as reader:
                (row,) = reader.sql(
                    "select count(*) as minutes, count(distinct (product, open_time)) as different from candles_1m"
                )
                reader.sql("select * from coverage")
        except DeskError as error:
            errors.append(str(error))
            continue
        reads += 1
        went_back += row["minutes"] < most
        doubled += row["minutes"] - row["different"]
        most = max(most, row["minutes"])
    seen = {"reads": reads, "errors": errors[:5], "went_back": went_back, "doubled": doubled}
    result.write_text(json.dumps(seen), encoding="utf-8")


def measured_job(job: WorkerJob, result: Path) -> None:
    """Be a worker that leaves in ``result`` what the work cost this process, its imports left out of the seconds."""
    os.environ.update(job.environ)
    sys.stdout = sys.stderr = (job.folder / f"{job.name}.log").open("w", buffering=1)
    settings = load_settings()
    began, cpu = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(len(job.products)) as threads:
        results = list(threads.map(lambda product: asyncio.run(backfill(settings, product, job.span)), job.products))
    figures = {
        "seconds": time.perf_counter() - began,
        "states": sorted({result.state for result in results}),
        "cpu_seconds": time.process_time() - cpu,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    result.write_text(json.dumps(figures), encoding="utf-8")


class BrokenPromise(Exception):  # what a campaign is for, not what goes wrong in it
    """A promise that was broken."""


@dataclass
class Life:
    """A running worker and how it is meant to end."""

    process: BaseProcess
    death: Death
    job: WorkerJob
    began: float

    def end(self) -> str:
        """Wait for its end, or bring it about; return what became of it."""
        is_random = self.death.place == RANDOM
        self.process.join(
            max(0.0, self.began + self.death.after_seconds - time.monotonic()) if is_random else STUCK_SECONDS
        )
        if is_random and self.process.is_alive():
            self.process.kill()
            self.process.join()
        if self.process.is_alive():
            self.process.kill()
            msg = f"worker {self.job.name} was still at work after {STUCK_SECONDS:g} s; its log: {self.job.folder}"
            raise BrokenPromise(msg)
        endings = {-signal.SIGKILL: self.death.place, 0: "finished", PARTIAL: "partial", REFUSED: "refused"}
        if self.process.exitcode not in endings:
            msg = f"worker {self.job.name} ended with status {self.process.exitcode}; its log: {self.job.folder}"
            raise BrokenPromise(msg)
        return endings[self.process.exitcode]
