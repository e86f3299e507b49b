"""Where a followed product stands: what to ask for, what of an answer may be recorded, when a minute has settled."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from core.candles import MINUTE, Candle, Page, Span
from market.ingest.followed_product import Coin, hull, runs, united

T0 = datetime(2024, 3, 1, 12, 0, tzinfo=UTC)


def candle(number, close=1):
    return Candle("BTC-USD", T0 + number * MINUTE, *[Decimal(close)] * 4, Decimal(1))


def page(first, end, known, *, absent=(), close=1):
    """Return an answer about minutes ``[first, end)`` after T0, told ``known`` minutes after T0 and half a second."""
    candles = tuple(candle(number, close) for number in range(first, end) if number not in absent)
    known_at = T0 + known * MINUTE + timedelta(seconds=0.5)
    return Page("BTC-USD", Span(T0 + first * MINUTE, T0 + end * MINUTE), candles, known_at, "coinbase")


def at(number):
    return T0 + number * MINUTE


def test_coin_asks_for_three_minutes_once_it_is_under_way():
    coin = Coin("BTC-USD", T0)
    asked = []
    for last in range(6):
        (span,) = coin.wanted(at(last))
        asked.append((span.start - T0) // MINUTE)
        coin.take([page((span.start - T0) // MINUTE, last + 1, last + 1)], at(last))
    assert asked == [0, 0, 0, 1, 2, 3], "each minute is read the last time two minutes after its close"


def test_coin_minute_without_a_candle_is_asked_for_five_minutes_and_recorded_once():
    coin = Coin("BTC-USD", T0)
    recorded = []
    for last in range(9):
        (span,) = coin.wanted(at(last))
        first = (span.start - T0) // MINUTE
        kept, _, _ = coin.take([page(first, last + 1, last + 1, absent=(2,))], at(last))
        recorded += [last for piece in kept if piece.window.start <= at(2) < piece.window.end]
    assert recorded == [7], "five minutes after its close it is proved"
    assert coin.settled_until == at(7)


def test_coin_that_was_not_answered_stays_where_it_is():
    coin = Coin("BTC-USD", T0)
    assert coin.take([], at(3)) == ([], [], 0)
    # an answer with a hole in its windows settles nothing behind the hole
    coin.take([page(0, 2, 9), page(4, 9, 9)], at(8))
    assert coin.settled_until == at(2)


def test_coin_minute_built_from_trades_is_left_alone_until_it_settled():
    coin = Coin("BTC-USD", T0, built={at(0): candle(0), at(1): candle(1)})
    assert coin.wanted(at(1)) == []
    assert coin.wanted(at(2)) == [Span(at(0), at(1)), Span(at(2), at(3))]
    kept, differences, confirmed = coin.take([page(0, 3, 3)], at(2))
    assert [piece.window for piece in kept] == [Span(at(0), at(1)), Span(at(2), at(3))]
    assert (differences, confirmed) == ([], 1)
    assert list(coin.built) == [at(1)]


def test_coin_difference_to_a_built_minute_is_named_value_by_value():
    coin = Coin("BTC-USD", T0, built={at(0): replace(candle(0), volume=Decimal(3))})
    _, (difference,), confirmed = coin.take([page(0, 1, 3)], at(2))
    assert confirmed == 0
    assert str(difference) == "BTC-USD 12:00: built from trades, revised by the exchange's candle: volume 3 -> 1"


def test_coin_built_minute_the_exchange_knows_nothing_of_is_named():
    coin = Coin("BTC-USD", T0, built={at(0): candle(0)})
    _, (difference,), _ = coin.take([page(0, 7, 7, absent=(0,))], at(6))
    assert "the exchange has no candle" in str(difference)


def test_coin_exchanges_word_is_never_replaced_by_ours():
    coin = Coin("BTC-USD", T0)
    coin.take([page(0, 2, 2)], at(1))
    assert [coin.lacks(at(number)) for number in range(3)] == [False, False, True]


def test_coin_reset_undoes_what_a_failed_commit_noted():
    coin = Coin("BTC-USD", T0)
    mark = coin.mark()
    coin.take([page(0, 5, 5)], at(4))
    coin.built[at(5)] = candle(5)
    coin.reset(mark)
    assert (coin.settled_until, coin.newest, coin.built, coin.told) == (T0, None, {}, set())


spans = st.tuples(st.integers(0, 60), st.integers(1, 30)).map(lambda two: Span(at(two[0]), at(two[0] + two[1])))


def minutes(found):
    return [span.start + number * MINUTE for span in found for number in range(span.minutes)]


@given(st.lists(spans, max_size=8))
def test_united_spans_hold_the_same_minutes_each_once(found):
    joined = united(found)
    assert minutes(joined) == sorted(set(minutes(found)))
    assert joined == list(runs(minutes(joined)))
    if joined:
        assert hull(joined) == Span(joined[0].start, joined[-1].end)
