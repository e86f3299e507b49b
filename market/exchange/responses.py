"""Write a market's candles, books and trades in Coinbase's shapes: decimals as trimmed strings, newest first."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from core.candles import MINUTE, epoch_minute, minute_start

if TYPE_CHECKING:
    from datetime import datetime

    from market.exchange.simulated_market import CandleRows, Market

GRANULARITIES = {
    "ONE_MINUTE": 1,
    "FIVE_MINUTE": 5,
    "FIFTEEN_MINUTE": 15,
    "THIRTY_MINUTE": 30,
    "ONE_HOUR": 60,
    "TWO_HOUR": 120,
    "FOUR_HOUR": 240,
    "SIX_HOUR": 360,
    "ONE_DAY": 1440,
}
_HALF_SPREAD_TICKS = 1
_DAY_MINUTES = 1440
_BEFORE_THE_LAST_TRADES = 0.9
"""Share of a minute that its row shows while the minute has not settled."""


def trimmed(value: int, places: int) -> str:
    """Write ``value / 10**places`` without trailing zeros: 6631240, 2 becomes 66312.4."""
    whole, part = divmod(value, 10**places)
    return f"{whole}.{part:0{places}d}".rstrip("0").rstrip(".")


def visible_rows(market: Market, first_minute: int, end_minute: int, now: datetime) -> CandleRows:
    """Return the rows of ``[first, end)`` that exist at ``now``; the newest may still be open."""
    seconds = now.timestamp()
    present = epoch_minute(now)
    # clipped at both ends: a window of the far future is empty, and must not be generated to be seen so
    rows = market.rows(min(first_minute, present + 1), min(end_minute, present + 1))
    if rows.minute_N.size and rows.minute_N[-1] == present:
        elapsed = seconds / 60 - present
        return _grown(rows, -1, elapsed) if elapsed > 0 else rows.over(lambda column_N: column_N[:-1])  # noqa: N803  # shape
    return rows


def as_published(rows: CandleRows, now: datetime, published_after: float, settles_after: float) -> CandleRows:
    """Return one-minute ``rows`` as an exchange shows them that publishes and settles its minutes late.

    Args:
        rows: Oldest first.
        now: The exchange's present.
        published_after: Seconds after its close before a minute has a row; at 0 the open minute has one too.
        settles_after: Seconds after its close in which a minute's row still lacks its last trades.
    """
    closed_for_N = now.timestamp() - 60.0 * (rows.minute_N + 1)  # noqa: N806  # shape suffix
    if published_after > 0:
        shown = int((closed_for_N >= published_after).sum())
        rows, closed_for_N = rows.over(lambda column_N: column_N[:shown]), closed_for_N[:shown]  # noqa: N803, N806  # shape
    if settles_after > 0:
        for at in ((closed_for_N >= 0) & (closed_for_N < settles_after)).nonzero()[0].tolist():
            rows = _grown(rows, at, _BEFORE_THE_LAST_TRADES)
    return rows


def _grown(rows: CandleRows, at: int, share: float) -> CandleRows:
    """Replace row ``at`` by what the minute looks like after ``share`` of it: price and range on the way, volume in part."""
    grown = rows.over(lambda column_N: column_N.copy())  # noqa: N803  # shape suffix
    for column_N in (grown.high_N, grown.low_N, grown.close_N):  # noqa: N806  # shape suffix
        column_N[at] = round(rows.open_N[at] + share * (column_N[at] - rows.open_N[at]))
    # rounding up keeps the first moments of a minute from showing a candle without a trade
    grown.volume_N[at] = math.ceil(share * rows.volume_N[at])
    return grown


def coarser(rows: CandleRows, minutes: int) -> CandleRows:
    """Join one-minute rows into buckets of ``minutes``."""
    if minutes == 1 or not rows.minute_N.size:
        return rows
    bucket_N = rows.minute_N // minutes * minutes  # noqa: N806  # shape suffix
    starts = np.flatnonzero(np.diff(bucket_N, prepend=-1))
    last = np.append(starts[1:], bucket_N.size) - 1
    return rows._replace(
        minute_N=bucket_N[starts],
        open_N=rows.open_N[starts],
        high_N=np.maximum.reduceat(rows.high_N, starts),
        low_N=np.minimum.reduceat(rows.low_N, starts),
        close_N=rows.close_N[last],
        volume_N=np.add.reduceat(rows.volume_N, starts),
    )


def candle_lines(rows: CandleRows) -> list[str]:
    """Return one JSON object for each row, newest first."""
    columns = [column_N[::-1].tolist() for column_N in rows.columns]
    price, volume = rows.price_places, rows.volume_places
    return [
        f'{{"start":"{minute * 60}","low":"{trimmed(low, price)}","high":"{trimmed(high, price)}",'
        f'"open":"{trimmed(open_, price)}","close":"{trimmed(close, price)}","volume":"{trimmed(amount, volume)}"}}'
        for minute, open_, high, low, close, amount in zip(*columns, strict=True)
    ]


def last_day(market: Market, now: datetime) -> CandleRows:
    """Return the rows of the day up to ``now``; none before the listing. The last one's close is the price."""
    present = epoch_minute(now)
    return visible_rows(market, present - _DAY_MINUTES, present + 1, now)


def product(market: Market, now: datetime) -> dict[str, Any]:
    """Return the product page."""
    base, _, quote = market.product.partition("-")
    rows = last_day(market, now)
    increment = trimmed(1, rows.price_places)
    return {
        "product_id": market.product,
        "price": trimmed(int(rows.close_N[-1]), rows.price_places) if rows.close_N.size else "",
        "volume_24h": trimmed(int(rows.volume_N.sum()), rows.volume_places),
        "base_increment": "0.00000001",
        "quote_increment": increment,
        "price_increment": increment,
        "status": "online",
        "trading_disabled": False,
        "is_disabled": False,
        "new": False,
        "product_type": "SPOT",
        "base_currency_id": base,
        "quote_currency_id": quote,
        "alias": "",
        "alias_to": [],
        "product_venue": "CBE",
        "new_at": "2023-01-01T00:00:00Z",
        "fcm_trading_session_details": None,
        "mid_market_price": "",
    }


def pricebook(market: Market, now: datetime, levels: int) -> dict[str, Any] | None:
    """Return a book of ``levels`` a side around the last trade; None before the listing."""
    rows = last_day(market, now)
    if not rows.close_N.size:
        return None
    close = int(rows.close_N[-1])
    half = max(_HALF_SPREAD_TICKS, close // 100_000)

    def side(direction: int) -> list[dict[str, str]]:
        prices = (close + direction * half * (1 + level) for level in range(levels))
        return [
            {"price": trimmed(max(price, 1), rows.price_places), "size": trimmed(10_000_000 * (1 + level % 7), 8)}
            for level, price in enumerate(prices)
        ]

    return {
        "product_id": market.product,
        "bids": side(-1),
        "asks": side(1),
        "time": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    }


def book_page(book: dict[str, Any]) -> dict[str, Any]:
    """Return the product book answer: the book and its middle."""
    bid, ask = float(book["bids"][0]["price"]), float(book["asks"][0]["price"])
    middle = (bid + ask) / 2
    return {
        "pricebook": book,
        "last": f"{middle:.10g}",
        "mid_market": f"{middle:.10g}",
        "spread_bps": f"{(ask - bid) / middle * 1e4:.12f}",
        "spread_absolute": f"{ask - bid:.8g}",
    }


def trades(market: Market, now: datetime, limit: int) -> list[dict[str, str]]:
    """Return one trade for each of the newest minutes, newest first, in the shape of the ticker: the minute's close."""
    rows = last_day(market, now).slice(0, epoch_minute(now))
    columns = (column_N[::-1][:limit].tolist() for column_N in (rows.minute_N, rows.close_N, rows.volume_N))
    return [
        {
            "product_id": market.product,
            "trade_id": str(minute),
            "price": trimmed(close, rows.price_places),
            "size": trimmed(amount, rows.volume_places),
            "time": f"{minute_start(minute + 1) - MINUTE / 60:%Y-%m-%dT%H:%M:%S.%fZ}",
            "side": "BUY",
            "bid": "",
            "ask": "",
            "exchange": "coinbase",
        }
        for minute, close, amount in zip(*columns, strict=True)
    ]
