"""A session on `flow`: history loaded to suit it, batches decide as single minutes, and no coin decides on half a market."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from core.settings import load_settings
from store.feature_sets import feature_set

if TYPE_CHECKING:
    from pathlib import Path
    from types import SimpleNamespace

    from core.settings import Settings

COLUMNS = feature_set("flow").columns
OWN, MARKET, DAY = (COLUMNS.index(name) for name in ("return_15", "market_return_15", "return_1440"))


def flow(home: Path) -> Settings:
    return load_settings(desk_home=home, feature_set="flow")


def leaning(last_NF: np.ndarray) -> np.ndarray:
    """Lean with the coin, against its market, and a little with its day."""
    return np.clip(0.5 + 0.02 * last_NF[:, OWN] - 0.03 * last_NF[:, MARKET] + 0.001 * last_NF[:, DAY], 0, 1)


def test_session_on_flow_in_batches_decides_as_minute_by_minute(desk_play: SimpleNamespace, tmp_path: Path) -> None:
    settings, other = flow(tmp_path / "one"), flow(tmp_path / "other")
    provider = desk_play.FakeProvider(absent={("ETH-USD", desk_play.minute(-3)), ("ETH-USD", desk_play.minute(1))})
    desk_play.play(settings, 8, probability=leaning, provider=provider)
    desk_play.play(other, 8, probability=leaning, provider=provider, batch=5)
    query = "select product, open_time, reason, probability from decisions order by all"
    assert desk_play.rows(settings, query) == desk_play.rows(other, query)
    found = [p for *_, p in desk_play.rows(settings, query) if p is not None]
    assert len(set(found)) == 15
    assert [row[3] for row in desk_play.rows(settings, query) if row[2] == "no_candle"] == [None]
    (name,) = desk_play.rows(settings, "select distinct feature_set from sessions")
    assert name == (feature_set("flow").identity,)


def test_session_on_flow_asks_for_a_day_of_history(desk_play: SimpleNamespace, tmp_path: Path) -> None:
    provider = desk_play.FakeProvider()
    desk_play.play(flow(tmp_path / "one"), 1, provider=provider)
    needed = timedelta(minutes=feature_set("flow").history_minutes)
    for product in ("BTC-USD", "ETH-USD"):
        first = min(window.start for asked, window in provider.asked if asked == product)
        assert desk_play.START - first > needed


def test_session_on_flow_is_unanswered_while_another_coin_cannot_be_asked(
    desk_play: SimpleNamespace, tmp_path: Path
) -> None:
    def down(product: str, span: Any) -> bool:
        return product == "ETH-USD" and desk_play.minute(2) <= span.end - timedelta(minutes=1) < desk_play.minute(5)

    settings = flow(tmp_path / "one")
    desk_play.play(settings, 8, probability=0.5, provider=desk_play.FakeProvider(down=down))
    found = desk_play.rows(settings, "select product, reason from decisions")
    assert Counter(found) == {
        (product, reason): count
        for product in ("BTC-USD", "ETH-USD")
        for reason, count in (("below_threshold", 5), ("unanswered", 3))
    }
