"""The trades behind the candles: deterministic, contiguous ids, and exactly the candle of their minute when added up.

A minute with a candle has eight trades, and eight more for every minute without one just before it: so ids run on
without a hole, a trade's id follows from its minute alone, and no state is kept. The first trade is the open, the last
the close, high and low lie between, and the sizes add up to the volume. Where a volume is smaller than the number of
trades (in units of its last decimal), the last ones are of size 0.

Shapes: _N minutes.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from market.exchange.simulated_market import Market, Rows

TRADES_A_MINUTE = 8
_LOOK_BACK_MINUTES = 4320
"""A longer time without any candle leaves a hole in the ids."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE_MICROS = 60_000_000
_FIRST_WITHIN_MICROS = 1_000_000


@dataclass(frozen=True, slots=True)
class TapeTrade:
    """One trade; price and size are integers in the market's smallest units, ``micros`` are since 1970."""

    product: str
    trade_id: int
    price: int
    size: int
    micros: int
    side: str
    """The maker's side, as on the wire."""
    price_places: int
    volume_places: int


def tape(market: Market, after: datetime, until: datetime) -> list[TapeTrade]:
    """Return the trades of ``(after, until]``, oldest first."""
    first, last = _micros(after), _micros(until)
    found = [trade for minute in _minutes(market, first // _MINUTE_MICROS, last // _MINUTE_MICROS) for trade in minute]
    return [trade for trade in found if first < trade.micros <= last]


def newest_trades(market: Market, now: datetime, limit: int) -> list[TapeTrade]:
    """Return the last ``limit`` trades up to ``now``, oldest first; fewer when there were fewer in three days."""
    back = -(-limit // TRADES_A_MINUTE) + 2
    while True:
        found = tape(market, now - timedelta(minutes=back), now)[-limit:]
        if len(found) == limit or back >= _LOOK_BACK_MINUTES:
            return found
        back = min(8 * back, _LOOK_BACK_MINUTES)


def so_far(market: Market, rows: Rows, now: datetime) -> Rows:
    """Return ``rows``, whose last one is the minute still open, with that one as far as its trades have come."""
    known = _micros(now)
    trades = [trade for trade in _of_minute(market, int(rows.minute_N[-1])) if trade.micros <= known]
    return _rebuilt(rows, -1, trades) if trades else rows.over(lambda column_N: column_N[:-1])  # noqa: N803  # shape


def as_published(market: Market, rows: Rows, now: datetime, published_after: float, settles_after: float) -> Rows:
    """Return ``rows`` as an exchange shows them that publishes and settles its minutes late.

    Args:
        market: Where the trades come from.
        rows: One-minute rows, oldest first.
        now: The exchange's present.
        published_after: Seconds after its close before a minute has a row; at 0 the open minute has one too.
        settles_after: Seconds after its close in which a minute's row still lacks its last trade.
    """
    closed_for_N = now.timestamp() - 60.0 * (rows.minute_N + 1)  # noqa: N806  # shape suffix
    if published_after > 0:
        shown = int((closed_for_N >= published_after).sum())
        rows, closed_for_N = rows.over(lambda column_N: column_N[:shown]), closed_for_N[:shown]  # noqa: N803, N806  # shape
    if settles_after > 0:
        for at in ((closed_for_N >= 0) & (closed_for_N < settles_after)).nonzero()[0].tolist():
            rows = _rebuilt(rows, at, _of_minute(market, int(rows.minute_N[at]))[:-1])
    return rows


def _of_minute(market: Market, minute: int) -> list[TapeTrade]:
    return next(_minutes(market, minute, minute), [])


def _rebuilt(rows: Rows, at: int, trades: list[TapeTrade]) -> Rows:
    """Replace row ``at`` by the candle of ``trades``."""
    changed = rows.over(lambda column_N: column_N.copy())  # noqa: N803  # shape suffix
    prices = [trade.price for trade in trades]
    changed.close_N[at] = prices[-1]
    changed.high_N[at] = max(prices)
    changed.low_N[at] = min(prices)
    changed.volume_N[at] = sum(trade.size for trade in trades)
    return changed


def _minutes(market: Market, first: int, last: int) -> Iterator[list[TapeTrade]]:
    """Yield the trades of each epoch minute in ``[first, last]`` that has a candle."""
    rows = market.rows(first, last + 1)
    if not rows.minute_N.size:
        return
    before = _minute_before(market, int(rows.minute_N[0]))
    for minute, open_, high, low, close, volume in zip(*(column.tolist() for column in rows.columns), strict=True):
        yield _minute(rows, before, minute, (open_, high, low, close, volume))
        before = minute


def _minute_before(market: Market, minute: int) -> int:
    """Return the last minute with a candle before ``minute``; the one just before when there is none."""
    for back in (10, 300, _LOOK_BACK_MINUTES):
        earlier_N = market.rows(minute - back, minute).minute_N  # noqa: N806  # shape suffix
        if earlier_N.size:
            return int(earlier_N[-1])
    return minute - 1


def _minute(rows: Rows, before: int, minute: int, candle: tuple[int, int, int, int, int]) -> list[TapeTrade]:
    open_, high, low, close, volume = candle
    dice = random.Random(f"{rows.product} {minute}")  # noqa: S311  # a market must be reproducible
    count = TRADES_A_MINUTE * (minute - before)
    prices = [dice.randint(low, high) for _ in range(count)]
    at_high, at_low = dice.sample(range(1, count - 1), 2)
    prices[at_high], prices[at_low], prices[0], prices[-1] = high, low, open_, close
    sizes = _shared_out(volume, count, dice)
    # the first trade comes within a second, so that an open minute has a row from then on
    moments = [dice.randrange(_FIRST_WITHIN_MICROS)]
    moments += sorted(dice.sample(range(_FIRST_WITHIN_MICROS, _MINUTE_MICROS), count - 1))
    return [
        TapeTrade(
            rows.product,
            TRADES_A_MINUTE * (before + 1) + number,
            prices[number],
            sizes[number],
            minute * _MINUTE_MICROS + moments[number],
            dice.choice(("BUY", "SELL")),
            rows.price_places,
            rows.volume_places,
        )
        for number in range(count)
    ]


def _shared_out(volume: int, count: int, dice: random.Random) -> list[int]:
    """Split ``volume`` into ``count`` sizes, each at least 1 while there is enough."""
    if volume < count:
        return [1] * volume + [0] * (count - volume)
    cuts = sorted(dice.randint(0, volume - count) for _ in range(count - 1))
    edges = [0, *cuts, volume - count]
    return [1 + edges[number + 1] - edges[number] for number in range(count)]


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)
