"""Every view and macro gives `desk sql` and a plain DuckDB client the same answer, whatever the zone of session or machine."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
import typer
from typer.testing import CliRunner

from core.candles import MINUTE, Span
from core.settings import Paths
from desk import sql as command
from store.database import connect
from store.feature_store import FeatureStore
from store.reader import Reader
from store.schema import objects
from store.signal_store import SignalStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from core.candles import Candle, Page

# New York's clocks went forward at 07:00 UTC of the 9th
START = datetime(2025, 3, 8, 6, tzinfo=UTC)
SPAN = Span(START, START + 2 * 1440 * MINUTE)
ZONES = ("UTC", "America/New_York", "Asia/Kolkata")
VIEWS = [name for name, (folder, _) in objects("market").items() if folder in {"views", "labels"}]
MACROS = (
    "candles('BTC', '1d')",
    "candles('BTC', '1w')",
    "candles('BTC', '4h')",
    "candles('BTC', interval '90 minutes')",
    "candle_bars(1440)",
    "coverage_of('BTC', '2025-03-09')",
    "coverage_of('BTC', date '2025-03-09')",
    "coverage_of('BTC', timestamptz '2025-03-09 02:00+00')",
    "features_at('BTC', '2025-03-09 12:00')",
    "features_at('BTC', '2025-03-09')",
    "features_at('BTC', '2025-03-09T08:00:00-04:00')",
    "features_at('BTC', '2025-03-09 12:00Z')",
    "features_at('BTC', timestamp '2025-03-09 12:00')",
    "features_at('BTC', timestamptz '2025-03-09 12:00+00')",
    "flow_at('BTC', '2025-03-09 12:00')",
    "gaps_of('BTC')",
    "features_at('BTC', '2025-03-09 12:00 America/New_York')",
    "returns('BTC', 60)",
    "session_stats('BTC')",
    "signal_log('BTC')",
)
EMPTY = {"model_metrics_hashed"}
"""Nothing of it depends on time, and no model was judged."""
VALUES = {"VARCHAR": "BTC-USD", "BOOLEAN": True, "TIMESTAMP WITH TIME ZONE": datetime(2025, 3, 9, 7, 30, tzinfo=UTC)}


@pytest.fixture(scope="module")
def home(
    tmp_path_factory: pytest.TempPathFactory, walk: Callable[..., list[Candle]], as_pages: Callable[..., list[Page]]
) -> Path:
    """Published copies with two days around the change of clocks, one of their candles revised, and a signal."""
    paths = Paths(tmp_path_factory.mktemp("zones"))
    with FeatureStore(paths.market_db) as store:
        store.migrate()
        for product in ("BTC-USD", "ETH-USD"):
            pages = as_pages(walk(product, SPAN.minutes, start=START, missing=0.02), SPAN)
            store.record_pages(pages)
        later = [replace(candle, volume=candle.volume + 1) for candle in pages[0].candles[:2]]
        store.record_pages([replace(pages[0], candles=later, known_at=pages[0].known_at + timedelta(days=1))])
        store.publish(paths.market_copy)
    SignalStore(paths.signals_db).migrate()
    with connect(paths.signals_db) as connection:
        columns = connection.execute("select column_name, column_type from (describe signals)").fetchall()
        row = [VALUES.get(kind, 1) for _, kind in columns]
        connection.execute(f"insert into signals values ({', '.join('?' * len(row))})", row)
    paths.signals_copy.write_bytes(paths.signals_db.read_bytes())
    return paths.home


def answer(home: Path, zone: str, asked: str) -> list[tuple[Any, ...]]:
    """Return what a plain client in ``zone`` is told."""
    paths = Paths(home)
    copy = paths.signals_copy if asked.startswith("signal_log") else paths.market_copy
    with duckdb.connect(copy, read_only=True) as connection:
        connection.execute(f"set TimeZone = '{zone}'")
        return connection.execute(f"select * from {asked} order by all").fetchall()


@pytest.fixture(scope="module")
def reader(home: Path) -> Iterator[Reader]:
    """The session in which `desk sql` asks."""
    with Reader(Paths(home)) as opened:
        yield opened


def test_every_view_and_macro_is_asked() -> None:
    macros = {
        name
        for database in ("market", "signals")
        for name, (folder, _) in objects(database).items()
        if folder == "macros"
    }
    assert {asked.partition("(")[0] for asked in MACROS} == macros
    assert [name for name, (folder, _) in objects("signals").items() if folder not in {"tables", "macros"}] == []


@pytest.mark.parametrize("asked", [*VIEWS, *MACROS])
def test_answer_is_the_same_in_any_session_time_zone(home: Path, reader: Reader, asked: str) -> None:
    first, *others = (answer(home, zone, asked) for zone in ZONES)
    assert first or asked in EMPTY or asked.startswith("dq_")
    assert all(other == first for other in others)
    if asked != "help":
        # which names the objects of both databases there
        assert list(reader.stream(f"select * from {asked} order by all")[1]) == first


@pytest.fixture
def move_machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Put this process into a zone: move_machine('Asia/Kolkata')."""

    def move(zone: str) -> None:
        monkeypatch.setenv("TZ", zone)
        time.tzset()

    yield move
    monkeypatch.undo()
    time.tzset()


def test_desk_sql_prints_the_same_in_any_zone_of_the_machine(
    home: Path, monkeypatch: pytest.MonkeyPatch, move_machine: Callable[[str], None]
) -> None:
    monkeypatch.setenv("DESK_HOME", str(home))
    app = typer.Typer()
    app.command()(command.sql)
    for asked in ("candles('BTC', '1d')", "coverage_daily", "coverage_of('BTC', '2025-03-09')", "signal_log()"):
        shown = set()
        for zone in ZONES:
            move_machine(zone)
            for form in ("csv", "json", "table"):
                shown.add((form, CliRunner().invoke(app, [f"from {asked} order by all", "--format", form]).stdout))
        assert len(shown) == 3, asked


def test_sums_of_the_day_the_clocks_change_are_those_of_its_1440_minutes(home: Path) -> None:
    day = datetime(2025, 3, 9, tzinfo=UTC)
    minutes = [
        row
        for row in answer(home, "UTC", "(select product, open_time, volume from candles_1m where product = 'BTC-USD')")
        if day <= row[1].astimezone(UTC) < day + timedelta(days=1)
    ]
    total = sum(row[2] for row in minutes)
    for zone in ZONES:
        for asked in ("candles_1d", "candles('BTC', '1d')", "candle_bars(1440)"):
            query = f"(select epoch(open_time) as start, volume, stored_minutes from {asked} where product = 'BTC-USD')"
            sums = {row[0]: row[1:] for row in answer(home, zone, query)}
            assert sums[day.timestamp()] == (total, len(minutes)), (zone, asked)


def test_values_around_the_change_of_clocks_are_those_of_utc(home: Path) -> None:
    zone = "America/New_York"
    days = answer(home, zone, "candles('BTC', '1d')")
    assert [(row[1].astimezone(UTC), row[2].astimezone(UTC).hour) for row in days] == [
        (datetime(2025, 3, day, tzinfo=UTC), 0) for day in (8, 9, 10)
    ]
    assert sum(row[3] for row in answer(home, zone, "coverage_of('BTC', '2025-03-09')")) == 1440
    weeks = answer(home, zone, "candles('BTC', '1w')")
    assert [row[1].astimezone(UTC).date() for row in weeks] == [date(2025, 3, 3), date(2025, 3, 10)]
    (row,) = answer(home, zone, "features_at('BTC', '2025-03-09 12:00')")
    assert row[1].astimezone(UTC) == datetime(2025, 3, 9, 11, 59, tzinfo=UTC)
