"""Kill the real command, `flows/backfill.py` with its Prefect server, as a whole group; hold the store to the same promise."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from core.candles import Span
from core.settings import Paths
from market.providers import PAGE_MINUTES
from store.feature_store import FeatureStore
from tests.campaign.fault_oracle import Differences, Truth, judge
from tests.campaign.fault_plan import MARKET, PRESENT, PRODUCTS
from tests.campaign.harness import kill_group

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.campaign.fault_oracle import CampaignCounts
    from tests.campaign.harness import ExchangeProcess

PLACE = "flows/backfill.py"
DAYS = 30
ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 240.0


class FlowCampaign:
    """One backfill by the flow, killed a few times on its way."""

    def __init__(self, seed: int, home: Path, exchange: ExchangeProcess) -> None:
        """Choose the span: it ends well before the exchange's present."""
        self._dice = random.Random(f"{seed} flows")
        self._exchange, self._folder = exchange, home / "flows"
        self._products = PRODUCTS[:2]
        end = PRESENT - timedelta(days=self._dice.randint(2, 20))
        self._span = Span(end - timedelta(days=DAYS), end)
        self._folder.mkdir()
        self._environ = {
            **os.environ,
            **exchange.environ,
            "DESK_HOME": str(self._folder / "var"),
            "PREFECT_HOME": str(self._folder / "prefect"),
            "PREFECT_LOGGING_LEVEL": "WARNING",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PUBLIC_REQUESTS_PER_SECOND": "60",
        }
        self._environ.pop("PREFECT_API_URL", None)

    def run(self, kills: int, counts: CampaignCounts, on_kill: Callable[[int, str], None]) -> None:
        """Kill the flow ``kills`` times, let it finish, and note in ``counts`` what was broken."""
        needed = len(self._products) * sum(1 for _ in self._span.pages(PAGE_MINUTES))
        began = self._exchange.requests()
        self._exchange.plan_faults([{"kind": "500", "probability": 0.01}, {"kind": "reset", "probability": 0.01}])
        for number in range(kills):
            wanted = began + int(needed * (number + self._dice.random()) / (kills + 1)) + 1
            process = self._start()
            deadline = time.monotonic() + START_SECONDS
            while self._exchange.requests() < wanted and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
            if process.poll() is None:
                counts.kills[PLACE] += 1
                on_kill(counts.killed, PLACE)
            kill_group(process)
        status = self._start().wait()
        differences = Differences()
        with FeatureStore(Paths(self._folder / "var").market_db) as store:
            for product in self._products:
                truth = Truth.of(MARKET, product, self._span)
                differences += judge(store, truth, whole=True)
                counts.minutes += truth.minute_N.size
        counts.differences += differences
        counts.requests += self._exchange.requests() - began
        counts.needed += needed
        self._exchange.plan_faults([])
        if status or not differences.is_clean:
            counts.findings.append(f"{PLACE}: status {status}, {differences}; see {self._folder}")

    def _start(self) -> subprocess.Popen[bytes]:
        edges = {"start": self._span.start, "end": self._span.end}
        options = [part for name, moment in edges.items() for part in ("-p", f"{name}={moment.isoformat()}")]
        command = [sys.executable, str(ROOT / "flows" / "backfill.py"), "-p", f"products={','.join(self._products)}"]
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(
                [*command, *options], env=self._environ, cwd=ROOT, stdout=log, stderr=log, start_new_session=True
            )
