"""Walk-forward folds for any span: they tile the later half, nothing is fitted on what follows, labels never reach across."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.candles import HORIZON_MINUTES
from core.errors import DatasetError
from models.datasets.folds import FoldBorders
from store.splits import MINUTES_OF_DAY, require_folds, walk_forward

spans = st.tuples(st.integers(0, 30_000_000), st.integers(200, 2_000_000))
rolling = st.none() | st.integers(1, 1_000_000)


@settings(deadline=None, max_examples=60)
@given(spans, st.integers(1, 30), rolling)
def test_folds_tile_the_later_half_and_never_look_ahead(span, folds, days):
    first, length = span
    found = walk_forward(first, first + length, folds, rolling_minutes=days)
    assert [fold.test_start for fold in found] == [first + length // 2] + [fold.test_end for fold in found[:-1]]
    assert found[-1].test_end == first + length
    lengths = [fold.test_end - fold.test_start for fold in found]
    assert max(lengths) - min(lengths) <= 1
    for fold in found:
        assert fold.train_end == fold.test_start - HORIZON_MINUTES
        assert first <= fold.train_start <= fold.early_stop <= fold.calibration <= fold.test_start
        expected = first if days is None else max(first, fold.test_start - days)
        assert fold.train_start == expected


@settings(deadline=None, max_examples=60)
@given(spans, st.integers(1, 30), rolling)
def test_folds_that_are_let_through_are_long_enough_and_the_others_say_what_would_do(span, folds, days):
    first, length = span
    found, said = _let_through(first, first + length, folds, days)
    assert found or any(word in said for word in ("--folds", "--rolling", "make backfill"))
    for fold in found:
        assert fold.test_end - fold.test_start >= MINUTES_OF_DAY
        FoldBorders(fold.train_start, fold.early_stop, fold.calibration, fold.test_start, fold.test_end)


def _let_through(first, end, folds, days):
    try:
        return require_folds(first, end, folds, rolling_minutes=days), ""
    except DatasetError as error:
        return [], str(error)


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 12), st.integers(1, 400))
def test_the_repair_that_is_named_for_too_many_folds_works(days, folds):
    first, end = 1_000, 1_000 + days * 10 * MINUTES_OF_DAY
    found, said = _let_through(first, end, folds, None)
    if not found:
        room = int(said.partition("--folds ")[2].split()[0])
        assert len(require_folds(first, end, room)) == room < folds


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 1_000),
    st.lists(st.integers(1, 60), min_size=4, max_size=4),
    st.integers(1, 20),
    st.integers(1, 7),
)
def test_parts_are_those_a_minute_by_minute_reading_gives(start, lengths, horizon, every):
    edges = np.cumsum([start, *lengths]).tolist()
    borders = FoldBorders(*edges, every)
    minute_N = np.arange(start - 30, edges[-1] + 30)
    found_N = borders.parts(minute_N, horizon)
    for minute, part in zip(minute_N.tolist(), found_N.tolist(), strict=True):
        within = [place for place in range(4) if edges[place] <= minute and minute + horizon < edges[place + 1]]
        if within == [3] and minute % every:
            within = []
        assert part == (within[0] if within else -1)


@pytest.mark.parametrize("edges", [(5, 4, 6, 7, 8), (1, 2, 3, 3, 4), (1, 2, 3, 5, 5)])
def test_parts_out_of_the_order_of_time_are_refused(edges):
    with pytest.raises(DatasetError, match="must come after the one before"):
        FoldBorders(*edges)
