"""Minutes built from trades: bucket of the trade's time, order of its id, and nothing that may lack a trade.

A minute is built only when the connection saw all of it and its ids follow on the ids before it without a hole. What
cannot be built is named and left to the exchange's own candles.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from core.candles import MINUTE, Candle, floor_minute

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from datetime import datetime
    from decimal import Decimal

_REMEMBERED = timedelta(minutes=10)
"""How long the ids of a closed minute are kept, to tell a late trade from one told twice."""
_LONGEST_DISORDER = 1000
"""Ids are out of order by less than this; a longer hole is not gone through id by id."""


@dataclass(frozen=True, slots=True)
class Trade:
    """One trade as the exchange told it; the price in the quote, the size in the base currency."""

    product: str
    trade_id: int
    price: Decimal
    size: Decimal
    time: datetime


@dataclass(frozen=True, slots=True)
class Closing:
    """What came of the minutes that were closed."""

    candles: tuple[Candle, ...] = ()
    dropped: tuple[tuple[datetime, str], ...] = ()
    """Minutes that had trades and were not built, and why."""


@dataclass(slots=True)
class MinuteBuilder:
    """The minutes of one product."""

    product: str
    doubted: list[datetime] = field(default_factory=list)
    """Minutes that were built before it turned out that they may lack a trade; the caller empties it."""
    _pending: dict[datetime, dict[int, Trade]] = field(default_factory=dict)
    _built: dict[datetime, Collection[int]] = field(default_factory=dict)
    """The ids in each minute built lately."""
    _whole_from: datetime | None = None
    _closed_until: datetime | None = None
    _last_id: int | None = None
    """The highest id of the closed minutes since the connection began or lost a message."""

    def begin(self, at: datetime) -> None:
        """Note that the connection began, or lost a message, at ``at``: the minute in hand is partial."""
        self._whole_from = floor_minute(at) + MINUTE
        self._last_id = None

    def add(self, trades: Iterable[Trade]) -> None:
        """Take in trades, in any order and any number of times."""
        for trade in trades:
            minute = floor_minute(trade.time)
            if self._closed_until is not None and minute < self._closed_until:
                if trade.trade_id not in self._built.get(minute, (trade.trade_id,)):
                    self.doubted.append(minute)
                continue
            self._pending.setdefault(minute, {}).setdefault(trade.trade_id, trade)

    def close(self, until: datetime) -> Closing:
        """Close every minute that ends at or before ``until`` and return what came of those with trades."""
        candles: list[Candle] = []
        dropped: list[tuple[datetime, str]] = []
        for minute in sorted(self._pending):
            if minute + MINUTE > until:
                break
            trades = self._pending.pop(minute)
            fault = self._fault(minute, trades)
            if self._last_id is None or max(trades) > self._last_id:
                self._last_id = max(trades)
            if fault:
                # of earlier minutes only what came with the connection is known, and nobody waits for them
                if self._whole_from is not None and minute + MINUTE >= self._whole_from:
                    dropped.append((minute, fault))
                continue
            candles.append(candle_of(self.product, minute, list(trades.values())))
            self._built[minute] = trades.keys()
        self._closed_until = max(floor_minute(until), self._closed_until or floor_minute(until))
        self._built = {minute: ids for minute, ids in self._built.items() if minute > until - _REMEMBERED}
        return Closing(tuple(candles), tuple(dropped))

    def _fault(self, minute: datetime, trades: dict[int, Trade]) -> str:
        """Return why the minute cannot be built, nothing when it can."""
        expected = min(trades) if self._last_id is None else self._last_id + 1
        following = min((number for later in self._pending.values() for number in later), default=max(trades))
        # around the turn of a minute the order of times may not be that of ids: a neighbour may have it
        missing = [number for number in _holes(expected, [*trades, following]) if not self._is_known(number)]
        if missing and missing[0] < min(trades) and self._built:
            # the lost trade may as well belong to the minute before
            self.doubted.append(max(self._built))
        if self._whole_from is None or minute < self._whole_from:
            return "the connection did not see all of it"
        return f"trade {missing[0]} did not come" if missing else ""

    def _is_known(self, trade_id: int) -> bool:
        return any(trade_id in trades for trades in self._pending.values())


def _holes(expected: int, ids: Collection[int]) -> list[int]:
    """Return the ids between ``expected`` and the highest of ``ids`` that are not there; of a huge hole the first ones."""
    holes: list[int] = []
    for trade_id in sorted(ids):
        holes += range(expected, min(trade_id, expected + _LONGEST_DISORDER))
        expected = max(expected, trade_id + 1)
    return holes


def candle_of(product: str, open_time: datetime, trades: Sequence[Trade]) -> Candle:
    """Return the candle of one minute's trades: first and last by id, sizes added up.

    Args:
        product: The product the candle is for.
        open_time: The minute.
        trades: At least one, each once, in any order.
    """
    ordered = sorted(trades, key=lambda trade: trade.trade_id)
    prices = [trade.price for trade in ordered]
    volume = sum((trade.size for trade in ordered[1:]), ordered[0].size)
    return Candle(product, open_time, prices[0], max(prices), min(prices), prices[-1], volume)
