"""Sources of candles behind one protocol; `open_provider` opens the one that the settings name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.errors import ConfigError
from market.providers.base import PAGE_MINUTES, FetchFailed, FetchFailedError, Provider
from market.providers.ccxt_provider import CcxtProvider
from market.providers.coinbase import CoinbaseProvider
from market.providers.exchange_time import ExchangeClock
from market.providers.fetch_windows import RetryPolicy
from market.providers.synthetic import SyntheticProvider
from market.providers.yfinance_provider import YahooProvider

if TYPE_CHECKING:
    import httpx

    from core.clock import Clock
    from core.settings import Settings

__all__ = [
    "PAGE_MINUTES",
    "ExchangeClock",
    "FetchFailed",
    "FetchFailedError",
    "Provider",
    "RetryPolicy",
    "open_provider",
]

PROVIDERS = ("coinbase", "synthetic", "ccxt", "yfinance")
"""The last two are extras: their libraries are imported when they are chosen."""


def open_provider(
    settings: Settings,
    *,
    transport: httpx.AsyncBaseTransport | None = None,
    clock: Clock | None = None,
    retry: RetryPolicy | None = None,
) -> Provider:
    """Return the provider that ``settings.provider`` names; nothing else is ever taken in its place.

    Args:
        settings: All settings.
        transport: A double of the network of the provider coinbase, for tests.
        clock: This machine's clock, for tests; not the exchange's.
        retry: Tries and waits; work that comes back every minute wants few.

    Raises:
        ConfigError: no provider has that name, or its extra is not installed.
        CredentialsError: the key cannot be read.
    """
    if settings.provider == "coinbase":
        return CoinbaseProvider(settings, transport=transport, clock=clock, retry=retry)
    if settings.provider == "synthetic":
        return SyntheticProvider(settings, clock=clock)
    if settings.provider == "ccxt":
        return CcxtProvider(settings, clock=clock, retry=retry)
    if settings.provider == "yfinance":
        return YahooProvider(settings, clock=clock, retry=retry)
    msg = f"PROVIDER={settings.provider} is unknown; choose one of {', '.join(PROVIDERS)}"
    raise ConfigError(msg)
