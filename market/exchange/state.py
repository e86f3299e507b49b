"""Hold the state of the local exchange: its markets, present, rate limits, faults and counters."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from core.errors import ConfigError
from market.exchange.auth import TokenChecker
from market.exchange.behaviour import Behaviour
from market.exchange.faults import Faults

if TYPE_CHECKING:
    from collections.abc import Callable

    from market.exchange.simulated_market import Market


def parse_moment(text: str, option: str = "") -> datetime:
    """Read an ISO time, UTC where it names no zone; ``option`` is where it was given.

    Raises:
        ConfigError: it is none.
    """
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        msg = (
            f"{option}{': ' if option else ''}{text[:80]!r} is no ISO time; write for example 2026-01-01T00:00:00+00:00"
        )
        raise ConfigError(msg) from error


class Present:
    """The exchange's clock: the machine's, a faster one, or one that is stepped. It never runs backwards."""

    def __init__(
        self,
        start: datetime | None = None,
        *,
        speed: float = 1.0,
        stepped: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Choose the clock: real without ``start``, else running from it at ``speed`` or only when stepped.

        Raises:
            ConfigError: a speed that is not above zero, or a speed for a clock that is stepped.
        """
        if speed <= 0 or (stepped and speed != 1.0):
            msg = f"the exchange's clock either runs at a speed above 0 (found {speed}) or is stepped; give one of them"
            raise ConfigError(msg)
        self.is_stepped = stepped
        self.is_simulated = stepped or speed != 1.0 or start is not None
        self.speed = speed
        self._monotonic = monotonic
        self._started = monotonic()
        self._start = start if start is not None else datetime.now(UTC)

    def now(self) -> datetime:
        """Return the exchange's present."""
        if not self.is_simulated:
            return datetime.now(UTC)
        if self.is_stepped:
            return self._start
        return self._start + timedelta(seconds=(self._monotonic() - self._started) * self.speed)

    def advance(self, moment: datetime) -> datetime:
        """Step to ``moment``, never back, and return the present.

        Raises:
            ConfigError: this clock runs by itself.
        """
        if not self.is_stepped:
            msg = "this exchange's clock runs by itself; start it with --stepped to move it"
            raise ConfigError(msg)
        self._start = max(self._start, moment)
        return self._start


class TokenBucket:
    """Admit ``rate`` requests a second on average and as many at once; strict about what it promised."""

    def __init__(self, rate: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Start full; a rate of 0 admits everything."""
        self.rate = rate
        self._monotonic = monotonic
        self._tokens = rate
        self._at = monotonic()

    def take(self) -> bool:
        """Take one token if there is one."""
        if self.rate == 0:
            return True
        now = self._monotonic()
        self._tokens = min(max(self.rate, 1.0), self._tokens + (now - self._at) * self.rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    @property
    def headers(self) -> dict[str, str]:
        """The headers of an exchange that names its limits."""
        names = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")
        return dict(zip(names, (f"{self.rate:g}", str(int(self._tokens)), "1"), strict=True))


@dataclass(slots=True)
class Exchange:
    """All that the local exchange knows; one per process."""

    markets: dict[str, Market]
    present: Present = field(default_factory=Present)
    checker: TokenChecker = field(default_factory=lambda: TokenChecker({}))
    public: TokenBucket = field(default_factory=lambda: TokenBucket(10))
    private: TokenBucket = field(default_factory=lambda: TokenBucket(30))
    faults: Faults = field(default_factory=Faults)
    behaviour: Behaviour = field(default_factory=Behaviour)
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def kinds(self) -> str:
        """The kinds of market here, such as ``planted,null``."""
        return ",".join(sorted({market.kind for market in self.markets.values()}, reverse=True))

    def market_shown_by(self, product: str) -> Market | None:
        """Return the market whose candles a product shows, None for no product; ``BTC-USDC`` shows those of ``BTC-USD``."""
        if product not in self.markets and product.endswith("-USDC") and self.behaviour.usdc_aliases:
            product = product.removesuffix("C")
        return self.markets.get(product)
