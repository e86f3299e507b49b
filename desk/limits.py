"""`desk limits`: each rule of the firm, its base, what is used, what is left and when it resets."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from decimal import ROUND_FLOOR, Decimal
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from core.candles import EPOCH
from core.settings import Settings, load_settings
from runtime.risk.execution_costs import CENT, exact
from runtime.risk.guardrails import Guardrails, rules_from
from store.signal_store import AccountState, SignalStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runtime.risk.guardrails import FirmRules, LossRule

console = Console()


@dataclass(frozen=True, slots=True)
class LimitLine:
    """One rule of the firm as it stands; money in the quote currency."""

    rule: str
    limit: str
    base_usd: Decimal | None
    used: str
    left: str
    resets: str


def limits(
    mode: Annotated[str | None, typer.Option(help="Account of this mode; the setting MODE when left out")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON")] = False,
) -> None:
    """Show each rule of the firm: its base, what is used, what is left and when it resets.

    The figures are those of the paper account's last minute. Check the firm's own page before money is at stake.
    """
    settings = load_settings(**({"mode": mode} if mode else {}))
    store = SignalStore(settings.paths.signals_db)
    is_there = settings.paths.signals_db.exists()
    account = next((own for own in store.accounts() if own.mode == settings.mode), None) if is_there else None
    opened = store.opened_minutes(settings.mode) if is_there else []
    events = store.restore(EPOCH, settings.mode).risk_events if is_there else ()
    lines = limit_lines(settings, account, opened, events)
    if as_json:
        print(json.dumps([asdict(line) for line in lines], default=str, indent=1))
        return
    marked = f"as of {account.marked_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if account else "nothing was marked yet"
    table = Table("rule", "limit", "base", "used", "left", "resets (UTC)", title=f"{settings.mode} account, {marked}")
    for line in lines:
        base = "" if line.base_usd is None else f"{line.base_usd:,.2f}"
        table.add_row(line.rule, line.limit, base, line.used, line.left, line.resets)
    console.print(table)


def limit_lines(
    settings: Settings,
    account: AccountState | None,
    opened: Sequence[datetime],
    events: Sequence[tuple[datetime, str]] = (),
) -> list[LimitLine]:
    """Return one line a rule; without an ``account`` those of one that has not begun.

    Args:
        settings: The firm's rules.
        account: As it was last marked.
        opened: When positions of the account were opened.
        events: What its guardrails said, as (moment, kind): a stop that was reached blocks, whatever is left now.
    """
    rules = rules_from(settings)
    now = account.marked_at if account else datetime.now(UTC)
    balance, equity, day_start = (
        (exact(account.balance_usd), exact(account.equity_usd), exact(account.day_start_balance_usd))
        if account
        else (rules.capital,) * 3
    )
    guard = Guardrails.fresh(rules, now, day_start)
    guard.restore(events)
    guard.roll(now, balance)
    room = guard.headroom(now, equity)
    profit, target = balance - rules.capital, rules.capital * exact(settings.profit_target_pct) / 100
    days, least = len({rules.day_of(moment) for moment in opened}), settings.min_trading_days
    held = account.open_positions if account else 0
    to_target = f"{_cents(max(target - profit, Decimal(0))):,.2f}" + (f", {held} open" if held else "")
    wanted = f"+{settings.profit_target_pct:g} %, all positions closed"
    if profit > target and not held:
        to_target = "met"
    return [
        _loss(rules.daily, guard, equity, room.daily_usd, f"{room.resets_at:%Y-%m-%d %H:%M}"),
        _loss(rules.total, guard, equity, room.total_usd, "never"),
        LimitLine("profit target", wanted, rules.capital, f"{profit:+,.2f}", to_target, "never"),
        LimitLine(
            "trading days",
            f"at least {least} with a position opened",
            None,
            str(days),
            "met" if days >= least else str(least - days),
            "never",
        ),
    ]


def _loss(rule: LossRule, guard: Guardrails, equity: Decimal, left: Decimal, resets: str) -> LimitLine:
    rules: FirmRules = guard.rules
    base = guard.day_start_balance if rule.base == "day_start_balance" else rules.capital
    used = f"{_cents(guard.loss(rule, equity)):,.2f} ({guard.used_pct(rule, equity):.1f} % of the limit)"
    limit = f"-{rule.limit_pct:g} % of {rules.capital:,.0f} (we stop at {rule.stop_pct:g} %)"
    room = f"{left:,.2f} to our stop"
    if guard.is_ended:
        room = "ended: the firm's limit was broken (desk account rearm)"
    elif guard.total_blocked:
        room = "blocked by the total loss (desk account rearm)"
    elif guard.daily_blocked and rule.name == "daily":
        room = "blocked until the reset"
    return LimitLine(f"{rule.name} loss", limit, _cents(base), used, room, resets)


def _cents(amount: Decimal) -> Decimal:
    return amount.quantize(CENT, ROUND_FLOOR)
