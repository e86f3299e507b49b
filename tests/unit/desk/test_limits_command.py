"""`desk limits`: each rule with its base, what is used and left, from the account as it was last marked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from desk.limits import limit_lines, limits
from store.signal_store import AccountState

if TYPE_CHECKING:
    from core.settings import Settings

NOON = datetime(2025, 6, 2, 12, tzinfo=UTC)


def account(balance: float, equity: float, day_start: float, held: int = 0) -> AccountState:
    return AccountState("dryrun", NOON, balance, equity, day_start, held, 0.0, 0.0)


def test_limits_of_an_account_in_loss(settings: Settings) -> None:
    daily, total, target, days = limit_lines(settings, account(99_000, 98_000, 101_000), [])
    # 5 % of 100,000 below 101,000: 3,000 of 5,000 are used; our stop at 4.5 % leaves 1,500
    assert (daily.base_usd, daily.used, daily.left) == (
        Decimal("101000.00"),
        "3,000.00 (60.0 % of the limit)",
        "1,500.00 to our stop",
    )
    # midnight in Prague is 22:00 UTC in summer
    assert daily.resets == "2025-06-02 22:00"
    assert (total.used, total.left, total.resets) == ("2,000.00 (20.0 % of the limit)", "7,000.00 to our stop", "never")
    assert (target.used, target.left) == ("-1,000.00", "11,000.00")
    assert (days.used, days.left) == ("0", "4")


@pytest.mark.parametrize(
    ("balance", "held", "left"), [(110_000, 0, "0.00"), (110_000.01, 0, "met"), (110_000.01, 1, "0.00, 1 open")]
)
def test_profit_target_is_met_above_it_with_all_positions_closed(
    settings: Settings, balance: float, held: int, left: str
) -> None:
    assert limit_lines(settings, account(balance, balance, balance, held), [])[2].left == left


def test_trading_days_are_the_firms_days(settings: Settings) -> None:
    late = NOON + timedelta(hours=10)
    # 21:59 and 22:00 UTC are two days in Prague, noon and 21:59 are one
    days = limit_lines(settings, None, [NOON, late - timedelta(minutes=1), late])[3]
    assert (days.used, days.left) == ("2", "2")


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
    lines = limit_lines(settings, account(100_000, 100_000, 100_000), [], [(NOON - timedelta(hours=1), kind)])
    assert lines[0].left.startswith(daily)
    assert lines[1].left.startswith(total)


def test_command_without_an_account_shows_the_rules(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    limits(as_json=True)
    assert '"left": "4,500.00 to our stop"' in capsys.readouterr().out
    limits()
    assert "nothing was marked yet" in capsys.readouterr().out
