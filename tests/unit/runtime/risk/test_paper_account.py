from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.candles import MINUTE, Candle
from runtime.risk.execution_costs import Costs
from runtime.risk.paper_account import Account, Sizing

AT = datetime(2025, 1, 15, 12, tzinfo=UTC)
FREE = Costs.of(0, 0, 0)
DEAR = Costs.of(12, 3, 1)


def sizing(leverage: str = "2") -> Sizing:
    return Sizing(Decimal(100_000), Decimal(1), Decimal(1), Decimal(2), Decimal(leverage))


def candle(minute: int, low: str, high: str, close: str, open_: str | None = None) -> Candle:
    return Candle(
        "BTC-USD",
        AT + minute * MINUTE,
        Decimal(open_ or close),
        Decimal(high),
        Decimal(low),
        Decimal(close),
        Decimal(1),
    )


def opened(side: int, costs: Costs = FREE, leverage: str = "2") -> Account:
    account = Account.fresh(sizing(leverage))
    account.open(account.plan("s1", "BTC-USD", side, Decimal(100), AT, costs))
    return account


def test_position_size_loses_one_percent_of_capital_at_the_stop() -> None:
    account = opened(1, DEAR)
    (done,) = account.on_minute(AT, {"BTC-USD": candle(0, "98", "100", "98.5", "100")})
    assert done.exit_reason == "stop"
    assert Decimal(-1000) <= done.pnl_usd < Decimal(-998)


def test_position_opening_minute_is_not_looked_at_again() -> None:
    account = opened(1)
    assert account.on_minute(AT - MINUTE, {"BTC-USD": candle(-1, "90", "110", "100")}) == []


def test_candle_touching_both_ends_at_the_stop() -> None:
    account = opened(1)
    (done,) = account.on_minute(AT, {"BTC-USD": candle(0, "98.5", "103", "102", "100")})
    assert done.exit_reason == "stop"


def test_candle_opening_beyond_the_stop_ends_at_its_worse_open() -> None:
    account = opened(-1)
    (done,) = account.on_minute(AT, {"BTC-USD": candle(0, "102", "104", "103", "103")})
    assert done.exit_price == Decimal(103)
    assert done.gross_bps == Decimal(-300)


@pytest.mark.parametrize(("side", "low", "high"), [(1, "99.5", "102.5"), (-1, "97.5", "100.5")])
def test_target_is_taken_at_its_own_price(side: int, low: str, high: str) -> None:
    account = opened(side)
    (done,) = account.on_minute(AT, {"BTC-USD": candle(0, low, high, "100", "100")})
    assert done.exit_reason == "target"
    assert done.gross_bps == Decimal(200)
    assert done.is_win


def test_position_ends_after_fifteen_minutes_at_the_close() -> None:
    account = opened(1)
    for minute in range(14):
        assert account.on_minute(AT + minute * MINUTE, {"BTC-USD": candle(minute, "100", "100", "100")}) == []
    (done,) = account.on_minute(AT + 14 * MINUTE, {"BTC-USD": candle(14, "100", "100.5", "100.5")})
    assert done.exit_reason == "timeout"
    assert done.closed_at == AT + timedelta(minutes=15)
    assert done.gross_bps == Decimal(50)


def test_position_without_candles_times_out_at_the_last_price() -> None:
    account = opened(1)
    account.on_minute(AT, {"BTC-USD": candle(0, "100", "100.2", "100.2")})
    done = [closed for minute in range(1, 16) for closed in account.on_minute(AT + minute * MINUTE, {"BTC-USD": None})]
    assert [closed.gross_bps for closed in done] == [Decimal(20)]


def test_equity_counts_the_costs_of_closing_at_once() -> None:
    account = opened(1, DEAR)
    assert account.equity < account.balance
    paid = account.balance - account.equity
    assert float(paid / account.positions[0].size_usd * 10_000) == pytest.approx(20, rel=0.01)


def test_right_call_that_does_not_pay_its_costs_is_a_win_and_a_loss() -> None:
    account = opened(1, DEAR)
    account.on_minute(AT, {"BTC-USD": candle(0, "100", "100.01", "100.01")})
    (done,) = account.close_all(AT + MINUTE, "timeout")
    assert done.is_win
    assert done.is_loss


def test_account_without_leverage_left_plans_size_zero() -> None:
    assert opened(1, leverage="1").plan("s2", "BTC-USD", 1, Decimal(100), AT, FREE).size_usd == 0


@pytest.mark.parametrize("price", ["0", "0.00000001", "0.00000040"])
@pytest.mark.parametrize("side", [1, -1])
def test_price_too_small_for_a_stop_plans_size_zero(price: str, side: int) -> None:
    assert Account.fresh(sizing()).plan("s", "PEPE-USD", side, Decimal(price), AT, FREE).size_usd == 0


@given(
    capital=st.sampled_from([30_000, 70_000, 90_000, 100_000]),
    entry=st.decimals("0.01", "90000", places=2),
    cents=st.integers(1, 500_000),
)
def test_loss_of_whole_cents_is_exact(capital: int, entry: Decimal, cents: int) -> None:
    """Size and entry chosen so that the exit loses exactly `cents`; a quotient taken first misses it by 1e-23."""
    account = Account(replace(sizing(), capital=Decimal(capital)), Decimal(capital))
    lost = Decimal(cents) / 100
    position = replace(
        account.plan("s", "BTC-USD", 1, entry, AT, FREE), entry_price=entry * lost, size_usd=entry * lost
    )
    assert position.result(position.entry_price - lost) == -lost


@given(
    room=st.decimals("-100", "3000", places=2),
    sides=st.lists(st.sampled_from([1, -1]), min_size=1, max_size=5),
    moved=st.integers(-60, 60),
)
def test_losses_at_all_stops_fit_the_headroom(room: Decimal, sides: list[int], moved: int) -> None:
    account = Account.fresh(replace(sizing("20"), positions_per_product=9))
    floor = account.balance - room
    for number, side in enumerate(sides):
        planned = account.plan(f"s{number}", "BTC-USD", side, Decimal(100), AT, DEAR, floor)
        if planned.size_usd > 0:
            account.open(planned)
        account.prices["BTC-USD"] = Decimal(100) + Decimal(moved) / 100
    assert account.balance + sum(held.result(held.stop_price) for held in account.positions) >= min(
        floor, account.balance
    )


@given(
    price=st.decimals(min_value="0.0001", max_value="200000", places=8),
    side=st.sampled_from([1, -1]),
    spread=st.integers(0, 60),
    slippage=st.integers(0, 20),
    earlier=st.integers(0, 4),
)
def test_sizes_never_exceed_risk_nor_leverage(
    price: Decimal, side: int, spread: int, slippage: int, earlier: int
) -> None:
    account = Account.fresh(sizing())
    costs = Costs.of(spread, slippage, 1)
    for number in range(earlier + 1):
        account.open(account.plan(f"s{number}", "BTC-USD", side, price, AT, costs))
    assert sum(held.size_usd for held in account.positions) <= 200_000
    assert all(held.size_usd % 1 == 0 for held in account.positions)
    for held in account.positions:
        assert held.result(held.stop_price) >= Decimal(-1000) - Decimal("0.01")


@given(moves=st.lists(st.integers(-80, 80), min_size=1, max_size=40), side=st.sampled_from([1, -1]))
def test_balance_is_capital_plus_every_result(moves: list[int], side: int) -> None:
    account, price, total = Account.fresh(sizing()), Decimal(100), Decimal(0)
    for number, move in enumerate(moves):
        at = AT + number * MINUTE
        account.open(account.plan(f"s{number}", "BTC-USD", side, price, at, DEAR))
        before, price = price, price * (1 + Decimal(move) / 10_000)
        bar = Candle("BTC-USD", at, before, max(before, price), min(before, price), price, Decimal(1))
        total += sum((closed.pnl_usd for closed in account.on_minute(at, {"BTC-USD": bar})), Decimal(0))
    assert account.balance == 100_000 + total
