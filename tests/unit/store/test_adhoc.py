"""Every worked question runs on the published copies, as a person would run it."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from core.candles import MINUTE, Span
from core.settings import Paths
from store.feature_store import FeatureStore
from store.reader import Reader
from store.signal_store import SignalStore
from store.sql_files import headers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from core.candles import Candle, Page

T0 = datetime(2024, 3, 1, tzinfo=UTC)
SPAN = Span(T0, T0 + timedelta(days=2))
ANSWERED = {
    "biggest_moves",
    "coin_correlation",
    "coverage_by_product",
    "longest_gaps",
    "rsi_extremes",
    "volatility_by_session",
    "volume_by_hour",
}


@pytest.fixture(scope="module")
def reader(
    tmp_path_factory: pytest.TempPathFactory, walk: Callable[..., list[Candle]], as_pages: Callable[..., list[Page]]
) -> Iterator[Reader]:
    paths = Paths(tmp_path_factory.mktemp("published"))
    market, signals = FeatureStore(paths.market_db), SignalStore(paths.signals_db)
    market.migrate()
    signals.migrate()
    for product in ("BTC-USD", "ETH-USD"):
        market.record_pages(as_pages(walk(product, SPAN.minutes, start=T0, missing=0.05), SPAN))
    market.publish(paths.market_copy)
    signals.publish(paths.signals_copy)
    with Reader(paths) as opened:
        yield opened


@pytest.mark.parametrize("name", sorted(headers("adhoc")))
def test_question_runs_on_the_published_copies(reader: Reader, name: str) -> None:
    rows = reader.rows(f"adhoc/{name}")
    assert rows or name not in ANSWERED


def test_there_are_at_least_ten_worked_questions() -> None:
    assert len(headers("adhoc")) >= 10


def test_candles_macro_makes_bars_that_add_up(reader: Reader) -> None:
    total = reader.sql("select sum(volume) as v, count(*) as n from candles_1m where product = 'BTC-USD'")[0]
    bars = reader.sql("select sum(volume) as v, sum(stored_minutes) as n from candles('BTC-USD', interval '4 hours')")[
        0
    ]
    assert (bars["v"], bars["n"]) == (total["v"], total["n"])
    assert len(reader.sql("from candles('BTC-USD')")) == 2 * 24 * 4


def test_hourly_candles_equal_the_macro_of_an_hour(reader: Reader) -> None:
    by_view = reader.sql("select * from candles_1h where product = 'ETH-USD' order by open_time")
    assert by_view == reader.sql("select * from candles('ETH-USD', interval '1 hour')")
    assert by_view[0]["close_time"] - by_view[0]["open_time"] == timedelta(hours=1)


def test_features_at_a_moment_are_those_of_the_last_closed_minute(reader: Reader) -> None:
    (row,) = reader.sql("from features_at('BTC-USD', '2024-03-01 12:00:30+00')")
    (same,) = reader.sql(
        "from seed39 where product = 'BTC-USD' and open_time < '2024-03-01 12:00:00+00' order by open_time desc limit 1"
    )
    assert row == same
    assert row["open_time"] + MINUTE <= datetime(2024, 3, 1, 12, tzinfo=UTC)


def test_help_lists_tables_views_and_macros_with_their_sentence(reader: Reader) -> None:
    found = {row["name"]: row for row in reader.sql("from help")}
    assert {"candles_1m", "seed39", "candles", "features_at", "decisions"} <= set(found)
    assert all(row["sentence"] for row in found.values())


def test_spikes_are_flagged_and_stay(reader: Reader) -> None:
    assert reader.sql("select count(*) as n from dq_spikes where abs(move_bps) <= 25")[0]["n"] == 0


ENDLESS = "select count(*) from range(10_000_000_000) a, range(1_000) b where (a.range * b.range) % 7 = 3"


def test_ctrl_c_while_the_question_is_being_handed_over_ends_it(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ended no query that had begun: one in a few hundred of them ran on for ever."""
    start, handed_over = threading.Thread.start, list[threading.Thread]()

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        handed_over.append(thread)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        reader.sql(ENDLESS)
    assert [thread.is_alive() for thread in handed_over] == [False]
    monkeypatch.undo()
    assert reader.sql("select 1 as x") == [{"x": 1}]
