"""Run all eight steps against a local exchange, from an empty folder to a verdict (`desk demo`).

Nothing in it is a shortcut: the exchange speaks Coinbase's wire format and checks real JWTs, the candles go through the
same client, store, SQL, training, gates, runtime and outbox as real ones. Only the exchange's clock is stepped, so that
three days of minutes pass in a minute or two.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
import time
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from rich.console import Console

from core.errors import ConfigError, DeskError
from core.settings import Paths, Settings, load_settings
from desk.child_servers import LOOPBACK, child, free_port, listens, wait_for
from desk.demo_steps import StepBoard
from market.exchange.recorded_market import file_name, recorded_markets
from reports.observation.terminal import verdict_table
from reports.observation.verdict_page import read_summary
from store.signal_store import SignalStore

PROJECT = Path(__file__).resolve().parent.parent
KEY_NAME = "organizations/demo/apiKeys/demo"
SIMULATED_PRESENT = datetime(2025, 11, 10, tzinfo=UTC)
"""A simulated exchange's own present when the demo starts."""
BATCH_MINUTES = 60
_TRAINING = {
    # a row of flow sums up an hour, the planted edge among it: logistic regression would do as well as a network, and the
    # gate beats_baselines rightly refuse the network; a row of seed39 sees twenty minutes, the network sixty
    "planted": {"TRAIN_PRESET": "demo", "FEATURE_SET": "seed39"},
    # the settings for real candles, on fewer windows than one would take for more than a demonstration
    "recorded": {"TRAIN_PRESET": "market", "EPOCHS": "3", "TRAIN_STRIDE": "10", "TRANSFORMER_STRIDE": "30"},
}
_MADE = re.compile(
    r"demo\.json|\.models-registry-head\.json|exchange_public_key\.pem|raw|datasets|models|reports|logs|null-check|(runtime|follow)\.lock"
    r"|kill_switch.*|rate_limit.*|(market|signals)(_read)?\.duckdb.*"
)
"""What commands leave in a demo's folder; anything else is somebody's own."""
console = Console()


class MarketKind(StrEnum):
    """What the local exchange trades."""

    PLANTED = "planted"
    NULL = "null"
    RECORDED = "recorded"


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """One demo: its folder, its market and how much of it."""

    home: Path
    market: str
    data: Path | None
    days: int
    hours: int
    seed: int
    present: datetime
    """The exchange's own time at the start."""

    @property
    def identity(self) -> str:
        """What an interrupted demo must share with this one to be gone on with."""
        return f"{self.market} {self.data} {self.days} {self.hours} {self.seed}"


def demo(
    market: Annotated[
        MarketKind,
        typer.Option(
            help="planted: BTC and ETH have an edge, SOL has none; null: nothing to find; recorded: real candles"
        ),
    ] = MarketKind.PLANTED,
    data: Annotated[
        Path | None, typer.Option(help="Folder of coinbase_<PRODUCT>_1m.parquet files, for recorded")
    ] = None,
    days: Annotated[int, typer.Option(help="Days of history", min=20)] = 60,
    hours: Annotated[int, typer.Option(help="Hours of observation", min=1)] = 72,
    seed: Annotated[int, typer.Option(help="Seed of the simulated market")] = 7,
    home: Annotated[Path | None, typer.Option(help="Folder to work in; var/demo-<market> when left out")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete the earlier demo in the folder of --home")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Print the log lines instead of the bars")] = False,
) -> None:
    """Carry an empty folder through all eight steps and end with the verdict; about five minutes on two cores."""
    present = _recorded_present(data, hours) if market is MarketKind.RECORDED else SIMULATED_PRESENT
    plan = DemoPlan(home or Path("var") / f"demo-{market}", market.value, data, days, hours, seed, present)
    paths = Paths(plan.home.absolute())
    # so that SIGTERM leaves the block below, which ends the servers, as Ctrl-C does
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    # a folder that nobody named is the demo's own
    _prepare(plan, paths, may_delete=fresh or home is None)
    started = time.monotonic()
    with ExitStack() as stack:
        environ = _start_servers(stack, plan, paths)
        _run_flow(plan, paths, environ, verbose=verbose)
    _mark(paths, plan, finished=True)
    _farewell(load_settings(desk_home=paths.home), paths, time.monotonic() - started)


def _recorded_present(data: Path | None, hours: int) -> datetime:
    """Return the last midnight after which every recorded product still has ``hours`` of candles.

    Raises:
        ConfigError: no folder is named, or it holds none of the products' files.
    """
    if data is None:
        msg = "MARKET=recorded needs candles; name their folder: make demo MARKET=recorded DATA=folder"
        raise ConfigError(msg)
    products = load_settings().products
    present = [product for product in products if (data / file_name(product)).is_file()]
    if not present:
        names = ", ".join(file_name(product) for product in products)
        msg = f"{data} holds none of {names}; name another folder with DATA="
        raise ConfigError(msg)
    last = min(market.end_minute for market in recorded_markets(data, present).values()) - 60 * hours
    return datetime.fromtimestamp(60 * last, UTC).replace(hour=0, minute=0)


def _prepare(plan: DemoPlan, paths: Paths, *, may_delete: bool) -> None:
    """Start from an empty folder, or go on in one whose demo was interrupted.

    Raises:
        ConfigError: what is there is no demo's, or an earlier demo's that may not be deleted.
    """
    marker = paths.home / "demo.json"
    if marker.exists():
        if marker.read_bytes() == _marker(plan, finished=False):
            console.print(f"going on with the interrupted demo in {paths.home}")
            return
        _refuse_foreign(paths.home)
        if not may_delete:
            msg = f"{paths.home} holds an earlier demo, or what looks like one; --fresh deletes it, --home takes another folder"
            raise ConfigError(msg)
        shutil.rmtree(paths.home)
    elif paths.home.exists():
        _refuse_foreign(paths.home)
    paths.make()
    _mark(paths, plan, finished=False)


def _refuse_foreign(home: Path) -> None:
    """Raise a `ConfigError` where ``home`` holds anything that no demo makes; it would be deleted with the old demo."""
    foreign = sorted(path.name for path in home.iterdir() if not _MADE.fullmatch(path.name))
    if foreign or (any(home.iterdir()) and not (home / "demo.json").exists()):
        msg = f"{home} is not empty and no demo of ours ({', '.join(foreign[:3]) or 'it has no demo.json'}); choose another folder: desk demo --home folder"
        raise ConfigError(msg)


def _mark(paths: Paths, plan: DemoPlan, *, finished: bool) -> None:
    (paths.home / "demo.json").write_bytes(_marker(plan, finished=finished))


def _marker(plan: DemoPlan, *, finished: bool) -> bytes:
    return json.dumps({"plan": plan.identity, "finished": finished}).encode()


def _start_servers(stack: ExitStack, plan: DemoPlan, paths: Paths) -> dict[str, str]:
    """Start the exchange and the alert receiver; return the environment in which everything finds them."""
    exchange_port, receiver_port = free_port(), free_port()
    secret, public = _key_pair()
    public_file = paths.home / "exchange_public_key.pem"
    public_file.write_text(public, encoding="utf-8")
    environ = {**os.environ, **_environ(plan, paths, exchange_port, receiver_port, secret)}
    exchange = _exchange_command(plan, paths, exchange_port, public_file)
    log = paths.logs / "exchange.log"
    # only the flow is given the private half of the key; the exchange knows the public one
    process = stack.enter_context(child(exchange, log, os.environ))
    wait_for(process, lambda: listens(exchange_port), "the local exchange", log)
    receiver_log = paths.logs / "receiver.log"
    receiver = [sys.executable, "-m", "runtime.alerts.local_receiver", "--port", str(receiver_port)]
    receiver += ["--file", str(paths.logs / "received.jsonl")]
    process = stack.enter_context(child(receiver, receiver_log, os.environ))
    wait_for(process, lambda: listens(receiver_port), "the alert receiver", receiver_log)
    _introduce(plan, log)
    return environ


def _introduce(plan: DemoPlan, log: Path) -> None:
    console.print(
        f"local exchange on loopback, market [bold]{plan.market}[/bold], its present {plan.present:%Y-%m-%d %H:%M} UTC"
    )
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        if "best possible accuracy" in line:
            console.print(f"  {line.strip()}")


def _exchange_command(plan: DemoPlan, paths: Paths, port: int, public_file: Path) -> list[str]:
    present = SignalStore(paths.signals_db).resume_moment() or plan.present
    command = [sys.executable, "-m", "desk", "exchange", "--market", plan.market, "--port", str(port), "--stepped"]
    command += ["--start", max(present, plan.present).isoformat(), "--seed", str(plan.seed)]
    command += ["--public-key", str(public_file), "--key-name", KEY_NAME]
    if plan.market == "planted":
        command += ["--null-products", "SOL-USD"]
    if plan.data is not None:
        command += ["--data", str(plan.data)]
    return command


def _key_pair() -> tuple[str, str]:
    """Make a throw-away ES256 key; the private half only ever lives in the flow's environment."""
    key = ec.generate_private_key(ec.SECP256R1())
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return secret.decode(), public.decode()


def _environ(plan: DemoPlan, paths: Paths, exchange_port: int, receiver_port: int, secret: str) -> dict[str, str]:
    return {
        "DESK_HOME": str(paths.home),
        "PROVIDER": "coinbase",
        "COINBASE_BASE_URL": f"http://{LOOPBACK}:{exchange_port}/api/v3/brokerage",
        "COINBASE_JWT_HOST": "api.coinbase.com",
        "COINBASE_API_KEY": KEY_NAME,
        "COINBASE_API_SECRET": secret,
        "CLOCK": "exchange",
        "MODE": "dryrun",
        "TASK_RUNNER": "processes",
        **_TRAINING.get(plan.market, _TRAINING["planted"]),
        "ALERT_URLS": f"json://{LOOPBACK}:{receiver_port}/",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_LEVEL": "INFO",  # the bars are read from its lines
        "DO_NOT_TRACK": "1",
        "PYTHONUNBUFFERED": "1",
    }


def _run_flow(plan: DemoPlan, paths: Paths, environ: dict[str, str], *, verbose: bool) -> None:
    """Run the flow `restart`, show how far it is, and keep all that it prints in ``logs/demo.log``.

    Raises:
        DeskError: it failed; the text carries its last line.
    """
    command = [sys.executable, str(PROJECT / "flows" / "restart.py")]
    for name, value in (("days", plan.days), ("hours", plan.hours), ("batch_minutes", BATCH_MINUTES)):
        command += ["-p", f"{name}={value}"]
    command += ["-p", f"end={plan.present.isoformat()}"]
    products = len(load_settings().products)
    # an LSTM of each product and the transformer; on recorded candles the boosting member too
    board = StepBoard(console, products=products, trainings=products + (2 if plan.market == "recorded" else 1))
    last = "it printed nothing"
    with (
        (paths.logs / "demo.log").open("a", encoding="utf-8") as log,
        # it may have to wait for a training to stop before it can end Prefect's temporary server
        child(command, None, environ, patience_seconds=30.0) as process,
        nullcontext() if verbose else board,
    ):
        for raw in process.stdout or ():
            line = raw.decode("utf-8", "replace").rstrip()
            log.write(f"{line}\n")
            log.flush()
            last = line or last
            if verbose:
                console.print(line, markup=False, highlight=False, soft_wrap=True)
            else:
                board.feed(line)
        code = process.wait()
        if code != 0:
            msg = f"the flow restart ended with status {code}: {last} (log: {log.name}). Run the same command again: it does only what is left"
            raise DeskError(msg)


def _farewell(settings: Settings, paths: Paths, seconds: float) -> None:
    summary = read_summary(settings)
    console.print(verdict_table(summary))
    lines = [
        "",
        f"took      {timedelta(seconds=round(seconds))}",
        f"report    {summary.html}",
        f"log       {paths.logs / 'demo.log'}",
        "try       (in this folder)",
        *(f'  DESK_HOME={settings.desk_home} .venv/bin/desk sql "{query}"' for query in summary.queries),
    ]
    console.print("\n".join(lines), soft_wrap=True, highlight=False, markup=False)
