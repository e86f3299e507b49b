"""Live and history give the same bits: the long form is `python -m benchmarks.parity`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.parity import DifferenceError, candle_table, measure
from store.feature_sets import FeatureSet

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa


@pytest.fixture(scope="module")
def histories(recorded_candles: Path) -> dict[str, pa.Table]:
    return {product: candle_table(product, recorded_candles, 12_500) for product in ("BTC-USD", "SOL-USD")}


@pytest.mark.real
def test_live_rows_of_a_week_and_cut_and_shuffled_histories_have_the_same_bits(histories: dict[str, pa.Table]) -> None:
    found = {question: (rows, cells) for question, _, rows, cells in measure(histories, "seed39", 60)}
    assert list(found) == [
        "live: every hour of the last week",
        "live: random minutes",
        "future cut off at random minutes",
        "candles in random order",
    ]
    assert found["live: every hour of the last week"][0] >= 160
    assert found["candles in random order"][1] > 500_000


def test_planted_minutes_without_trades_are_the_same_too() -> None:
    table = candle_table("SOL-USD", None, 12_000)
    sparse = table.filter([number % 7 not in {2, 3} for number in range(table.num_rows)])
    for _, _, rows, cells in measure({"SOL-USD": sparse}, "seed39", 40):
        assert rows > 0
        assert cells == rows * 34


def test_measure_notices_a_history_that_is_too_short(monkeypatch: pytest.MonkeyPatch) -> None:
    histories = {"BTC-USD": candle_table("BTC-USD", None, 12_000)}
    monkeypatch.setattr(FeatureSet, "history_minutes", property(lambda chosen: chosen.warm_up_minutes - 1))
    with pytest.raises(DifferenceError, match="live the opposite"):
        measure(histories, "seed39", 5)
