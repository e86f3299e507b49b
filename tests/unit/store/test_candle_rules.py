"""The rules a candle must pass."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from core.candles import MINUTE, Candle, Span
from store.candle_rules import fault

T0 = datetime(2024, 3, 1, tzinfo=UTC)
WINDOW = Span(T0, T0 + 10 * MINUTE)
GOOD = Candle("BTC-USD", T0, Decimal(10), Decimal(12), Decimal(9), Decimal(11), Decimal(0))
LATER = T0 + timedelta(days=1)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"close": Decimal("NaN")}, "not_finite"),
        ({"volume": Decimal("Infinity")}, "not_finite"),
        ({"open_time": T0 + timedelta(seconds=1)}, "off_grid"),
        ({"open_time": T0 + timedelta(microseconds=1)}, "off_grid"),
        ({"open_time": T0 - MINUTE}, "outside_window"),
        ({"open_time": T0 + 10 * MINUTE}, "outside_window"),
        ({"low": Decimal(0)}, "non_positive_price"),
        ({"open": Decimal(-1)}, "non_positive_price"),
        ({"volume": Decimal("-0.1")}, "negative_volume"),
        ({"high": Decimal(10**9)}, "out_of_range"),
        ({"high": Decimal("10.5")}, "ohlc_order"),
        ({"low": Decimal("10.5")}, "ohlc_order"),
        ({"close": Decimal("10.000000001")}, "too_many_decimals"),
        ({"volume": Decimal("0.000000001")}, "too_many_decimals"),
        ({"high": Decimal("1e999")}, "out_of_range"),
        ({"open": Decimal("1e999")}, "ohlc_order"),
    ],
)
def test_fault_names_the_broken_rule(change: dict[str, object], reason: str) -> None:
    assert fault(replace(GOOD, **change), WINDOW, LATER) == reason


def test_fault_good_candle_has_none() -> None:
    assert fault(GOOD, WINDOW, LATER) is None


def test_fault_open_minute_is_refused_until_it_closes() -> None:
    assert fault(GOOD, WINDOW, T0 + timedelta(seconds=59)) == "still_open"
    assert fault(GOOD, WINDOW, T0 + MINUTE) is None


def test_fault_big_move_is_no_fault() -> None:
    crash = replace(GOOD, low=Decimal("0.01"), close=Decimal("0.01"))
    assert fault(crash, WINDOW, LATER) is None
