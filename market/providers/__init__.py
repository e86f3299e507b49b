"""Sources of candles behind one protocol."""

from market.providers.base import PAGE_MINUTES, FailedWindow, Provider, WindowsFailedError, latest
from market.providers.exchange_clock import ExchangeClock
from market.providers.factory import open_provider

__all__ = ["PAGE_MINUTES", "ExchangeClock", "FailedWindow", "Provider", "WindowsFailedError", "latest", "open_provider"]
