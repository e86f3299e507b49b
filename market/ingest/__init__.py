"""Candles into the store: from a provider's history, from its present, from files. No Prefect."""
