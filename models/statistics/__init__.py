"""Metrics, bootstrap intervals and tests of luck."""
