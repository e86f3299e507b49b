"""`desk data docs`: the page is whole for a rich store, an almost empty one, and refused without one."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import numpy as np
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from core.candles import MINUTE, Candle, Page, Span
from core.errors import StoreError, UnknownProductError
from core.settings import Paths
from desk import data
from reports.data.facts import SAMPLED_DAYS, bucketed, read, sampled_days
from reports.data.plots import day_state
from store.feature_sample import features_of_days
from store.feature_store import FeatureStore
from store.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T0 = datetime(2024, 2, 28, tzinfo=UTC)
DAY = timedelta(days=1)
BTC, ETH = "BTC-USD", "ETH-USD"


@pytest.fixture(scope="module")
def rich(
    tmp_path_factory: pytest.TempPathFactory, walk: Callable[..., list[Candle]], as_pages: Callable[..., list[Page]]
) -> Paths:
    """Four days of two coins with holes, a failure, a quarantined row, a revision and a data set."""
    paths = Paths(tmp_path_factory.mktemp("page"))
    store = FeatureStore(paths.market_db)
    store.migrate()
    span = Span(T0, T0 + 4 * DAY)
    for product in (BTC, ETH):
        candles = walk(product, span.minutes, start=T0, missing=0.02)
        store.record_pages(as_pages([c for c in candles if not 1500 <= (c.open_time - T0) // MINUTE < 1700], span))
    bad = Candle(BTC, span.end + MINUTE, *(Decimal(-5),) * 5)
    changed = Candle(BTC, T0 + 5 * MINUTE, *(Decimal(101),) * 4, Decimal(7))
    later = span.end + 3 * DAY
    store.record_pages([Page(BTC, Span(span.end, span.end + 10 * MINUTE), (bad,), later, "synthetic")])
    store.record_pages([Page(BTC, Span(changed.open_time, changed.open_time + MINUTE), (changed,), later, "synthetic")])
    store.record_failure(BTC, Span(span.end + 20 * MINUTE, span.end + 30 * MINUTE), "503 five times", "coinbase")
    store.record_wanted(BTC, Span(T0, T0 + 5 * DAY))
    store.export_dataset([BTC, ETH], span, paths.home / "datasets", feature_set="seed39")
    store.publish(paths.market_copy)
    return paths


def docs(*arguments: str) -> str:
    result = CliRunner().invoke(data.app, ["docs", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


class Outline(HTMLParser):
    """Counts pictures and what a page would load from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.pictures, self.foreign, self.ids = 0, [], []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.pictures += tag == "svg"
        found = dict(attrs)
        self.ids += [found["id"]] if found.get("id") else []
        link = found.get("src") or found.get("href") or found.get("xlink:href") or ""
        if link and not link.startswith(("#", "data:")):
            self.foreign.append(link)


def test_page_stands_alone_and_shows_every_part(rich: Paths, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DESK_HOME", str(rich.home))
    told = docs("--output", str(tmp_path / "page.html"))
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    outline = Outline()
    outline.feed(text)
    assert outline.pictures == 6
    assert outline.foreign == []
    assert len(outline.ids) == len(set(outline.ids))
    assert sorted(path.name for path in tmp_path.glob("*.png")) == [
        f"page-{name}.png" for name in ("correlation", "coverage", "dataset", "features", "labels", "prices")
    ]
    for words in ("non_positive_price", "revised candle", "gap of over an hour", "These prices are not a market"):
        assert words in text, words
    assert "BTC-USD: " in told
    assert "largest shift: " in told


def test_products_are_chosen_and_strange_ones_refused(rich: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DESK_HOME", str(rich.home))
    with Reader(rich) as reader:
        facts = read(reader, rich.home, "seed39", [ETH])
    assert {row["product"] for rows in (facts.coverage, facts.days, facts.gaps, facts.bars) for row in rows} == {ETH}
    with pytest.raises(UnknownProductError, match="nobody asked for DOGE-USD; there are BTC-USD, ETH-USD"):
        docs("--products", "DOGE-USD")


def test_almost_empty_store_says_in_each_picture_why_it_is_empty(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    paths = Paths(tmp_path / "little")
    paths.make()
    store = FeatureStore(paths.market_db)
    store.migrate()
    candle = Candle(BTC, T0, *(Decimal(5),) * 5)
    store.record_pages([Page(BTC, Span(T0, T0 + MINUTE), (candle,), T0 + DAY, "coinbase")])
    store.publish(paths.market_copy)
    monkeypatch.setenv("DESK_HOME", str(paths.home))
    docs()
    text = (paths.home / "reports" / "data" / "index.html").read_text(encoding="utf-8")
    for words in ("no minute has features yet", "no minute has a label yet", "no data set was exported yet"):
        assert words in text, words


@pytest.mark.parametrize("is_made", [False, True])
def test_no_candle_ever_asked_for_names_the_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, is_made: bool
) -> None:
    paths = Paths(tmp_path / "none")
    if is_made:
        paths.make()
        store = FeatureStore(paths.market_db)
        store.migrate()
        store.publish(paths.market_copy)
    monkeypatch.setenv("DESK_HOME", str(paths.home))
    with pytest.raises(StoreError, match="run: make backfill"):
        docs()


@pytest.mark.parametrize("name", ["seed39", "flow"])
def test_features_of_chosen_days_have_the_bits_of_the_full_history(rich: Paths, name: str) -> None:
    days = [(T0 + number * DAY - datetime(1970, 1, 1, tzinfo=UTC)).days for number in (1, 3)]
    with Reader(rich) as reader:
        sampled = features_of_days(reader, [BTC, ETH], days, name)
    whole = FeatureStore(rich.market_db).feature_blocks([BTC, ETH], T0, T0 + 4 * DAY, name)
    for product, block in sampled.items():
        is_chosen_N = np.isin(whole[product].minute_N // 1_440, days)
        np.testing.assert_array_equal(block.minute_N, whole[product].minute_N[is_chosen_N])
        np.testing.assert_array_equal(block.x_NF.view(np.uint32), whole[product].x_NF[is_chosen_N].view(np.uint32))
        assert len(block) > 1_000


@given(st.integers(0, 900))
def test_sampled_days_are_distinct_ordered_and_bounded(count: int) -> None:
    days = list(range(100, 100 + count))
    chosen, early, late = sampled_days(days)
    assert list(chosen) == sorted(set(chosen))
    assert set(chosen) <= set(days)
    assert len(chosen) == min(count, SAMPLED_DAYS)
    assert set(early) | set(late) <= set(chosen)
    assert not set(early) & set(late)


@pytest.mark.parametrize(
    ("minutes", "state"),
    [
        ({"stored": 1440}, "stored"),
        ({"stored": 1400, "empty": 40}, "empty"),
        ({"stored": 700, "empty": 740}, "mostly_empty"),
        ({"stored": 1439, "unasked": 1}, "unasked"),
        ({"stored": 1437, "unasked": 1, "quarantined": 1}, "quarantined"),
        ({"stored": 1437, "quarantined": 1, "failed": 1}, "failed"),
    ],
)
def test_day_has_the_state_of_its_worst_minute(minutes: dict[str, int], state: str) -> None:
    row = {f"{name}_minutes": minutes.get(name, 0) for name in ("stored", "empty", "quarantined", "failed", "unasked")}
    assert day_state(row) == state


def test_labels_are_added_up_by_week_and_month() -> None:
    rates = [{"product": BTC, "day": date(2024, 2, 28) + timedelta(days=n), "labels": 10, "rises": n} for n in range(7)]
    weeks, months = bucketed(rates, "week"), bucketed(rates, "month")
    assert [(row["start"], row["labels"]) for row in weeks] == [(date(2024, 2, 26), 50), (date(2024, 3, 4), 20)]
    assert [(row["start"], row["rises"]) for row in months] == [(date(2024, 2, 1), 1), (date(2024, 3, 1), 20)]


def test_docs_is_a_word_of_its_own() -> None:
    assert isinstance(data.app, typer.Typer)
    assert "docs" in CliRunner().invoke(data.app, ["--help"]).stdout
