"""Which provider the settings name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from desk.errors import ConfigError
from desk.providers.coinbase import CoinbaseProvider
from desk.providers.synthetic import SyntheticProvider

if TYPE_CHECKING:
    import httpx

    from desk.clock import Clock
    from desk.config import Settings
    from desk.providers.base import Provider

BUILT_IN = ("coinbase", "synthetic")


def open_provider(
    settings: Settings, *, transport: httpx.AsyncBaseTransport | None = None, clock: Clock | None = None
) -> Provider:
    """Return the provider that ``settings.provider`` names; nothing else is ever taken in its place.

    Args:
        settings: All settings.
        transport: A double of the network, for tests.
        clock: This machine's clock, for tests; not the exchange's.

    Raises:
        ConfigError: no provider has that name.
        CredentialsError: the key cannot be read.
    """
    if settings.provider == "coinbase":
        return CoinbaseProvider(settings, transport=transport, clock=clock)
    if settings.provider == "synthetic":
        return SyntheticProvider(settings, clock=clock)
    msg = f"PROVIDER={settings.provider} is unknown; choose one of {', '.join(BUILT_IN)}"
    raise ConfigError(msg)
