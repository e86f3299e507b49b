"""Where a followed product stands: what to ask for, what of an answer may be recorded, when a minute has settled."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from core.candles import MINUTE, Candle, Page, Span
from market.ingest.followed_product import FollowedProduct, FollowStats, merge_spans
from store.ingest import WriteCount

T0 = datetime(2024, 3, 1, 12, 0, tzinfo=UTC)


def candle(number, close=1):
    return Candle("BTC-USD", T0 + number * MINUTE, *[Decimal(close)] * 4, Decimal(1))


def page(first, end, known, *, absent=(), close=1):
    """Return an answer about minutes ``[first, end)`` after T0, told ``known`` minutes after T0 and half a second."""
    candles = tuple(candle(number, close) for number in range(first, end) if number not in absent)
    known_at = T0 + known * MINUTE + timedelta(seconds=0.5)
    return Page("BTC-USD", Span(T0 + first * MINUTE, T0 + end * MINUTE), candles, known_at, "followedbase")


def at(number):
    return T0 + number * MINUTE


def test_product_asks_for_three_minutes_once_it_is_under_way():
    followed = FollowedProduct("BTC-USD", T0)
    requested = []
    for last in range(6):
        span = followed.wanted(at(last))
        requested.append((span.start - T0) // MINUTE)
        followed.take([page((span.start - T0) // MINUTE, last + 1, last + 1)], at(last))
    assert requested == [0, 0, 0, 1, 2, 3], "each minute is read the last time two minutes after its close"


def test_product_minute_without_a_candle_is_asked_for_five_minutes_and_recorded_once():
    followed = FollowedProduct("BTC-USD", T0)
    recorded = []
    for last in range(9):
        span = followed.wanted(at(last))
        first = (span.start - T0) // MINUTE
        kept = followed.take([page(first, last + 1, last + 1, absent=(2,))], at(last))
        recorded += [last for piece in kept if piece.window.start <= at(2) < piece.window.end]
    assert recorded == [7], "five minutes after its close it is proved"
    assert followed.settled_until == at(7)


def test_product_that_was_not_answered_stays_where_it_is():
    followed = FollowedProduct("BTC-USD", T0)
    assert followed.take([], at(3)) == []
    # an answer with a hole in its windows settles nothing behind the hole
    followed.take([page(0, 2, 9), page(4, 9, 9)], at(8))
    assert followed.settled_until == at(2)


def test_product_reset_undoes_what_a_failed_commit_noted():
    followed = FollowedProduct("BTC-USD", T0)
    before = followed.progress
    followed.take([page(0, 5, 5)], at(4))
    assert followed.progress != before
    followed.reset(before)
    assert (followed.settled_until, followed.newest) == (T0, None)


def test_product_minute_whose_row_has_no_numbers_is_handed_on_and_not_the_newest():
    followed = FollowedProduct("BTC-USD", T0)
    (kept,) = followed.take([page(0, 1, 1), page(1, 2, 2, close="NaN")], at(1))[1:]
    assert kept.candles[0].close.is_nan() and followed.newest == at(0)


spans = st.tuples(st.integers(0, 60), st.integers(1, 30)).map(lambda two: Span(at(two[0]), at(two[0] + two[1])))


def minutes(listed):
    return [span.start + number * MINUTE for span in listed for number in range(span.minutes)]


@given(st.lists(spans, max_size=8))
def test_merged_spans_hold_the_same_minutes_each_once(listed):
    merged = merge_spans(listed)
    assert minutes(merged) == sorted(set(minutes(listed)))
    assert all(earlier.end < later.start for earlier, later in pairwise(merged))


def test_stats_delays_are_nearest_ranks():
    stats = FollowStats()
    assert stats.delay(0.5) is None and stats.delay_summary == "no minute stored live yet"
    for delay in (5.0, 1.0, 4.0, 2.0, 3.0):
        stats.add(WriteCount(stored=2, revised=1), delay)
    stats.add(WriteCount(stored=1), None)
    assert [stats.delay(share) for share in (0.5, 0.95, 1.0)] == [3.0, 5.0, 5.0]
    assert (stats.stored, stats.revised) == (11, 5)
    assert stats.delay_summary == "close to commit p50 3.00 s, p95 5.00 s, max 5.00 s over 5 minutes"


def test_stats_file_holds_the_figures_and_is_replaced_whole(tmp_path):
    file, stats = tmp_path / "reports" / "follow.json", FollowStats(minutes=3)
    stats.write(file)
    assert json.loads(file.read_text())["delay_seconds"] == {"p50": None, "p95": None, "max": None, "count": 0}
    stats.add(WriteCount(stored=1), 0.5)
    stats.write(file)
    written = json.loads(file.read_text())
    assert (written["minutes"], written["stored"], written["delay_seconds"]["p95"]) == (3, 1, 0.5)
    assert [path.name for path in file.parent.iterdir()] == ["follow.json"]
