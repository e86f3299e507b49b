"""Kill workers by a seed while the exchange misbehaves and readers read; compare what is left with an oracle.

An episode begins with an empty folder. Round after round one worker, or two on different products, is started, dies
as planned, and what is on the disk is held against the truth and against what the worker had acknowledged. When the
episode has had its kills, the exchange behaves again, a worker runs to its end undisturbed, what faults had told wrong
is asked for again, and the store must equal the truth minute for minute.
"""

from __future__ import annotations

import json
import random
import signal
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

from core.candles import Span
from core.errors import DeskError, StoreError
from core.settings import load_settings
from market.ingest.backfill import MAX_PAGES_WAITING, PAGES_PER_WRITE
from market.providers import PAGE_MINUTES
from market.providers.coinbase_connection import MAX_CONCURRENT
from store.feature_store import FeatureStore
from tests.campaign.fault_oracle import CampaignCounts, Differences, Truth, Untrue, exported, judge
from tests.campaign.fault_plan import (
    DAYS,
    EXPORT_PLACES,
    LATE,
    LISTED_AT,
    MARKET,
    PRESENT,
    PRODUCTS,
    RANDOM,
    Death,
    Scene,
    deaths,
    scene,
)
from tests.campaign.fault_worker import STUCK_SECONDS, BrokenPromise, Life, WorkerJob, read_on, work
from tests.campaign.harness import exchange_process, forks, new_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from tests.campaign.harness import ExchangeProcess

MENDING_PLACE = "ingest.after_replaced"
"""Passed only where a minute is told differently than before."""
KILLS_AN_EPISODE = 25
READERS = 2
ON_THE_WAY = MAX_CONCURRENT + MAX_PAGES_WAITING + PAGES_PER_WRITE
"""Pages of one product that a death can throw away: asked for, answered and waiting, being committed."""
_PROBES = {LATE: 60}
"""Requests that finding a listing may take in one life; two for a product that was always there."""


@contextmanager
def exchange_for(home: Path) -> Iterator[tuple[ExchangeProcess, dict[str, str]]]:
    """Start the exchange of a campaign; yields it and the settings of a key that it knows."""
    key, registered = new_key(home)
    names = [option for product in (*PRODUCTS, LATE) for option in ("--product", product)]
    options = ["--market", MARKET, *names, "--listed-at", f"{LATE}={LISTED_AT.isoformat()}", *registered]
    with exchange_process(home, *options, "--public-rate", "0", "--private-rate", "0", present=PRESENT) as exchange:
        yield exchange, key


class Campaign:
    """Runs episodes against one exchange and keeps the counts."""

    def __init__(
        self, seed: int, home: Path, exchange: ExchangeProcess, key: Mapping[str, str], *, days: tuple[int, int] = DAYS
    ) -> None:
        """Prepare a campaign; ``key`` is the client's side of the key that the exchange knows."""
        self.seed, self._days = seed, days
        self.counts = CampaignCounts()
        self._home, self._exchange, self._key = home, exchange, dict(key)
        # fork-server children of a campaign need what a worker and a reader need, and nothing of pytest
        self._forks = forks("tests.campaign.fault_campaign", "tests.campaign.fault_flows", "rich.progress")
        self._present = PRESENT

    def run(self, kills: int, on_kill: Callable[[int, str], None] = lambda _killed, _note: None) -> CampaignCounts:
        """Run episodes until ``kills`` workers were killed, or a promise was broken."""
        while self.counts.killed < kills and not self.counts.findings:
            self.episode(self.counts.episodes, min(KILLS_AN_EPISODE, kills - self.counts.killed), on_kill)
        return self.counts

    def episode(
        self,
        number: int,
        kills: int,
        on_kill: Callable[[int, str], None] = lambda _killed, _note: None,
        plan: Iterator[Death] | None = None,
    ) -> None:
        """Run one episode with about ``kills`` kills, as the seed says or by another ``plan``; note a broken promise."""
        episode = _Episode(self, scene(self.seed, number, self._days), on_kill)
        try:
            episode.run(kills, plan or deaths(self.seed, number))
        except (BrokenPromise, DeskError) as finding:
            self.counts.findings.append(f"episode {number}: {finding}")
        finally:
            self._exchange.plan_faults([])
            self.counts.episodes += 1

    def step(self) -> None:
        """Let the exchange's clock go on, so that what it tells next is known later than what it told before."""
        self._present += timedelta(minutes=1)
        self._exchange.step_to(self._present)


class _Episode:
    """One episode; see the module's text."""

    def __init__(self, campaign: Campaign, what: Scene, on_kill: Callable[[int, str], None]) -> None:
        self._campaign, self._scene, self._on_kill = campaign, what, on_kill
        self._counts, self._exchange, self._forks = campaign.counts, campaign._exchange, campaign._forks
        self._folder = campaign._home / f"episode-{what.number}"
        self._environ = {**self._exchange.environ, "DESK_HOME": str(self._folder / "var")}
        self._environ |= {"PUBLIC_REQUESTS_PER_SECOND": "1000", "PRIVATE_REQUESTS_PER_SECOND": "1000"}
        self._environ |= campaign._key if what.has_key else {"COINBASE_API_KEY": "", "COINBASE_API_SECRET": ""}
        settings = load_settings(desk_home=self._folder / "var")
        settings.paths.make()
        self._paths = settings.paths
        self._store = FeatureStore(self._paths.market_db)
        self._truths = [
            Truth.of(MARKET, product, what.span, listed_at=LISTED_AT if product == LATE else None)
            for product in what.products
        ]
        self._dice = random.Random(f"{campaign.seed} {what.number} rounds")
        self._acknowledged: dict[str, list[Span]] = {product: [] for product in what.products}
        self._lives = 0
        self._notes_before = len(self._exchange.stats()["untrue"])

    def run(self, kills: int, plan: Iterator[Death]) -> None:
        """Kill, mend, compare."""
        self._exchange.plan_faults(self._scene.faults)
        before = self._exchange.stats()["faults"]
        requests = self._exchange.requests()
        with self._readers():
            wanted = self._counts.killed + kills - len(EXPORT_PLACES)
            while self._counts.killed < wanted and (fates := list(islice(plan, 2))):
                self._round(fates)
            self._exchange.plan_faults([])
            self._undisturbed()
        self._counts.requests += self._exchange.requests() - requests
        self._counts.needed += self._scene.pages
        self._counts.faults.update(Counter(self._exchange.stats()["faults"]) - Counter(before))
        self._exports()

    def _round(self, fates: Sequence[Death]) -> None:
        """Start one worker, or two with a fate each that share the products, see it die, and look at what is left.

        Whoever opens the database first after a kill recovers it. Now and then nobody looks, so that it is a worker.
        """
        self._campaign.step()
        looks = self._dice.random() < 0.7
        missing = self._missing_pages() if looks else None
        requests, faults = self._exchange.requests(), self._answer_faults()
        jobs = self._jobs(again=missing == 0, mends=any(fate.place == MENDING_PLACE for fate in fates))
        lives = [self._start(job, fate) for job, fate in zip(jobs, fates, strict=False)]
        for life in lives:
            ending = life.end()
            if life.process.exitcode == -signal.SIGKILL:
                self._counts.kills[ending] += 1
                self._on_kill(self._counts.killed, f"episode {self._scene.number}, {ending}")
            else:
                self._counts.ends[ending] += 1
            self._read_journal(life.job)
        asked = self._exchange.requests() - requests
        retried = self._answer_faults() - faults
        self._counts.retried += retried
        if missing is None:
            return
        windows = sum(len(spans) for job in jobs for spans in job.again.values())
        if not any(job.repairs for job in jobs):
            self._count_requests(asked - retried, missing, windows)
        self._compare(Untrue.of(self._notes()), whole=False)
        self._counts.checks += 1

    def _count_requests(self, asked: int, missing: int, windows: int) -> None:
        """Hold the requests of a round, those met by faults left out, against the pages that were missing or ordered.

        Raises:
            BrokenPromise: more was asked for than there was to ask, or a death cost more than what can be on its way.
        """
        products = self._scene.products
        probes = sum(_PROBES.get(product, 2) for product in products)
        if asked > missing + windows + probes:
            msg = f"{asked} requests were made; {missing} pages were missing, {windows} windows ordered, {probes} may probe"
            raise BrokenPromise(msg)
        if windows:
            return
        lost = asked - (missing - self._missing_pages())
        self._counts.thrown_away.append(lost)
        if lost > len(products) * ON_THE_WAY + probes:
            msg = f"{lost} answers were thrown away; at most {len(products) * ON_THE_WAY} can be on their way"
            raise BrokenPromise(msg)

    def _jobs(self, *, again: bool, mends: bool) -> list[WorkerJob]:
        """Share the products among one or two workers; what is complete is asked for again, in part or from nothing."""
        untrue = Untrue.of(self._notes())
        windows = {product: untrue.windows(product, self._scene.span) for product in self._scene.products}
        mends = any(windows.values()) and (again or mends or self._dice.random() < 0.1)
        if not mends and not again and self._dice.random() < 0.1:
            return [self._job(self._scene.products, {}, repairs=True)]
        if again and not mends:
            # nothing is missing and nothing is wrong: the same pages once more, which must change nothing
            windows = {product: list(self._scene.span.pages(PAGE_MINUTES)) for product in self._scene.products}
        names = list(self._scene.products)
        self._dice.shuffle(names)
        parts = [names[:1], names[1:]] if self._dice.random() < 0.4 else [names]
        chosen = windows if again or mends else {}
        return [self._job(tuple(part), {name: chosen[name] for name in part if chosen.get(name)}) for part in parts]

    def _job(
        self,
        products: tuple[str, ...],
        again: Mapping[str, Sequence[Span]],
        *,
        export: bool = False,
        repairs: bool = False,
    ) -> WorkerJob:
        self._lives += 1
        return WorkerJob(
            self._environ,
            products,
            self._scene.span,
            self._folder,
            f"life-{self._lives}",
            again,
            publish_share=self._dice.choice((0.0, 0.5, 1.0)),
            repairs=repairs,
            export=export,
            seed=self._lives,
        )

    def _start(self, job: WorkerJob, death: Death | None) -> Life:
        meant = death or Death("nothing")
        environ = {**job.environ, **(death.environ if death else Death(RANDOM).environ)}
        armed = WorkerJob(**{**job.__dict__, "environ": environ})
        process = self._forks.Process(target=work, args=(armed,))
        process.start()
        return Life(process, meant, armed, time.monotonic())

    def _undisturbed(self) -> None:
        """Let a worker finish, ask again for what was told wrong, and hold the store against the truth."""
        self._campaign.step()
        self._finish(self._job(self._scene.products, {}))
        untrue = Untrue.of(self._notes())
        self._compare(untrue, whole=True)
        windows = {product: untrue.windows(product, self._scene.span) for product in self._scene.products}
        # the repair asks again for what it doubts: minutes without a candle. Of a candle told wrong nobody but us knows
        self._campaign.step()
        self._finish(self._job(self._scene.products, {}, repairs=True))
        if any(windows.values()):
            self._finish(self._job(self._scene.products, windows))
        differences = self._compare(None, whole=True)
        self._counts.differences += differences
        self._counts.minutes += sum(truth.minute_N.size for truth in self._truths)
        bad = [row for row in self._store.quality() if row["bad_rows"]]
        if bad:
            msg = f"the store's own checks find {bad}"
            raise BrokenPromise(msg)

    def _finish(self, job: WorkerJob) -> None:
        life = self._start(job, None)
        ending = life.end()
        if ending != "finished":
            msg = f"an undisturbed worker ended {ending}; its log: {life.job.folder / life.job.name}.log"
            raise BrokenPromise(msg)
        self._read_journal(life.job)

    def _compare(self, untrue: Untrue | None, *, whole: bool) -> Differences:
        """Hold the store against the truth.

        Raises:
            BrokenPromise: it differs.
        """
        differences = Differences()
        if self._has_tables():
            for truth in self._truths:
                differences += judge(self._store, truth, untrue, self._acknowledged[truth.product], whole=whole)
        if not differences.is_clean:
            self._counts.differences += differences
            text = ", ".join(f"{count} {name}" for name, count in asdict(differences).items() if count)
            msg = f"after life {self._lives} the store differs from the truth: {text}; see {self._folder}"
            raise BrokenPromise(msg)
        return differences

    def _has_tables(self) -> bool:
        """Whether a worker has lived long enough to make the tables."""
        if not self._paths.market_db.exists():
            return False
        try:
            self._store.missing_windows(self._scene.products[0], self._scene.span)
        except StoreError:
            if any(self._acknowledged.values()):
                raise
            return False
        return True

    def _exports(self) -> None:
        """Kill the raw export at each of its places; then the same command must leave the truth and nothing else."""
        product, span = self._scene.products[0], self._scene.span
        for place in EXPORT_PLACES:
            ending = self._start(self._job((product,), {}, export=True), Death(place)).end()
            if ending != place:
                msg = f"an export was not killed at {place} but ended {ending}"
                raise BrokenPromise(msg)
            self._counts.kills[place] += 1
            self._on_kill(self._counts.killed, f"episode {self._scene.number}, {place}")
        ending = self._start(self._job((product,), {}, export=True), None).end()
        files = sorted(self._paths.raw.glob(f"{product}*.parquet"))
        if ending != "finished" or len(files) != 1 or not self._truths[0].equals(*exported(files[0])):
            msg = f"the export of {product} over {span} ended {ending} and left {[file.name for file in files]}, not the truth"
            raise BrokenPromise(msg)

    @contextmanager
    def _readers(self) -> Iterator[None]:
        """Read the published copy all the while; at the end nobody may have noticed anything."""
        until = self._folder / "readers.end"
        results = [self._folder / f"reader-{number}.json" for number in range(READERS)]
        processes = [self._forks.Process(target=read_on, args=(self._paths.home, until, result)) for result in results]
        for process in processes:
            process.start()
        try:
            yield
        finally:
            until.touch()
            for process in processes:
                process.join(STUCK_SECONDS)
                process.kill()
        for result in results:
            seen: dict[str, Any] = (
                json.loads(result.read_text(encoding="utf-8")) if result.exists() else {"errors": ["it died"]}
            )
            if seen["errors"] or seen["doubled"] or seen["went_back"]:
                msg = f"a reader of the published copy noticed: {seen}"
                raise BrokenPromise(msg)
            self._counts.reads += seen["reads"]

    def _read_journal(self, job: WorkerJob) -> None:
        if not job.journal.exists():
            return
        for line in job.journal.read_text(encoding="utf-8").splitlines():
            product, start, end, _ = json.loads(line)
            self._acknowledged[product].append(Span(datetime.fromisoformat(start), datetime.fromisoformat(end)))
            self._counts.acknowledged += 1

    def _missing_pages(self) -> int:
        """Requests that a worker which starts now has to make."""
        if not self._has_tables():
            return self._scene.pages
        gaps = [gap for truth in self._truths for gap in self._store.missing_windows(truth.product, truth.offered)]
        return sum(1 for gap in gaps for _ in gap.pages(PAGE_MINUTES))

    def _answer_faults(self) -> int:
        happened = self._exchange.stats()["faults"]
        return sum(happened.get(kind, 0) for kind in ("429", "500", "502", "401", "reset", "slow", "html", "truncated"))

    def _notes(self) -> list[list[Any]]:
        return list(self._exchange.stats()["untrue"][self._notes_before :])
