"""Recorded minutes, and the command that starts the exchange."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

from core.candles import Span
from core.errors import ConfigError
from desk.exchange import _covering, build_markets, describe, exchange
from market.exchange.recorded_market import recorded_markets
from market.exchange.state import Exchange, Present, TokenBucket

START = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path):
    """Return a folder with four recorded minutes of one product, the third absent."""
    times = [START + timedelta(minutes=minute) for minute in (0, 1, 3)]
    columns = {"time": pa.array(times, pa.timestamp("us", "UTC"))}
    columns |= {name: [27428.96, 27421.92, 27437.26] for name in ("open", "high", "low", "close")}
    columns["volume"] = [4.22339889, 4.93331603, 3.52661172]
    pq.write_table(pa.table(columns), tmp_path / "coinbase_BTC-USD_1m.parquet")
    return tmp_path


def test_recorded_market_serves_the_file(folder):
    market = recorded_markets(folder)["BTC-USD"]
    candles = market.candles(Span(START, START + timedelta(minutes=10)))
    assert [candle.open_time.minute for candle in candles] == [0, 1, 3]
    assert (candles[0].close, candles[0].volume) == (Decimal("27428.96"), Decimal("4.22339889"))


def test_empty_folder_is_refused_with_the_expected_name(tmp_path):
    with pytest.raises(ConfigError, match=r"no recorded candles in .*coinbase_BTC-USD_1m\.parquet"):
        recorded_markets(tmp_path)


def test_folder_without_a_product_is_refused_with_the_expected_name(folder):
    with pytest.raises(ConfigError, match=r"expected coinbase_SOL-USD_1m\.parquet, found coinbase_BTC-USD_1m\.parquet"):
        recorded_markets(folder, ["SOL-USD"])


def test_file_that_is_no_parquet_is_refused(folder):
    (folder / "coinbase_BTC-USD_1m.parquet").write_bytes(b"nothing")
    with pytest.raises(ConfigError, match="not a Parquet file with the columns"):
        recorded_markets(folder)


def test_file_out_of_order_is_refused(folder):
    file = folder / "coinbase_BTC-USD_1m.parquet"
    pq.write_table(pq.read_table(file).take([2, 1, 0]), file)
    with pytest.raises(ConfigError, match="rising order"):
        recorded_markets(folder)


def test_recorded_kind_without_a_folder_is_refused():
    with pytest.raises(ConfigError, match="needs --data FOLDER"):
        build_markets("recorded")


def test_unknown_kind_is_refused():
    with pytest.raises(ConfigError, match="planted, null, recorded"):
        build_markets("haunted")


def test_description_names_the_best_possible_accuracy():
    lines = describe(build_markets("planted", null_products=["SOL-USD"]), Present(START, stepped=True))
    assert lines[0] == "BTC-USD: planted, best possible accuracy 0.800 (direction over 15 minutes)"
    assert lines[2] == "SOL-USD: null, no edge at all"
    assert "clock stepped" in lines[3]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--market", "haunted"], "planted, null, recorded"),
        (["--start", "soon"], "no ISO time"),
        (["--start", "2020-01-01"], "before 2024-01-01"),
        (["--speed", "3", "--stepped"], "speed above 0"),
        (["--key-name", "k"], "needs both"),
        (["--best-accuracy", "0.999"], "can be 0.514"),
        (["--listed-at", "BNB-USD=never"], "no ISO time"),
    ],
)
def test_command_with_a_wrong_option_says_so_and_exits_with_2(options, text):
    app = typer.Typer()
    app.command()(exchange)
    outcome = CliRunner().invoke(app, options)
    assert outcome.exit_code == 2 and text in outcome.output


def test_command_with_a_present_outside_the_recording_says_so(folder):
    app = typer.Typer()
    app.command()(exchange)
    outcome = CliRunner().invoke(app, ["--market", "recorded", "--data", str(folder), "--start", "2025-01-01"])
    assert outcome.exit_code == 2 and "2024-01-01 00:00 .. 2024-01-01 00:04" in outcome.output


def test_recordings_that_do_not_reach_the_present_are_left_out_when_nobody_named_them(folder):
    table = pq.read_table(folder / "coinbase_BTC-USD_1m.parquet").slice(0, 1)
    pq.write_table(table, folder / "coinbase_SOL-USD_1m.parquet")
    markets = build_markets("recorded", data=folder)
    assert list(_covering(markets, START + timedelta(minutes=3))) == ["BTC-USD"]
    assert list(_covering(markets, START + timedelta(days=3))) == ["BTC-USD", "SOL-USD"]


@pytest.mark.real
@pytest.mark.parametrize(("product", "first"), [("SOL-USD", "2023-11-25 08:28"), ("DASH-USD", "2023-07-04 12:05")])
def test_real_recording_is_served_to_the_last_digit(product, first, ask, window, recorded_candles):
    market = recorded_markets(recorded_candles, [product])[product]
    state = Exchange({product: market}, Present(datetime(2024, 1, 1, tzinfo=UTC), stepped=True), public=TokenBucket(0))
    start = datetime.strptime(first, "%Y-%m-%d %H:%M").replace(tzinfo=UTC)
    answer = ask(state, f"/market/products/{product}/candles", window(start, start + timedelta(minutes=59)))
    rows = list(reversed(answer.json()["candles"]))
    expected = pq.read_table(recorded_candles / f"coinbase_{product}_1m.parquet").slice(0, len(rows)).to_pylist()
    assert answer.headers["x-desk-market"] == "recorded" and len(rows) > 5
    assert [float(row["volume"]) for row in rows] == [row["volume"] for row in expected]
    assert [float(row["low"]) for row in rows] == [row["low"] for row in expected]
    assert [int(row["start"]) for row in rows] == [int(row["time"].timestamp()) for row in expected]
