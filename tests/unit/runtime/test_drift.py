from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import numpy as np

from runtime.drift import DriftWatch, read_shares, training_shares, write_shares
from store.feature_sets import FeatureBlock

if TYPE_CHECKING:
    from pathlib import Path

DAY = 20_000
NAMES = ("normal", "flag")


def inputs(rows: int, shift: float = 0.0, seed: int = 0) -> np.ndarray:
    dice = np.random.default_rng(seed)
    return np.column_stack([dice.normal(shift, 1, rows), np.arange(rows) % 2]).astype(np.float32)


def block(first: int, x_NF: np.ndarray) -> FeatureBlock:
    minute_N = first + np.arange(len(x_NF), dtype=np.int64)
    open_time_N = (minute_N * 60).astype("datetime64[s]").astype("datetime64[us]")
    return FeatureBlock("BTC-USD", minute_N, open_time_N, np.ones(len(x_NF)), np.zeros(len(x_NF), bool), x_NF)


def watch() -> DriftWatch:
    return DriftWatch({"BTC-USD": training_shares(inputs(50_000), NAMES)}, NAMES)


def day_rows(shift: float) -> dict[str, float]:
    seen = watch()
    seen.count(block(DAY * 1440, inputs(1440, shift, seed=1)), DAY * 1440, DAY * 1440 + 1439)
    rows = seen.finished(DAY * 1440 + 1439)
    assert {row.day for row in rows} == {date(2024, 10, 4)}
    return {row.feature: row.psi for row in rows}


def test_same_distribution_has_an_index_near_zero() -> None:
    assert max(day_rows(0.0).values()) < 0.02


def test_shifted_feature_is_seen_and_the_other_is_not() -> None:
    psi = day_rows(1.0)
    assert psi["normal"] > 0.5
    assert psi["flag"] < 0.001


def test_shares_of_another_feature_set_are_not_compared_with() -> None:
    seen = DriftWatch({"BTC-USD": training_shares(inputs(5_000), ("normal", "gone"))}, NAMES)
    seen.count(block(DAY * 1440, inputs(1440)), DAY * 1440, DAY * 1440 + 1439)
    assert seen.finished(DAY * 1440 + 1439) == []


def test_day_is_told_when_over_whatever_the_ticks() -> None:
    x_NF, first = inputs(2880, seed=2), DAY * 1440
    whole, cut = watch(), watch()
    whole.count(block(first, x_NF), first, first + 2879)
    for start in range(0, 2880, 7):
        cut.count(block(first, x_NF), first + start, first + min(start + 6, 2879))
    assert whole.finished(first + 1438) == []
    assert whole.finished(first + 2879) == cut.finished(first + 2879)


def test_day_hardly_seen_and_unknown_products_say_nothing() -> None:
    seen = watch()
    seen.count(block(DAY * 1440, inputs(100)), 0, 10**9)
    assert seen.finished(10**9) == []
    DriftWatch({}, NAMES).count(block(DAY * 1440, inputs(100)), 0, 10**9)


def test_shares_come_back_from_their_file_and_a_broken_one_is_nothing(tmp_path: Path) -> None:
    path = tmp_path / "models" / "training_shares.json"
    shares = {"BTC-USD": training_shares(inputs(1000), NAMES)}
    write_shares(path, shares)
    assert read_shares(path) == shares
    path.write_text("{")
    assert read_shares(path) == {}
    assert read_shares(tmp_path / "none") == {}
