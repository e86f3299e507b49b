"""Thin Prefect tasks over the rooms below."""
