"""Simulate two markets: one with a planted, known edge and one with none at all.

Both are made of numbers only, minute by minute from a fixed epoch, and are reproducible: the same kind, product
and seed give the same candle for a minute, whatever span it is asked in. Blocks of minutes are generated on their
own random stream; only the few numbers at a block's border are carried into the next.

``planted``: a hidden state z (AR(1), standard deviation 1, decorrelation 30 minutes) shows at once in the volume, log
volume = base + 0.6 z + noise, and drives the return of the minute that follows LAG_MINUTES later. So the edge lies in
the order of things: a model that reads the last hour as a sequence can see all of it, one that is shown the averages
of a single row only a part. That is what lets a network beat the baselines here, and be promoted. ``null``:
a martingale with clustered volatility, in which nothing known tells the direction of anything that follows (all
that is left is the tick: an unchanged close counts as "not up", and that is likelier in a quiet hour).

How good can a forecast of the planted market be? Log price p and the last LAG_MINUTES + 1 values of z follow a linear
system, so the return over the next h minutes is, given them, normal with mean d and standard deviation s. Whoever calls the sign of d is
right with probability E[Phi(|d| / s)] = 1/2 + arctan(k) / pi, where k is the standard deviation of d over s
(d is normal around zero). The strength of the drift is solved for that figure, 0.80 by default; no model that
sees candles only can do better, for it sees z through noise.

Shapes: _N minutes.
"""

# ruff: noqa: N803, N806, N815  # arrays carry the suffix of their shape, _N

from __future__ import annotations

import math
import zlib
from collections import OrderedDict
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, cast, get_args

import numpy as np
from numpy.typing import NDArray

from core.candles import HORIZON_MINUTES, Candle, epoch_minute, minute_start, require_product
from core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from core.candles import Span

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Kind = Literal["planted", "null"]

EPOCH = datetime(2024, 1, 1, tzinfo=UTC)
"""No simulated market has candles before this; every one is generated from here on."""

BEST_ACCURACY = 0.80
MEMORY_MINUTES = 30.0
"""Decorrelation time of the planted state."""
# at lag 0 a logistic regression on one row (log loss 0.434) was ahead of the LSTM (0.447), and `beats_baselines` rightly refused
# the LSTM; at 30 and at 40 it has 0.441 and 0.454 where the regression has 0.505 and 0.579 (docs/log.md)
LAG_MINUTES = 36
"""How long after it shows in the volume the state moves the price; longer than the horizon, so nothing of d is unknown."""
REVERSION_MINUTES = 4155.0
"""The planted log price forgets over this (half-life two days); without it the drift would carry it off."""
VOLUME_LOADING = 0.6
MISSING_RATE = 0.0005
SOFT_LIMIT = 3.0
"""Log prices are bent, strictly rising, into +-3 around their base: directions stay, prices remain positive."""

_BLOCK = 1 << 14
_KEPT_BLOCKS = 24
"""Blocks of 16,384 minutes: those kept are nine months of a product, some 20 MB of whole numbers."""
_EPOCH_MINUTE = epoch_minute(EPOCH)
_SCALES = {"BTC-USD": (60_000.0, 10.0), "ETH-USD": (3_000.0, 120.0), "SOL-USD": (150.0, 2_500.0)}
_OTHER_SCALE = (100.0, 1_000.0)
_PRICE_PLACES = 2
_VOLUME_PLACES = 8


class CandleRows(NamedTuple):
    """Candles as integers in their smallest unit, oldest first; absent minutes are left out."""

    product: str
    minute_N: Integers
    open_N: Integers
    high_N: Integers
    low_N: Integers
    close_N: Integers
    volume_N: Integers
    price_places: int = _PRICE_PLACES
    volume_places: int = _VOLUME_PLACES

    def slice(self, first: int, end: int) -> CandleRows:
        """Return the rows whose minute lies in ``[first, end)``."""
        left, right = np.searchsorted(self.minute_N, (first, end))
        return self.over(lambda column_N: column_N[left:right])

    def joined(self, others: Sequence[CandleRows]) -> CandleRows:
        """Return these rows followed by the rows of ``others``."""
        columns = iter(zip(*(rows.columns for rows in (self, *others)), strict=True))
        return self.over(lambda _: np.concatenate(next(columns)))

    @property
    def columns(self) -> tuple[Integers, ...]:
        """The six arrays, minute first."""
        return self.minute_N, self.open_N, self.high_N, self.low_N, self.close_N, self.volume_N

    def over(self, change: Callable[[Integers], Integers]) -> CandleRows:
        """Return the rows with ``change`` done to each of the six arrays."""
        minute_N, open_N, high_N, low_N, close_N, volume_N = (change(column_N) for column_N in self.columns)
        return self._replace(
            minute_N=minute_N, open_N=open_N, high_N=high_N, low_N=low_N, close_N=close_N, volume_N=volume_N
        )

    def candles(self) -> list[Candle]:
        """Return the rows as exact decimals."""
        columns = (self.open_N, self.high_N, self.low_N, self.close_N)
        prices = [[Decimal(value).scaleb(-self.price_places) for value in column.tolist()] for column in columns]
        volumes = [Decimal(value).scaleb(-self.volume_places) for value in self.volume_N.tolist()]
        times = [minute_start(minute) for minute in self.minute_N.tolist()]
        return [
            Candle(self.product, time, open_, high, low, close, volume)
            for time, open_, high, low, close, volume in zip(times, *prices, volumes, strict=True)
        ]


class Market(Protocol):
    """A deterministic history of one product; any span agrees with any other that contains it."""

    kind: str
    """``planted``, ``null`` or ``recorded``."""
    product: str
    first_minute: int
    """Epoch minute of the listing: there is nothing before."""

    def rows(self, first_minute: int, end_minute: int) -> CandleRows:
        """Return the candles of epoch minutes ``[first_minute, end_minute)``."""
        ...

    def candles(self, span: Span) -> list[Candle]:
        """Return the candles of ``span``, oldest first, absent minutes left out."""
        return self.rows(epoch_minute(span.start), epoch_minute(span.end)).candles()


def accuracy_of(strength: float, horizon: int = HORIZON_MINUTES) -> float:
    """Return the best possible direction accuracy over ``horizon`` minutes.

    Args:
        strength: Drift of one minute per unit of z, in units of that minute's noise.
        horizon: Minutes ahead.
    """
    keep_z, keep_p = math.exp(-1 / MEMORY_MINUTES), math.exp(-1 / REVERSION_MINUTES)
    # the state is (z now, z one minute ago, ..., z LAG_MINUTES ago, log price)
    size = LAG_MINUTES + 2
    step = np.diag(np.ones(size - 1), -1)
    step[0, 0], step[-1, -2:] = keep_z, (strength, keep_p)
    noise = np.zeros((size, size))
    noise[0, 0], noise[-1, -1] = 1 - keep_z**2, 1.0
    powers = [np.linalg.matrix_power(step, power) for power in range(horizon + 1)]
    reach = powers[horizon][-1] - np.eye(size)[-1]
    known = reach @ _stationary(step, noise) @ reach
    unknown = sum((power @ noise @ power.T)[-1, -1] for power in powers[:horizon])
    return 0.5 + math.atan(math.sqrt(known / unknown)) / math.pi


def _stationary(step: Floats, noise: Floats) -> Floats:
    """Return the covariance S with S = step S step' + noise, by doubling."""
    spread, power = noise, step
    while np.abs(power).max() > 1e-12:
        spread, power = spread + power @ spread @ power.T, power @ power
    return spread


@lru_cache(maxsize=64)
def strength_for(accuracy: float) -> float:
    """Return the drift strength at which the best possible 15-minute accuracy is ``accuracy``.

    Raises:
        ConfigError: no strength reaches it, for z itself wanders within the horizon.
    """
    least, most = accuracy_of(0.0), accuracy_of(20.0)
    if not least <= accuracy < most:
        msg = f"a planted market's best accuracy can be {least:.3f} to {most:.3f}, not {accuracy}; try 0.80"
        raise ConfigError(msg)
    low, high = 0.0, 20.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if accuracy_of(middle) < accuracy else (low, middle)
    return (low + high) / 2


class _Border(NamedTuple):
    """All that one block must know of the one before it."""

    earlier_z: tuple[float, ...]
    """The last LAG_MINUTES + 1 values of z, oldest first."""
    fast: float
    slow: float
    price: float


class _Core(NamedTuple):
    """The hidden numbers of one block."""

    z_N: Floats
    log_scale_N: Floats
    surprise_N: Floats
    price_N: Floats
    before: float


class SimulatedMarket(Market):
    """A seeded market of one product; see the module's text for its two kinds."""

    def __init__(
        self,
        kind: Kind,
        product: str,
        seed: int = 7,
        *,
        best_accuracy: float = BEST_ACCURACY,
        listed_at: datetime | None = None,
    ) -> None:
        """Describe the market; nothing is generated before it is asked for."""
        self.kind = kind
        self.product = require_product(product)
        self.seed = seed
        self._planted = kind == "planted"
        self._base_scale = 0.0010 if self._planted else 0.0007
        self._strength = strength_for(best_accuracy) if self._planted else 0.0
        self.best_accuracy = accuracy_of(self._strength) if self._planted else 0.5
        self.first_minute = max(_EPOCH_MINUTE, epoch_minute(listed_at) if listed_at else _EPOCH_MINUTE)
        self._borders: list[_Border] = [self._first_border()]
        self._kept: OrderedDict[int, CandleRows] = OrderedDict()

    def rows(self, first_minute: int, end_minute: int) -> CandleRows:
        """Return the candles of epoch minutes ``[first_minute, end_minute)``."""
        first = max(first_minute, self.first_minute)
        end = max(end_minute, first)
        blocks = range((first - _EPOCH_MINUTE) // _BLOCK, (max(end - 1, first) - _EPOCH_MINUTE) // _BLOCK + 1)
        parts = [self._block(number).slice(first, end) for number in blocks]
        return parts[0] if len(parts) == 1 else parts[0].joined(parts[1:])

    def hidden_state(self, first_minute: int, end_minute: int) -> Floats:
        """Return z for every minute of ``[first_minute, end_minute)``: what a perfect forecaster knows."""
        first, end = first_minute - _EPOCH_MINUTE, end_minute - _EPOCH_MINUTE
        if first < 0:
            msg = f"the simulated markets begin at {EPOCH:%Y-%m-%d}; ask for a later time"
            raise ConfigError(msg)
        blocks = range(first // _BLOCK, (end - 1) // _BLOCK + 1)
        z_N = np.concatenate([self._core(number).z_N for number in blocks])
        offset = first - blocks[0] * _BLOCK
        return z_N[offset : offset + end - first]

    def _stream(self, block: int, part: int) -> np.random.Generator:
        name = zlib.crc32(f"{self.kind}:{self.product}".encode())
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.seed, name, block + 1, part])))

    def _first_border(self) -> _Border:
        stream = self._stream(-1, 0)
        first, fast, slow = stream.standard_normal(3).tolist()
        z_N = _ar1(stream.standard_normal(LAG_MINUTES + 1), MEMORY_MINUTES, first)
        return _Border(tuple(z_N.tolist()), fast, slow, 0.0)

    def _core(self, number: int) -> _Core:
        while len(self._borders) <= number:
            self._generate(len(self._borders) - 1)
        return self._generate(number)

    def _generate(self, number: int) -> _Core:
        """Generate block ``number`` from its border and note the border after it."""
        border = self._borders[number]
        surprise_N, z_noise_N, fast_noise_N, slow_noise_N = self._stream(number, 0).standard_normal((4, _BLOCK))
        z_N = _ar1(z_noise_N, MEMORY_MINUTES, border.earlier_z[-1])
        fast_N = _ar1(fast_noise_N, 90.0, border.fast)
        slow_N = _ar1(slow_noise_N, 2_880.0, border.slow)
        fast_sd, slow_sd = (0.12, 0.0) if self._planted else (0.30, 0.30)
        log_scale_N = fast_sd * fast_N + slow_sd * slow_N
        if not self._planted:
            log_scale_N = log_scale_N + 0.25 * _season(number)
        scale_N = self._base_scale * np.exp(log_scale_N)
        earlier_z_N = np.concatenate((border.earlier_z, z_N))[: z_N.size]
        shock_N = scale_N * (self._strength * earlier_z_N + surprise_N)
        if self._planted:
            price_N = _decayed_sum(shock_N, math.exp(-1 / REVERSION_MINUTES), border.price)
        else:
            price_N = border.price + np.cumsum(shock_N)
        if len(self._borders) == number + 1:
            last_z = tuple(z_N[-LAG_MINUTES - 1 :].tolist())
            self._borders.append(_Border(last_z, float(fast_N[-1]), float(slow_N[-1]), float(price_N[-1])))
        return _Core(z_N, log_scale_N, surprise_N, price_N, border.price)

    def _block(self, number: int) -> CandleRows:
        if number in self._kept:
            self._kept.move_to_end(number)
            return self._kept[number]
        rows = self._dress(number, self._core(number))
        self._kept[number] = rows
        if len(self._kept) > _KEPT_BLOCKS:
            self._kept.popitem(last=False)
        return rows

    def _dress(self, number: int, core: _Core) -> CandleRows:
        """Make candles of the hidden numbers: ranges, volumes, missing minutes, whole ticks."""
        stream = self._stream(number, 1)
        gap_N, up_N, down_N, noise_N = stream.standard_normal((4, _BLOCK))
        usd, coins = _SCALES.get(self.product, _OTHER_SCALE)
        scale_N = self._base_scale * np.exp(core.log_scale_N)
        earlier_N = np.concatenate(([core.before], core.price_N[:-1]))
        close_N = usd * np.exp(_bent(core.price_N))
        open_N = usd * np.exp(_bent(earlier_N)) * (1 + 0.03 * scale_N * gap_N)
        high_N = np.maximum(open_N, close_N) * (1 + 0.4 * scale_N * np.abs(up_N))
        low_N = np.minimum(open_N, close_N) * (1 - 0.4 * scale_N * np.abs(down_N))
        season_N = _season(number)
        if self._planted:
            log_volume_N = VOLUME_LOADING * core.z_N + 0.10 * noise_N + 0.10 * season_N
        else:
            log_volume_N = 0.5 * core.log_scale_N + 0.5 * np.abs(core.surprise_N) + 0.6 * noise_N + 0.3 * season_N
        minute_N = _EPOCH_MINUTE + number * _BLOCK + np.arange(_BLOCK, dtype=np.int64)
        present_N = stream.random(_BLOCK) >= MISSING_RATE
        ticks = [_whole(price_N, _PRICE_PLACES) for price_N in (open_N, high_N, low_N, close_N)]
        volume_N = _whole(coins * np.exp(log_volume_N), _VOLUME_PLACES)
        rows = CandleRows(self.product, minute_N, ticks[0], ticks[1], ticks[2], ticks[3], volume_N)
        return rows.over(lambda column_N: column_N[present_N])


def simulated_market(
    kind: str,
    product: str,
    seed: int = 7,
    *,
    best_accuracy: float = BEST_ACCURACY,
    listed_at: datetime | None = None,
) -> SimulatedMarket:
    """Return the simulated market of that kind.

    Raises:
        ConfigError: no such kind, or an accuracy no drift can give.
    """
    if kind not in get_args(Kind):
        msg = f"a simulated market is planted or null, not {kind!r}"
        raise ConfigError(msg)
    return SimulatedMarket(cast("Kind", kind), product, seed, best_accuracy=best_accuracy, listed_at=listed_at)


def _ar1(noise_N: Floats, memory: float, before: float) -> Floats:
    """Return an AR(1) of standard deviation 1 and the given decorrelation time, continued from ``before``."""
    keep = math.exp(-1 / memory)
    return _decayed_sum(math.sqrt(1 - keep**2) * noise_N, keep, before)


def _decayed_sum(shock_N: Floats, keep: float, before: float) -> Floats:
    """Return y with ``y[i] = keep * y[i-1] + shock[i]``, by doubling: no loop over minutes."""
    y_N = shock_N.copy()
    y_N[0] += keep * before
    step, weight = 1, keep
    while step < y_N.size and weight > 1e-18:
        y_N[step:] += weight * y_N[:-step]
        step, weight = 2 * step, weight * weight
    return y_N


def _season(number: int) -> Floats:
    """Return a wave of one day, highest at 15:00 UTC when London and New York are both open."""
    minute_N = number * _BLOCK + np.arange(_BLOCK)
    return np.asarray(np.cos(2 * np.pi * (minute_N - 900) / 1440), dtype=np.float64)


def _bent(log_price_N: Floats) -> Floats:
    return SOFT_LIMIT * np.tanh(log_price_N / SOFT_LIMIT)


def _whole(value_N: Floats, places: int) -> Integers:
    return np.asarray(np.maximum(np.rint(value_N * 10**places), 1), dtype=np.int64)
