"""Two coins trained by Dask or Ray: in two worker processes that have no DuckDB, no database and another folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from core.candles import Page, Span
from core.settings import load_settings
from desk.child_servers import child, free_port, listens, wait_for
from market.exchange.simulated_market import simulated_market
from market.providers.extras import install_command
from models.training.run_training import train_in_process
from store.feature_store import FeatureStore
from tasks.train import plan_trainings

if TYPE_CHECKING:
    from core.dataset_files import DatasetRef

ROOT = Path(__file__).resolve().parent.parent.parent
COINS = ("BTC-USD", "ETH-USD")
PRESENT = datetime(2024, 3, 4, tzinfo=UTC)
SPAN = Span(PRESENT - timedelta(days=8), PRESENT)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@dataclass(frozen=True)
class Site:
    """A desk with a data set, a place to share, and folders for workers who know neither."""

    folder: Path
    dataset: DatasetRef

    @property
    def home(self) -> Path:
        return self.folder / "desk"

    def worker(self, name: str) -> dict[str, str]:
        """Environment of a worker: a folder of its own, and in the place of DuckDB a file that refuses to be imported."""
        blocked = self.folder / "blocked"
        blocked.mkdir(exist_ok=True)
        (blocked / "duckdb.py").write_text("raise ImportError('a worker has no DuckDB')\n")
        (self.folder / name).mkdir()
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "DESK_"))}
        return kept | {
            "PYTHONPATH": os.pathsep.join([str(blocked), os.environ.get("PYTHONPATH", str(ROOT))]),
            "DESK_HOME": str(self.folder / name / "home"),
            "PWD": str(self.folder / name),
        }


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Site:
    folder = tmp_path_factory.mktemp("site")
    settings = load_settings(desk_home=folder / "desk")
    settings.paths.make()
    store = FeatureStore(settings.paths.market_db)
    store.migrate()
    for coin in COINS:
        candles = tuple(simulated_market("planted", coin).candles(SPAN))
        store.record_pages([Page(coin, SPAN, candles, PRESENT, "local:planted")])
    return Site(folder, store.export_dataset(COINS, SPAN, settings.paths.datasets, feature_set="seed39"))


@pytest.fixture(scope="module")
def trained_here(site) -> dict[str, str]:
    """Hash of a candidate's weights, trained by a child process of this machine: one coin's, the other costs as much again."""
    settings = load_settings(desk_home=site.home, train_preset="demo")
    spec, _ = plan_trainings(settings, COINS, 1, transformer=False)
    candidate = train_in_process(spec, site.dataset, site.folder / "here")
    return {candidate.candidate_id: weights_of(Path(candidate.path))}


def weights_of(folder: Path) -> str:
    return sha256((folder / "weights.pt").read_bytes()).hexdigest()


def candidates_in(folder: Path) -> dict[str, str]:
    return {marker.parent.name: weights_of(marker.parent) for marker in folder.glob("*/candidate.json")}


def require(library: str, extra: str) -> None:
    if find_spec(library) is None:
        pytest.skip(f"the extra {extra} is not installed: {install_command(extra)}")


@contextmanager
def dask_cluster(site: Site):
    """A scheduler and two workers of one thread each; yield its address."""
    port = free_port()
    command = [sys.executable, "-m", "dask"]
    quiet = ["--host", "127.0.0.1", "--no-dashboard"]
    with ExitStack() as stack:
        log = site.folder / "scheduler.log"
        scheduler = [*command, "scheduler", "--port", str(port), *quiet]
        process = stack.enter_context(child(scheduler, log, site.worker("scheduler")))
        wait_for(process, lambda: listens(port), "the Dask scheduler", log)
        for name in ("first", "second"):
            environ, log = site.worker(name), site.folder / f"{name}.log"
            worker = [*command, "worker", f"tcp://127.0.0.1:{port}", "--nthreads", "1", "--nworkers", "1", *quiet]
            worker += ["--local-directory", str(site.folder / name)]
            process = stack.enter_context(child(["env", "-C", environ["PWD"], *worker], log, environ))
            wait_for(process, lambda log=log: b"Starting established" in log.read_bytes(), "a Dask worker", log)
        yield f"tcp://127.0.0.1:{port}"


@contextmanager
def ray_cluster(site: Site):
    """One node of two processors; yield its address."""
    port, environ = free_port(), site.worker("node") | {"RAY_USAGE_STATS_ENABLED": "0"}
    ray = str(Path(sys.executable).parent / "ray")
    command = [ray, "start", "--head", "--block", "--port", str(port), "--num-cpus", "2"]
    command += ["--node-ip-address", "127.0.0.1", "--include-dashboard=false", "--disable-usage-stats"]
    log = site.folder / "ray.log"
    with child(["env", "-C", environ["PWD"], *command], log, environ) as process:
        wait_for(process, lambda: b"This command will now block" in log.read_bytes(), "Ray", log)
        yield f"127.0.0.1:{port}"


def train_all(site: Site, server, runner: str, address: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Run the flow as its users do, in a copy of the desk that holds no candidate yet."""
    subprocess.run(["cp", "-r", str(site.home), str(home)], check=True)
    places = {
        "DATASETS_URI": (site.folder / f"shared by {runner}").as_uri(),
        "TASK_RUNNER": runner,
        "TASK_RUNNER_ADDRESS": address,
    }
    desk = {"DESK_HOME": str(home), "TRAIN_PRESET": "demo", "FEATURE_SET": "seed39", "PRODUCTS": ",".join(COINS)}
    command = [sys.executable, str(ROOT / "flows" / "train_all.py"), "-p", "epochs=1", "-p", "transformer=false"]
    environ = {**server.environ, **desk, **places, "RAY_USAGE_STATS_ENABLED": "0"}
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)


def test_dask_trains_two_coins_in_two_workers_without_a_database(site, server, trained_here):
    require("prefect_dask", "dask")
    home = site.folder / "desk of dask"
    with dask_cluster(site) as address:
        done = train_all(site, server, "dask", address, home)
    assert done.returncode == 0, done.stdout + done.stderr
    brought = candidates_in(home / "models" / "checkpoints")
    made = [candidates_in(site.folder / name / "home" / "models" / "checkpoints") for name in ("first", "second")]
    assert [len(one) for one in made] == [1, 1]
    assert made[0] | made[1] == brought == brought | trained_here
    assert not list(site.folder.glob("*/home/**/*.duckdb"))


def test_ray_trains_two_coins_in_two_workers_without_a_database(site, server, trained_here):
    require("prefect_ray", "ray")
    home = site.folder / "desk of ray"
    with ray_cluster(site) as address:
        done = train_all(site, server, "ray", address, home)
    assert done.returncode == 0, done.stdout + done.stderr
    brought = candidates_in(home / "models" / "checkpoints")
    made = candidates_in(site.folder / "node" / "home" / "models" / "checkpoints")
    assert len(made) == 2
    assert made == brought == brought | trained_here
    assert len(set(re.findall(r"in process (\d+) on", done.stdout + done.stderr))) == 2
    assert not list(site.folder.glob("*/home/**/*.duckdb"))
