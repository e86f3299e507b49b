"""`desk status`: what runs, since when, on what, how far it is and what stands in its way, from the running process itself."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from pydantic import TypeAdapter
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table

from core.settings import load_settings
from runtime.health.board import LATENCY
from runtime.health.snapshot import AccountStatus, RuntimeSnapshot, RuntimeStatus, StageTimes
from runtime.health.status_client import StatusAnswer, ask_status
from runtime.risk.kill_switch import ACTIVE

HEALTHY, UNHEALTHY, NONE_RUNS = 0, 1, 3
WATCH_EVERY_SECONDS = 2.0
console = Console(markup=False, emoji=False, highlight=False)
_JSON: TypeAdapter[RuntimeStatus] = TypeAdapter(RuntimeStatus)


def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Ask again every two seconds, until Ctrl-C")] = False,
) -> None:
    """Show what runs, how far it is, and what stands in its way; the running process answers, within a second.

    Exit status: 0 minutes are being decided, 1 a runtime runs but decides none (or gives no answer), 3 none runs.
    """
    file = load_settings().paths.runtime_address
    if watch:
        _watch(file, as_json=as_json)
    answer = ask_status(file)
    if as_json:
        print(as_json_text(answer))
    else:
        console.print(page(answer))
    raise typer.Exit(exit_status(answer))


def exit_status(answer: StatusAnswer) -> int:
    """Return 0 healthy, 1 running but not healthy, 3 none runs."""
    if not answer.is_running:
        return NONE_RUNS
    return HEALTHY if answer.status is not None and answer.status.health.is_healthy else UNHEALTHY


def as_json_text(answer: StatusAnswer) -> str:
    """Return the status as the runtime gave it, ``is_running`` before it; without one why there is none."""
    status = None if answer.status is None else _JSON.dump_python(answer.status, mode="json")
    return json.dumps({"is_running": answer.is_running, "why": answer.why, "status": status}, indent=1)


def _watch(file: Path, *, as_json: bool) -> None:
    """Show the answer again and again; Ctrl-C ends it."""
    if as_json:
        while True:
            print(json.dumps(json.loads(as_json_text(ask_status(file)))), flush=True)
            time.sleep(WATCH_EVERY_SECONDS)
    with Live(page(ask_status(file)), console=console, auto_refresh=False) as live:
        while True:
            time.sleep(WATCH_EVERY_SECONDS)
            live.update(page(ask_status(file)), refresh=True)


def page(answer: StatusAnswer) -> RenderableType:
    """Return what is shown to a person."""
    if answer.status is None:
        hint = "look into its log, then end it and start it again" if answer.is_running else "start one: make run-dry"
        return f"{answer.why}; {hint}"
    status, snapshot = answer.status, answer.status.snapshot
    if snapshot is None:
        return Group(_facts(status))
    parts: list[RenderableType] = [_facts(status), _products(status, snapshot), _limits(snapshot.account)]
    if snapshot.account.positions:
        parts.append(_positions(snapshot.account))
    return Group(*parts, _times(snapshot.stages))


def _facts(status: RuntimeStatus) -> Table:
    """Return one line a fact."""
    table = Table.grid(padding=(0, 2))
    health, snapshot = status.health, status.snapshot
    table.add_row("health", f"{'healthy' if health.is_healthy else 'NOT HEALTHY'}: {health.reason}")
    table.add_row("process", f"{status.pid}, since {_moment(status.started_at)}")
    table.add_row("state", _state(status))
    table.add_row("alerts", _alerts(status))
    if snapshot is None:
        return table
    table.add_row("mode", f"{snapshot.mode}, feature set {snapshot.feature_set}, session {snapshot.session_id}")
    began = _moment(snapshot.observation_began_at)
    table.add_row("observation", f"{snapshot.observation_id}, since {began}, code {snapshot.code[:12]}")
    account = snapshot.account
    table.add_row("account", f"balance {account.balance_usd:,.2f}, equity {account.equity_usd:,.2f} USD")
    decided = ", ".join(f"{reason} {count}" for reason, count in sorted(snapshot.decisions.items()))
    table.add_row("decisions", decided or "none in this session")
    crash = "none"
    if (last := snapshot.last_crash) is not None:
        how = last.detail or "it ended without a word"
        crash = f"session {last.session_id}, started {_moment(last.started_at)}: {how}"
    table.add_row("last crash", f"{crash} ({snapshot.starts} start(s) in all)")
    return table


def _state(status: RuntimeStatus) -> str:
    text = status.state
    if status.switch.stopping != ACTIVE:
        text += f" by the kill switch: {status.switch.text}"
    account = None if status.snapshot is None else status.snapshot.account
    if account is not None and account.blocked_by:
        text += f"; no signal: {account.blocked_by}"
    if account is not None and account.paused_until:
        text += f"; no signal until {_moment(account.paused_until)}: losses in a row"
    return text


def _alerts(status: RuntimeStatus) -> str:
    backlog, dead = status.alerts, 0 if status.snapshot is None else status.snapshot.dead_letters
    oldest = "" if backlog.oldest_age_seconds is None else f", the oldest for {_age(backlog.oldest_age_seconds)}"
    repair = "; show them: desk alerts list" if dead else ""
    nobody = "" if backlog.targets else "; ALERT_URLS names no target"
    return f"{backlog.waiting} waiting{oldest}, {dead} dead letter(s){repair}{nobody}"


def _products(status: RuntimeStatus, snapshot: RuntimeSnapshot) -> Table:
    table = Table("product", "last decided (UTC)", "age", "candle age", "became", "models")
    for own in snapshot.products:
        ages = [_age(ages.get(own.product)) for ages in (status.decided_age_seconds, status.candle_age_seconds)]
        models = ", ".join(f"{kind} {model}" for kind, model in sorted(own.models.items())) or "none"
        minute = "" if own.last_decided_minute is None else f"{own.last_decided_minute:%Y-%m-%d %H:%M}"
        table.add_row(own.product, minute, *ages, own.last_reason, models)
    return table


def _limits(account: AccountStatus) -> Table:
    table = Table("limit", "used", "left to our stop (USD)", "resets (UTC)")
    for limit in account.limits:
        resets = "never" if limit.resets_at is None else f"{limit.resets_at:%Y-%m-%d %H:%M}"
        table.add_row(limit.rule, f"{100 * limit.used_ratio:.1f} %", f"{limit.left_usd:,.2f}", resets)
    return table


def _positions(account: AccountStatus) -> Table:
    table = Table("position", "direction", "size (USD)", "entry", "target", "stop", "ends (UTC)")
    for held in account.positions:
        prices = [f"{price:f}" for price in (held.entry_price, held.target_price, held.stop_price)]
        table.add_row(held.product, held.direction, f"{held.size_usd:,.0f}", *prices, f"{held.expires_at:%H:%M}")
    return table


def _times(stages: tuple[StageTimes, ...]) -> Table:
    table = Table("time (s)", "p50", "p99", "counted")
    for times in stages:
        name = "close to decision" if times.stage == LATENCY else times.stage
        shares = ["" if value is None else f"{value:.3f}" for value in (times.p50_seconds, times.p99_seconds)]
        table.add_row(name, *shares, str(times.count))
    return table


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _age(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
