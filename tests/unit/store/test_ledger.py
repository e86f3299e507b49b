"""The ledger's arithmetic, without a database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from core.candles import MINUTE, Candle, Page, Span
from store.ledger import (
    ANSWERED,
    FAILED,
    QUARANTINED,
    Window,
    answered_window,
    due_at,
    not_covered,
    recorded,
    settled,
    told_windows,
)

T0 = datetime(2024, 3, 1, tzinfo=UTC)
ASKED = T0 + timedelta(days=9)


def at(minute: int) -> datetime:
    return T0 + minute * MINUTE


def window(start: int, end: int, state: str = ANSWERED, *, asked: datetime = ASKED, tries: int = 1) -> Window:
    return Window(at(start), at(end), state, asked, tries, "" if state == ANSWERED else "busy", "coinbase")


def page(start: int, end: int, *, known_at: datetime, last: int | None = None) -> Page:
    price = Decimal(1)
    candles = () if last is None else (Candle("BTC-USD", at(last), price, price, price, price, price),)
    return Page("BTC-USD", Span(at(start), at(end)), candles, known_at, "coinbase")


def test_recorded_neighbours_become_one_window() -> None:
    windows = recorded(recorded([], window(0, 300)), window(300, 600))
    assert windows == [window(0, 600)]


def test_recorded_same_answer_twice_changes_nothing() -> None:
    once = recorded([], window(0, 300))
    assert recorded(once, window(0, 300)) == once


def test_recorded_answer_an_hour_later_counts_a_try() -> None:
    windows = recorded([window(0, 300)], window(100, 200, asked=ASKED + timedelta(hours=1)))
    assert [(one.start, one.tries) for one in windows] == [(at(0), 1), (at(100), 2), (at(200), 1)]


def test_recorded_answers_within_an_hour_are_one_try() -> None:
    windows = [window(0, 300)]
    for minute in range(1, 50):
        windows = recorded(windows, window(0, 300, asked=ASKED + minute * MINUTE))
    assert [(one.tries, one.asked_at) for one in windows] == [(1, ASKED + 49 * MINUTE)]


def test_recorded_neighbours_asked_in_different_hours_stay_apart() -> None:
    windows = recorded([window(0, 300)], window(300, 600, asked=ASKED + timedelta(hours=1)))
    assert [one.asked_at for one in windows] == [ASKED, ASKED + timedelta(hours=1)]


def test_recorded_later_answer_holds_in_whatever_order_the_two_arrive() -> None:
    bad, empty = window(0, 1, QUARANTINED), window(0, 1, asked=ASKED + timedelta(hours=2))
    assert [one.state for one in recorded([bad], empty)] == [ANSWERED]
    assert [one.state for one in recorded([empty], bad)] == [ANSWERED]


def test_recorded_of_two_answers_at_one_instant_the_unbelieved_one_holds() -> None:
    bad, empty = window(0, 1, QUARANTINED), window(0, 1)
    assert recorded([bad], empty) == recorded([empty], bad) == [bad]


def test_recorded_failure_leaves_a_quarantined_minute() -> None:
    windows = recorded([window(5, 6, QUARANTINED)], window(0, 10, FAILED, asked=ASKED + timedelta(days=1)))
    assert [(one.start, one.state) for one in windows] == [(at(0), FAILED), (at(5), QUARANTINED), (at(6), FAILED)]


def test_told_windows_cut_out_the_minutes_of_which_only_nonsense_was_told() -> None:
    proved = told_windows(page(0, 300, known_at=ASKED), {at(7): "ohlc_order", at(8): "ohlc_order", at(900): "off_grid"})
    assert [(one.start, one.end, one.state, one.reason) for one in proved] == [
        (at(0), at(7), ANSWERED, ""),
        (at(7), at(9), QUARANTINED, "ohlc_order"),
        (at(9), at(300), ANSWERED, ""),
    ]


def test_settled_calls_a_quarantined_minute_with_a_candle_answered() -> None:
    windows = settled([window(0, 10, QUARANTINED), window(10, 20)], {at(4), at(15)})
    assert [(one.start, one.end, one.state) for one in windows] == [
        (at(0), at(4), QUARANTINED),
        (at(4), at(5), ANSWERED),
        (at(5), at(10), QUARANTINED),
        (at(10), at(20), ANSWERED),
    ]


@pytest.mark.parametrize(
    ("state", "tries", "after"),
    [
        (FAILED, 9, timedelta(0)),
        ("empty", 1, timedelta(hours=1)),
        ("empty", 2, timedelta(days=1)),
        ("quarantined", 3, timedelta(days=7)),
        ("empty", 4, timedelta(days=30)),
        ("empty", 5, None),
    ],
)
def test_due_at_grows_with_the_tries_and_ends(state: str, tries: int, after: timedelta | None) -> None:
    assert due_at(state, ASKED, tries) == (None if after is None else ASKED + after)


def test_answered_window_row_off_the_grid_still_ends_on_it() -> None:
    last = Candle("BTC-USD", at(98) + timedelta(seconds=30), *(Decimal(1),) * 5)
    told = Page("BTC-USD", Span(at(0), at(300)), (last,), at(100) + timedelta(seconds=20), "coinbase")
    proved = answered_window(told)
    assert proved is not None
    assert proved.end == at(99)


def test_recorded_answer_removes_the_failure_it_covers() -> None:
    windows = recorded([window(0, 300, FAILED)], window(100, 200))
    assert [(one.start, one.end, one.state) for one in windows] == [
        (at(0), at(100), FAILED),
        (at(100), at(200), ANSWERED),
        (at(200), at(300), FAILED),
    ]


def test_recorded_failure_never_removes_an_answer() -> None:
    windows = recorded([window(100, 200)], window(0, 300, FAILED))
    assert [(one.start, one.state) for one in windows] == [(at(0), FAILED), (at(100), ANSWERED), (at(200), FAILED)]


def test_recorded_second_failure_counts_a_try() -> None:
    windows = recorded([window(0, 300, FAILED)], window(0, 300, FAILED, asked=ASKED + MINUTE))
    assert [one.tries for one in windows] == [2]


def test_not_covered_returns_the_holes_oldest_first() -> None:
    holes = not_covered(Span(at(0), at(100)), [window(60, 70), window(10, 20), window(90, 130)])
    assert holes == [Span(at(0), at(10)), Span(at(20), at(60)), Span(at(70), at(90))]


def test_not_covered_nothing_asked_returns_the_span() -> None:
    assert not_covered(Span(at(0), at(5)), []) == [Span(at(0), at(5))]


def test_answered_window_old_empty_page_is_proved_whole() -> None:
    proved = answered_window(page(0, 300, known_at=ASKED))
    assert proved is not None
    assert (proved.start, proved.end) == (at(0), at(300))


@pytest.mark.parametrize(("last", "end"), [(97, 98), (99, 100), (None, 95)])
def test_answered_window_young_minutes_count_only_up_to_the_last_candle(last: int | None, end: int) -> None:
    proved = answered_window(page(0, 300, known_at=at(100) + timedelta(seconds=20), last=last))
    assert proved is not None
    assert proved.end == at(end)


def test_answered_window_still_open_minute_proves_nothing() -> None:
    assert answered_window(page(100, 101, known_at=at(100) + timedelta(seconds=30))) is None
