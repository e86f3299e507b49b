"""`desk limits`: each rule of the firm, its base, what is used, what is left and when it resets."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from core.candles import EPOCH, MINUTE
from core.settings import Settings, load_settings
from runtime.restored_state import account_marks
from runtime.risk.execution_costs import CENT, exact
from runtime.risk.firm_rules import fee_bps, rules_from
from runtime.risk.guardrails import Guardrails
from store.signal_store import AccountState, ClosedSignal, SignalStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runtime.risk.firm_rules import FirmRules, LossRule

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

    Raises:
        ConfigError: the firm's rules cannot be used.
    """
    settings = load_settings(**({"mode": mode} if mode else {}))
    rules, account = rules_from(settings), account_history(settings)
    lines = limit_lines(rules, account)
    if as_json:
        print(json.dumps([asdict(line) for line in lines], default=str, indent=1))
        return
    last = account.last
    marked = f"as of {last.marked_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if last else "nothing was marked yet"
    title = f"{settings.mode} account, {marked}"
    table = Table(title=title)
    for name in ("rule", "base", "used", "left", "resets (UTC)", "limit"):
        table.add_column(name, no_wrap=name in {"rule", "base"})
    for line in lines:
        base = "" if line.base_usd is None else f"{line.base_usd:,.2f}"
        table.add_row(line.rule, base, line.used, line.left, line.resets, line.limit)
    console.print(table)
    fee, own = rules.commission_bps, fee_bps(settings)
    differs = f"; FEE_BPS={own:g} counts instead" if exact(own) != fee else ""
    console.print(
        f"{rules.title}, as read on {rules.read_on} ({rules.source or 'no source named'}); commission {fee:f} bps a side{differs}. "
        "Check the firm's own page before money is at stake.",
        highlight=False,
    )


@dataclass(frozen=True, slots=True)
class AccountHistory:
    """What rules are held against: the account as it was last marked, and its past since the last reset."""

    last: AccountState | None = None
    opened: Sequence[datetime] = ()
    """When its positions were opened."""
    closed: Sequence[ClosedSignal] = ()
    events: Sequence[tuple[datetime, str]] = ()
    """What its guardrails said, as (moment, kind): a stop that was reached blocks, whatever is left now."""


def account_history(settings: Settings) -> AccountHistory:
    """Return the account of the mode that is set; an empty history where there is none."""
    store = SignalStore(settings.paths.signals_db)
    if not settings.paths.signals_db.exists():
        return AccountHistory()
    return AccountHistory(
        next((own for own in store.accounts() if own.mode == settings.mode), None),
        store.opened_minutes(settings.mode),
        store.results(settings.mode),
        store.restore(EPOCH, settings.mode).risk_events,
    )


def limit_lines(rules: FirmRules, account: AccountHistory) -> list[LimitLine]:
    """Return one line a rule that the firm has; without a marked account those of one that has not begun."""
    last = account.last
    now = last.marked_at if last else datetime.now(UTC)
    balance, equity = (exact(last.balance_usd), exact(last.equity_usd)) if last else (rules.capital, rules.capital)
    guard = Guardrails.fresh(rules, now, account_marks(last) if last else None)
    guard.restore(account.events)
    room = guard.headroom(now, equity)
    lines = [
        _loss(rules.daily_loss, guard, equity, room.daily_usd, f"{room.resets_at:%Y-%m-%d %H:%M}"),
        _loss(rules.total_loss, guard, equity, room.total_usd, "never"),
    ]
    profit = balance - rules.capital
    if rules.profit_target_usd is not None:
        lines.append(_target(rules, profit, last.open_positions if last else 0))
    if rules.min_trading_days:
        days, least = len({rules.day_of(moment) for moment in account.opened}), rules.min_trading_days
        left = "met" if days >= least else str(least - days)
        lines.append(
            LimitLine("trading days", f"at least {least} with a position opened", None, str(days), left, "never")
        )
    if rules.best_day_pct is not None:
        lines.append(_best_day(rules, rules.best_day_pct, account.closed))
    if rules.max_days is not None:
        began = min(account.opened, default=now)
        used = (rules.day_of(now) - rules.day_of(began)).days + 1
        lines.append(
            LimitLine("time", f"{rules.max_days} days", None, str(used), str(max(0, rules.max_days - used)), "never")
        )
    return lines


def _target(rules: FirmRules, profit: Decimal, held: int) -> LimitLine:
    target = rules.profit_target_usd or Decimal(0)
    left = f"more than {_cents(max(target - profit, Decimal(0))):,.2f}" + (f", {held} open" if held else "")
    if profit > target and not held:
        left = "met"
    phases = len(rules.profit_target_pct)
    phase = f" (phase {rules.phase} of {phases})" if phases > 1 else ""
    wanted = f"above +{rules.profit_target_pct[rules.phase - 1]:f} %, all positions closed{phase}"
    return LimitLine("profit target", wanted, rules.capital, f"{profit:+,.2f}", left, "never")


def _best_day(rules: FirmRules, most: Decimal, closed: Sequence[ClosedSignal]) -> LimitLine:
    """Hold the best day's profit against the whole profit; what closes at a reset belongs to the day before."""
    days: defaultdict[date, Decimal] = defaultdict(Decimal)
    for position in closed:
        days[rules.day_of(position.closed_at - MINUTE)] += exact(position.pnl_usd)
    best, whole = max(days.values(), default=Decimal(0)), sum(days.values(), Decimal(0))
    limit = f"at most {most:f} % of the whole profit"
    if best <= 0 or whole <= 0:
        return LimitLine("best day", limit, None, "no profit yet", "go on", "never")
    # whole profit that would make today's best day small enough
    missing = best * 100 / most - whole
    left = "met" if missing <= 0 else f"go on: {missing.quantize(CENT, ROUND_CEILING):,.2f} more profit on other days"
    return LimitLine(
        "best day", limit, None, f"{best:+,.2f} of {whole:+,.2f} ({100 * best / whole:.1f} %)", left, "never"
    )


def _loss(rule: LossRule, guard: Guardrails, equity: Decimal, left: Decimal, resets: str) -> LimitLine:
    used = f"{_cents(guard.loss(rule, equity)):,.2f} ({guard.used_pct(rule, equity):.1f} %)"
    of = f"{guard.rules.capital:,.0f}" if rule.percent_of == "initial_capital" else "the base"
    lock = ", rises to the initial capital at most" if rule.locks_at_initial_capital else ""
    limit = f"-{rule.limit_pct:f} % of {of} from {rule.base.replace('_', ' ')}{lock}; we stop at {rule.stop_pct:f} %"
    room = f"{left:,.2f} to our stop"
    if guard.is_ended:
        room = "ended: the firm's limit was broken (desk account rearm)"
    elif guard.total_blocked:
        room = "blocked by the total loss (desk account rearm)"
    elif guard.daily_blocked and rule.name == "daily":
        room = "blocked until the reset"
    return LimitLine(f"{rule.name} loss", limit, _cents(guard.base(rule)), used, room, resets)


def _cents(amount: Decimal) -> Decimal:
    return amount.quantize(CENT, ROUND_FLOOR)
