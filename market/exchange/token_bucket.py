"""Token buckets: the exchange's own, strict about what it promised."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class TokenBucket:
    """Admit ``rate`` requests a second on average and as many at once."""

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
    def remaining(self) -> int:
        """Whole tokens left."""
        return int(self._tokens)
