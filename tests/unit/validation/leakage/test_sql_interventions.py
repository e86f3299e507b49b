"""Interventions on a small market: every planted look ahead is caught and named, what only looks back is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from store.feature_sets import FEATURE_SETS, FeatureSet
from store.schema import objects
from store.sql_files import headers
from validation.leakage.leak_list import LEAKS, Where, plants
from validation.leakage.point_in_time import CutlessStore, rebuilt
from validation.leakage.sql_interventions import Bench, planted_sets, small_market

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HEAD = """-- {name}: tried in a test.
--
-- grain     one row per (product, minute)
-- reads     candles_dense
-- known     at open_time + 1 minute
-- causal    that is the question
-- warm-up   0 minutes
--
-- tried   what the test makes of it
"""


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with Bench(small_market(3)) as made:
        yield made


def own_set(folder: Path, name: str, select: str, *, where: str = "candles_dense") -> FeatureSet:
    """A feature set of one column, as somebody might add it tomorrow."""
    text = f"create or replace view {name} as select product, open_time, minute, is_filled, close, {select} as tried from {where};"
    (folder / f"{name}.sql").write_text(HEAD.format(name=name) + text, encoding="utf-8")
    return FeatureSet(name, 1, name, ("tried",), folder=folder)


@pytest.mark.parametrize(("name", "expected"), plants(Where.SQL).items())
def test_planted_view_is_caught_by_its_name(bench: Bench, name: str, expected: str) -> None:
    leaks = bench.probe(planted_sets()[name]).leaks
    assert [leak.name for leak in leaks] == [expected]
    assert leaks[0].location.startswith(f"{name}.")
    assert LEAKS[leaks[0].name].repair


def test_every_view_under_leaks_is_planted_and_none_is_ever_applied() -> None:
    assert set(headers("leaks")) == set(plants(Where.SQL) | plants(Where.LABELS))
    assert not set(headers("leaks")) & set(objects("market") | objects("signals"))


@pytest.mark.parametrize("name", FEATURE_SETS)
def test_real_feature_set_raises_no_alarm(bench: Bench, name: str) -> None:
    probed = bench.probe(FEATURE_SETS[name])
    assert probed.rows > 500
    assert probed.leaks == []


OVER = "over (partition by product order by minute"
INVENTED = {
    "median around": (f"close / median(close) {OVER} rows between 4 preceding and 4 following)", None),
    "next sign": (f"sign(lead(close) {OVER}) - close)", "future shift"),
    "mean of later volume": (f"avg(volume) {OVER} rows between 1 following and 30 following)", "future shift"),
    "rank in history": ("percent_rank() over (partition by product order by close)", None),
    "best of the segment": ("close / max(high) over (partition by product, segment_start)", "whole-history statistic"),
    "quarter hour's high": (
        "close / max(high) over (partition by product, minute // 15)",
        "higher time-frame joined by its open time",
    ),
    "later close where it was quiet": (f"case when volume < 0.5 then lead(close, 3) {OVER}) else close end", None),
    "minutes until the hole": ("max(minute) over (partition by product, segment_start) - minute", None),
}


@pytest.mark.parametrize("title", INVENTED)
def test_leak_nobody_planted_is_caught_all_the_same(bench: Bench, tmp_path: Path, title: str) -> None:
    select, expected = INVENTED[title]
    leaks = bench.probe(own_set(tmp_path, "invented", select)).leaks
    assert leaks, "not caught"
    assert expected is None or expected in {leak.name for leak in leaks}


@pytest.mark.parametrize(
    "select",
    [
        "close",
        f"avg(close) {OVER} rows between 19 preceding and current row)",
        f"sum(volume) {OVER} rows unbounded preceding)",
        f"last_value(case when not is_filled then close end ignore nulls) {OVER})",
        "minute % 1440",
    ],
)
def test_looking_back_raises_no_alarm(bench: Bench, tmp_path: Path, select: str) -> None:
    assert bench.probe(own_set(tmp_path, "backward", select)).leaks == []


def test_row_that_exists_only_because_of_the_future_is_caught(bench: Bench, tmp_path: Path) -> None:
    kept = f"(select * from candles_dense qualify lead(close, 2) {OVER}) > close)"
    (leak, *_) = bench.probe(own_set(tmp_path, "chosen", "close", where=kept)).leaks
    assert "(the row itself)" in leak.location


def test_data_set_at_its_cut_does_not_move_with_later_revisions(tmp_path: Path) -> None:
    assert rebuilt("seed39", 1, tmp_path).leaks == []


def test_store_that_forgets_the_cut_is_caught(tmp_path: Path) -> None:
    leaks = rebuilt("seed39", 1, tmp_path, CutlessStore).leaks
    assert {leak.name for leak in leaks} == {"revised candle"}
    assert any("data set of seed39" in leak.location and "changed after the cut" in leak.seen for leak in leaks)
