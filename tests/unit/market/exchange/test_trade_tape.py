"""The trades behind the candles: they add up to them exactly, and their ids run on."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from core.candles import MINUTE
from market.exchange.app import Behaviour
from market.exchange.clock import Present
from market.exchange.recorded_market import RecordedMarket
from market.exchange.responses import trimmed
from market.exchange.simulated_market import Rows, epoch_minute, simulated_market
from market.exchange.trade_tape import TRADES_A_MINUTE, newest_trades, tape

PRESENT = datetime(2024, 3, 1, 12, 0, tzinfo=UTC)
CANDLES = "/market/products/BTC-USD/candles"


def market_of(minutes, candles):
    """Return a market with the given candles (open, high, low, close, volume) at the given minutes after PRESENT."""
    first = epoch_minute(PRESENT)
    columns = [np.array(column, dtype=np.int64) for column in zip(*candles, strict=True)]
    return RecordedMarket(Rows("DASH-USD", np.array([first + minute for minute in minutes], dtype=np.int64), *columns))


def added_up(trades):
    """Return minute -> (open, high, low, close, volume) of trades in any order."""
    minutes = {}
    for trade in sorted(trades, key=lambda one: one.trade_id):
        minutes.setdefault(trade.micros // 60_000_000, []).append(trade)
    return {
        minute: (
            found[0].price,
            max(trade.price for trade in found),
            min(trade.price for trade in found),
            found[-1].price,
            sum(trade.size for trade in found),
        )
        for minute, found in minutes.items()
    }


def rows_of(market, start, end):
    columns = market.rows(epoch_minute(start), epoch_minute(end)).columns
    return {row[0]: row[1:] for row in zip(*(column.tolist() for column in columns), strict=True)}


def just_before(moment):
    return moment - timedelta(microseconds=1)


def test_trades_of_a_day_add_up_to_its_candles():
    market = simulated_market("planted", "BTC-USD", 7)
    trades = tape(market, just_before(PRESENT), just_before(PRESENT + 1440 * MINUTE))
    assert added_up(trades) == rows_of(market, PRESENT, PRESENT + 1440 * MINUTE)
    assert len(trades) > TRADES_A_MINUTE * len(added_up(trades)), "a day without a single missing minute"
    assert {late.trade_id - early.trade_id for early, late in pairwise(trades)} == {1}
    assert all(early.micros < late.micros for early, late in pairwise(trades))


candle = st.tuples(*[st.integers(1, 10**6)] * 4, st.integers(0, 10**9)).map(
    lambda five: (five[0], max(five[:4]), min(five[:4]), five[3], five[4])
)


@settings(deadline=None, max_examples=40)
@given(st.dictionaries(st.integers(0, 200), candle, min_size=1, max_size=12), st.data())
def test_any_candles_come_out_of_their_trades(candles, data):
    market = market_of(sorted(candles), [candles[minute] for minute in sorted(candles)])
    first = epoch_minute(PRESENT)
    trades = tape(market, just_before(PRESENT), PRESENT + 300 * MINUTE)
    assert added_up(trades) == {first + minute: values for minute, values in candles.items()}
    assert all(late.trade_id - early.trade_id == 1 for early, late in pairwise(trades)), "holes fill the ids"
    cut = PRESENT + data.draw(st.integers(0, 300 * 60)) * timedelta(seconds=1)
    assert tape(market, just_before(PRESENT), cut) + tape(market, cut, PRESENT + 300 * MINUTE) == trades
    assert newest_trades(market, PRESENT + 300 * MINUTE, 5) == trades[-5:]


def test_dust_has_fewer_sizes_than_trades():
    trades = tape(market_of([0], [(5, 9, 3, 4, 2)]), just_before(PRESENT), PRESENT + MINUTE)
    assert sum(trade.size for trade in trades) == 2 and len(trades) == TRADES_A_MINUTE


def test_open_minute_is_what_was_traded_so_far(make_exchange, ask, window):
    moment = PRESENT + timedelta(seconds=37)
    exchange = make_exchange(Present(moment, stepped=True))
    (row,) = ask(exchange, CANDLES, window(PRESENT, PRESENT + MINUTE)).json()["candles"]
    (truth,) = added_up(tape(exchange.markets["BTC-USD"], just_before(PRESENT), moment)).values()
    assert [row[name] for name in ("open", "high", "low", "close")] == [trimmed(price, 2) for price in truth[:4]]
    assert row["volume"] == trimmed(truth[4], 8)


def test_ticker_tells_the_trades_of_the_tape(make_exchange, ask):
    exchange = make_exchange()
    page = ask(exchange, "/market/products/BTC-USD/ticker", {"limit": 20}).json()["trades"]
    truth = newest_trades(exchange.markets["BTC-USD"], PRESENT, 20)
    assert [int(trade["trade_id"]) for trade in page] == [trade.trade_id for trade in reversed(truth)]
    assert [Decimal(trade["price"]) * 100 for trade in page] == [trade.price for trade in reversed(truth)]


def test_unsettled_minute_lacks_its_last_trade_until_it_settles(make_exchange, ask, window):
    span = window(PRESENT - 5 * MINUTE, PRESENT - MINUTE)
    settled = {row["start"]: row for row in ask(make_exchange(), CANDLES, span).json()["candles"]}
    early = make_exchange(behaviour=Behaviour(settles_after_seconds=90.0))
    rows = {row["start"]: row for row in ask(early, CANDLES, span).json()["candles"]}
    changed = sorted(int(start) for start in rows if rows[start] != settled[start])
    # minutes that closed 0 and 60 seconds ago are not settled, the one of 120 seconds ago is
    assert changed == [int((PRESENT - 2 * MINUTE).timestamp()), int((PRESENT - MINUTE).timestamp())]
    assert all(Decimal(rows[str(start)]["volume"]) < Decimal(settled[str(start)]["volume"]) for start in changed)


def test_minute_is_published_late_when_asked_to(make_exchange, ask, window):
    exchange = make_exchange(behaviour=Behaviour(published_after_seconds=30.0))
    span = window(PRESENT - 2 * MINUTE, PRESENT)
    starts = [int(row["start"]) for row in ask(exchange, CANDLES, span).json()["candles"]]
    assert starts == [int((PRESENT - 2 * MINUTE).timestamp())]
    exchange.present.advance(PRESENT + timedelta(seconds=30))
    assert len(ask(exchange, CANDLES, span).json()["candles"]) == 2
