"""Guardrails, rate limiter, kill switch, paper account."""
