"""`desk coverage` as a person sees it."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import typer
from typer.testing import CliRunner

from core.candles import MINUTE, Candle, Page, Span
from core.errors import StoreError, UnknownProductError
from desk import coverage as command

if TYPE_CHECKING:
    from collections.abc import Callable

    from store.feature_store import FeatureStore

ROOT = Path(__file__).resolve().parents[3]
T0 = datetime(2024, 2, 28, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def published(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fresh_market: Callable[[Path], FeatureStore]
) -> FeatureStore:
    """Three days of BTC-USD: a whole one, one with every kind of minute, one that was wanted and never asked for."""
    monkeypatch.setattr(command, "console", command.Console(width=160))
    (tmp_path / "var").mkdir()
    store = fresh_market(tmp_path / "var" / "market.duckdb")
    first, second = Span(T0, T0 + DAY), Span(T0 + DAY, T0 + DAY + timedelta(hours=10))
    candles = [Candle("BTC-USD", T0 + n * MINUTE, *(Decimal(5),) * 5) for n in range(1440 + 600)]
    bad = Candle("BTC-USD", T0 + DAY + 7 * MINUTE, *(Decimal(-5),) * 5)
    told = [*candles[1440 : 1440 + 7], bad, *candles[1440 + 8 : 1440 + 500]]
    known_at = T0 + 4 * DAY
    store.record_pages(
        [
            Page("BTC-USD", first, tuple(candles[:1440]), known_at, "coinbase"),
            Page("BTC-USD", second, tuple(told), known_at, "coinbase"),
        ]
    )
    store.record_failure("BTC-USD", Span(second.end, second.end + 30 * MINUTE), "503 five times", "coinbase")
    store.record_wanted("BTC-USD", Span(T0, T0 + 3 * DAY))
    store.record_listing("XYZ-USD", "not_offered", None, "product_id argument is invalid")
    store.publish(tmp_path / "var" / "market_read.duckdb")
    return store


def shown(*arguments: str) -> str:
    app = typer.Typer()
    app.command()(command.coverage)
    found = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert found.exit_code == 0
    return found.stdout


@pytest.mark.usefixtures("published")
def test_summary_accounts_for_every_minute() -> None:
    lines = shown().splitlines()
    row = next(line for line in lines if line.startswith("BTC-USD"))
    assert row.split() == [
        *["BTC-USD", "2024-02-28", "2024-02-29", "4,320"],
        # stored, empty, quarantined, failed, not asked for
        *["1,939", "100", "1", "30", "2,250"],
    ]
    assert "XYZ-USD: product_id argument is invalid" in lines


@pytest.mark.usefixtures("published")
def test_daily_draws_one_cell_a_day_under_its_date() -> None:
    february, march = (line for line in shown("--daily").splitlines() if line.startswith("  2024"))
    # the 28th is whole, of the 29th half is missing, the 1st of March was never asked for
    assert february.startswith("  2024-02 " + " " * 27 + "█░")
    assert march.startswith("  2024-03 ░")
    assert february.endswith("67.33 % stored  100 empty  1 quarantined  30 failed  810 unasked")


@pytest.mark.usefixtures("published")
def test_windows_say_when_and_why() -> None:
    text = shown("--windows", "btc")
    (failed,) = (line for line in text.splitlines() if " failed " in line)
    assert "503 five times" in failed
    (bad,) = (line for line in text.splitlines() if " quarantined " in line)
    assert bad.split()[1:6] == ["2024-02-29", "00:07", "2024-02-29", "00:08", "1"]
    assert "non_positive_price" in bad


@pytest.mark.usefixtures("published")
def test_csv_and_json_hold_the_same_rows() -> None:
    rows = list(csv.DictReader(io.StringIO(shown("--daily", "--format", "csv"))))
    told = json.loads(shown("--daily", "--format", "json"))
    assert [row["day"] for row in rows] == [row["day"] for row in told] == ["2024-02-28", "2024-02-29", "2024-03-01"]
    assert [int(row["stored_minutes"]) for row in rows] == [1440, 499, 0]
    assert [row["unasked_minutes"] for row in told] == [0, 810, 1440]


@pytest.mark.usefixtures("published")
def test_unknown_product_names_those_there_are() -> None:
    with pytest.raises(UnknownProductError, match=r"nobody asked for ETH-USD; there are BTC-USD, XYZ-USD"):
        shown("ETH")


def test_nothing_published_names_the_command() -> None:
    with pytest.raises(StoreError, match="make backfill"):
        shown()


def test_terminal_that_knows_no_letters_but_ascii_gets_the_table(published: FeatureStore, tmp_path: Path) -> None:
    environ = os.environ | {"DESK_HOME": str(tmp_path / "var"), "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command_line = [sys.executable, "-m", "desk", "coverage"]
    environ |= {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    ended = subprocess.run(command_line, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    assert ended.returncode == 0
    assert "Traceback" not in ended.stderr
    assert "BTC-USD" in ended.stdout
