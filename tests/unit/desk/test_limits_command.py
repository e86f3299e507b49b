"""`desk limits`: each rule with its base, what is used and left, from the account as it was last marked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from desk.limits import AccountHistory, LimitLine, limit_lines, limits
from runtime.risk.firm_rules import rules_from
from store.signal_store import AccountState, ClosedSignal

if TYPE_CHECKING:
    from core.settings import Settings

NOON = datetime(2025, 6, 2, 12, tzinfo=UTC)


def account(balance: float, equity: float, day_start: float, held: int = 0) -> AccountState:
    start, highest = Decimal(str(day_start)), Decimal(100_000)
    return AccountState("dryrun", "s", NOON, balance, equity, day_start, held, 0.0, 0.0, start, highest, highest)


def lines(settings: Settings, last: AccountState | None = None, **past: object) -> dict[str, LimitLine]:
    history = AccountHistory(last, **past)  # type: ignore[arg-type]
    return {line.rule: line for line in limit_lines(rules_from(settings), history)}


def test_limits_of_an_account_in_loss(settings: Settings) -> None:
    said = lines(settings, account(99_000, 98_000, 101_000))
    daily, total, target = said["daily loss"], said["total loss"], said["profit target"]
    # 5 % of 100,000 below 101,000: 3,000 of 5,000 are used; our stop at 4.5 % leaves 1,500
    assert (daily.base_usd, daily.used, daily.left) == (
        Decimal("101000.00"),
        "3,000.00 (60.0 %)",
        "1,500.00 to our stop",
    )
    # midnight in Prague is 22:00 UTC in summer
    assert daily.resets == "2025-06-02 22:00"
    assert (total.used, total.left, total.resets) == ("2,000.00 (20.0 %)", "7,000.00 to our stop", "never")
    assert (target.used, target.left) == ("-1,000.00", "more than 11,000.00")
    assert (said["trading days"].used, said["trading days"].left) == ("0", "4")


@pytest.mark.parametrize(
    ("balance", "held", "left"),
    [(110_000, 0, "more than 0.00"), (110_000.01, 0, "met"), (110_000.01, 1, "more than 0.00, 1 open")],
)
def test_profit_target_is_met_above_it_with_all_positions_closed(
    settings: Settings, balance: float, held: int, left: str
) -> None:
    assert lines(settings, account(balance, balance, balance, held))["profit target"].left == left


def test_second_phase_has_its_own_target(settings: Settings) -> None:
    second = settings.model_copy(update={"firm_phase": 2})
    assert lines(second, account(105_000.01, 105_000.01, 100_000))["profit target"].left == "met"


def test_trading_days_are_the_firms_days(settings: Settings) -> None:
    late = NOON + timedelta(hours=10)
    # 21:59 and 22:00 UTC are two days in Prague, noon and 21:59 are one
    days = lines(settings, opened=[NOON, late - timedelta(minutes=1), late])["trading days"]
    assert (days.used, days.left) == ("2", "2")


def test_one_step_limit_follows_the_highest_day_start_and_knows_the_best_day(settings: Settings) -> None:
    one = settings.model_copy(update={"firm_rules": "ftmo-1-step"})
    last = AccountState(
        "dryrun", "s", NOON, 104_000, 104_000, 104_000, 0, 0, 0, *(Decimal(n) for n in (104_000, 107_000, 109_000))
    )
    midnight = datetime(2025, 6, 1, 22, tzinfo=UTC)
    # what closes AT midnight is of the day before: 3,000 of 4,000 on one day, so 2,000 more must come from others
    closed = [ClosedSignal(midnight, 3_000), ClosedSignal(midnight + timedelta(minutes=1), 1_000)]
    said = lines(one, last, closed=closed)
    assert "trading days" not in said
    assert (said["total loss"].base_usd, said["total loss"].left) == (Decimal("107000.00"), "6,000.00 to our stop")
    assert said["best day"].used == "+3,000.00 of +4,000.00 (75.0 %)"
    assert said["best day"].left == "go on: 2,000.00 more profit on other days"
    assert lines(one, last, closed=[*closed, ClosedSignal(NOON, 2_000)])["best day"].left == "met"


@pytest.mark.parametrize(
    ("kind", "daily", "total"),
    [
        ("firm_limit", "ended", "ended"),
        ("total_loss", "blocked by the total loss", "blocked by the total loss"),
        ("daily_loss", "blocked until the reset", "9,000.00 to our stop"),
    ],
)
def test_stop_that_was_reached_is_said_whatever_is_left(settings: Settings, kind: str, daily: str, total: str) -> None:
    """Equity above the limit again, or a new day, does not open an account that the firm has closed."""
    said = lines(settings, account(100_000, 100_000, 100_000), events=[(NOON - timedelta(hours=1), kind)])
    assert said["daily loss"].left.startswith(daily)
    assert said["total loss"].left.startswith(total)


def test_command_without_an_account_shows_the_rules(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    limits(as_json=True)
    assert '"left": "4,500.00 to our stop"' in capsys.readouterr().out
    limits()
    shown = capsys.readouterr().out
    assert "nothing was marked yet" in shown
    assert "FTMO 2-Step, as read on 2026-12-01" in shown
    assert "Check the firm's own page" in " ".join(shown.split())
