from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from core.settings import load_settings
from runtime.risk.firm_rules import AccountMarks, FirmRules, rules_from
from runtime.risk.guardrails import Guardrails
from runtime.risk.paper_account import EquitySpan

NOON = datetime(2025, 1, 15, 12, tzinfo=UTC)


def rules() -> FirmRules:
    return rules_from(load_settings(_env_file=None))


def begun_with(balance: int) -> AccountMarks:
    return AccountMarks(Decimal(balance), Decimal(balance), Decimal(balance), Decimal(max(balance, 100_000)))


def kinds(guard: Guardrails, at: datetime, equity: str) -> list[str]:
    return [event.kind for event in guard.assess(at, Decimal(equity))]


@pytest.mark.parametrize(
    ("equity", "said", "blocked"),
    [
        ("97000.01", [], None),
        ("97000.00", ["daily_warn_60"], None),
        ("96000.00", ["daily_warn_60", "daily_warn_80"], None),
        ("95500.01", ["daily_warn_60", "daily_warn_80"], None),
        ("95500.00", ["daily_warn_60", "daily_warn_80", "daily_loss"], "daily_loss"),
        (
            "91000.00",
            [
                *("daily_warn_60", "daily_warn_80", "daily_loss", "firm_limit"),
                *("total_warn_60", "total_warn_80", "total_loss"),
            ],
            "total_loss",
        ),
    ],
)
def test_guardrails_speak_and_block_to_the_cent(equity: str, said: list[str], blocked: str | None) -> None:
    guard = Guardrails.fresh(rules(), NOON)
    assert kinds(guard, NOON, equity) == said
    assert guard.blocked == blocked


def test_guardrails_say_each_thing_once_a_day() -> None:
    guard = Guardrails.fresh(rules(), NOON)
    assert kinds(guard, NOON, "97000") == ["daily_warn_60"]
    assert kinds(guard, NOON, "96900") == []
    guard.roll(NOON + timedelta(days=1), Decimal(100_000), Decimal(100_000))
    assert kinds(guard, NOON, "97000") == ["daily_warn_60"]


def test_daily_block_holds_although_equity_recovers() -> None:
    guard = Guardrails.fresh(rules(), NOON)
    guard.assess(NOON, Decimal(95_000))
    guard.assess(NOON, Decimal(100_000))
    assert guard.blocked == "daily_loss"


def test_daily_limit_is_of_initial_capital_below_the_midnight_balance() -> None:
    guard = Guardrails.fresh(rules(), NOON, begun_with(104_000))
    assert kinds(guard, NOON, "99500.00")[-1] == "daily_loss"
    assert guard.used_pct(guard.rules.daily_loss, Decimal(99_500)) == 90


def test_floating_loss_legal_before_midnight_breaks_at_midnight() -> None:
    guard = Guardrails.fresh(rules(), NOON)
    midnight = guard.rules.next_reset(NOON)
    balance, equity = Decimal(104_500), Decimal(100_000)
    guard.roll(midnight - timedelta(minutes=1), balance, equity)
    assert guard.assess(midnight - timedelta(minutes=1), equity) == []
    guard.roll(midnight, balance, equity)
    guard.assess(midnight, equity)
    assert guard.blocked == "daily_loss"


def test_daily_block_lifts_at_midnight_and_total_never() -> None:
    guard = Guardrails.fresh(rules(), NOON)
    guard.assess(NOON, Decimal(90_500))
    guard.roll(NOON + timedelta(days=1), Decimal(90_500), Decimal(90_500))
    assert not guard.daily_blocked
    assert guard.blocked == "total_loss"


@pytest.mark.parametrize(
    ("noon", "reset", "hours"),
    [
        (datetime(2025, 3, 30, 12, tzinfo=UTC), datetime(2025, 3, 30, 22, tzinfo=UTC), 23),
        (datetime(2025, 10, 26, 12, tzinfo=UTC), datetime(2025, 10, 26, 23, tzinfo=UTC), 25),
        (datetime(2025, 1, 15, 12, tzinfo=UTC), datetime(2025, 1, 15, 23, tzinfo=UTC), 24),
        (datetime(2024, 2, 29, 12, tzinfo=UTC), datetime(2024, 2, 29, 23, tzinfo=UTC), 24),
    ],
)
def test_reset_is_prague_midnight_on_short_and_long_days(noon: datetime, reset: datetime, hours: int) -> None:
    assert rules().next_reset(noon) == reset
    assert (reset - rules().day_start(noon)) == timedelta(hours=hours)


def test_clock_that_steps_back_over_midnight_takes_the_balance_once() -> None:
    guard = Guardrails.fresh(rules(), NOON)
    midnight = guard.rules.next_reset(NOON)
    assert guard.roll(midnight, Decimal(101_000), Decimal(101_000))
    assert not guard.roll(midnight - timedelta(minutes=1), Decimal(99_000), Decimal(99_000))
    assert not guard.roll(midnight, Decimal(98_000), Decimal(98_000))
    assert guard.marks.day_start_balance == 101_000


def test_restart_at_midnight_forgets_yesterdays_block_and_keeps_the_total() -> None:
    midnight = rules().next_reset(NOON)
    told = [(NOON, "daily_loss"), (NOON, "total_warn_60")]
    guard = Guardrails.fresh(rules(), midnight)
    guard.restore(told)
    assert guard.blocked is None
    assert "total_warn_60" in guard.raised
    before = Guardrails.fresh(rules(), midnight - timedelta(minutes=1))
    before.restore(told)
    assert before.blocked == "daily_loss"


def test_headroom_is_what_is_left_to_the_nearer_stop() -> None:
    guard = Guardrails.fresh(rules(), NOON)
    room = guard.headroom(NOON, Decimal(97_300))
    assert room.left_usd == Decimal("1800.00")
    assert room.left_pct == Decimal("1.8")
    assert f"{room.resets_at:%H:%M}" == "23:00"
    guard.marks = begun_with(92_000)
    assert guard.headroom(NOON, Decimal(91_500)).left_usd == Decimal("500.00")


@pytest.mark.parametrize(
    ("equity", "daily", "total"),
    [("102000", "6500.00", "11000.00"), ("95500", "0.00", "4500.00"), ("95499.999", "-0.01", "4499.99")],
)
def test_headroom_is_true_in_profit_and_rounded_down(equity: str, daily: str, total: str) -> None:
    room = Guardrails.fresh(rules(), NOON).headroom(NOON, Decimal(equity))
    assert (room.daily_usd, room.total_usd) == (Decimal(daily), Decimal(total))


@pytest.mark.parametrize(("equity", "ended"), [("95000", False), ("94999.99", True), ("90000", True)])
def test_broken_limit_of_the_firm_blocks_every_later_day_until_rearmed(equity: str, ended: bool) -> None:
    guard = Guardrails.fresh(rules(), NOON)
    told = [(event.happened_at, event.kind) for event in guard.assess(NOON, Decimal(equity))]
    assert ("firm_limit" in [kind for _, kind in told]) == ended == guard.is_ended
    tomorrow = NOON + timedelta(days=1)
    guard.roll(tomorrow, Decimal(equity), Decimal(equity))
    restarted = Guardrails.fresh(rules(), tomorrow, replace(guard.marks, day_start_balance=Decimal(equity)))
    restarted.restore([event for event in told if event[1] != "total_loss"])
    assert restarted.blocked == ("total_loss" if ended else None)
    assert (guard.blocked is not None) == ended
    restarted.restore([(tomorrow, "rearmed")])
    assert restarted.blocked is None


def test_sentence_names_the_figures() -> None:
    guard = Guardrails.fresh(rules(), NOON)
    (event,) = guard.assess(NOON, Decimal("96500.50"))
    assert "3.50 %" in event.detail
    assert "96500.50" in event.detail


def test_limit_of_the_firm_counts_at_every_moment_of_a_minute() -> None:
    guard = Guardrails.fresh(rules(), NOON)
    told = guard.assess(NOON, Decimal(99_000), EquitySpan(Decimal("94999.99"), Decimal(99_500)))
    assert [event.kind for event in told] == ["firm_limit"]
    assert "94999.99" in told[0].detail
    assert guard.blocked == "total_loss"
    exactly = Guardrails.fresh(rules(), NOON)
    assert exactly.assess(NOON, Decimal(99_000), EquitySpan(Decimal(95_000), Decimal(99_500))) == []


def test_profit_target_is_told_once_when_exceeded_with_all_positions_closed() -> None:
    guard = Guardrails.fresh(rules(), NOON)
    assert guard.reach_target(NOON, Decimal(110_000), 0) == []
    assert guard.reach_target(NOON, Decimal("110000.01"), 1) == []
    assert [event.kind for event in guard.reach_target(NOON, Decimal("110000.01"), 0)] == ["profit_target"]
    assert guard.reach_target(NOON, Decimal("110000.01"), 0) == []
