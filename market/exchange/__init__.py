"""A local Coinbase on loopback."""
