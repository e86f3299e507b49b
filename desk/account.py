"""`desk account`: what the account of each mode holds, the real balance, lifting a stop, and a new account for a new challenge."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from core.errors import ConfigError, StoreError
from core.locks import runtime_lease
from core.settings import load_settings
from runtime.alerts.announcer import message
from runtime.observation_terms import with_id
from runtime.risk.execution_costs import exact, to_cents
from runtime.risk.guardrails import SEVERITY
from store.signal_rows import EquityRow, RiskEventRow, TickRows
from store.signal_store import AccountState, SignalStore

app = typer.Typer(help="The accounts: show, set, rearm, reset.", no_args_is_help=True, add_completion=False)
console = Console()


@app.command()
def show(as_json: Annotated[bool, typer.Option("--json", help="Print JSON")] = False) -> None:
    """Show the account of each mode as it was last marked."""
    settings = load_settings()
    accounts = SignalStore(settings.paths.signals_db).accounts() if settings.paths.signals_db.exists() else []
    if as_json:
        print(json.dumps([asdict(own) for own in accounts], default=str, indent=1))
        return
    if not accounts:
        typer.echo(f"no account yet: the next start begins with {settings.initial_capital_usd:,.2f} USD")
        return
    table = Table("mode", "marked (UTC)", "balance", "equity", "day began with", "open", "daily used", "total used")
    for own in accounts:
        money = [f"{value:,.2f}" for value in (own.balance_usd, own.equity_usd, own.day_start_balance_usd)]
        used = [f"{value:.1f} %" for value in (own.daily_used_pct, own.total_used_pct)]
        marked = f"{own.marked_at.astimezone(UTC):%Y-%m-%d %H:%M}"
        table.add_row(own.mode, marked, *money, str(own.open_positions), *used)
    console.print(table)


@app.command("set")
def set_balance(
    balance: Annotated[str, typer.Argument(help="Balance at the firm, closed positions only, such as 98250.40")],
    mode: Annotated[str | None, typer.Option(help="Account of this mode; the setting MODE when left out")] = None,
    day_start: Annotated[
        str | None,
        typer.Option(
            help="Balance at the firm's last reset; the higher of the account's own and BALANCE when left out"
        ),
    ] = None,
    reason: Annotated[str, typer.Option(help="Why; must be given")] = "",
) -> None:
    """Put in the real balance: limits, headroom and sizes speak of it from the next start on; open positions stay.

    Raises:
        ConfigError: an amount is no money above 0, or no reason was given.
        PreflightError: a runtime is at work.
        StoreError: the mode has no account yet.
    """
    why = _reason(reason, "setting the balance", "set BALANCE")
    money, start = _money(balance, "BALANCE"), None if day_start is None else _money(day_start, "--day-start")
    settings = load_settings(**({"mode": mode} if mode else {}))
    store = SignalStore(settings.paths.signals_db)
    with runtime_lease(settings.paths.home):
        there = store.accounts() if settings.paths.signals_db.exists() else []
        last = next((own for own in there if own.mode == settings.mode), None)
        if last is None:
            msg = f"there is no {settings.mode} account yet; start one: desk run --mode {settings.mode} --iterations 1"
            raise StoreError(msg)
        store.migrate()
        begun = max(exact(last.day_start_balance_usd), money) if start is None else start
        detail = (
            f"{settings.mode}: {exact(last.balance_usd):,.2f} -> {money:,.2f}, the day began with {begun:,.2f}: {why}"
        )
        mark = _marked(last, money, begun)
        rows = _recorded(datetime.now(UTC), mark.marked_at, "account_set", "The balance was set by hand", detail)
        rows.equity.append(mark)
        store.commit_tick(rows)
        store.publish(settings.paths.signals_copy)
    typer.echo(f"the {settings.mode} account stands at {money:,.2f} USD: {why}")


def _marked(last: AccountState, balance: Decimal, day_start: Decimal) -> EquityRow:
    """Return the account as it stands with another balance, as its newest mark by its own clock."""
    equity = balance + exact(last.equity_usd) - exact(last.balance_usd)
    return EquityRow(
        marked_at=last.marked_at.astimezone(UTC) + timedelta(microseconds=1),
        session_id=last.session_id,
        balance_usd=float(balance),
        equity_usd=float(equity),
        day_start_balance_usd=float(day_start),
        open_positions=last.open_positions,
        daily_used_pct=last.daily_used_pct,
        total_used_pct=last.total_used_pct,
        day_start_equity_usd=day_start,
        highest_day_start_usd=max(last.highest_day_start_usd, day_start),
        highest_equity_usd=max(last.highest_equity_usd, equity),
    )


def _money(text: str, name: str) -> Decimal:
    try:
        amount = to_cents(Decimal(text.replace(",", "")))
    except ArithmeticError:
        amount = Decimal(0)
    if not amount.is_finite() or not 0 < amount < 10**12:
        msg = f"{name} {text!r} is no amount of money above 0; write for example 98250.40"
        raise ConfigError(msg)
    return amount


@app.command()
def rearm(reason: Annotated[str, typer.Option(help="Why it is safe to go on; must be given")] = "") -> None:
    """Lift a total loss or the breach of a firm's limit; what still holds then blocks again at the next minute.

    Raises:
        ConfigError: no reason was given.
        PreflightError: a runtime is at work.
    """
    why = _reason(reason, "lifting a total loss", "rearm")
    settings = load_settings()
    store = SignalStore(settings.paths.signals_db)
    # a running runtime took its state up at its start and would not see this
    with runtime_lease(settings.paths.home):
        store.migrate()
        now = datetime.now(UTC)
        store.commit_tick(_recorded(now, now, "rearmed", "The guardrails were re-armed", why))
    typer.echo(f"guardrails are re-armed: {why}")


@app.command()
def reset(reason: Annotated[str, typer.Option(help="Why a new account begins; must be given")] = "") -> None:
    """Begin new accounts with INITIAL_CAPITAL_USD, for a new challenge or after a typing error; the old rows are kept.

    Open paper positions belong to the old account and are not followed further. A new observation begins too.

    Raises:
        ConfigError: no reason was given.
        PreflightError: a runtime is at work.
        StoreError: there is no account yet.
    """
    why = _reason(reason, "a new account", "reset")
    settings = load_settings()
    store = SignalStore(settings.paths.signals_db)
    with runtime_lease(settings.paths.home):
        accounts = store.accounts() if settings.paths.signals_db.exists() else []
        if not accounts:
            msg = "there is no account to reset yet; set INITIAL_CAPITAL_USD and start: make run-dry"
            raise StoreError(msg)
        store.migrate()
        # by the clock of the accounts: a replay's is not the machine's
        last = max(own.marked_at for own in accounts).astimezone(UTC)
        rows = _recorded(datetime.now(UTC), last, "account_reset", "A new paper account begins", why)
        if observations := store.observations():
            terms = json.loads(observations[-1].terms) | {"initial_capital_usd": str(settings.initial_capital_usd)}
            began_at = max(observations[-1].began_at, last)
            row = replace(observations[-1], began_at=began_at, why=f"account reset: {why}", terms=json.dumps(terms))
            rows.observations.append(with_id(row))
        store.commit_tick(rows)
        store.publish(settings.paths.signals_copy)
    typer.echo(f"new accounts begin with {settings.initial_capital_usd:,.2f} USD: {why}")


def _reason(reason: str, what: str, command: str) -> str:
    if not reason.strip():
        msg = f'{what} needs a reason, none was given; run: desk account {command} --reason "why"'
        raise ConfigError(msg)
    return reason.strip()


def _recorded(now: datetime, happened_at: datetime, kind: str, title: str, why: str) -> TickRows:
    event = RiskEventRow(happened_at, "", kind, SEVERITY[kind], why)
    return TickRows(
        risk_events=[event], outbox=[message("risk", f"{kind}:{now:%Y%m%dT%H%M%S}", now, "warning", title, [why])]
    )
