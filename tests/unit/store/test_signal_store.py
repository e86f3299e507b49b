from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from core.candles import MINUTE
from store.database import connect, write_transaction
from store.signal_rows import (
    DecisionRow,
    DeliveryRow,
    EquityRow,
    OutboxRow,
    OutcomeRow,
    RiskEventRow,
    SessionEndRow,
    SessionRow,
    SignalRow,
    TickRows,
)
from store.signal_store import SignalStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

AT = datetime(2025, 1, 15, 12, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path, fresh_signals: Callable[[Path], SignalStore]) -> SignalStore:
    return fresh_signals(tmp_path / "signals.duckdb")


def decision(number: int = 0, product: str = "BTC-USD", **changes: object) -> DecisionRow:
    at = AT + number * MINUTE
    row = DecisionRow(
        product,
        at,
        "s",
        at + MINUTE,
        "dryrun",
        Decimal("100.00000001"),
        0.7,
        0.7,
        None,
        "long",
        0.7,
        "medium",
        False,
        "below_threshold",
        1.5,
    )
    return replace(row, **changes)  # type: ignore[arg-type]


def made(signal_id: str = "sig", number: int = 0, tier: str = "high") -> SignalRow:
    at = AT + number * MINUTE
    price = Decimal("100.12345678")
    return SignalRow(
        signal_id, "s", at + MINUTE, "BTC-USD", at, "long", 0.8, tier, 0.8, 0.8, None, price, price + 2, price - 1,
        2.0, 5000.0, "london", "dryrun", "lstm-1", None, "seed39@x", 1.5, 12.0, 3.0,
    )  # fmt: skip


def message(key: str = "k1", product: str = "BTC-USD") -> OutboxRow:
    return OutboxRow(key, AT, 0, "signal", product, "info", "title", "body", "")


def equity(number: int = 0, balance: float = 100_000.0) -> EquityRow:
    marks = (Decimal(str(balance)), Decimal(100_000), Decimal(str(max(balance, 100_000.0))))
    return EquityRow(AT + number * MINUTE, "ended", balance, balance, 100_000.0, 0, 0.0, 0.0, *marks)


def table(store: SignalStore, name: str) -> list[tuple[object, ...]]:
    connection = connect(store.path)
    try:
        return connection.execute(f"select * from {name} order by all").fetchall()
    finally:
        connection.close()


def test_migrating_again_does_nothing(store: SignalStore) -> None:
    assert not store.migrate()


def test_every_row_comes_back_as_it_was_given(store: SignalStore) -> None:
    outcome = OutcomeRow("sig", AT, Decimal("101.5"), "target", 200.0, 182.0, 91.0, is_win=True)
    event = RiskEventRow(AT, "s", "loss_streak", 2, "two losses")
    store.commit_tick(TickRows([decision()], [made()], [outcome], [message()], [equity()], [event]))
    assert table(store, "decisions")[0][5] == Decimal("100.00000001")
    assert table(store, "decisions")[0][8] is None
    assert table(store, "signals")[0][11] == Decimal("100.12345678")
    assert table(store, "outcomes")[0][3] == "target"
    assert table(store, "outbox")[0][2] == 1
    assert len(table(store, "equity")) == len(table(store, "risk_events")) == 1


def test_tick_committed_twice_changes_nothing(store: SignalStore) -> None:
    tick = TickRows([decision()], [made()], [], [message()], [equity()])
    assert [row.sequence for row in store.commit_tick(tick)] == [1]
    assert store.commit_tick(tick) == []
    names = ("decisions", "signals", "outbox", "equity")
    assert [len(table(store, name)) for name in names] == [1, 1, 1, 1]


def test_first_decision_of_a_minute_stands(store: SignalStore) -> None:
    store.commit_tick(TickRows([decision(reason="emitted")]))
    store.commit_tick(TickRows([decision(reason="kill_switch"), decision(1)]))
    assert [row[13] for row in table(store, "decisions")] == ["emitted", "below_threshold"]


def test_failing_tick_leaves_nothing_behind(store: SignalStore) -> None:
    broken = replace(made(), direction=None)  # type: ignore[arg-type]
    with pytest.raises(Exception, match="NOT NULL"):
        store.commit_tick(TickRows([decision()], [broken], [], [message()]))
    assert table(store, "decisions") == table(store, "outbox") == []


def test_outbox_numbers_go_on_and_a_key_is_owed_once(store: SignalStore) -> None:
    first = store.commit_tick(TickRows(outbox=[message("a"), message("b"), message("a")]))
    second = store.commit_tick(TickRows(outbox=[message("b"), message("c")]))
    assert [(row.message_key, row.sequence) for row in first + second] == [("a", 1), ("b", 2), ("c", 3)]


def test_pending_messages_are_those_no_try_delivered(store: SignalStore) -> None:
    store.commit_tick(TickRows(outbox=[message("a"), message("b"), message("c")]))
    tries = [DeliveryRow("a", AT, False, "429"), DeliveryRow("a", AT, True, ""), DeliveryRow("b", AT, False, "down")]
    store.record_deliveries(tries)
    assert [row.message_key for row in store.pending_messages(AT)] == ["b", "c"]
    assert store.pending_messages(AT + timedelta(hours=1)) == []
    (pending, _) = store.pending_messages(AT)
    assert (pending.message_key, pending.sequence, pending.settled) == ("b", 2, ())
    assert pending.created_at.tzinfo is UTC


def test_restored_state_of_an_empty_store_is_empty(store: SignalStore) -> None:
    state = store.restore(AT, "dryrun")
    assert (state.last_minutes, state.signals, state.equity, state.quiet_since) == ({}, (), None, None)
    assert not state.kill_switch_was_on
    assert store.resume_moment() is None


def test_restored_state_has_what_a_runtime_needs(store: SignalStore) -> None:
    store.open_session(SessionRow("gone", AT, "dryrun", "BTC-USD", "", "", "system"))
    store.open_session(SessionRow("ended", AT + MINUTE, "dryrun", "BTC-USD", "", "", "system"))
    store.close_session(SessionEndRow("ended", AT + 2 * MINUTE, "iterations"))
    loss = OutcomeRow("old", AT + 2 * MINUTE, Decimal(99), "stop", -100.0, -118.0, -999.0, is_win=False)
    decisions = [decision(number, tier="high" if number == 1 else None) for number in range(4)]
    events = [RiskEventRow(AT, "s", "kill_switch_on", 2, ""), RiskEventRow(AT, "s", "daily_loss", 2, "")]
    ticks = TickRows(
        decisions, [made("old", 0), made("open", 3, "low")], [loss], [], [equity(1), equity(2, 99_001.5)], events
    )
    store.commit_tick(ticks)
    state = store.restore(AT, "dryrun")
    assert state.last_minutes == {"BTC-USD": AT + 3 * MINUTE}
    assert state.tiers == {"BTC-USD": "high"}
    assert [signal.tier for signal in state.signals] == ["high", "low"]
    assert state.losses == (AT + 2 * MINUTE,)
    assert [signal.signal_id for signal in state.open_signals] == ["open"]
    assert state.open_signals[0].reference_price == Decimal("100.00000001")
    assert state.equity is not None
    assert state.equity.balance_usd == 99_001.5
    assert state.crashed_sessions == (("gone", AT),)
    assert state.sessions == 2
    assert state.kill_switch_was_on
    assert state.quiet_since == AT + 4 * MINUTE
    assert store.resume_moment() == AT + 4 * MINUTE


def test_resume_moment_without_a_file_is_none(tmp_path: Path) -> None:
    assert SignalStore(tmp_path / "none.duckdb").resume_moment() is None


def test_published_copy_is_readable_while_the_store_is_written(store: SignalStore, tmp_path: Path) -> None:
    store.commit_tick(TickRows([decision()]))
    copy = store.publish(tmp_path / "copy.duckdb")
    reader = connect(copy, read_only=True)
    with write_transaction(store.path):
        assert reader.execute("select count(*) from decisions").fetchall() == [(1,)]
    reader.close()


@pytest.mark.slow
def test_tick_of_an_hour_of_three_coins_is_quick(store: SignalStore, benchmark_seconds: Callable[..., float]) -> None:
    products = ("BTC-USD", "ETH-USD", "SOL-USD")
    ticks = [
        TickRows(
            [decision(60 * hour + number, product) for number in range(60) for product in products],
            equity=[equity(60 * hour + number) for number in range(60)],
        )
        for hour in range(5)
    ]
    assert benchmark_seconds(store.commit_tick, ticks) < 0.5


@pytest.fixture
def benchmark_seconds() -> Callable[..., float]:
    import time

    def best(function: Callable[..., object], arguments: list[object]) -> float:
        seconds = []
        for argument in arguments:
            began = time.perf_counter()
            function(argument)
            seconds.append(time.perf_counter() - began)
        return min(seconds)

    return best
