"""Run the serving loop and what a person steers it by: `desk run`, `alerts`, `kill`, `simulate-loss`."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from core.clock import SystemClock
from core.errors import AlertError, DeskError
from core.settings import Settings, exposed_files, load_settings, settings_file
from market.providers import ExchangeClock, open_provider
from runtime.alerts.announcer import message
from runtime.alerts.notifier import ALL_TARGETS, Notifier, apprise_targets
from runtime.health.watchers import open_board
from runtime.loaded_models import load_models
from runtime.loop import run_loop
from runtime.risk.execution_costs import costs_lookup
from runtime.risk.kill_switch import KillSwitch, SwitchState
from runtime.risk.loss_simulation import run_drills
from runtime.session import LoopOptions
from store.signal_rows import TickRows
from store.signal_store import SignalStore

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from core.clock import Clock
    from runtime.alerts.notifier import Transport
    from store.signal_rows import DeliveryRow, OutboxRow, ReceiptRow

alerts_app = typer.Typer(help="Alerts: try the targets, dead letters.", no_args_is_help=True, add_completion=False)
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
        costs_for=costs_lookup(settings),
        on_progress=json_progress if progress_json else text_progress,
        board=open_board(settings, notifier),
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
    if result.signal_number:
        # as the shell would say it: 130 after Ctrl-C, 143 after SIGTERM
        raise typer.Exit(128 + result.signal_number)


def open_clock(settings: Settings, batch_minutes: int) -> Clock:
    """Return the clock the setting CLOCK names."""
    if settings.clock == "exchange":
        return ExchangeClock(settings.coinbase_base_url, batch_minutes)
    return SystemClock(batch_minutes)


def open_notifier(settings: Settings) -> Notifier:
    """Return a notifier for the targets in ALERT_URLS; without any it sends nothing, and the outbox keeps what is owed."""
    store = SignalStore(settings.paths.signals_db)
    return Notifier(apprise_targets(settings.alert_targets), store.record_deliveries)


def json_progress(done: int, total: int, note: str) -> None:
    """Print one JSON line a step, for the task that runs this as a process."""
    try:
        sys.stdout.write(json.dumps({"done": done, "total": total, "note": note}) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # what is still buffered would break the pipe again when Python ends, and turn a good end into status 120
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise


def text_progress(done: int, _total: int, note: str) -> None:
    """Print one line a step, for a person."""
    typer.echo(f"{done} minutes decided, up to {note}")


@alerts_app.callback()
def _alerts() -> None:
    """Alerts: try the targets, dead letters."""


@alerts_app.command("test")
def alerts_test() -> None:
    """Send one message to every target in ALERT_URLS and say whether it arrived.

    Raises:
        AlertError: there is no target, or one did not take the message.
    """
    settings, store = _alerting()
    now = datetime.now(UTC)
    key = f"test:{now:%Y%m%dT%H%M%S%f}"
    lines = (f"mode {settings.mode}", "If you read this, alerts arrive.")
    test = message("test", key, now, "info", "Candledesk test message", lines)
    targets = apprise_targets(settings.alert_targets)
    refusals = _send(store, targets, store.commit_tick(TickRows(outbox=[test])))
    if refusals:
        msg = f"the test message did not arrive ({'; '.join(refusals)}); correct ALERT_URLS and try again"
        raise AlertError(msg)
    typer.echo(f"delivered to {len(targets)} target(s)")


def _alerting() -> tuple[Settings, SignalStore]:
    """Return the settings, which name a target, and the store.

    Raises:
        AlertError: there is no target.
    """
    settings = load_settings()
    if not settings.alert_targets:
        msg = "no alert target is set; put Apprise URLs into ALERT_URLS, for example tgram://bottoken/chatid"
        raise AlertError(msg)
    settings.paths.make()
    store = SignalStore(settings.paths.signals_db)
    store.migrate()
    return settings, store


def _send(store: SignalStore, targets: Mapping[str, Transport], messages: Sequence[OutboxRow]) -> list[str]:
    """Send for 20 seconds; return why a message did not arrive everywhere, nothing when all did."""
    refusals: dict[str, None] = {}

    def record(rows: Sequence[DeliveryRow], receipts: Sequence[ReceiptRow]) -> None:
        store.record_deliveries(rows, receipts)
        refusals.update(dict.fromkeys(row.detail for row in rows if row.detail and not row.is_ok))
        arrived.update(row.message_key for row in rows if row.is_ok)

    arrived: set[str] = set()
    notifier = Notifier(targets, record)
    notifier.offer(messages)
    notifier.close(20.0)
    missing = {message.message_key for message in messages} - arrived
    return (list(refusals) or ["no answer in 20 seconds"]) if missing else []


@alerts_app.command("list")
def alerts_list() -> None:
    """Print what waits to be sent and the dead letters, with the target and why."""
    store = SignalStore(load_settings().paths.signals_db)
    store.migrate()
    waiting, dead = store.pending_messages(), store.dead_letters()
    given_up = {letter.message_key for letter in dead}
    for owed in (row for row in waiting if row.message_key not in given_up):
        typer.echo(f"waiting  {owed.created_at:%Y-%m-%d %H:%M} UTC  {owed.message_key}  {owed.title}")
    for letter in dead:
        typer.echo(
            f"dead     {letter.created_at:%Y-%m-%d %H:%M} UTC  {letter.message_key}  {letter.title}  ({letter.target}: {letter.detail})"
        )
    typer.echo(f"{len(dead)} dead letter(s)" + ("; send them again: desk alerts retry" if dead else ""))


@alerts_app.command("retry")
def alerts_retry() -> None:
    """Send dead letters again, each to the targets that gave it up.

    Raises:
        AlertError: there is no target, or one refused again.
    """
    settings, store = _alerting()
    letters = store.dead_letters()
    keys = list(dict.fromkeys(letter.message_key for letter in letters))
    targets = apprise_targets(settings.alert_targets)
    wanted = {key: {letter.target for letter in letters if letter.message_key == key} for key in keys}
    messages = [
        # at a target that neither took it nor gave it up it waits in the runtime
        owed
        if ALL_TARGETS in wanted[owed.message_key]
        else replace(owed, settled=(*owed.settled, *(set(targets) - wanted[owed.message_key])))
        for owed in store.messages(keys)
    ]
    refusals = _send(store, targets, messages)
    if refusals:
        msg = (
            f"dead letters did not arrive ({'; '.join(refusals)}); correct ALERT_URLS and try again: desk alerts retry"
        )
        raise AlertError(msg)
    typer.echo(f"{len(messages)} dead letter(s) delivered")


def _switch(settings: Settings) -> KillSwitch:
    """Return the switch as the runtime reads it: a file that vanished after it was on counts as on."""
    store = SignalStore(settings.paths.signals_db)
    was_on = False
    if settings.paths.signals_db.exists():
        try:
            was_on = store.restore(datetime.now(UTC), settings.mode).kill_switch_was_on
        except DeskError:
            was_on = True  # nobody can say that it was off; it only counts where the file is missing
    return KillSwitch(settings.paths.kill_switch, settings.kill_switch, was_on=was_on)


@kill_app.command("on")
def kill(reason: Annotated[str, typer.Option(help="Why")] = "") -> None:
    """Halt: no signals from the next tick on, open paper positions are closed; survives restarts."""
    typer.echo(_line(_switch(load_settings()).press(reason)))


@kill_app.command("reduce")
def reduce(reason: Annotated[str, typer.Option(help="Why")] = "") -> None:
    """Make no new signals; open paper positions run out. What is halted stays halted."""
    typer.echo(_line(_switch(load_settings()).reduce(reason)))


@kill_app.command("pause")
def pause(
    product: Annotated[str, typer.Argument(help="BTC or BTC-USD")],
    reason: Annotated[str, typer.Option(help="Why")] = "",
) -> None:
    """Make no new signals of one product; its open paper position runs out."""
    settings = load_settings()
    (name,) = settings.resolve_products([product])
    typer.echo(_line(_switch(settings).pause(name, reason)))


@kill_app.command("resume")
def resume(
    product: Annotated[str, typer.Argument(help="BTC or BTC-USD")],
    reason: Annotated[str, typer.Option(help="Why it is safe to go on; must be given")] = "",
) -> None:
    """Let one paused product go again; `off` lets everything go.

    Raises:
        ConfigError: it is not paused, or no reason was given.
    """
    settings = load_settings()
    (name,) = settings.resolve_products([product])
    typer.echo(_line(_switch(settings).resume(name, reason)))


@kill_app.command("off")
def rearm(reason: Annotated[str, typer.Option(help="Why it is safe to go on; must be given")] = "") -> None:
    """Let go of the kill switch, of reducing and of every paused product."""
    typer.echo(_line(_switch(load_settings()).rearm(reason)))


@kill_app.command("status")
def kill_status() -> None:
    """Say how far trading is stopped, what says so, and every press and re-arming so far."""
    switch = _switch(load_settings())
    typer.echo(_line(switch.state()))
    for entry in switch.history():
        product = f" {entry.product}" if entry.product else ""
        typer.echo(f"  {entry.since}  {entry.state}{product}  {entry.reason}")


def _line(state: SwitchState) -> str:
    return f"kill switch is {'off' if state.stopping.level == 'active' else state.stopping.level}: {state.text}"


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
