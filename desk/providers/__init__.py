"""Sources of candles behind one protocol."""

from desk.providers.base import PAGE_MINUTES, FailedWindow, Provider, WindowsFailedError, latest
from desk.providers.exchange_clock import ExchangeClock
from desk.providers.registry import open_provider

__all__ = ["PAGE_MINUTES", "ExchangeClock", "FailedWindow", "Provider", "WindowsFailedError", "latest", "open_provider"]
