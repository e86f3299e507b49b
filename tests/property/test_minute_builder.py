"""Minutes built from trades against the truth: shuffled, told twice, late, lost, a connection that begins in the middle."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from core.candles import MINUTE, Candle, floor_minute
from market.providers.minute_builder import MinuteBuilder, Trade

if TYPE_CHECKING:
    from collections.abc import Sequence

T0 = datetime(2024, 3, 1, tzinfo=UTC)
MINUTES = 6
CLOSED_AFTER = timedelta(seconds=2)


@dataclass(frozen=True)
class Sent:
    """A trade and when it reaches us; None when it never does."""

    trade: Trade
    at: datetime | None


@st.composite
def markets(draw: st.DrawFn, *, faults: bool) -> list[Sent]:
    """Some minutes of trades with contiguous ids; with ``faults`` some are late by more than a close, or lost."""
    moments = sorted(draw(st.lists(st.integers(0, MINUTES * 60_000 - 1), min_size=1, max_size=30)))
    sent = []
    for number, millis in enumerate(moments):
        price, size = draw(st.integers(1, 500)), draw(st.integers(0, 10**9))
        time = T0 + timedelta(milliseconds=millis)
        trade = Trade("BTC-USD", 1000 + number, Decimal(price) / 100, Decimal(size).scaleb(-8), time)
        delay: int | None = draw(st.integers(0, 1900))
        if faults and draw(st.integers(0, 9)) == 0:
            delay = draw(st.sampled_from([None, 3_000, 70_000]))
        sent.append(Sent(trade, None if delay is None else time + timedelta(milliseconds=delay)))
    # one trade after everything, so that a loss at the very end is seen too
    last = T0 + MINUTES * MINUTE + timedelta(seconds=5)
    end = Trade("BTC-USD", 1000 + len(moments), Decimal(1), Decimal(1), last)
    return [*sent, Sent(end, last)]


def truth(sent: Sequence[Sent]) -> dict[datetime, Candle]:
    """Add up the trades of each minute by hand."""
    minutes: dict[datetime, list[Trade]] = {}
    for one in sent:
        minutes.setdefault(floor_minute(one.trade.time), []).append(one.trade)
    return {
        minute: Candle(
            "BTC-USD",
            minute,
            trades[0].price,
            max(trade.price for trade in trades),
            min(trade.price for trade in trades),
            trades[-1].price,
            sum((trade.size for trade in trades), Decimal(0)),
        )
        for minute, trades in minutes.items()
    }


def replayed(
    builder: MinuteBuilder, sent: Sequence[Sent], begin: datetime, *, twice: frozenset[int] = frozenset()
) -> dict[datetime, Candle]:
    """Deliver the trades in the order of their coming, close each minute two seconds after its end, return what is built."""
    builder.begin(begin)
    arrivals = sorted((one for one in sent if one.at is not None and one.at >= begin), key=lambda one: one.at or T0)
    built: dict[datetime, Candle] = {}
    for number in range(MINUTES + 2):
        end = T0 + (number + 1) * MINUTE
        batch = [one.trade for one in arrivals if one.at is not None and end - MINUTE < one.at - CLOSED_AFTER <= end]
        if number == 0:
            batch += [one.trade for one in arrivals if one.at is not None and one.at <= T0 + CLOSED_AFTER]
        builder.add(reversed(batch))
        builder.add(trade for trade in batch if trade.trade_id in twice)
        for candle in builder.close(end).candles:
            assert candle.open_time not in built, "built twice"
            built[candle.open_time] = candle
    return built


@settings(deadline=None, max_examples=150)
@given(markets(faults=False), st.frozensets(st.integers(1000, 1030)))
def test_builder_without_losses_builds_every_minute_as_it_was(sent: list[Sent], twice: frozenset[int]) -> None:
    builder = MinuteBuilder("BTC-USD")
    built = replayed(builder, sent, T0 - MINUTE, twice=twice)
    wanted = {minute: candle for minute, candle in truth(sent).items() if minute < T0 + MINUTES * MINUTE}
    assert {minute: candle for minute, candle in built.items() if minute in wanted} == wanted
    assert builder.doubted == []


@settings(deadline=None, max_examples=300)
@given(markets(faults=True), st.frozensets(st.integers(1000, 1030)))
def test_builder_with_losses_is_right_or_says_it_may_not_be(sent: list[Sent], twice: frozenset[int]) -> None:
    builder = MinuteBuilder("BTC-USD")
    built = replayed(builder, sent, T0 - MINUTE, twice=twice)
    told = truth(sent)
    first = min((one.trade.trade_id for one in sent if one.at is not None), default=0)
    for minute, candle in built.items():
        # nothing before the first trade that came can be missed by its number; the connection's begin covers that
        is_first = any(one.trade.trade_id < first and floor_minute(one.trade.time) == minute for one in sent)
        assert candle == told[minute] or minute in builder.doubted or is_first
    assert set(built) <= set(told), "no minute is invented"


@settings(deadline=None, max_examples=100)
@given(markets(faults=False), st.integers(0, MINUTES * 60 - 1))
def test_builder_leaves_out_the_minute_in_which_the_connection_began(sent: list[Sent], second: int) -> None:
    begin = T0 + timedelta(seconds=second)
    built = replayed(MinuteBuilder("BTC-USD"), sent, begin)
    told = truth(sent)
    assert all(minute > begin - MINUTE and minute > floor_minute(begin) for minute in built)
    assert all(candle == told[minute] for minute, candle in built.items() if minute in told)


def trade(number: int, seconds: float, price: str = "10") -> Trade:
    return Trade("BTC-USD", number, Decimal(price), Decimal(1), T0 + timedelta(seconds=seconds))


def test_builder_gap_drops_the_minute_in_hand_and_builds_the_next() -> None:
    builder = MinuteBuilder("BTC-USD")
    builder.begin(T0 - MINUTE)
    builder.add([trade(1, 10)])
    builder.begin(T0 + timedelta(seconds=30))
    builder.add([trade(5, 40), trade(6, 70), trade(7, 80)])
    closing = builder.close(T0 + 2 * MINUTE)
    assert [candle.open_time for candle in closing.candles] == [T0 + MINUTE]
    assert closing.dropped == ((T0, "the connection did not see all of it"),)


def test_builder_missing_id_drops_the_minute_and_names_the_trade() -> None:
    builder = MinuteBuilder("BTC-USD")
    builder.begin(T0 - MINUTE)
    builder.add([trade(1, 10), trade(3, 20)])
    assert builder.close(T0 + MINUTE).dropped == ((T0, "trade 2 did not come"),)


def test_builder_hole_between_minutes_doubts_the_one_built_before() -> None:
    builder = MinuteBuilder("BTC-USD")
    builder.begin(T0 - MINUTE)
    builder.add([trade(1, 10)])
    assert len(builder.close(T0 + MINUTE).candles) == 1
    builder.add([trade(3, 70)])
    assert builder.close(T0 + 2 * MINUTE).dropped == ((T0 + MINUTE, "trade 2 did not come"),)
    assert builder.doubted == [T0]


def test_builder_late_trade_of_a_closed_minute_is_doubted_once_told_and_never_built() -> None:
    builder = MinuteBuilder("BTC-USD")
    builder.begin(T0 - MINUTE)
    builder.add([trade(1, 10)])
    builder.close(T0 + MINUTE)
    builder.add([trade(2, 50), trade(1, 10)])
    assert builder.doubted == [T0]
    assert builder.close(T0 + 2 * MINUTE).candles == ()


def test_builder_order_of_times_around_the_turn_is_not_that_of_ids() -> None:
    builder = MinuteBuilder("BTC-USD")
    builder.begin(T0 - MINUTE)
    builder.add([trade(1, 10, "5"), trade(4, 59.9, "7"), trade(2, 60.1, "6"), trade(3, 60.2, "4"), trade(5, 61, "8")])
    first, second = builder.close(T0 + 2 * MINUTE).candles
    assert (first.open, first.close, second.open, second.close) == tuple(map(Decimal, ("5", "7", "6", "8")))


def test_builder_huge_hole_costs_nothing() -> None:
    builder = MinuteBuilder("BTC-USD")
    builder.begin(T0 - MINUTE)
    builder.add([trade(1, 10), trade(10**15, 20)])
    assert builder.close(T0 + MINUTE).dropped == ((T0, "trade 2 did not come"),)
