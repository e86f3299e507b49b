"""Sources of candles behind one protocol."""

from market.providers.base import PAGE_MINUTES, FetchFailed, FetchFailedError, Provider
from market.providers.exchange_time import ExchangeClock
from market.providers.factory import open_provider
from market.providers.fetch_windows import RetryPolicy

__all__ = [
    "PAGE_MINUTES",
    "ExchangeClock",
    "FetchFailed",
    "FetchFailedError",
    "Provider",
    "RetryPolicy",
    "open_provider",
]
