"""The numbers of `flow`: against the definitions written out row by row, and where the answer is known without any."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest

from core.candles import MINUTE, Candle
from store.feature_sets import feature_set
from store.feature_store import FeatureStore

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from store.feature_sets import FeatureBlock

T0 = datetime(2024, 3, 1, tzinfo=UTC)
COLUMNS = feature_set("flow").columns
MARKET = [name.removeprefix("market_") for name in COLUMNS if name.startswith("market_")]

Values = dict[str, float]


def blocks(candles: Sequence[Candle], minutes: int) -> dict[str, FeatureBlock]:
    coins = sorted({candle.product for candle in candles})
    with FeatureStore.in_memory() as store:
        store.upsert_candles(candles)
        return store.feature_blocks(coins, T0, T0 + minutes * MINUTE, "flow")


def minute_of(candle: Candle) -> int:
    return (candle.open_time - T0) // MINUTE


def own(candles: Sequence[Candle]) -> dict[int, Values]:
    """One coin's inputs and turnover at each minute from 60 on, from their definitions; one segment only."""
    traded = {minute_of(candle): candle for candle in candles}
    first, last = min(traded), max(traded)
    closes, volumes = [], []
    for minute in range(first, last + 1):
        candle = traded.get(minute)
        closes.append(closes[-1] if candle is None else float(candle.close))
        volumes.append(0.0 if candle is None else float(candle.volume))
    logs = [round(1e8 * math.log(close)) for close in closes]
    moves = [0] + [now - before for before, now in pairwise(logs)]
    return {
        first + row: _row(row, logs, moves, volumes) | {"turnover": _day(volumes, row) * closes[row]}
        for row in range(60, len(logs))
    }


def _day(volumes: Sequence[float], row: int) -> float:
    return sum(volumes[row + 1 - min(row, 1440) : row + 1])


def _row(row: int, logs: Sequence[int], moves: Sequence[int], volumes: Sequence[float]) -> Values:
    def length(minutes: int) -> int:
        return min(minutes, row)

    def sd(minutes: int) -> float:
        inside = moves[row + 1 - length(minutes) : row + 1]
        return math.sqrt(sum(move * move for move in inside) / len(inside)) + 1000

    def mean(minutes: int) -> float:
        inside = volumes[row + 1 - length(minutes) : row + 1]
        return sum(inside) / len(inside)

    def volume(short: int, long: int) -> float:
        return math.log((mean(short) + mean(1440) / 1000) / (mean(long) + mean(1440) / 1000)) if mean(1440) else 0.0

    def signed(minutes: int) -> float:
        inside = range(row + 1 - minutes, row + 1)
        total = sum(volumes[at] for at in inside)
        return sum(math.copysign(volumes[at], moves[at]) for at in inside if moves[at]) / total if total else 0.0

    found = {
        f"return_{minutes}": (logs[row] - logs[row - length(minutes)]) / (sd(60) * math.sqrt(length(minutes)))
        for minutes in (1, 2, 5, 15, 30, 60, 120, 240, 1440)
    }
    for short, long in ((5, 60), (15, 60), (60, 240), (60, 1440), (240, 1440)):
        found[f"volatility_{short}_{long}"] = math.log(sd(short) / sd(long))
    for short, long in ((1, 60), (5, 60), (15, 60), (60, 1440)):
        found[f"volume_{short}_{long}"] = volume(short, long)
    return found | {f"signed_{minutes}": signed(minutes) for minutes in (5, 15, 60)}


def held(values: Mapping[int, Values], candles: Sequence[Candle], minute: int) -> Values | None:
    """What a coin says to the others: its last traded minute, for five minutes."""
    traded = {minute_of(candle) for candle in candles}
    return next((values[at] for at in range(minute, minute - 6, -1) if at in traded and at in values), None)


def test_flow_of_three_coins_is_what_its_definitions_say(walk: Callable[..., list[Candle]]) -> None:
    shares = {"BTC-USD": 0.0, "ETH-USD": 0.3, "SOL-USD": 0.75}
    candles = {coin: walk(coin, 1520, start=T0, seed=3, missing=share) for coin, share in shares.items()}
    values = {coin: own(told) for coin, told in candles.items()}
    found = blocks([candle for told in candles.values() for candle in told], 1520)
    for coin, block in found.items():
        assert len(block) == len(values[coin])
        for position in [*range(0, len(block), 97), len(block) - 1]:
            minute = int(block.minute_N[position]) - int(T0.timestamp()) // 60
            others = [held(values[other], candles[other], minute) for other in shares if other != coin]
            seen = [one for one in others if one is not None]
            wanted = values[coin][minute] | {"has_market": float(bool(seen))}
            for name in MARKET:
                weights = [max(round(one["turnover"]), 1) for one in seen]
                wanted[f"market_{name}"] = (
                    float(np.average([one[name] for one in seen], weights=weights)) if seen else 0.0
                )
            shown = dict(zip(COLUMNS, block.x_NF[position].tolist(), strict=True))
            for name, value in wanted.items():
                if name != "turnover":
                    assert shown[name] == pytest.approx(value, rel=1e-5, abs=2e-6), (coin, minute, name)


def flat(coin: str, minutes: int, price: str, volume: str = "1") -> list[Candle]:
    one = Decimal(price)
    return [Candle(coin, T0 + number * MINUTE, one, one, one, one, Decimal(volume)) for number in range(minutes)]


def test_flow_of_a_flat_market_is_zero_but_for_the_clock() -> None:
    found = blocks([*flat("BTC-USD", 200, "60000"), *flat("ETH-USD", 200, "0.00001", "0")], 200)
    clock = COLUMNS.index("day_sin")
    for block in found.values():
        assert len(block) == 140
        still = block.x_NF[:, :clock].copy()
        assert still[:, COLUMNS.index("has_market")].all()
        still[:, COLUMNS.index("has_market")] = 0
        assert not still.any()


def test_flow_does_not_see_the_scale_of_price_or_volume(walk: Callable[..., list[Candle]]) -> None:
    candles = walk("BTC-USD", 400, start=T0, seed=5)
    scaled = [
        Candle(
            one.product,
            one.open_time,
            1024 * one.open,
            1024 * one.high,
            1024 * one.low,
            1024 * one.close,
            512 * one.volume,
        )
        for one in candles
    ]
    np.testing.assert_allclose(
        blocks(scaled, 400)["BTC-USD"].x_NF, blocks(candles, 400)["BTC-USD"].x_NF, rtol=1e-4, atol=2e-4
    )


def test_flow_of_a_coin_alone_has_no_market(walk: Callable[..., list[Candle]]) -> None:
    alone = blocks(walk("BTC-USD", 300, start=T0), 300)["BTC-USD"]
    columns = [position for position, name in enumerate(COLUMNS) if name.startswith(("market_", "has_market"))]
    assert len(alone) == 240
    assert not alone.x_NF[:, columns].any()


def test_flow_other_coin_counts_for_five_minutes_after_its_last_trade(walk: Callable[..., list[Candle]]) -> None:
    candles = [*walk("BTC-USD", 300, start=T0), *walk("ETH-USD", 200, start=T0)]
    block = blocks(candles, 300)["BTC-USD"]
    has_market = dict(
        zip(
            (block.minute_N - int(T0.timestamp()) // 60).tolist(),
            block.x_NF[:, COLUMNS.index("has_market")].tolist(),
            strict=True,
        )
    )
    assert [minute for minute, value in has_market.items() if value] == list(range(60, 205))


def test_flow_after_an_outage_speaks_again_within_the_hour(walk: Callable[..., list[Candle]]) -> None:
    candles = [one for one in walk("BTC-USD", 600, start=T0) if not 300 <= minute_of(one) < 362]
    block = blocks(candles, 600)["BTC-USD"]
    assert (block.minute_N - int(T0.timestamp()) // 60).tolist() == [*range(60, 300), *range(422, 600)]


def test_flow_clock_turns_once_a_day_an_hour_and_a_week(walk: Callable[..., list[Candle]]) -> None:
    block = blocks(walk("BTC-USD", 200, start=T0), 200)["BTC-USD"]
    at = dict(zip((block.minute_N - int(T0.timestamp()) // 60).tolist(), block.x_NF.tolist(), strict=True))
    shown = dict(zip(COLUMNS, at[90], strict=True))
    # 01:30 on a Friday
    turns = {"day": 1.5 / 24, "half_day": 1.5 / 12, "hour": 0.5, "half_hour": 0.0, "week": (4 + 1.5 / 24) / 7}
    for name, turn in turns.items():
        assert shown[f"{name}_sin"] == pytest.approx(math.sin(2 * math.pi * turn), abs=1e-6)
        assert shown[f"{name}_cos"] == pytest.approx(math.cos(2 * math.pi * turn), abs=1e-6)
