"""How often a request is tried, how long is waited between, and the line that tells of it."""

from __future__ import annotations

import logging
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stamina.instrumentation import RetryHookFactory, set_on_retry_hooks

from market.providers.coinbase_wire import TryAgainError

if TYPE_CHECKING:
    from stamina.instrumentation import RetryDetails, RetryHook

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a request is tried and how long is waited between, doubling, with jitter."""

    attempts: int = 6
    wait_initial: float = 1.0
    wait_max: float = 20.0
    wait_jitter: float = 1.0

    def after(self, error: Exception) -> bool | float:
        """Say whether ``error`` is worth another try, in so many seconds where the exchange named them.

        The jitter goes on top: all who were told the same wait would otherwise come back in the same instant.
        """
        if not isinstance(error, TryAgainError):
            return False
        jitter = random.uniform(0, self.wait_jitter)  # noqa: S311  # spreads requests, guards nothing
        return True if error.wait is None else error.wait + jitter


def _tell() -> RetryHook:
    return tell


def tell(details: RetryDetails) -> None:
    """Log one failed try: which, of what, why, and when the next one is."""
    error = details.caused_by
    request = getattr(error, "request", None) if isinstance(error, TryAgainError) else None
    logger.warning(
        "try %d of %s failed: %s; next in %.1f s",
        details.retry_num,
        request or details.name,
        str(error) or type(error).__name__,
        details.wait_for,
    )


# the library's own line says only that something is tried again; there is one such hook for the whole process
set_on_retry_hooks((RetryHookFactory(_tell),))
