from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import pytest

from core.candles import epoch_minute, minute_start
from core.errors import DatasetError
from models.registry.baseline import BacktestFigures, read_baseline
from runtime.backtest import Book, ReplayInput, backtest, replay
from runtime.loaded_models import LoadedModel, ProductModels
from runtime.restored_state import decision_rules, fresh_state
from runtime.risk.execution_costs import Costs
from store.feature_sets import FeatureBlock, feature_set

if TYPE_CHECKING:
    from pathlib import Path

    from core.settings import Settings

FIRST = epoch_minute(datetime(2025, 1, 15, tzinfo=UTC))
MINUTES = 1500


class FirstColumn:
    """The probability is the first input of the last minute: whatever the test wrote there."""

    def score(self, x_BTF: np.ndarray, product: str) -> np.ndarray:
        return x_BTF[:, -1, 0].astype(np.float64)


def models(product: str = "BTC-USD") -> dict[str, ProductModels]:
    return {product: ProductModels(product, {"lstm": LoadedModel("lstm", "m", 1, FirstColumn())})}


def block(close_N: np.ndarray, p_N: np.ndarray, filled: set[int] = frozenset()) -> FeatureBlock:  # type: ignore[assignment]
    minute_N = FIRST + np.arange(len(close_N), dtype=np.int64)
    x_NF = np.zeros((len(close_N), 31), np.float32)
    x_NF[:, 0] = p_N
    is_filled = np.array([number in filled for number in range(len(close_N))])
    open_time_N = (minute_N * 60).astype("datetime64[s]").astype("datetime64[us]")
    return FeatureBlock("BTC-USD", minute_N, open_time_N, close_N, is_filled, x_NF)


def walk() -> np.ndarray:
    steps = np.random.default_rng(5).normal(0, 5e-4, MINUTES)
    return np.round(50_000 * np.exp(np.cumsum(steps)), 2)


def ahead(close_N: np.ndarray) -> np.ndarray:
    later = np.concatenate([close_N[15:], np.full(15, close_N[-1])])
    return np.where(later > close_N, 0.9, 0.1)


WIDE = """
title = "wide"
read_on = 2026-12-01
reset_zone = "UTC"
daily_loss = {base = "day_start_balance", limit_pct = 100, stop_pct = 99}
total_loss = {base = "initial_capital", limit_pct = 100, stop_pct = 99}
"""


def run(
    settings: Settings, close_N: np.ndarray, p_N: np.ndarray, costs: Costs | None = None
) -> tuple[BacktestFigures, float]:
    """Replay with limits so wide that only the model and its costs speak."""
    settings.paths.home.mkdir(parents=True, exist_ok=True)
    firm = settings.paths.home / "wide.toml"
    firm.write_text(WIDE, encoding="utf-8")
    wide = settings.model_copy(
        update={
            "signals_per_hour": 10_000, "high_signals_per_hour": 10_000, "losses_to_block": 10**6,
            "firm_rules": str(firm), "risk_per_trade_pct": 0.01, "max_leverage": 10_000.0,
            "max_positions_per_product": 100,
        }
    )  # fmt: skip
    chosen = costs or Costs.of(12, 3, 0)
    loaded = models()
    rules = decision_rules(
        wide, loaded, session_id="t", mode="dryrun", feature_set="x", costs_for=lambda product, session, at: chosen
    )
    part = ReplayInput({"BTC-USD": block(close_N, p_N)}, FIRST, FIRST + MINUTES - 1, {})
    state, books = replay(fresh_state(wide, minute_start(FIRST)), rules, part, loaded)
    return books["BTC-USD"].figures(MINUTES / 1440), float(state.account.balance)


def test_oracle_without_costs_always_wins(settings: Settings) -> None:
    close_N = walk()
    tally, balance = run(settings, close_N, ahead(close_N), Costs.of(0, 0, 0))
    assert tally.signals > 1400
    assert tally.win_rate is not None
    assert tally.win_rate > 0.995
    assert tally.gross_bps == pytest.approx(tally.net_bps)
    assert balance > 100_000


def test_oracle_pays_its_costs_to_the_basis_point(settings: Settings) -> None:
    close_N = walk()
    tally, _ = run(settings, close_N, ahead(close_N))
    assert tally.gross_bps is not None
    assert tally.net_bps is not None
    assert tally.gross_bps - tally.net_bps == pytest.approx(18, abs=0.1)


def test_inverted_oracle_never_wins(settings: Settings) -> None:
    close_N = walk()
    tally, balance = run(settings, close_N, 1 - ahead(close_N))
    assert tally.win_rate is not None
    assert tally.win_rate < 0.005
    assert balance < 100_000


def test_coin_flips_win_half_and_lose_the_costs(settings: Settings) -> None:
    close_N = walk()
    p_N = np.random.default_rng(6).choice([0.1, 0.9], MINUTES)
    tally, _ = run(settings, close_N, p_N)
    assert tally.win_rate == pytest.approx(0.5, abs=0.05)
    assert tally.net_bps == pytest.approx(-18, abs=3)


def test_always_long_on_a_flat_market_loses_exactly_the_costs(settings: Settings) -> None:
    tally, _ = run(settings, np.full(MINUTES, 50_000.0), np.full(MINUTES, 0.9))
    assert tally.wins == 0
    assert tally.gross_bps == 0
    assert tally.net_bps == pytest.approx(-18, abs=0.02)


def test_filled_minutes_never_signal(settings: Settings) -> None:
    filled = set(range(0, MINUTES, 2))
    loaded = models()
    rules = decision_rules(settings, loaded, session_id="t", mode="dryrun", feature_set="x")
    blocks = {"BTC-USD": block(walk(), np.full(MINUTES, 0.5), filled)}
    part = ReplayInput(blocks, FIRST, FIRST + MINUTES - 1, {})
    book: Book = replay(fresh_state(settings, minute_start(FIRST)), rules, part, loaded)[1]["BTC-USD"]
    assert book.reasons == {"no_candle": MINUTES // 2, "below_threshold": MINUTES // 2}
    assert book.tiers == {"low": MINUTES // 2}


def write_dataset(settings: Settings, path: Path, part: str = "test") -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    close_N = walk()[:300]
    columns = feature_set(settings.feature_set).columns
    data: dict[str, object] = {
        "product": ["BTC-USD"] * 300,
        "minute": FIRST + np.arange(300),
        "close": close_N,
        "is_filled": np.zeros(300, bool),
        "part": ["train"] * 100 + [part] * 200,
    }
    data |= {name: np.full(300, 0.9 if position == 0 else 0.0, np.float32) for position, name in enumerate(columns)}
    pq.write_table(pa.table(data), path)
    return path


def test_backtest_replays_the_test_part_and_writes_the_baseline(settings: Settings, tmp_path: Path) -> None:
    baseline = backtest(write_dataset(settings, tmp_path / "abc.parquet"), models(), settings)
    assert baseline.minutes == 200
    assert baseline.signals == baseline.products["BTC-USD"].signals > 0
    assert 0 <= baseline.win_rate <= 1
    (path,) = (settings.paths.home / "models" / "baselines").iterdir()
    content = json.loads(path.read_text())
    assert content["dataset"] == "abc"
    assert content["tier_mix"] == content["products"]["BTC-USD"]["tier_mix"] == {"high": 200, "medium": 0, "low": 0}
    assert content["products"]["BTC-USD"]["win_rate"] == baseline.win_rate
    assert content["models"] == {"BTC-USD": {"lstm": "m"}}
    assert read_baseline(settings, {"BTC-USD": {"lstm": "m"}, "SOL-USD": {}}) == baseline
    own = baseline.products["BTC-USD"]
    assert [outcome.is_win for outcome in own.outcomes].count(True) == own.wins == baseline.wins
    assert sum(block.high + block.medium + block.low for block in own.tier_blocks) == own.scored


def test_baseline_of_other_models_is_not_taken_and_replaces_none(settings: Settings, tmp_path: Path) -> None:
    """A refused candidate's backtest took the place of the one that a running observation was held to."""
    data = write_dataset(settings, tmp_path / "abc.parquet")
    baseline = backtest(data, models(), settings)
    replace(baseline, models={"BTC-USD": {"lstm": "another"}}, dataset="later").write(settings)
    assert read_baseline(settings, {"BTC-USD": {"lstm": "m"}}) == baseline
    assert read_baseline(settings, {"BTC-USD": {"lstm": "another"}}).dataset == "later"
    assert read_baseline(settings, {"BTC-USD": {"lstm": "unknown"}}) is None
    assert read_baseline(settings, {}).dataset == "later"


def test_backtest_of_the_last_minutes_only(settings: Settings, tmp_path: Path) -> None:
    baseline = backtest(write_dataset(settings, tmp_path / "abc.parquet"), models(), settings, max_minutes=50)
    assert baseline.minutes == 50


def test_backtest_twice_gives_the_same_baseline(settings: Settings, tmp_path: Path) -> None:
    path = write_dataset(settings, tmp_path / "abc.parquet")
    assert backtest(path, models(), settings) == backtest(path, models(), settings)


def test_backtest_without_a_test_part_says_so(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no test part"):
        backtest(write_dataset(settings, tmp_path / "abc.parquet", part="train"), models(), settings)
    with pytest.raises(DatasetError, match="make features"):
        backtest(tmp_path / "none.parquet", models(), settings)
