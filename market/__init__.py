"""Candles from outside: providers, the local exchange, ingestion and the probe."""
