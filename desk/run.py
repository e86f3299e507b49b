"""Run the serving loop and what a person steers it by: `desk run`, `alerts`, `kill`, `account rearm`, `simulate-loss`."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from core.clock import SystemClock
from core.errors import AlertError, ConfigError, DeskError
from core.locks import runtime_lease
from core.settings import Settings, exposed_files, load_settings, settings_file
from market.providers import ExchangeClock, open_provider
from runtime.alerts.announcer import message
from runtime.alerts.notifier import AppriseChild, Notifier
from runtime.loaded_models import load_models
from runtime.loop import run_loop
from runtime.risk.execution_costs import costs_lookup
from runtime.risk.guardrails import SEVERITY
from runtime.risk.kill_switch import KillSwitch
from runtime.risk.loss_simulation import run_drills
from runtime.session import LoopOptions
from store.signal_rows import RiskEventRow, TickRows
from store.signal_store import SignalStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from core.clock import Clock
    from store.signal_rows import DeliveryRow

alerts_app = typer.Typer(help="Alerts: try the targets.", no_args_is_help=True, add_completion=False)
account_app = typer.Typer(help="The paper account: re-arm it.", no_args_is_help=True, add_completion=False)
kill_app = typer.Typer(
    help="The kill switch: on, off with a reason, status.", no_args_is_help=True, add_completion=False
)


def run(  # one parameter for each flag of the command line
    mode: Annotated[str | None, typer.Option(help="dryrun, shadow or live; the setting MODE when left out")] = None,
    iterations: Annotated[int, typer.Option(help="Minutes to decide, -1 for ever")] = -1,
    sleep_seconds: Annotated[float, typer.Option(help="Extra pause after each tick", min=0)] = 0.0,
    batch_minutes: Annotated[
        int, typer.Option(help="Minutes a tick takes at once; more than 1 is a replay", min=1)
    ] = 1,
    products: Annotated[str | None, typer.Option(help="Such as BTC,ETH; the setting PRODUCTS when left out")] = None,
    progress_json: Annotated[bool, typer.Option(help="Print progress as JSON lines")] = False,
) -> None:
    """Decide every closed minute: candles, features, scores, guardrails, one commit, alerts."""
    settings = load_settings(**({"mode": mode} if mode else {}))
    for line in (f"settings of {settings_file() or 'the environment alone'}", *exposed_files(settings)):
        typer.echo(line, err=True)
    chosen = settings.resolve_products(products)
    settings.paths.make()
    clock = open_clock(settings, batch_minutes)
    models = load_models(settings, chosen, settings.mode)
    notifier = open_notifier(settings)
    options = LoopOptions(
        iterations=iterations,
        sleep_seconds=sleep_seconds,
        mode=settings.mode,
        reload=lambda: load_models(settings, chosen, settings.mode),
        costs_for=costs_lookup(settings, chosen, clock.now()),
        on_progress=json_progress if progress_json else text_progress,
    )
    try:
        result = run_loop(
            settings, provider=open_provider(settings), clock=clock, models=models, notifier=notifier, options=options
        )
    finally:
        notifier.close(0.0)
    typer.echo(
        f"{result.minutes} minutes, {result.decisions} decisions, {result.signals} signals, "
        f"{result.undelivered} messages undelivered; ended by {result.reason}",
        err=True,
    )


def open_clock(settings: Settings, batch_minutes: int) -> Clock:
    """Return the clock the setting CLOCK names."""
    if settings.clock == "exchange":
        return ExchangeClock(settings.coinbase_base_url, batch_minutes)
    return SystemClock(batch_minutes)


def open_notifier(settings: Settings) -> Notifier:
    """Return a notifier for the targets in ALERT_URLS; without any it sends nothing, and the outbox keeps what is owed."""
    store = SignalStore(settings.paths.signals_db)
    transport = AppriseChild(settings.alert_targets) if settings.alert_targets else None
    return Notifier(transport, store.record_deliveries)


def json_progress(done: int, total: int, note: str) -> None:
    """Print one JSON line a step, for the task that runs this as a process."""
    sys.stdout.write(json.dumps({"done": done, "total": total, "note": note}) + "\n")
    sys.stdout.flush()


def text_progress(done: int, _total: int, note: str) -> None:
    """Print one line a step, for a person."""
    typer.echo(f"{done} minutes decided, up to {note}")


@alerts_app.callback()
def _alerts() -> None:
    """Alerts: try the targets."""


@alerts_app.command("test")
def alerts_test() -> None:
    """Send one message to every target in ALERT_URLS and say whether it arrived.

    Raises:
        AlertError: there is no target, or one did not take the message.
    """
    settings = load_settings()
    if not settings.alert_targets:
        msg = "no alert target is set; put Apprise URLs into ALERT_URLS, for example tgram://bottoken/chatid"
        raise AlertError(msg)
    settings.paths.make()
    store = SignalStore(settings.paths.signals_db)
    store.migrate()
    now = datetime.now(UTC)
    key = f"test:{now:%Y%m%dT%H%M%S%f}"
    lines = (f"mode {settings.mode}", "If you read this, alerts arrive.")
    test = message("test", key, now, "info", "Candledesk test message", lines)
    refusals: dict[str, None] = {}

    def record(rows: Sequence[DeliveryRow]) -> None:
        store.record_deliveries(rows)
        refusals.update(dict.fromkeys(row.detail for row in rows if row.detail))

    notifier = Notifier(AppriseChild(settings.alert_targets), record)
    notifier.offer(store.commit_tick(TickRows(outbox=[test])))
    if notifier.close(20.0) > 0:
        msg = f"the test message did not arrive ({'; '.join(refusals) or 'no answer in 20 seconds'}); correct ALERT_URLS and try again"
        raise AlertError(msg)
    typer.echo(f"delivered to {len(settings.alert_targets)} target(s)")


def _switch(settings: Settings) -> KillSwitch:
    return KillSwitch(settings.paths.kill_switch, settings.kill_switch)


@kill_app.command("on")
def kill(reason: Annotated[str, typer.Option(help="Why")] = "") -> None:
    """Switch all signals off, from the next tick on; survives restarts."""
    state = _switch(load_settings()).press(reason)
    typer.echo(f"kill switch is ON: {state.reason}")


@kill_app.command("off")
def rearm(reason: Annotated[str, typer.Option(help="Why it is safe to go on; must be given")] = "") -> None:
    """Let go of the kill switch."""
    state = _switch(load_settings()).rearm(reason)
    typer.echo(f"kill switch is off: {state.reason}")


@kill_app.command("status")
def kill_status() -> None:
    """Say whether it is on, what says so, and every press and re-arming so far."""
    switch = _switch(load_settings())
    state = switch.state()
    typer.echo(f"kill switch is {'ON' if state.is_on else 'off'} ({state.source}): {state.reason}")
    for entry in switch.history():
        typer.echo(f"  {entry.since}  {entry.state}  {entry.reason}")


@account_app.callback()
def _account() -> None:
    """The paper account: re-arm it."""


@account_app.command("rearm")
def account_rearm(reason: Annotated[str, typer.Option(help="Why it is safe to go on; must be given")] = "") -> None:
    """Lift a total loss or the breach of a firm's limit; what still holds then blocks again at the next minute.

    Raises:
        ConfigError: no reason was given.
        PreflightError: a runtime is at work.
    """
    if not reason.strip():
        msg = 'lifting a total loss needs a reason, none was given; run: desk account rearm --reason "why it is safe"'
        raise ConfigError(msg)
    settings = load_settings()
    store = SignalStore(settings.paths.signals_db)
    # a running runtime took its state up at its start and would not see this
    with runtime_lease(settings.paths.home):
        store.migrate()
        now = datetime.now(UTC)
        event = RiskEventRow(now, "", "rearmed", SEVERITY["rearmed"], reason.strip())
        text = message("risk", f"rearmed:{now:%Y%m%dT%H%M%S}", now, "warning", "The guardrails were re-armed", [reason])
        store.commit_tick(TickRows(risk_events=[event], outbox=[text]))
    typer.echo(f"guardrails are re-armed: {reason.strip()}")


def simulate_loss() -> None:
    """Drive a paper account into every limit and show that it is blocked.

    Raises:
        DeskError: a limit let the account through.
    """
    results = run_drills(load_settings())
    for drill in results:
        typer.echo(f"{'blocked' if drill.is_blocked else 'LET THROUGH':12} {drill.limit:18} {drill.detail}")
    through = [drill.limit for drill in results if not drill.is_blocked]
    if through:
        msg = f"these limits let the account through: {', '.join(through)}; do not run live, and report this as a fault of Candledesk"
        raise DeskError(msg)
